"""``make scale``: a Redis Cluster of many shards on this machine, filled with sessions and stepped; see docs/scale.md.

What is measured is what a size is planned by: bytes a session, processor time of Redis and of the service for a
step, how even the shards are, and what is left when one dies. Every answer is compared with an offline run.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from benchmarks.house import House
from benchmarks.scale.shards import Shards
from benchmarks.workloads import BLOCK_ROWS, CYCLE_STEPS, NUM_SESSIONS, Offline, Steps, scattered, write_model
from ostinato.commands.progress import tracked
from ostinato.commands.tables import WholeTable
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.errors import OstinatoError
from ostinato.service.sessions.session import LiveSession
from ostinato.service.state.arena import session_bytes
from ostinato.service.state.base import Snapshot
from ostinato.service.state.records import Layout
from ostinato.service.state.redis.address import redis_address
from ostinato.service.state.redis.servers import RedisServers
from ostinato.service.state.redis.swaps import ABSENT, Swaps

RESIDENT = 20_000
"""Sessions that are stepped again and again, and stay in memory."""
KEEP_SECONDS = 1e12


class Stepped(NamedTuple):
    """What came of stepping for a while; seconds are of a processor, for each step."""

    num_steps: int
    steps_per_second: float
    redis_seconds: float
    service_seconds: float


def main() -> None:
    """Fill, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--sessions", type=int, default=2_000_000)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ostinato-scale-") as folder, Shards(arguments.shards) as shards:
        asyncio.run(_measure(write_model(Path(folder)), shards, arguments))


async def _measure(directory: Path, shards: Shards, arguments: argparse.Namespace) -> None:
    table = WholeTable(
        "what", "measured", title=f"{arguments.sessions:,} sessions of W1, {arguments.shards} shards, this machine"
    )
    empty = sum(shards.used_bytes())
    rate = await _fill(directory, shards, arguments.sessions)
    keys = shards.num_keys()
    assert sum(keys) >= arguments.sessions, "sessions are missing"
    table.add_row("written, sessions/s (one client)", f"{rate:,.0f}")
    table.add_row("memory of Redis a session, bytes", f"{(sum(shards.used_bytes()) - empty) / arguments.sessions:,.0f}")
    table.add_row("fewest and most sessions of a shard", f"{min(keys):,} and {max(keys):,}")
    walk = _Walk(directory, shards, arguments)
    await walk.house.store.start()
    for name, among in (("in memory", RESIDENT), ("anywhere", arguments.sessions)):
        stepped = await walk.step(among, arguments.seconds)
        table.add_row(f"steps/s, sessions {name}", f"{stepped.steps_per_second:,.0f}")
        table.add_row("  processor of Redis a step, us", f"{1e6 * stepped.redis_seconds:.1f}")
        table.add_row("  processor of the service a step, us", f"{1e6 * stepped.service_seconds:.1f}")
    walk.check()
    table.add_row("answers equal to an offline run", f"{len(walk.answers):,} of {len(walk.answers):,}")
    shards.kill(0)
    table.add_row("a shard dies: known to all after, s", f"{shards.wait_until_lost(0):.1f}")
    table.add_row("  sessions that are refused", f"{await walk.refused():.1%}")
    await walk.house.store.stop()
    Console().print(table)


async def _fill(directory: Path, shards: Shards, number: int) -> float:
    """Put so many sessions there, as they are when they were opened; sessions a second."""
    house = House(directory, state=shards.url, ttl_seconds=0)
    layout, snapshot = Layout(house.engine.arena), Snapshot.initial(house.engine.arena)
    servers = RedisServers(redis_address(shards.url))
    swaps, now, began_at = Swaps(servers), time.time(), time.perf_counter()
    blocks = range(0, number, BLOCK_ROWS)
    for start in tracked(blocks, len(blocks), Console(stderr=True), "storing sessions", f"times {BLOCK_ROWS}"):
        ids = [_session_id(place) for place in range(start, min(start + BLOCK_ROWS, number))]
        records = [
            layout.record(each, snapshot, stamp=start + row + 1, opened_at=now, ttl_seconds=np.inf, expires_at=np.inf)
            for row, each in enumerate(ids)
        ]
        keys = [servers.address.session_key + each.encode() for each in ids]
        done = await swaps.begin(keys, np.full(len(ids), ABSENT), records, np.full(len(ids), KEEP_SECONDS))
        assert done.won.all()
    rate = number / (time.perf_counter() - began_at)
    await servers.close()
    return rate


class _Walk:
    """Steps of sessions drawn at random, each with inputs of its own, and what was answered."""

    def __init__(self, directory: Path, shards: Shards, arguments: argparse.Namespace) -> None:
        budget = 2 * RESIDENT * session_bytes(Manifest.read(directory))
        self.house = House(directory, state=shards.url, ttl_seconds=0, memory_budget=budget)
        self.answers: list[tuple[int, int, bytes]] = []
        self._offline, self._inputs = Offline(directory), Steps.draw(NUM_SESSIONS).inputs
        self._generator, self._shards, self._sessions = np.random.default_rng(3), shards, arguments.sessions

    async def step(self, among: int, seconds: float) -> Stepped:
        """Step some of the first ``among`` sessions, 256 at a time."""
        for start in range(0, min(among, RESIDENT), BLOCK_ROWS):
            await asyncio.gather(*map(self._find, range(start, start + BLOCK_ROWS)))
        redis_before, own_before = sum(self._shards.cpu_seconds()), time.process_time()
        num_before, began_at = len(self.answers), time.perf_counter()
        while time.perf_counter() < began_at + seconds:
            drawn = np.unique(self._generator.integers(among, size=BLOCK_ROWS)).tolist()
            sessions = await asyncio.gather(*map(self._find, drawn))
            futures = [self._begin(number, session) for number, session in zip(drawn, sessions, strict=True)]
            for number, future in zip(drawn, futures, strict=True):
                answer = await future
                self.answers.append((number % NUM_SESSIONS, answer.steps, answer.outputs.tobytes()))
        num_steps, took = len(self.answers) - num_before, time.perf_counter() - began_at
        redis = sum(self._shards.cpu_seconds()) - redis_before
        return Stepped(num_steps, num_steps / took, redis / num_steps, (time.process_time() - own_before) / num_steps)

    async def refused(self) -> float:
        """The share of sessions, of some drawn at random, that cannot be stepped now."""
        drawn = np.unique(self._generator.integers(RESIDENT, self._sessions, size=4 * BLOCK_ROWS)).tolist()
        done = await asyncio.gather(*map(self._step_one, drawn))
        return 1 - sum(done) / len(done)

    def check(self) -> None:
        """Compare every answer with an offline run of all the session's steps.

        Raises:
            SystemExit: one differs.
        """
        turns = np.arange(max(steps for _, steps, _ in self.answers)) % CYCLE_STEPS
        expected = self._offline.run(np.ascontiguousarray(self._inputs[:, turns]))[0]
        for row, steps, outputs in self.answers:
            if outputs != expected[row, steps - 1].tobytes():
                raise SystemExit(f"an answer after {steps} steps differs from the offline run")

    async def _step_one(self, number: int) -> bool:
        try:
            await self._begin(number, await self._find(number))
        except OstinatoError:
            return False
        return True

    def _begin(self, number: int, session: LiveSession) -> Any:
        turn = session.steps % CYCLE_STEPS
        return self.house.ledger.step(session, self._inputs[number % NUM_SESSIONS, turn : turn + 1])

    async def _find(self, number: int) -> LiveSession:
        session_id = _session_id(number)
        return self.house.sessions.use(session_id) or await self.house.sessions.find(session_id)


def _session_id(number: int) -> str:
    return f"s{scattered(number)}"


if __name__ == "__main__":
    main()
