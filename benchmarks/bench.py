"""A run of the benchmark: its options, its scratch folder, its servers, and what it has found so far."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from benchmarks.errors import BenchmarkError, OwnFault, SubjectFailed
from benchmarks.figures import Figures
from benchmarks.oip_subjects import OstinatoGrpc, OstinatoV2, TritonBinary
from benchmarks.process import SERVER_CORE, Process
from benchmarks.redis_server import RedisServer
from benchmarks.spelling import NUM_WORDS
from benchmarks.subjects import (
    ROOT,
    BentoMl,
    Echo,
    FastApi,
    Ostinato,
    Polling,
    Sampled,
    Spelling,
    Subject,
    Traced,
    Triton,
    TwoWorkers,
)
from benchmarks.workloads import Offline, Steps, write_model

KINDS: dict[str, type[Subject]] = {
    kind.name: kind for kind in (Echo, Ostinato, Polling, Traced, Sampled, Triton, FastApi, BentoMl)
}
OIP_KINDS: dict[str, type[Subject]] = {
    "ostinato-v2": OstinatoV2,
    "ostinato-grpc": OstinatoGrpc,
    "triton-binary": TritonBinary,
}
"""The same servers, spoken to by the Open Inference Protocol in binary tensors; each has a process of its own."""
BUSY_FRACTION = 0.9
"""A load generator that used more of its core than this may have been the bottleneck."""

IDLE_FRACTION = 0.03
"""Idle servers that used more of the core than this disturbed the one that was measured."""


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        rounds: of each figure; the median counts.
        seconds: of load in a round.
        long_seconds: of the load that looks for pauses, and of the one that overloads.
        max_sessions: the most sessions that target 7 opens.
        starts: of the service, for targets 9 and 14.
        stored_sessions: on disk, for targets 13 and 14.
        resident_sessions: of those, how many memory has room for.
        num_words: that are spelled, for targets 15 to 17.
        message_bytes: of the largest message, for target 19.
    """

    rounds: int = 3
    seconds: float = 10.0
    long_seconds: float = 60.0
    max_sessions: int = 1_000_000
    starts: int = 5
    stored_sessions: int = 1_000_000
    resident_sessions: int = 100_000
    num_words: int = NUM_WORDS
    message_bytes: int = 16 * 2**20

    @classmethod
    def quick(cls) -> Options:
        """Seconds in place of minutes: to see that it works, not to tell how fast."""
        return cls(
            rounds=1,
            seconds=1.0,
            long_seconds=3.0,
            max_sessions=100_000,
            starts=2,
            stored_sessions=100_000,
            resident_sessions=10_000,
        )

    @classmethod
    def tiny(cls) -> Options:
        """As little as every row can be run with, for the tests."""
        return cls(
            rounds=1,
            seconds=0.1,
            long_seconds=0.3,
            max_sessions=1_000,
            starts=1,
            stored_sessions=35_000,
            resident_sessions=1_000,
            num_words=300,
            message_bytes=2**18,
        )


@dataclass
class Outcome:
    """Whether a measurement and its checks came to their end."""

    is_sound: bool = False


@dataclass
class Bench:
    """One run. A row of the table is a function that takes it.

    Servers go by the names of ``KINDS``, where Ostinato's sessions are in memory; ``ostinato-lmdb`` and
    ``ostinato-redis`` have them in those stores. ``speller`` serves a model that generates.

    Attributes:
        figures: what was measured.
        failures: wrong answers, and what of our own broke; each makes the run fail.
        absent: what could not be measured, and why.
        notes: what a reader of the figures must know.
        commands: how each server was started.
    """

    options: Options
    scratch: Path
    console: Console
    figures: Figures = field(default_factory=Figures)
    failures: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.repository = self.scratch / "repository"
        self.directory = write_model(self.repository)
        self.offline = Offline(self.directory)
        self.steps = Steps.draw(num_sessions=256)
        self._subjects: dict[str, Subject] = {}
        self._redis: RedisServer | None = None
        self._ids = itertools.count(0, 1024)

    def sessions(self, number: int) -> range:
        """Numbers for sessions that no measurement has used yet."""
        assert number <= 1024
        first = next(self._ids)
        return range(first, first + number)

    def subjects(self, *names: str) -> list[Subject]:
        """Those of the named servers that run; they are started first where they do not."""
        found = [self._subject(name) for name in names]
        return [subject for subject in found if subject is not None]

    def stop_subjects(self) -> None:
        """End every server."""
        for subject in self._subjects.values():
            subject.stop()
        self._subjects.clear()
        if self._redis is not None:
            self._redis.stop()
            self._redis = None

    def say(self, text: str) -> None:
        """A line of progress."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def rounds(self, subjects: list[Subject]) -> Iterator[tuple[int, Subject]]:
        """Every subject in every round, and each round begins with another."""
        for number in range(self.options.rounds):
            shift = number % max(1, len(subjects))
            for subject in subjects[shift:] + subjects[:shift]:  # a copy: the list may lose one that answers wrong
                yield number, subject

    @contextmanager
    def judged(self, subject: str, *prefixes: str) -> Iterator[Outcome]:
        """Measure and check within; what was measured under ``prefixes`` is dropped where that fails."""
        outcome = Outcome()
        try:
            yield outcome
            outcome.is_sound = True
        except SubjectFailed as error:
            self.absent[prefixes[0] if prefixes else subject] = str(error)
            self.say(f"[yellow]not measured:[/] {error}")
        except Exception as error:
            if not isinstance(error, (BenchmarkError, OSError)) and type(error).__module__ != "ostinato.errors":
                raise
            for prefix in prefixes:
                self.figures.drop(prefix)
            self.failures.append(f"{subject}: {error}")
            self.say(f"[red]{subject} failed:[/] {error}")

    def watch_load(self, what: str, cpu_fraction: float) -> None:
        """Note a load generator that may have been the bottleneck."""
        self.figures.add(f"load generator/{what}", cpu_fraction)
        if cpu_fraction > BUSY_FRACTION:
            note = f"{what}: the load generator used {cpu_fraction:.0%} of its core and may have been the bottleneck"
            self.notes.append(note)
            self.say(f"[yellow]{note}[/]")

    @contextmanager
    def others_idle(self, subject: Subject, what: str) -> Iterator[None]:
        """Note the servers that were not measured within and worked all the same, on the core of the one that was."""
        others = [other.process for other in self._subjects.values() if other is not subject and other.process]
        before = _cpu_seconds(others)
        redis = [self._redis.process] if self._redis else []
        redis_before = _cpu_seconds(redis)
        began_at = time.perf_counter()
        yield
        wall = time.perf_counter() - began_at
        fraction = (_cpu_seconds(others) - before) / wall
        if redis:
            self.figures.add(f"redis/{what}", (_cpu_seconds(redis) - redis_before) / wall)
        self.figures.add(f"idle servers/{what}", fraction)
        if fraction > IDLE_FRACTION:
            self.notes.append(f"{what}: servers that were not measured used {fraction:.0%} of the core")

    def take(self, figures: dict[str, list[float]]) -> None:
        """Add figures that were measured elsewhere."""
        for name, values in figures.items():
            for value in values:
                self.figures.add(name, value)

    def inside(self, measurement: str, *arguments: object) -> dict[str, list[float]]:
        """Figures of a measurement in a process of its own on the server's core, without any server.

        Raises:
            OwnFault: it failed; tells why.
        """
        words = [measurement, *map(str, arguments)]
        command = ["taskset", "-c", str(SERVER_CORE), sys.executable, "-m", "benchmarks.inside", *words]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
        said = done.stdout.splitlines()[-1:]
        if done.returncode:
            why = json.loads(said[0])["error"] if said else f"exit status {done.returncode}"
            raise OwnFault(f"python -m benchmarks.inside {' '.join(words)}: {why}")
        figures: dict[str, list[float]] = json.loads(said[0])
        return figures

    def _subject(self, name: str) -> Subject | None:
        if name in self.absent:
            return None
        if name not in self._subjects:
            subject = None
            try:
                subject = self._build(name)
                self.say(f"starting {subject.title}")
                subject.start()
            except (SubjectFailed, OwnFault) as error:
                if subject is not None:
                    subject.stop()
                self.absent[name] = str(error)
                if isinstance(error, OwnFault):
                    self.failures.append(f"{name}: {error}")
                self.say(f"[yellow]{name} is not measured:[/] {error}")
                return None
            assert subject.process is not None
            self.commands[name] = " ".join(subject.process.command)
            self._subjects[name] = subject
        return self._subjects[name]

    def _build(self, name: str) -> Subject:
        """A server by its name, not yet started; what it needs next to it is."""
        if kind := {**KINDS, **OIP_KINDS}.get(name):
            return kind(self.repository, self.scratch)
        if name == "speller":
            return Spelling(self.scratch)
        if name == "ostinato-two-workers":
            return TwoWorkers(self.repository, self.scratch, f"lmdb://{self.scratch / 'state-of-two'}")
        return Ostinato(self.repository, self.scratch, self._state(name.removeprefix("ostinato-")))

    def _state(self, store: str) -> str:
        """The address of a store of the run's own."""
        if store == "lmdb":
            return f"lmdb://{self.scratch / 'state'}"
        assert store == "redis"
        if self._redis is None:
            self._redis = RedisServer(self.scratch)
            self.commands["redis"] = " ".join(self._redis.process.command)
        return self._redis.url


def _cpu_seconds(processes: list[Process]) -> float:
    return sum(process.use().cpu_seconds for process in processes)


Row = Callable[[Bench], None]
