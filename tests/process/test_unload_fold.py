"""The fold of unloads: sessions are opened, stepped, forked and migrated while versions are unloaded, loaded and meant
by other names, several at once, and workers are killed. What was acknowledged is in the session, or it was told closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from tests import networks
from tests.networks import offline
from tests.redis_server import RedisServer
from tests.server import ServerProcess, running_server
from tests.stores import stores
from tests.waiting import until_true

ADMIN = "/v1/admin/models/lstm"
VERSIONS = ("1", "2", "3")
KEPT = 400
"""More than any session is stepped: whatever it goes on by has run all of its steps."""
STEPS = np.random.default_rng(5).normal(size=(KEPT, 3)).astype(np.float32)
NUM_PLAYERS, NUM_DECISIONS = 6, 5

LATER = {(404, "unknown_model"), (503, "starting"), (503, "state_store_unavailable"), (504, "deadline_exceeded")}
"""Answers of a version that is away, or of a worker that has just begun: the same may be asked again."""
REFUSED = {200, 202, 404, 409, 422, 503, 504}
"""What a decision may be told, of others that were made meanwhile."""


class Told(Exception):
    """A session was told that it is closed."""


class House:
    """A server with operators and clients.

    Args:
        outputs: version -> what it answers offline to ``STEPS``.
    """

    def __init__(self, client: httpx2.AsyncClient, outputs: dict[str, NDArray[np.float32]], seed: int) -> None:
        self.client = client
        self.outputs = outputs
        self.seed = seed
        self.may_lose = asyncio.Event()  # set: of an answer that is lost, nobody knows whether it was acknowledged
        self.stop = asyncio.Event()
        self.live: dict[str, int] = {}  # session -> steps that were acknowledged
        self.closed = self.migrated = self.unloads = 0
        self._of_version = {version: asyncio.Lock() for version in VERSIONS}

    async def ask(self, method: str, path: str, content: Any = None) -> tuple[int, Any]:
        """An answer; 0 where there is none."""
        try:
            answer = await self.client.request(method, path, json=content)
        except httpx2.TransportError:
            assert self.may_lose.is_set()
            return 0, {}
        return answer.status_code, answer.json() if answer.content else {}

    async def insist(self, method: str, path: str, content: Any = None) -> tuple[int, Any]:
        """An answer that is one, asked for until it is given."""
        while True:
            status, told = await self.ask(method, path, content)
            if status and (status, told.get("code")) not in LATER:
                return status, told
            await asyncio.sleep(0.02)

    async def play(self, number: int) -> None:
        """Open sessions, one after the other, and do what clients do to them."""
        dice = random.Random(f"{self.seed}-{number}")
        life = 0
        while not self.stop.is_set():
            name, life = f"p{number}-{life}", life + 1
            version = dice.choice((None, *VERSIONS))
            begun = {"session_id": name} if version is None else {"session_id": name, "version": version}
            status, told = await self.ask("POST", "/v1/models/lstm/sessions", begun)
            if status != 201:
                assert not status or (status, told["code"]) in LATER, told
                await asyncio.sleep(0.02)
                continue
            self.live[name] = 0
            with contextlib.suppress(Told):
                for _ in range(dice.randint(5, 60)):
                    await self.act(name, dice)
                    if self.stop.is_set():
                        return

    async def act(self, name: str, dice: random.Random) -> None:
        """Step a session; or migrate it, or have another begin from it."""
        chance = dice.random()
        if chance < 0.06:
            status, told = await self.insist("POST", f"/v1/sessions/{name}/migrate", {"version": dice.choice(VERSIONS)})
            self.migrated += status == 200
        elif chance < 0.1:
            status, told = await self.ask("POST", f"/v1/sessions/{name}/fork", {"session_id": f"{name}f"})
            if status == 201:
                self.live[f"{name}f"] = told["steps"]
        elif self.live[name] < KEPT - 3:
            await self.step(name, dice.randint(1, 3))
            return
        else:
            return
        self.hold_open(name, status, told)

    async def step(self, name: str, length: int) -> None:
        """Step a session until it is acknowledged."""
        seq = self.live[name]
        body = {"inputs": STEPS[seq : seq + length].tolist(), "seq": seq}
        status, told = await self.insist("POST", f"/v1/sessions/{name}/step", body)
        self.hold_open(name, status, told)
        if status == 409 and self.may_lose.is_set():  # applied, its answer lost, and migrated since
            assert told["expected_seq"] == seq + length, told
        else:
            assert status == 200, (name, told)
            made = np.array(told["outputs"], np.float32).tobytes()
            assert made in [known[seq : seq + length].tobytes() for known in self.outputs.values()], name
        self.live[name] = seq + length

    def hold_open(self, name: str, status: int, told: Any) -> None:
        """Note that a session was told closed; it is never unknown, since its opening was acknowledged."""
        assert told.get("code") != "unknown_session", (name, told)
        assert told.get("code") != "draining", (name, told)
        if status == 410:
            assert self.unloads, told
            self.closed += 1
            del self.live[name]
            raise Told

    async def decide(self, dice: random.Random) -> None:
        """One decision after the other."""
        for _ in range(NUM_DECISIONS):
            version = dice.choice(VERSIONS)
            chance = dice.random()
            if chance < 0.15:
                await self.decided("PUT", f"{ADMIN}/default", {"version": version})
            elif chance < 0.25:
                await self.decided("DELETE", f"{ADMIN}/default")
            elif chance < 0.35:
                await self.decided("PUT", f"{ADMIN}/canary", {"version": version, "share": 0.5})
            elif chance < 0.5:
                await self.decided("POST", f"{ADMIN}/rollback")
            else:
                await self.unload(version, dice)
            await asyncio.sleep(dice.random() * 0.2)

    async def decided(self, method: str, path: str, content: Any = None) -> int:
        status, told = await self.ask(method, path, content)
        assert status in REFUSED or not status, told
        return status

    async def unload(self, version: str, dice: random.Random) -> None:
        """Unload a version, look that no session of it is left where it said so, and load it again."""
        fate = dice.choice(("close", "migrate", "migrate", "keep", "refuse"))
        body = {"sessions": fate}
        if fate == "migrate":
            body["version"] = dice.choice([other for other in VERSIONS if other != version])
        async with self._of_version[version]:
            self.unloads += 1
            status = await self.decided("POST", f"{ADMIN}/versions/{version}/unload", body)
            if status == 200 and fate in ("close", "migrate"):

                async def none_left() -> bool:
                    status, told = await self.insist("GET", "/v1/sessions?limit=1000")
                    assert (status, told["next_cursor"]) == (200, None)
                    return version not in {each["version"] for each in told["sessions"]}

                await until_true(none_left, f"no session of {version}, which was unloaded with {fate!r}")
            await asyncio.sleep(dice.random() * 0.3)
            await self.load(version)

    async def load(self, version: str) -> None:
        while await self.decided("POST", f"{ADMIN}/versions/{version}/load") != 200:
            await asyncio.sleep(0.1)

    async def judge(self) -> None:
        """Every version is there again, and so is every session that was not told closed, with all of its steps."""
        for version in VERSIONS:
            await self.load(version)
        for name, steps in [*self.live.items()]:
            with contextlib.suppress(Told):
                await self.step(name, 1)
                status, told = await self.insist("GET", f"/v1/sessions/{name}")
                assert (status, told["steps"]) == (200, steps + 1)
                made = {"inputs": STEPS[steps + 1 : steps + 2].tolist(), "seq": steps + 1}
                status, stepped = await self.insist("POST", f"/v1/sessions/{name}/step", made)
                expected = self.outputs[told["version"]][steps + 1 : steps + 2]
                assert np.array(stepped["outputs"], np.float32).tobytes() == expected.tobytes(), name


async def kill(server: ServerProcess, house: House, dice: random.Random) -> None:
    """Kill a worker while a version is unloaded."""
    await until_true(lambda: house.unloads > 1, "an unload")
    await asyncio.sleep(dice.random())
    with contextlib.suppress(psutil.NoSuchProcess):
        dice.choice(await asyncio.to_thread(server.workers)).kill()


@pytest.mark.parametrize("store", stores("redis"))
async def test_no_session_is_lost_or_stranded_where_versions_are_unloaded(tmp_path: Path, store: str) -> None:
    seed = 1
    repository = tmp_path / "repository"
    for version in VERSIONS:
        network = networks.lstm(seed=int(version)).named("lstm", version, keep_inputs=KEPT)
        network.write(repository, np.random.default_rng(0).normal(size=(2, 10, 3)).astype(np.float32))
    outputs = {version: offline(repository / "lstm" / version, STEPS) for version in VERSIONS}
    with RedisServer() as redis:
        state = {"memory": "memory://", "lmdb": f"lmdb://{tmp_path}/state", "redis": redis.url}[store]
        options: dict[str, Any] = {"state": state, "workers": 1 if store == "memory" else 2}
        with running_server(repository, tmp_path, **options) as server:
            async with server.async_client() as client:
                house = House(client, outputs, seed)
                playing = [asyncio.create_task(house.play(number)) for number in range(NUM_PLAYERS)]
                killing = None
                if store != "memory":
                    house.may_lose.set()
                    killing = asyncio.create_task(kill(server, house, random.Random(seed)))
                async with asyncio.TaskGroup() as operators:
                    for operator in range(2):
                        operators.create_task(house.decide(random.Random(f"{seed}-operator-{operator}")))
                if killing is not None:
                    await killing
                house.stop.set()
                await asyncio.gather(*playing)
                await house.judge()
            assert "could not be let go of" not in server.log()
    assert house.unloads > 2
    assert house.live
