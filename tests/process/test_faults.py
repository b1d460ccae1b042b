"""What is acknowledged survives whatever breaks: a few faults of each kind; ``make faults`` does many."""

from __future__ import annotations

import pytest

from tests.faults.play import play
from tests.faults.report import explain
from tests.faults.scenarios import SCENARIOS, Scenario
from tests.faults.stage import Stage
from tests.histories.stage import LocalReplicas

LATER = (
    "parent-killed",
    "kill-replica",
    "kill-master",
    "cut-redis",
    "swap-redis",
    "change-password",
    "rolling-restart",
    "clock-steps",
)
"""What `make long` does a little of, and `make faults` much: each has a relative here that is done each time."""

PAIRS = [
    pytest.param(
        *(scenario, store),
        id=f"{scenario.name}-{store}",
        # A fault that each store may suffer is each time done to the first.
        marks=[pytest.mark.long] if number or scenario.name in LATER else [],
    )
    for scenario in SCENARIOS
    if scenario.num_quick
    for number, store in enumerate(scenario.stores)
]


@pytest.mark.parametrize(("scenario", "store"), PAIRS)
async def test_nothing_acknowledged_suffers(scenario: Scenario, store: str) -> None:
    outcome = await play(
        *(scenario, store),
        num_faults=scenario.num_quick,
        num_sessions=16,
        seed=20_263,
        is_quick=True,
        stage_of=LocalReplicas if scenario.is_harmless else Stage,
    )
    assert outcome.is_sound, "\n".join(explain(outcome))
    assert outcome.num_faults == scenario.num_quick
    assert outcome.num_chunks >= scenario.flow_chunks * (scenario.num_quick + 1)
