"""Long histories as ``make faults`` plays them, here within the process: what is told, and that a fault is seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import httpx2

from tests.faults.report import explain
from tests.histories.long import play_histories
from tests.histories.stage import LocalStage

NUM_REQUESTS = 180


class Disturbed(LocalStage):
    """A stage on which somebody whom the judge knows nothing of has opened a session."""

    async def start_replicas(self, states: Sequence[str]) -> AsyncIterator[int]:
        """See ``Stage.start_replicas``."""
        async for port in super().start_replicas(states):
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
                opened = await http.post("/v1/models/narrow/sessions", json={"session_id": "7-0"})
            assert opened.status_code == 201
            yield port


async def test_what_was_played_is_counted() -> None:
    told: list[int] = []
    outcome = await play_histories(
        *("memory",),
        num_histories=2,
        seed=3,
        is_quick=True,
        num_requests=NUM_REQUESTS,
        progress=lambda outcome: told.append(outcome.num_faults),
        stage_kind=LocalStage,
    )
    assert list(explain(outcome)) == []
    assert told == [1, 2]
    assert outcome.num_chunks > 2 * NUM_REQUESTS * 0.9  # what was not sent, having no connection, is not counted
    assert outcome.num_steps > NUM_REQUESTS
    assert outcome.num_retries > 0  # answers were lost


async def test_a_session_that_nobody_opened_has_no_explanation() -> None:
    outcome = await play_histories(
        "memory", num_histories=1, seed=7, is_quick=True, num_requests=NUM_REQUESTS, stage_kind=Disturbed
    )
    first, *lines = explain(outcome)
    assert first.startswith("histories over memory, seed 7; again with: python -m tests.faults --only histories ")
    assert lines[0].startswith("  impossible: session 7-0")
