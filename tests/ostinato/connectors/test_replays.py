"""Replays: what a late reading corrects, and sessions that are not as they were left."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import pytest

from ostinato.connectors.arrivals import Released, no_inputs
from ostinato.connectors.chunks import ChunkAnswers, KeyChunks
from ostinato.connectors.ends import EndUnreachable
from ostinato.connectors.late import HeldReading, KeyArrivals
from ostinato.connectors.replays import ReplayedAnswers, ReplaySessions
from ostinato.connectors.stepping import SteppedBatch


class ServiceOfSums:
    """A service whose sessions answer with the sum of what they had; ``settled``: None = ended."""

    def __init__(self) -> None:
        self.settled: list[float] | None = []
        self.sessions: dict[str, list[float]] = {}
        self.num_begun = 0
        self._sent: KeyChunks

    def begin_again(self, session_id: str, settled_id: str) -> int | None:
        assert settled_id == f"{session_id}:settled"
        self.num_begun += 1
        if self.settled is None:
            return None
        self.sessions[session_id] = list(self.settled)
        return len(self.settled)

    def send(self, chunks: KeyChunks) -> None:
        self._sent = chunks

    def receive(self) -> ChunkAnswers:
        outputs, problems, chunks = np.zeros((len(self._sent.rows), 1)), {}, self._sent
        assert chunks.seqs is not None
        for number, (name, seq) in enumerate(zip(chunks.session_ids, chunks.seqs, strict=True)):
            rows = slice(int(chunks.bounds[number]), int(chunks.bounds[number + 1]))
            session = self.sessions.get(name)
            if session is None or len(session) != seq:
                problems[number] = ("session_closed" if session is None else "seq_conflict", "it is not")
                continue
            session += chunks.rows[rows, 0].tolist()
            outputs[rows, 0] = list(accumulate(session))[int(seq) :]
        return ChunkAnswers(outputs, problems)


def held(*numbers: int) -> list[HeldReading]:
    """Readings whose offset and row are ten times their time."""
    return [HeldReading(time, 10 * time, "k", time, np.array([10.0 * time])) for time in numbers]


def came(new: Sequence[int], waiting: Sequence[int], late_from: int | None = None) -> KeyArrivals:
    """What came of the key ``k``, by times; the reading of ``late_from`` is the late one."""
    cause = None if late_from is None else 10 * late_from
    return KeyArrivals("k", frozenset(10 * time for time in new), late_from, cause, [], held(*waiting))


@pytest.fixture
def service() -> ServiceOfSums:
    return ServiceOfSums()


@pytest.fixture
def sessions(service: ServiceOfSums) -> ReplaySessions:
    line: Any = service
    return ReplaySessions(line, lambda key: key, lambda key: f"{key}:settled")


def told(answers: list[ReplayedAnswers]) -> list[tuple[int, float, int | None]]:
    return [
        (offset, float(output), cause)
        for one in answers
        for offset, output, cause in zip(one.part.offsets, one.outputs[:, 0], one.corrections, strict=True)
    ]


def answer(
    sessions: ReplaySessions, arrival: KeyArrivals, settled: SteppedBatch | None = None
) -> list[tuple[int, float, int | None]]:
    part = Released("t/0", [], [], [], [], no_inputs(1), [])
    part.keys = [reading.key for _, reading in arrival.released]
    part.offsets = [reading.offset for _, reading in arrival.released]
    return told(sessions.answer([part], [[arrival]], settled, lambda error: pytest.fail(str(error))))


def test_what_follows_goes_on_and_what_is_late_corrects_what_is_behind_it(
    service: ServiceOfSums, sessions: ReplaySessions
) -> None:
    assert answer(sessions, came([1, 4], [1, 4])) == [(10, 10, None), (40, 50, None)]
    assert answer(sessions, came([5], [1, 4, 5])) == [(50, 100, None)]
    assert service.num_begun == 1
    assert answer(sessions, came([2, 6], [1, 2, 4, 5, 6], 2)) == [
        (20, 30, None),
        (40, 70, 20),
        (50, 120, 20),
        (60, 180, None),
    ]
    assert service.num_begun == 2


def test_what_was_settled_meanwhile_has_the_settled_session_s_answers(
    service: ServiceOfSums, sessions: ReplaySessions
) -> None:
    answer(sessions, came([1, 3], [1, 3]))
    service.settled = [10, 20, 30]
    released = list(enumerate(held(1, 2, 3)))
    arrival = came([2, 9], [9], 2)._replace(released=released)
    stepped = SteppedBatch(np.array([[10.0], [30.0], [60.0]]))
    assert answer(sessions, arrival, stepped) == [(20, 30, None), (30, 60, 20), (90, 150, None)]


def test_after_a_start_the_next_reading_s_session_begins_again_and_corrects_nothing(
    service: ServiceOfSums, sessions: ReplaySessions
) -> None:
    answer(sessions, came([1], [1]))
    sessions.forget()
    assert answer(sessions, came([3], [1, 3])) == [(30, 40, None)]
    assert service.num_begun == 2


def test_a_session_that_is_not_as_it_was_left_has_all_begun_anew(
    service: ServiceOfSums, sessions: ReplaySessions
) -> None:
    answer(sessions, came([1], [1]))
    for number in range(2):
        if number:
            service.sessions.clear()
        else:
            service.sessions["k"].append(7.0)
        with pytest.raises(EndUnreachable, match="session k: it is not"):
            answer(sessions, came([3], [1, 3]))
        assert answer(sessions, came([3], [1, 3])) == [(30, 40, None)]


def test_where_the_settled_session_has_ended_nothing_is_answered(
    service: ServiceOfSums, sessions: ReplaySessions
) -> None:
    service.settled = None
    assert answer(sessions, came([1, 2], [1, 2])) == []
