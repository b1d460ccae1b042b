"""Rounds of mixed load on one service, each judged to the bit, and what the service takes of the machine after each."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.faults.driver import Driver
from tests.faults.judge import Finding
from tests.faults.stage import MODEL, NUM_FEATURES, Stage
from tests.soak.growth import DESCRIPTORS, MEMORY, Growth, growth
from tests.soak.visitors import Visitors

MIB = 2**20
NUM_SESSIONS = 32
ATTEMPT_SECONDS = 30.0
SETTLED_SECONDS = 0.5
"""After the last answer of a round its connections are closed on both sides."""


@dataclass(frozen=True)
class Round:
    """What one round came to."""

    num_steps: int
    seconds: float
    p50_seconds: float
    p99_seconds: float
    memory_mib: float
    num_descriptors: int


@dataclass
class Soak:
    """What all rounds came to.

    Attributes:
        surprises: answers to visitors that should have been others.
    """

    store: str
    seed: int
    rounds: list[Round] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    num_visits: int = 0
    logs: str = ""

    @property
    def growths(self) -> list[Growth]:
        """Of memory and descriptors; none where there were too few rounds."""
        if len(self.rounds) < 3:
            return []
        return [
            growth(MEMORY, [each.memory_mib for each in self.rounds]),
            growth(DESCRIPTORS, [float(each.num_descriptors) for each in self.rounds]),
        ]

    @property
    def is_sound(self) -> bool:
        """Whether every answer was right, and nothing grows."""
        return not self.findings and not self.surprises and all(each.is_flat for each in self.growths)


async def play(
    store: str,
    *,
    seconds: float,
    round_seconds: float,
    seed: int,
    progress: Callable[[Soak, float], None] = lambda _, __: None,
) -> Soak:
    """Play rounds until ``seconds`` have passed; ``progress`` is told after each how many have."""
    soak, folder = Soak(store, seed), Path(tempfile.mkdtemp(prefix="ostinato-soak-"))
    # As long as ended sessions are remembered, they take memory: for a few rounds at most.
    settings = {"tombstone_seconds": round_seconds}
    try:
        async with Stage(store, folder, random.Random(seed), settings=settings) as stage:
            began_at = time.monotonic()
            while (passed := time.monotonic() - began_at) < seconds:
                progress(soak, passed)
                soak.rounds.append(await _round(stage, soak, round_seconds))
            if not soak.is_sound:
                soak.logs = stage.logs()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return soak


async def _round(stage: Stage, soak: Soak, seconds: float) -> Round:
    seed = soak.seed * 100_000 + len(soak.rounds)
    visitors = Visitors(stage.urls[0], MODEL, random.Random(seed))
    driver = Driver(stage.urls, MODEL, NUM_FEATURES, NUM_SESSIONS, seed, attempt_seconds=ATTEMPT_SECONDS)
    began_at = time.perf_counter()
    async with driver:
        driver.start()
        visitors.begin()
        await asyncio.sleep(seconds)
        await visitors.stop()
        await driver.stop()
        took = time.perf_counter() - began_at
        await driver.check(stage.offline)
        await visitors.close(driver.session_ids)
    await visitors.end()
    soak.findings += driver.findings
    soak.surprises += visitors.surprises
    soak.num_visits += visitors.num_visits
    await asyncio.sleep(SETTLED_SECONDS)
    # Of these, the worker is the one that serves.
    processes = stage.services[0].workers()
    p50, p99 = np.quantile(visitors.latencies, [0.5, 0.99]).tolist()
    memory = sum(process.memory_info().rss for process in processes) / MIB
    return Round(driver.num_steps, took, p50, p99, memory, sum(process.num_fds() for process in processes))
