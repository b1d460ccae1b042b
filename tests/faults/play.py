"""One scenario played over one store, from the first session to the verdict."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.driver import MAX_THINK_SECONDS, QUICK_THINK_SECONDS, Driver
from tests.faults.judge import Fault, Finding
from tests.faults.scenarios import Scenario
from tests.faults.stage import MODEL, NUM_FEATURES, Stage


@dataclass
class Outcome:
    """What a played scenario came to.

    Attributes:
        failure: why it could not be played to its end; None = it was.
        logs: the last words of the services, if anything was found.
    """

    scenario: str
    store: str
    seed: int
    num_sessions: int
    num_wanted: int
    is_quick: bool = False
    num_faults: int = 0
    num_chunks: int = 0
    num_steps: int = 0
    num_retries: int = 0
    num_answers_again: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    failure: str | None = None
    logs: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether every fault was done, and nothing was found."""
        return not self.findings and self.failure is None and self.num_faults == self.num_wanted

    @property
    def command(self) -> str:
        """What plays it again."""
        return (
            f"python -m tests.faults --only {self.scenario} --store {self.store} --seed {self.seed} "
            f"--faults {self.num_wanted} --sessions {self.num_sessions}{' --quick' if self.is_quick else ''}"
        )

    def num_sessions_with(self, fault: Fault) -> int:
        """How many sessions have such a finding."""
        return len({finding.session_id for finding in self.findings if finding.fault is fault})


async def play(
    scenario: Scenario,
    store: str,
    *,
    num_faults: int,
    num_sessions: int,
    seed: int,
    is_quick: bool,
    progress: Callable[[Outcome], None] = lambda _: None,
    stage_of: type[Stage] = Stage,
) -> Outcome:
    """Play a scenario; ``progress`` is told after each fault."""
    outcome = Outcome(scenario.name, store, seed, num_sessions, num_faults, is_quick)
    began_at = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="ostinato-faults-"))
    generator = random.Random(seed)
    stage = stage_of(
        *(store, folder, generator),
        num_replicas=scenario.num_replicas,
        num_workers=scenario.num_workers,
        between=scenario.between,
        target=scenario.target,
        backing=scenario.backing,
        further_models=scenario.further_models,
    )
    try:
        async with stage:
            await _play_on(stage, scenario, outcome, generator, progress)
            if not outcome.is_sound:
                outcome.logs = stage.logs()
    except AssertionError as error:  # a service, or Redis, did not start
        outcome.failure = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        outcome.seconds = time.monotonic() - began_at
    return outcome


async def _play_on(
    stage: Stage,
    scenario: Scenario,
    outcome: Outcome,
    generator: random.Random,
    progress: Callable[[Outcome], None],
) -> None:
    saboteur = scenario.saboteur(stage, generator, is_quick=outcome.is_quick)
    async with Driver(
        *(stage.urls, MODEL, NUM_FEATURES, outcome.num_sessions, outcome.seed),
        attempt_seconds=scenario.attempt_seconds,
        think_seconds=QUICK_THINK_SECONDS if outcome.is_quick else MAX_THINK_SECONDS,
        grpc_addresses=stage.grpc_addresses,
    ) as driver:
        driver.start()
        try:
            while saboteur.num_strikes < outcome.num_wanted and await driver.flow(scenario.flow_chunks):
                await asyncio.sleep(generator.uniform(0, scenario.calm_seconds))
                await saboteur.strike()
                _count(outcome, driver, saboteur.num_strikes)
                progress(outcome)
            await driver.flow(scenario.flow_chunks)
        except TimeoutError:
            outcome.failure = "the load did not come back after a fault"
        except AssertionError as error:
            outcome.failure = str(error)
        await driver.stop()
        await driver.check(stage.offline)
        _count(outcome, driver, saboteur.num_strikes)


def _count(outcome: Outcome, driver: Driver, num_faults: int) -> None:
    outcome.num_faults = num_faults
    outcome.num_chunks, outcome.num_steps = driver.num_chunks, driver.num_steps
    outcome.num_retries, outcome.num_answers_again = driver.num_retries, driver.num_answers_again
    outcome.findings = driver.findings
