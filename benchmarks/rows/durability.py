"""Targets 11 to 14: what it costs that sessions outlive the process."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.bench import Bench
from benchmarks.correctness import NUM_CHECKED, check_step, read
from benchmarks.errors import WrongAnswer
from benchmarks.inside_store import RESERVED
from benchmarks.load import arrow
from benchmarks.rows.http_steps import measure
from benchmarks.rows.many_in_one import STEP_TARGET, load_batches
from benchmarks.subjects import Ostinato, Subject
from benchmarks.workloads import BLOCK_ROWS, NUM_SESSIONS, Steps, scattered
from ostinato.tools.connection import http_request
from ostinato.tools.load import Script, closed_loop

LOADED_SESSIONS = 16_384
"""Sessions that are stepped before the service is killed; those behind them, up to ``RESERVED``, by single starts."""

NUM_CONNECTIONS = 4
JOURNAL_FILES = "journal.[0-9]*"


class Kept(NamedTuple):
    """A stored session that must be found again: its place among those reserved, and its steps."""

    place: int
    steps: int


def steps_on_lmdb(bench: Bench) -> None:
    """One step a request, 256 sessions: sessions on disk against sessions in memory."""
    _steps(bench, "lmdb")


def steps_on_redis(bench: Bench) -> None:
    """The same with Redis on the load's core."""
    _steps(bench, "redis")


def batches_on_lmdb(bench: Bench) -> None:
    """256 sessions in an Arrow message: on disk against in memory."""
    _batches(bench, "lmdb")


def batches_on_redis(bench: Bench) -> None:
    """The same with Redis on the load's core."""
    _batches(bench, "redis")


def misses(bench: Bench) -> None:
    """Sessions drawn at random, of which memory has room for a tenth."""
    options = bench.options
    folder = _filled(bench)
    rounds = ("--rounds", options.rounds, "--seconds", min(5.0, options.seconds))
    for measurement, prefix, place in (
        ("misses", "stored/miss", "database"),
        ("journal_misses", "stored/journal_miss", "journal"),
    ):
        bench.take(bench.inside(measurement, bench.directory, *rounds, *_stored(bench, folder)))
        miss = {name: bench.figures.values[f"{prefix}/{name}"] for name in ("p50", "p99", "max")}
        bench.say(
            f"  a miss found in the {place}: p50 {np.median(miss['p50']) * 1e6:.0f} us, p99 "
            f"{np.median(miss['p99']) * 1e6:.0f} us, longest {max(miss['max']) * 1e3:.1f} ms"
        )


def restart(bench: Bench) -> None:
    """Start the service on as many stored sessions, and once more behind a load and kill -9."""
    folder = _filled(bench)
    for number in range(bench.options.starts):
        _start(bench, folder, "restart/clean", [Kept(LOADED_SESSIONS + number, 0)])
    kept = _load_and_kill(bench, folder)
    if kept:
        _start(bench, folder, "restart/killed", kept)


def _steps(bench: Bench, store: str) -> None:
    names = "ostinato", f"ostinato-{store}"
    if len(bench.subjects(*names)) == len(names):
        measure(bench, NUM_SESSIONS, f"durable/{store}/http", *names)


def _batches(bench: Bench, store: str) -> None:
    names = "ostinato", f"ostinato-{store}"
    subjects = bench.subjects(*names)
    for number, subject in bench.rounds(subjects if len(subjects) == len(names) else []):
        prefix = f"durable/{store}/batches/{subject.name}"
        with bench.judged(subject.title, prefix):
            with bench.others_idle(subject, prefix):
                load = load_batches(bench, subject, "http")
            rate = load.rate * BLOCK_ROWS
            bench.figures.add(f"{prefix}/rate", rate)
            bench.watch_load(prefix, load.cpu_fraction)
            bench.say(f"  round {number + 1}, {subject.title}: {rate:,.0f} session-steps/s in Arrow messages")


def _filled(bench: Bench) -> Path:
    """The folder of a store with all sessions in its database; they are put there once."""
    folder, filled = bench.scratch / "stored", bench.scratch / "stored.filled"
    if not filled.exists():
        bench.say(f"  storing {bench.options.stored_sessions:,} sessions, a minute or two")
        bench.take(bench.inside("fill", bench.directory, *_stored(bench, folder)))
        filled.touch()
        size = sum(path.stat().st_size for path in folder.iterdir())
        bench.figures.add("stored/bytes", size / bench.options.stored_sessions)
        spread = bench.figures.spread("stored/fill/seconds")
        assert spread is not None
        bench.say(f"  stored in {spread.median:.0f} s, {size / 2**20:,.0f} MiB on disk")
    return folder


def _stored(bench: Bench, folder: Path) -> tuple[object, ...]:
    options = bench.options
    return ("--sessions", options.stored_sessions, "--resident", options.resident_sessions, "--state", folder)


def _number(bench: Bench, place: int) -> int:
    """The session at a place among those that are reserved."""
    assert place < RESERVED
    return scattered(bench.options.stored_sessions - RESERVED + place)


def _start(bench: Bench, folder: Path, prefix: str, kept: list[Kept]) -> None:
    """Time a start of the service on stored sessions, and see that they are the same as ever."""
    subject = Ostinato(bench.repository, bench.scratch, f"lmdb://{folder}")
    journal_bytes = _journal_bytes(folder)
    with bench.judged(subject.title, prefix):
        try:
            subject.start()
            _check(bench, subject, kept)
        finally:
            subject.stop()
        bench.figures.add(f"{prefix}/seconds", subject.seconds_to_ready)
        bench.figures.add(f"{prefix}/journal_bytes", journal_bytes)
        mebibytes = journal_bytes / 2**20
        bench.say(f"  ready after {subject.seconds_to_ready:.2f} s, with a journal of {mebibytes:,.0f} MiB to read")


def _load_and_kill(bench: Bench, folder: Path) -> list[Kept]:
    """Step some thousand sessions, and kill the service behind the last answer; they must have what was answered."""
    subject = Ostinato(bench.repository, bench.scratch, f"lmdb://{folder}")
    inputs = _inputs()
    num_groups = LOADED_SESSIONS // BLOCK_ROWS
    messages = [
        http_request(
            "POST",
            STEP_TARGET,
            arrow.encode_steps(
                [f"s{_number(bench, group * BLOCK_ROWS + row)}" for row in range(BLOCK_ROWS)], inputs.inputs[:, 0]
            ),
            arrow.MEDIA_TYPE,
        )
        for group in range(num_groups)
    ]
    kept: list[Kept] = []
    with bench.judged(subject.title, "restart/killed"):
        try:
            subject.start()
            scripts = [Script(messages[connection::NUM_CONNECTIONS]) for connection in range(NUM_CONNECTIONS)]
            load = closed_loop(subject.address, scripts, min(10.0, bench.options.seconds))
            assert subject.process is not None
            subject.process.kill()
        finally:
            subject.stop()
        if load.num_failed:
            raise WrongAnswer(f"{load.num_failed} answers were refusals: {dict(load.statuses)}")
        bench.say(f"  killed behind {load.rate * BLOCK_ROWS:,.0f} session-steps/s on {LOADED_SESSIONS:,} sessions")
        bench.figures.add("restart/killed/load_rate", load.rate * BLOCK_ROWS)
        for group in range(num_groups):
            connection, turn = group % NUM_CONNECTIONS, group // NUM_CONNECTIONS
            rounds, rest = divmod(load.num_steps[connection], num_groups // NUM_CONNECTIONS)
            steps = rounds + (turn < rest)
            kept += [Kept(group * BLOCK_ROWS + row, steps) for row in range(BLOCK_ROWS)]
    return kept


def _check(bench: Bench, subject: Subject, kept: list[Kept]) -> None:
    """Step some of the sessions once more.

    Raises:
        WrongAnswer: an answer is not that of an offline run of all the steps that were answered.
    """
    inputs = _inputs()
    checked = kept[:: max(1, len(kept) // NUM_CHECKED)]
    requests = [
        subject.step_request(_number(bench, one.place), inputs.inputs[one.place % BLOCK_ROWS, 0]) for one in checked
    ]
    for one, answer in zip(checked, subject.ask(requests), strict=True):
        expected = bench.offline.run(inputs.applied(one.place % BLOCK_ROWS, one.steps + 1, 1)[None])[0]
        check_step(subject, read(subject, answer), expected[0, -1], one.steps + 1)


def _inputs() -> Steps:
    return Steps.draw(BLOCK_ROWS)


def _journal_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob(JOURNAL_FILES))
