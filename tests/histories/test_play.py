"""Random histories over every store, alone and at once, judged by the reference; ``make faults`` plays long ones."""

from __future__ import annotations

import pytest

from tests.faults.judge import Finding
from tests.histories.conditions import SHORT
from tests.histories.play import Conditions, Playing

NUM_HISTORIES = 3
NUM_REQUESTS = 100


@pytest.mark.parametrize("conditions", SHORT, ids=[conditions.name for conditions in SHORT])
async def test_some_order_of_the_requests_explains_every_answer(conditions: Conditions) -> None:
    findings: list[Finding] = []
    num_steps = 0
    async with Playing(conditions) as playing:
        for seed in range(NUM_HISTORIES):
            history = await playing.play(seed, NUM_REQUESTS)
            num_steps += history.num_steps
            findings += history.judge(conditions.reference)
    assert num_steps > NUM_REQUESTS
    assert not findings, "\n".join(map(str, findings))
