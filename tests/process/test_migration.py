"""Sessions that go on by another version, and from checkpoints, at a real server that is killed in between."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect

from ostinato.client.async_client import AsyncClient
from ostinato.client.client import Client
from ostinato.errors import ServiceError
from tests import networks
from tests.networks import Array, offline
from tests.redis_server import RedisServer
from tests.server import ServerProcess, running_server
from tests.stores import stores

KEPT = 40


def write(repository: Path, version: str, **changes: Any) -> Path:
    network = networks.lstm(seed=int(version)).named("lstm", version, keep_inputs=KEPT, **changes)
    return network.write(repository, np.random.default_rng(0).normal(size=(2, 10, 3)).astype(np.float32))


async def go_on(client: AsyncClient, repository: Path, seed: int) -> int:
    """A session that is stepped by chunks of any length, migrated to and fro, and compared after each step."""
    generator = random.Random(seed)
    numbers = np.random.default_rng(seed)
    session = await client.session("lstm", session_id=f"s{seed}", version="1").open()
    version, taken = "1", np.zeros((0, 3), np.float32)  # what the version in effect has run
    num_migrations = 0
    for _ in range(12):
        chunk = numbers.normal(size=(generator.choice((1, 2, 7, 45)), 3)).astype(np.float32)
        taken = np.concatenate([taken, chunk])
        made = await session.step(chunk)
        assert_same(made, offline(repository / "lstm" / version, taken)[-len(chunk) :])
        if generator.random() < 0.4:
            version = "2" if version == "1" else "1"
            await session.migrate(version)
            assert session.version == version
            taken = taken[-KEPT:]
            num_migrations += 1
    return num_migrations


def assert_same(made: Any, expected: Array) -> None:
    assert np.asarray(made, np.float32).tobytes() == expected.tobytes()


@pytest.mark.parametrize("store", stores("redis"))
async def test_a_migrated_session_answers_what_the_version_answers_offline(tmp_path: Path, store: str) -> None:
    repository = tmp_path / "repository"
    for version in ("1", "2"):
        write(repository, version)
    with RedisServer() as redis:
        state = {"memory": "memory://", "lmdb": f"lmdb://{tmp_path}/state", "redis": redis.url}[store]
        workers = 1 if store == "memory" else 2
        with running_server(repository, tmp_path, state=state, workers=workers) as server:
            async with AsyncClient(server.url) as client:
                migrations = await asyncio.gather(*(go_on(client, repository, seed) for seed in range(12)))
    assert sum(migrations) > 12


@pytest.mark.parametrize("store", stores("memory", "redis"))
async def test_steps_that_come_within_migrations_are_applied_once_and_in_the_order_sent(
    tmp_path: Path, store: str
) -> None:
    repository = tmp_path / "repository"
    for version in ("1", "2"):
        write(repository, version)
    with RedisServer() as redis:
        state = {"memory": "memory://", "lmdb": f"lmdb://{tmp_path}/state", "redis": redis.url}[store]
        workers = 1 if store == "memory" else 2
        with running_server(repository, tmp_path, state=state, workers=workers) as server:
            moved = [await send_within_migrations(server, seed) for seed in range(3)]
    assert min(moved) > 1


async def send_within_migrations(server: ServerProcess, seed: int) -> int:
    """How often a session was migrated while frames without ``seq`` came, without a pause, each of which is applied
    behind the one before it.
    """
    numbers = np.random.default_rng(seed)
    steps = numbers.normal(size=(400, 1, 3)).tolist()
    async with AsyncClient(server.url) as client, connect(f"ws{server.url[4:]}/v1/models/lstm/stream") as socket:
        await client.session("lstm", session_id=f"s{seed}", version="1").open()
        session = await client.resume(f"s{seed}").open()
        placed: dict[int, int] = {}

        async def read() -> None:
            while len(placed) < len(steps):
                answer = json.loads(await socket.recv())
                placed[answer["id"]] = answer["seq"]

        async def migrate() -> int:
            count = 0
            while len(placed) < len(steps):
                count += 1
                await session.migrate("21"[count % 2])
            return count

        reading, migrating = asyncio.create_task(read()), asyncio.create_task(migrate())
        for place, inputs in enumerate(steps):
            await socket.send(json.dumps({"session_id": f"s{seed}", "id": place, "inputs": inputs}))
            if place % 40 == 39:
                await asyncio.sleep(0.01)
        await reading
        assert placed == {place: place for place in range(len(steps))}
        return await migrating


def test_what_is_told_of_a_migration_and_what_it_leaves_behind(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    one, two = (write(repository, version) for version in ("1", "2"))
    plain = networks.lstm(seed=3).named("lstm", "3")
    plain.write(repository, np.random.default_rng(0).normal(size=(2, 10, 3)).astype(np.float32))
    wide = networks.lstm(num_features=4, seed=4).named("lstm", "4")
    wide.write(repository, np.random.default_rng(0).normal(size=(2, 10, 4)).astype(np.float32))
    steps = np.random.default_rng(1).normal(size=(60, 3)).astype(np.float32)
    with running_server(repository, tmp_path, state=f"lmdb://{tmp_path}/state") as server:
        with server.client() as http:
            opened = {"session_id": "a", "version": "1"}
            assert http.post("/v1/models/lstm/sessions", json=opened).status_code == 201
            http.post("/v1/sessions/a/step", json={"inputs": steps.tolist(), "seq": 0})
            told = http.post("/v1/sessions/a/migrate", json={"version": "2"}).json()
            before, after = offline(one, steps)[-1], offline(two, steps[-KEPT:])[-1]
            assert (told["version"], told["former_version"], told["replayed"], told["steps"]) == ("2", "1", KEPT, 60)
            assert np.float32(told["output_before"]).tobytes() == before.tobytes()
            assert np.float32(told["output_after"]).tobytes() == after.tobytes()
            assert told["difference"] == float(abs(np.float64(after[0]) - np.float64(before[0])))
            # It was answered by another version: whether it was applied, seq still tells.
            again = http.post("/v1/sessions/a/step", json={"inputs": steps.tolist(), "seq": 0})
            assert (again.status_code, again.json()["expected_seq"]) == (409, 60)
            for version, status in (("4", 422), ("9", 404)):
                refused = http.post("/v1/sessions/a/migrate", json={"version": version})
                assert refused.status_code == status, refused.text
            assert http.get("/v1/sessions/a").json()["version"] == "2"
        [worker] = server.workers()
        worker.kill()
        server.wait_until_ready()
        with Client(server.url) as client:
            session = client.resume("a")
            assert (session.version, session.steps) == ("2", 60)
            assert_same(session.step(steps[:5]), offline(two, np.concatenate([steps[-KEPT:], steps[:5]]))[-5:])
            session.save_checkpoint("warm")
            session.migrate("3")  # which keeps nothing
            with pytest.raises(ServiceError, match="keep_inputs") as refused_back:
                session.migrate("2")
            assert refused_back.value.status == 422
            with client.session("lstm", checkpoint="warm") as copy:
                assert (copy.version, copy.steps) == ("2", 65)
                expected = offline(two, np.concatenate([steps[-KEPT:], steps[:5], steps[5:9]]))[-4:]
                assert_same(copy.step(steps[5:9]), expected)
                copy.migrate("1")  # the checkpoint has the steps that were kept
                kept = np.concatenate([steps[-KEPT:], steps[:9]])[-KEPT:]
                assert_same(copy.step(steps[9:10]), offline(one, np.concatenate([kept, steps[9:10]]))[-1:])


def test_a_state_that_was_put_is_not_replayed_before_as_many_steps_follow_it_as_are_kept(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    one, two = (write(repository, version) for version in ("1", "2"))
    steps = np.random.default_rng(2).normal(size=(KEPT + 10, 3)).astype(np.float32)
    with running_server(repository, tmp_path, state=f"lmdb://{tmp_path}/state") as server, Client(server.url) as client:
        source = client.session("lstm", version="1", keep=True)
        source.step(steps[:10])
        session = client.session("lstm", version="1", keep=True)
        session.put_state(source.state())
        for start, end in ((10, 11), (11, 40), (40, KEPT + 9)):
            session.step(steps[start:end])
            with pytest.raises(ServiceError, match=f"{end - 10} steps have come since"):
                session.migrate("2")
        made = session.step(steps[KEPT + 9 :])
        assert_same(made, offline(one, steps)[-1:])
        session.migrate("2")
        chunk = np.ones((1, 3), np.float32)
        assert_same(session.step(chunk), offline(two, np.concatenate([steps[10:], chunk]))[-1:])
        # One that has no step yet has a state all the same.
        fresh = client.session("lstm", version="1", keep=True)
        fresh.put_state(client.session("lstm", version="1", keep=True).state())
        with pytest.raises(ServiceError, match="0 steps have come since"):
            fresh.migrate("2")
