"""Measurements of the engine, each run in a process of its own as `python -m benchmarks.inside NAME ...`.

The last line printed is the figures as JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from benchmarks.clocks import IterationClock, TimedLoop
from benchmarks.errors import WrongAnswer
from benchmarks.figures import Figures
from benchmarks.house import House
from benchmarks.inside_generation import generation
from benchmarks.inside_holds import holds
from benchmarks.inside_store import fill, journal_misses, misses
from benchmarks.process import PAGE_BYTES
from benchmarks.workloads import (
    BLOCK_ROWS,
    MODEL,
    NUM_FEATURES,
    REQUEST_SEQUENCES,
    Floats,
    Offline,
    draw_sequences,
    pad,
)
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.loading import load_version
from ostinato.service.config import Settings
from ostinato.service.inference.prediction import predict
from ostinato.service.sessions.rows import Columns, step_columns
from ostinato.service.sessions.session import LiveSession

PACKED_SHAPES = ((64, 32), (256, 8), (256, 32))
"""Rows and steps of full runs of onnxruntime; the fastest of them is the limit."""

PREDICT_CALLERS = 64
EXPIRE_SECONDS = 1.0
IDLE_VERSIONS = 10


async def iterations(arguments: argparse.Namespace, figures: Figures) -> None:
    """Target 10: what an iteration costs on top of the graph's run, for 256 works of one row, and for fewer."""
    house = House(arguments.directory)
    clock = _clock(house)
    sessions = [await house.sessions.open(MODEL, session_id=f"s{row}") for row in range(BLOCK_ROWS)]
    inputs = np.random.default_rng(5).normal(size=(BLOCK_ROWS, 1, NUM_FEATURES)).astype(np.float32)
    await _iterate(house, sessions, inputs, 0.5)
    for _ in range(arguments.rounds):
        for num_rows in (1, 32, BLOCK_ROWS):
            clock.reset()
            await _iterate(house, sessions[:num_rows], inputs, arguments.seconds)
            figures.add(f"engine/{num_rows}/run", clock.run.seconds / clock.num_iterations)
            overhead = (clock.seconds - clock.run.seconds) / clock.num_iterations
            figures.add(f"engine/{num_rows}/overhead", overhead)


async def blocks(arguments: argparse.Namespace, figures: Figures) -> None:
    """Target 10 for 256 sessions in one message, which are one block of 256 rows."""
    house = House(arguments.directory)
    clock = _clock(house)
    ids = [f"s{row}" for row in range(BLOCK_ROWS)]
    for session_id in ids:
        await house.sessions.open(MODEL, session_id=session_id)
    inputs = np.random.default_rng(5).normal(size=(BLOCK_ROWS, NUM_FEATURES)).astype(np.float32)
    columns = Columns.of(ids, inputs, None, {})
    for _ in range(arguments.rounds):
        clock.reset()
        until = time.perf_counter() + arguments.seconds
        while time.perf_counter() < until:
            await step_columns(house.sessions, house.ledger, house.engine, columns)
        figures.add("engine/block/run", clock.run.seconds / clock.num_iterations)
        figures.add("engine/block/overhead", (clock.seconds - clock.run.seconds) / clock.num_iterations)


async def sequences(arguments: argparse.Namespace, figures: Figures) -> None:
    """Target 6 inside the engine: whole sequences, against perfectly packed work and against padding."""
    house = House(arguments.directory)
    offline = Offline(arguments.directory)
    drawn = draw_sequences()
    calls = [drawn[start : start + REQUEST_SEQUENCES] for start in range(0, len(drawn), REQUEST_SEQUENCES)]
    for call in calls:
        for prediction, sequence in zip(await _predict(house, call), call, strict=True):
            if prediction.outputs.tobytes() != offline.run(sequence[None])[0][0].tobytes():
                raise WrongAnswer("a prediction differs from the offline run")
    generator = np.random.default_rng(5)
    packed = [generator.normal(size=(*shape, NUM_FEATURES)).astype(np.float32) for shape in PACKED_SHAPES]
    steps_per_sequence = sum(map(len, drawn)) / len(drawn)
    for _ in range(arguments.rounds):
        figures.add("sequences/engine/rate", await _predict_rate(house, calls, arguments.seconds))
        rates = [_steps_per_second(offline, inputs, arguments.seconds / len(packed)) for inputs in packed]
        figures.add("sequences/packed/rate", max(rates) / steps_per_sequence)
        padding = cycle([pad(call) for call in calls])
        runs = _rate(lambda: offline.run(next(padding)), arguments.seconds)  # noqa: B023 (called in this round)
        figures.add("sequences/padded/rate", runs * REQUEST_SEQUENCES)


async def raw(arguments: argparse.Namespace, figures: Figures) -> None:
    """Raw onnxruntime at ``[256, 1]``, one thread: the limit of target 5."""
    offline = Offline(arguments.directory)
    inputs = np.random.default_rng(5).normal(size=(BLOCK_ROWS, 1, NUM_FEATURES)).astype(np.float32)
    _, h, c = offline.run(inputs)
    offline_rate = _rate(lambda: offline.run(inputs, (h, c)), arguments.seconds)
    figures.add("raw/256/rate", offline_rate * BLOCK_ROWS)


async def live_sessions(arguments: argparse.Namespace, figures: Figures) -> None:
    """Target 7: the rate with ever more live sessions, 256 random ones an iteration, and their bytes."""
    house = House(arguments.directory, max_sessions=arguments.sessions, ttl_seconds=0)
    generator = np.random.default_rng(5)
    inputs = generator.normal(size=(BLOCK_ROWS, 1, NUM_FEATURES)).astype(np.float32)
    rss_before = _rss_bytes()
    num_sessions = 0
    for target in (1_000, 100_000, 1_000_000):
        if target > arguments.sessions:
            break
        for number in range(num_sessions, target):
            await house.sessions.open(MODEL, session_id=f"s{number}")
        num_sessions = target
        await _step_random(house, num_sessions, inputs, generator, min(1.0, arguments.seconds))
        for _ in range(arguments.rounds):
            rate = await _step_random(house, num_sessions, inputs, generator, arguments.seconds)
            figures.add(f"sessions/{num_sessions}/rate", rate)
        if target > 1_000:
            figures.add(f"sessions/{num_sessions}/bytes", (_rss_bytes() - rss_before) / num_sessions)


async def idle_versions(arguments: argparse.Namespace, figures: Figures) -> None:
    """Target 18: the bytes of a version that was loaded, checked and never asked."""
    manifest = Manifest.read(arguments.directory)
    kept = [load_version(arguments.directory, Settings())]  # with what is loaded once for all
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds):
            rss_before = _rss_bytes()
            for version in range(IDLE_VERSIONS):
                directory = Path(folder) / manifest.name / f"{number}.{version}"
                shutil.copytree(arguments.directory, directory)
                manifest.model_copy(update={"version": directory.name}).write(directory)
                kept.append(load_version(directory, Settings()))
            figures.add("versions/bytes", (_rss_bytes() - rss_before) / IDLE_VERSIONS)


def _clock(house: House) -> IterationClock:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimedLoop)
    return IterationClock(house.runner, loop)


async def _iterate(house: House, sessions: list[LiveSession], inputs: Floats, seconds: float) -> None:
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for future in [house.ledger.step(session, inputs[row]) for row, session in enumerate(sessions)]:
            await future


async def _step_random(
    house: House, num_sessions: int, inputs: Floats, generator: np.random.Generator, seconds: float
) -> float:
    """Steps a second when each iteration steps 256 sessions drawn from all."""
    began_at = expired_at = time.perf_counter()
    num_steps = 0
    while (now := time.perf_counter()) < began_at + seconds:
        if now - expired_at > EXPIRE_SECONDS:  # as the service looks for sessions whose time has come
            house.sessions.expire()
            expired_at = now
        futures = []
        for row, number in enumerate(np.unique(generator.integers(num_sessions, size=BLOCK_ROWS)).tolist()):
            session = house.sessions.use(f"s{number}")
            assert session is not None
            futures.append(house.ledger.step(session, inputs[row]))
        for future in futures:
            await future
        num_steps += len(futures)
    return num_steps / (time.perf_counter() - began_at)


async def _predict(house: House, call: list[Floats]) -> Any:
    return await predict(house.engine, call, [None] * len(call))


async def _predict_rate(house: House, calls: list[list[Floats]], seconds: float) -> float:
    """Sequences a second with as many callers as fill a batch."""
    until = time.perf_counter() + seconds
    began_at = time.perf_counter()
    waiting: Iterator[list[Floats]] = cycle(calls)
    num_sequences = 0

    async def caller() -> None:
        nonlocal num_sequences
        while time.perf_counter() < until:
            made = await _predict(house, next(waiting))  # apart: `+=` around an await loses the others' counts
            num_sequences += len(made)

    await asyncio.gather(*(caller() for _ in range(PREDICT_CALLERS)))
    return num_sequences / (time.perf_counter() - began_at)


def _steps_per_second(offline: Offline, inputs: Floats, seconds: float) -> float:
    num_rows, num_steps, _ = inputs.shape
    return _rate(lambda: offline.run(inputs), seconds) * float(num_rows * num_steps)


def _rate(call: Callable[[], object], seconds: float) -> float:
    """How often a second something can be done."""
    call()
    began_at = now = time.perf_counter()
    number = 0
    while now < began_at + seconds:
        call()
        number += 1
        now = time.perf_counter()
    return number / (now - began_at)


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


MEASUREMENTS = {
    measurement.__name__: measurement
    for measurement in (
        *(iterations, blocks, sequences, raw, live_sessions, idle_versions),
        *(generation, fill, misses, journal_misses, holds),
    )
}


CLOCKED = ("iterations", "blocks")
"""What needs an event loop with a clock, which is a little slower."""


def main() -> None:
    """Run one measurement and print its figures; where it fails, why, and the exit status is 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inside")
    parser.add_argument("measurement", choices=MEASUREMENTS)
    parser.add_argument("directory", type=Path, help="the directory of W1's version")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--resident", type=int, default=100_000, help="sessions that memory has room for")
    parser.add_argument("--bytes", type=int, default=16 * 2**20, help="the largest message")
    parser.add_argument("--state", type=Path, help="the folder of the store")
    arguments = parser.parse_args()
    figures = Figures()
    try:
        with asyncio.Runner(
            loop_factory=TimedLoop if arguments.measurement in CLOCKED else uvloop.new_event_loop
        ) as runner:
            runner.run(MEASUREMENTS[arguments.measurement](arguments, figures))
    except Exception as error:
        traceback.print_exc()
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
        sys.exit(1)
    print(json.dumps(figures.values))


if __name__ == "__main__":
    main()
