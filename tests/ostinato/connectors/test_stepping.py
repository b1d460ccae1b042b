"""Stepping: every reading ends with an answer or a reason, whatever the service says on the way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ostinato.connectors.chunks import ChunkAnswers, KeyChunks, to_chunks
from ostinato.connectors.stepping import ANSWER_LOST, REPEATED, StaleBatch, Stepping
from ostinato.errors import ServiceError, ServiceUnreachable
from tests.ostinato.connectors.test_chunks import released


class ScriptedLine:
    """A service that says what it is told to: to each message an error, or problems by session's id, with how far the
    session has come.
    """

    def __init__(self, *script: Any) -> None:
        self._script = list(script)
        self.sent: list[KeyChunks] = []

    def send(self, chunks: KeyChunks) -> None:
        self.sent.append(chunks)

    def receive(self) -> ChunkAnswers:
        said = self._script.pop(0)
        if isinstance(said, Exception):
            raise said
        chunks = self.sent[-1]
        told = {place: said[name] for place, name in enumerate(chunks.session_ids) if name in said}
        lasts = {place: words[2] for place, words in told.items() if len(words) > 2}
        return ChunkAnswers(chunks.rows[:, :1] * 10, {place: words[:2] for place, words in told.items()}, lasts)


def step(*script: Any, if_past: str = "") -> tuple[Any, ScriptedLine, list[str]]:
    """A batch of a, b, a, b, a with offsets 0 to 4; waits are noted."""
    line, waits = ScriptedLine(*script), []
    chunks = to_chunks([released("t/0", "ababa")], str)
    stepping = Stepping(line, chunks, lambda error: waits.append(str(error)), if_past=if_past)  # type: ignore[arg-type]
    stepping.begin()
    return stepping.finish(), line, waits


def test_each_reading_has_its_answer_in_the_order_of_the_batch() -> None:
    stepped, line, waits = step({})
    assert stepped.outputs[:, 0].tolist() == [0, 10, 20, 30, 40]
    assert (stepped.reasons, len(line.sent), waits) == ({}, 1, [])


def test_what_is_refused_for_a_passing_reason_alone_is_sent_again_after_a_wait() -> None:
    stepped, line, waits = step(ServiceUnreachable("down"), {"b": ("overloaded", "full")}, {})
    assert [chunks.session_ids for chunks in line.sent] == [["a", "b"], ["a", "b"], ["b"]]
    assert waits == ["down", "the service: full"]
    assert stepped.outputs[:, 0].tolist() == [0, 10, 20, 30, 40]


def test_the_one_reading_that_cannot_be_is_refused_and_the_others_of_its_key_are_applied() -> None:
    problem = ("invalid_input", "inputs[0][1]: no such code")
    stepped, line, _ = step({"a": problem}, {})
    assert stepped.reasons == {2: "inputs[0][1]: no such code [invalid_input]"}
    assert line.sent[1].rows[:, 0].tolist() == [0, 4]
    assert line.sent[1].triggers.tolist() == [5]
    assert np.delete(stepped.outputs[:, 0], 2).tolist() == [0, 10, 30, 40]


def test_a_chunk_that_is_refused_for_good_is_refused_whole() -> None:
    stepped, line, _ = step({"b": ("session_expired", "gone")})
    assert stepped.reasons == {1: "gone [session_expired]", 3: "gone [session_expired]"}
    assert len(line.sent) == 1


def test_a_session_that_is_past_the_batch_has_it_read_anew_or_refused() -> None:
    conflict = {"a": ("seq_conflict", "past it")}
    with pytest.raises(StaleBatch):
        step(conflict)
    stepped, _, _ = step(conflict, if_past=ANSWER_LOST)
    assert set(stepped.reasons) == {0, 2, 4}


def test_readings_before_the_chunk_applied_last_are_repeated_and_that_one_is_answered_again() -> None:
    conflict = ("seq_conflict", "past it", (5, 2))
    stepped, line, _ = step({"a": conflict}, {}, if_past=REPEATED)
    assert stepped.reasons == {0: REPEATED}
    assert line.sent[1].rows[:, 0].tolist() == [2, 4]
    assert stepped.outputs[1:, 0].tolist() == [10, 20, 30, 40]


@pytest.mark.parametrize("last", [(4, 2), (6, 2), (5, 3), (5, 0), (5, 9)])
def test_a_chunk_whose_end_is_not_the_chunk_applied_last_is_refused_whole(last: tuple[int, int]) -> None:
    stepped, line, _ = step({"a": ("seq_conflict", "past it", last)}, if_past=REPEATED)
    assert (set(stepped.reasons), len(line.sent)) == ({0, 2, 4}, 1)


def test_what_does_not_pass_ends_it() -> None:
    with pytest.raises(ServiceError):
        step(ServiceError("no such model", 404, "unknown_model"))
