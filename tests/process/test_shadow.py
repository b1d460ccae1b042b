"""Shadow traffic of a real server: what another version would have answered, counted, and nobody answered by it."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.catalogue.shares import share_of
from tests import networks
from tests.networks import Array, offline
from tests.redis_server import RedisServer
from tests.server import ServerProcess, running_server
from tests.stores import stores
from tests.waiting import until, until_true

ADMIN = "/v1/admin/models/lstm"
SHARE = 0.5
NUM_SESSIONS = 24
DIFFERENCES = re.compile(r"ostinato_shadow_difference_(bucket|sum|count)\{([^}]*)\} (\S+)")


def write(repository: Path, version: str, **options: Any) -> Path:
    network = networks.lstm(seed=int(version), **options).named("lstm", version)
    num_features = options.get("num_features", 3)
    return network.write(repository, np.random.default_rng(0).normal(size=(2, 10, num_features)).astype(np.float32))


async def go_through(server: ServerProcess, name: str, directory: Path) -> Array:
    """The life of a session on one connection, so at one worker; its steps. Each answer is the offline run's."""
    generator, numbers = random.Random(name), np.random.default_rng(int(name[1:]))
    taken = np.zeros((0, 3), np.float32)
    async with server.async_client() as client:
        opened = await client.post("/v1/models/lstm/sessions", json={"session_id": name})
        assert opened.raise_for_status().json()["version"] == "1"
        for _ in range(12):
            chunk = numbers.normal(size=(generator.choice((1, 1, 3, 40)), 3)).astype(np.float32)
            taken = np.concatenate([taken, chunk])
            seq = len(taken) - len(chunk)
            answer = await client.post(f"/v1/sessions/{name}/step", json={"inputs": chunk.tolist(), "seq": seq})
            made = np.asarray(answer.raise_for_status().json()["outputs"], np.float32)
            assert made.tobytes() == offline(directory, taken)[-len(chunk) :].tobytes()
    return taken


def counted(server: ServerProcess, series: str, labels: str) -> float:
    found = re.search(rf"^ostinato_shadow{series}\{{{labels}\}} (\S+)$", server.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else -1


@pytest.fixture(params=stores("redis"))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "redis":
        with RedisServer() as redis:
            yield redis.url
    else:
        yield {"memory": "memory://", "lmdb": f"lmdb://{tmp_path}/state"}[request.param]


async def test_what_is_counted_is_the_difference_of_the_two_offline_runs(tmp_path: Path, place: str) -> None:
    repository = tmp_path / "repository"
    one, two = write(repository, "1"), write(repository, "2")
    write(repository, "3", num_features=4)
    workers = 1 if place == "memory://" else 2
    with running_server(repository, tmp_path, state=place, workers=workers) as server:
        until(lambda: server.log().count("3 model versions are served") == workers, "all workers")
        assert server.request("PUT", f"{ADMIN}/default", json={"version": "1"}).status_code == 200
        for version, status in (("3", 422), ("4", 404)):
            assert server.request("PUT", f"{ADMIN}/shadow", json={"version": version}).status_code == status
        decided = server.request("PUT", f"{ADMIN}/shadow", json={"version": "2", "share": SHARE})
        shadow = {"version": "2", "share": SHARE}
        assert decided.json()["shadow"] == shadow

        async def all_follow() -> bool:
            told = await asyncio.gather(*(asyncio.to_thread(server.get, ADMIN) for _ in range(64)))
            return all((each.json()["shadow"], each.json()["default"]) == (shadow, "1") for each in told)

        await until_true(all_follow, "all workers")
        names = [f"s{number}" for number in range(NUM_SESSIONS)]
        inputs = await asyncio.gather(*(go_through(server, name, one) for name in names))
        shadowed = [
            taken for name, taken in zip(names, inputs, strict=True) if share_of("lstm", name, "shadow") < SHARE
        ]
        assert 0 < len(shadowed) < NUM_SESSIONS
        apart = np.concatenate(
            [
                np.abs(offline(two, taken).astype(np.float64) - offline(one, taken).astype(np.float64)).max(axis=1)
                for taken in shadowed
            ]
        )
        steps = 'model="lstm",shadow="2",version="1"'
        await until_true(
            lambda: asyncio.to_thread(lambda: counted(server, "_steps_total", steps) == len(apart)), "all steps"
        )
        text = server.get("/metrics").text
        told = {(kind, labels): float(value) for kind, labels, value in DIFFERENCES.findall(text)}
        assert told.pop(("count", steps)) == len(apart)
        assert told.pop(("sum", steps)) == pytest.approx(apart.sum(), rel=1e-9)
        assert len(told) > 5
        for (_, labels), count in told.items():
            bound = float(labels.rpartition('le="')[2].rstrip('"').replace("+Inf", "inf"))
            assert count == np.count_nonzero(apart <= bound), labels
        assert counted(server, "s_live", 'model="lstm",shadow="2"') == len(shadowed)
        assert counted(server, "_failures_total", steps) == 0
        dropped = re.findall(r"^ostinato_shadow_dropped_total\{[^}]*\} (\S+)$", text, re.MULTILINE)
        assert dropped
        assert not any(map(float, dropped)), text
        for name in names:
            assert server.request("DELETE", f"/v1/sessions/{name}").status_code == 204

        def are_all_over() -> bool:
            return counted(server, "s_live", 'model="lstm",shadow="2"') == 0

        if "redis" not in place:  # which tells nobody that another worker has closed a session
            await until_true(lambda: asyncio.to_thread(are_all_over), "the end of all shadows")
        assert server.request("DELETE", f"{ADMIN}/shadow").json()["shadow"] is None
        # With the decision taken back, what begins is shadowed no more.
        if workers == 1:
            await go_through(server, "s99", one)
            assert counted(server, "_steps_total", steps) == len(apart)
