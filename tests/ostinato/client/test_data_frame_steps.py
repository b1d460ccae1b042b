"""Steps of a frame over a network that loses requests and answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ostinato.errors import RowsFailed, ServiceUnreachable
from tests.ostinato.fake_service import KINDS, FakeService, Kept, Network, fold, make_client

MANIFEST: dict[str, Any] = {
    "version": "1",
    "inputs": [{"name": "inputs", "shape": ["B", "T", 1], "features": ["x"], "missing": True}],
    "outputs": [{"name": "outputs", "shape": ["B", "T", 1], "features": ["y"]}],
}


def frame_of(num_ids: int, num_rows: int) -> pd.DataFrame:
    """So many rows of each id, one after another in time."""
    owners = [f"s{row % num_ids}" for row in range(num_ids * num_rows)]
    return pd.DataFrame({"station": owners, "x": [float(row) for row in range(len(owners))]}, index=owners)


def folded(frame: pd.DataFrame) -> list[float]:
    """What the model answers to each row, as a client gives it."""
    made: dict[str, list[float]] = {}
    for owner, rows in frame.groupby("station"):
        made[str(owner)] = fold(0.0, [[value] for value in rows["x"]])
    return [float(np.float32(made[owner].pop(0))) for owner in frame["station"]]


async def opened(client: Any, frame: pd.DataFrame) -> None:
    for owner in frame["station"].unique():
        await client.session("half", session_id=owner, keep=True).__aenter__()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_ids", "num_rows"), [(3, 3), (2, 5)])  # in waves, and in chunks
async def test_answers_that_are_lost_are_asked_for_again_and_applied_once(
    kind: str, num_ids: int, num_rows: int
) -> None:
    service, frame = FakeService(manifest=MANIFEST), frame_of(num_ids, num_rows)
    await opened(make_client(kind, Network(service)), frame)
    faults = ["after", "before", "", "after", ""] * 20
    answered = await make_client(kind, Network(service, faults)).step_frame("half", frame)
    assert answered["y"].tolist() == folded(frame)
    assert [kept.steps for kept in service.sessions.values()] == [num_rows] * num_ids
    assert answered.index.tolist() == frame.index.tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("num_ids", "num_rows", "num_passed", "num_left"),
    # Behind the manifest and a look at each: the second of three waves; the second chunk of one id.
    [(3, 3, 1 + 3 + 1, 6), (1, 600, 1 + 1 + 1, 350), (3, 3, 1 + 3, 9)],
)
async def test_a_call_that_broke_off_is_finished_by_the_rows_and_the_seq_that_it_tells(
    kind: str, num_ids: int, num_rows: int, num_passed: int, num_left: int
) -> None:
    service, frame = FakeService(manifest=MANIFEST), frame_of(num_ids, num_rows)
    await opened(make_client(kind, Network(service)), frame)
    # The answer is lost, and then nobody answers: what was asked for last was applied, and the client cannot know.
    faults = [*[""] * num_passed, "after", *["before"] * 50]
    client = make_client(kind, Network(service, faults), patience_seconds=1)
    with pytest.raises(RowsFailed) as caught:
        await client.step_frame("half", frame)
    broken = caught.value
    assert isinstance(broken.__cause__, ServiceUnreachable)
    assert len(broken.rows) == num_left
    answers = broken.frame["y"].copy()
    assert answers.isna().sum() == num_left
    rest = await make_client(kind, Network(service)).step_frame("half", frame.iloc[broken.rows], seq=broken.seq)
    answers.iloc[broken.rows] = rest["y"]
    assert answers.tolist() == folded(frame)
    assert [kept.steps for kept in service.sessions.values()] == [num_rows] * num_ids


@pytest.mark.parametrize("kind", KINDS)
async def test_where_nobody_answers_at_all_that_is_what_is_raised(kind: str) -> None:
    client = make_client(kind, Network(FakeService(manifest=MANIFEST), ["refused"] * 9), patience_seconds=0)
    with pytest.raises(ServiceUnreachable):
        await client.step_frame("half", frame_of(2, 2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_ids", "num_rows", "num_requests"), [(5, 2, 2), (2, 5, 2), (1, 600, 3), (1, 1, 1)])
async def test_waves_or_chunks_whichever_are_fewer(kind: str, num_ids: int, num_rows: int, num_requests: int) -> None:
    service, frame = FakeService(manifest=MANIFEST), frame_of(num_ids, num_rows)
    client = make_client(kind, Network(service))
    await opened(client, frame)
    service.requests.clear()
    await client.step_frame("half", frame)
    assert [method for method, _ in service.requests].count("POST") == num_requests


@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_of_a_version_that_may_have_other_columns_is_not_stepped(kind: str) -> None:
    # The service speaks of version 2 alone, and its sessions are of version 1.
    service, frame = FakeService(manifest={**MANIFEST, "version": "2"}), frame_of(2, 2)
    client = make_client(kind, Network(service))
    await opened(client, frame[frame["station"] == "s0"])
    service.sessions["s1"] = Kept()
    service.requests.clear()
    with pytest.raises(RowsFailed, match="is of version '1', whose inputs or outputs are others"):
        await client.step_frame("half", frame)
    assert [method for method, _ in service.requests].count("POST") == 0
