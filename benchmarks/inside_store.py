"""Measurements of a store on disk with far more sessions than memory; `benchmarks.inside` runs them."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.figures import Figures
from benchmarks.house import House
from benchmarks.workloads import (
    BLOCK_ROWS,
    CYCLE_STEPS,
    MODEL,
    NUM_SESSIONS,
    Floats,
    Offline,
    Steps,
    scattered,
)
from ostinato.commands.progress import tracked
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.sessions.session import LiveSession
from ostinato.service.state.arena import session_bytes
from ostinato.service.state.lmdb.store import LmdbStore

RESERVED = 1 << 15
"""The last of the stored sessions, which are stepped by nothing in here."""

CHECKED_STEPS = 64
"""The most steps that a session drawn at random is given."""

STORED_POLL_SECONDS = 0.2


async def fill(arguments: argparse.Namespace, figures: Figures) -> None:
    """Open all sessions, in an order that has nothing to do with that of their ids, and wait for the database."""
    house = _house(arguments)
    await house.store.start()
    began_at = time.perf_counter()
    numbers = range(arguments.sessions)
    for number in tracked(numbers, len(numbers), Console(stderr=True), "storing sessions", "sessions"):
        await house.sessions.open(MODEL, session_id=_session_id(number))
        if number % BLOCK_ROWS == 0:
            await asyncio.sleep(0)
    figures.add("stored/fill/open", (time.perf_counter() - began_at) / arguments.sessions)
    await _until_stored(house)
    figures.add("stored/fill/seconds", time.perf_counter() - began_at)
    await house.store.stop()


async def misses(arguments: argparse.Namespace, figures: Figures) -> None:
    """Target 13: what it takes to bring a session from the database, and another one's leaving to make room for it."""
    house = _house(arguments)
    await house.store.start()
    generator = np.random.default_rng(5)
    num_drawn = arguments.sessions - RESERVED
    for number in generator.permutation(num_drawn)[: arguments.resident].tolist():
        await house.sessions.find(_session_id(number))
    for _ in range(arguments.rounds):
        seconds = await _time_misses(house, generator.integers, num_drawn, arguments.seconds)
        _add_times(figures, "stored/miss", seconds)
    walk = _Walk(house, arguments, generator)
    for _ in range(arguments.rounds):
        figures.add("stored/steps/rate", await walk.rate(arguments.seconds))
    walk.check()
    await _until_stored(house)
    await house.store.stop()


async def journal_misses(arguments: argparse.Namespace, figures: Figures) -> None:
    """The same where the session's newest record is not in the database yet: none is brought there meanwhile."""
    house = _house(arguments)
    generator = np.random.default_rng(6)
    inputs = generator.normal(size=(BLOCK_ROWS, 1, len(_inputs()[0, 0]))).astype(np.float32)
    stepped = generator.permutation(arguments.sessions - RESERVED)[: arguments.resident * 2]
    for start in range(0, len(stepped), BLOCK_ROWS):
        await _step(house, stepped[start : start + BLOCK_ROWS].tolist(), inputs)
    # Those stepped first have left memory for the others.
    for _ in range(arguments.rounds):
        seconds = await _time_misses(
            house, lambda n: stepped[generator.integers(n)], len(stepped) // 2, arguments.seconds
        )
        _add_times(figures, "stored/journal_miss", seconds)
    await house.store.start()
    await _until_stored(house)
    await house.store.stop()


class _Walk:
    """Steps of sessions drawn at random, each with inputs of its own, and whether their answers were right."""

    def __init__(self, house: House, arguments: argparse.Namespace, generator: np.random.Generator) -> None:
        self._house = house
        self._num_drawn = arguments.sessions - RESERVED
        self._generator = generator
        self._offline = Offline(arguments.directory)
        self._inputs = _inputs()
        self._answers: list[tuple[int, int, bytes]] = []

    async def rate(self, seconds: float) -> float:
        """Steps a second, 256 sessions at a time."""
        until = time.perf_counter() + seconds
        began_at = time.perf_counter()
        num_before = len(self._answers)
        while time.perf_counter() < until:
            drawn = np.unique(self._generator.integers(self._num_drawn, size=BLOCK_ROWS)).tolist()
            futures = []
            for number in drawn:
                session = await _find(self._house, number)
                row, turn = number % NUM_SESSIONS, session.steps % CYCLE_STEPS
                futures.append(self._house.ledger.step(session, self._inputs[row, turn : turn + 1]))
            for number, future in zip(drawn, futures, strict=True):
                answer = await future
                self._answers.append((number % NUM_SESSIONS, answer.steps, answer.outputs.tobytes()))
        return (len(self._answers) - num_before) / (time.perf_counter() - began_at)

    def check(self) -> None:
        """Compare every answer with an offline run of all the session's steps.

        Raises:
            SystemExit: one differs.
        """
        turns = np.arange(CHECKED_STEPS) % CYCLE_STEPS
        expected = self._offline.run(np.ascontiguousarray(self._inputs[:, turns]))[0]
        for row, steps, outputs in self._answers:
            if outputs != expected[row, steps - 1].tobytes():
                raise SystemExit(f"an answer after {steps} steps differs from the offline run")


def _house(arguments: argparse.Namespace) -> House:
    """With memory for ``resident`` of the sessions."""
    memory_budget = arguments.resident * session_bytes(Manifest.read(arguments.directory))
    return House(arguments.directory, state=f"lmdb://{arguments.state}", memory_budget=memory_budget, ttl_seconds=0)


def _session_id(number: int) -> str:
    return f"s{scattered(number)}"


def _inputs() -> Floats:
    return Steps.draw(NUM_SESSIONS).inputs


async def _find(house: House, number: int) -> LiveSession:
    session_id = _session_id(number)
    return house.sessions.use(session_id) or await house.sessions.find(session_id)


async def _step(house: House, numbers: list[int], inputs: Floats) -> None:
    futures = [house.ledger.step(await _find(house, number), inputs[row]) for row, number in enumerate(numbers)]
    for future in futures:
        await future


async def _time_misses(house: House, draw: Any, num_drawn: int, seconds: float) -> list[float]:
    """Seconds that each session took that was not in memory; those that were do not count."""
    times: list[float] = []
    clock = time.perf_counter
    until = clock() + seconds
    while clock() < until:
        for _ in range(BLOCK_ROWS):
            session_id = _session_id(int(draw(num_drawn)))
            if house.sessions.use(session_id) is None:
                began_at = clock()
                await house.sessions.find(session_id)
                times.append(clock() - began_at)
        await asyncio.sleep(0)  # whatever else the service does has its turn
    return times


def _add_times(figures: Figures, prefix: str, seconds: list[float]) -> None:
    for name, percent in (("p50", 50), ("p99", 99), ("max", 100)):
        figures.add(f"{prefix}/{name}", float(np.percentile(seconds, percent)))
    figures.add(f"{prefix}/mean", float(np.mean(seconds)))


async def _until_stored(house: House) -> None:
    """Wait until the database holds everything and the journal nothing."""
    assert isinstance(house.store, LmdbStore)
    while house.store.num_in_journal:
        await asyncio.sleep(STORED_POLL_SECONDS)
