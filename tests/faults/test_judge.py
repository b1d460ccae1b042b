"""The judge sees what it is there for. Offline, the model of these tests answers twice the running total."""

from __future__ import annotations

import numpy as np
import pytest

from tests.faults.chunk import Answer, Chunk, NotAnswered, Refused, Steps, refusal
from tests.faults.judge import Fault, judge_again, judge_answer, judge_outputs, judge_refusal, judge_steps
from tests.faults.ledger import Ledger
from tests.faults.script import Script


def offline(inputs: Steps) -> Steps:
    return np.cumsum(2 * inputs, axis=0, dtype=np.float32)


def ledger_of(*chunks: list[float], outputs: list[float] | None = None) -> Ledger:
    """A session that was acknowledged these chunks, and answered what it had to be, or something else."""
    ledger = Ledger("a", is_open=True)
    inputs = [np.array(chunk, np.float32)[:, None] for chunk in chunks]
    made = offline(np.concatenate(inputs)) if outputs is None else np.array(outputs, np.float32)[:, None]
    for part in inputs:
        chunk = ledger.next(part)
        answer = Answer("a", chunk.seq, chunk.end, made[chunk.seq : chunk.end])
        assert list(judge_answer(chunk, answer)) == []
        ledger.acknowledge(chunk, answer)
    return ledger


def chunk_of(num_steps: int, seq: int) -> Chunk:
    return Chunk("a", seq, np.zeros((num_steps, 1), np.float32))


def answer_to(chunk: Chunk, **changes: object) -> Answer:
    members = {"session_id": "a", "seq": chunk.seq, "steps": chunk.end, "outputs": [[0.0]] * len(chunk.inputs)}
    return Answer.read({**members, **changes})


def test_a_session_that_was_served_well_has_no_finding() -> None:
    ledger = ledger_of([1, 2], [3])
    assert list(judge_steps(ledger, 3, "the server")) == []
    assert list(judge_outputs(ledger, offline)) == []


def test_fewer_steps_than_were_acknowledged_are_lost() -> None:
    (finding,) = judge_steps(ledger_of([1, 2], [3]), 2, "the server")
    assert (finding.fault, finding.step) == (Fault.LOST, 2)
    assert str(finding) == "lost: session a, step 2: the server says it has 2 steps, and 3 were acknowledged"


def test_more_steps_than_were_sent_are_doubled() -> None:
    (finding,) = judge_steps(ledger_of([1, 2], [3]), 4, "the server")
    assert (finding.fault, finding.step) == (Fault.DOUBLED, 3)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"steps": 15}, Fault.DOUBLED),  # 5 were sent after 5, so 10 it must be
        ({"steps": 9}, Fault.LOST),
        ({"session_id": "b"}, Fault.SWAPPED),
        ({"seq": 4}, Fault.SWAPPED),
        ({"outputs": [[0.0]] * 4}, Fault.SWAPPED),
    ],
)
def test_an_answer_to_something_else_is_found(changes: dict[str, object], fault: Fault) -> None:
    chunk = chunk_of(5, seq=5)
    (finding,) = judge_answer(chunk, answer_to(chunk, **changes))
    assert (finding.fault, finding.session_id, finding.step) == (fault, "a", 5)


def test_two_answers_to_one_chunk_must_be_the_same_to_the_bit() -> None:
    chunk = chunk_of(1, seq=0)
    assert list(judge_again(chunk, answer_to(chunk), answer_to(chunk))) == []
    (finding,) = judge_again(chunk, answer_to(chunk), answer_to(chunk, outputs=[[-0.0]]))
    assert finding.fault is Fault.SWAPPED


@pytest.mark.parametrize(
    ("refused", "fault"),
    [
        (Refused("seq_conflict", "", expected_seq=3), Fault.LOST),
        # It was applied, by an attempt before this one, and its answer is not to be had.
        (Refused("seq_conflict", "", expected_seq=7), Fault.LOST),
        (Refused("seq_conflict", "", expected_seq=9), Fault.DOUBLED),
        (Refused("unknown_session", ""), Fault.LOST),
        (Refused("session_expired", ""), Fault.LOST),
        (Refused("internal", ""), Fault.FAILED),
    ],
)
def test_a_refusal_of_the_next_chunk_is_a_fault(refused: Refused, fault: Fault) -> None:
    assert judge_refusal(chunk_of(2, seq=5), refused).fault is fault


def test_a_refusal_for_now_is_none() -> None:
    assert isinstance(refusal({"code": "state_store_unavailable"}), NotAnswered)
    conflict = refusal({"code": "seq_conflict", "expected_seq": 7, "row": 2})
    assert isinstance(conflict, Refused)
    assert (conflict.expected_seq, conflict.row) == (7, 2)


def test_another_sessions_outputs_are_swapped() -> None:
    # 2, 6 and 12 are right; another session that was sent 1, 2, 4 would be answered 14.
    (finding,) = judge_outputs(ledger_of([1, 2], [3], outputs=[2, 6, 14]), offline)
    assert (finding.fault, finding.step) == (Fault.SWAPPED, 2)
    assert "[14.0] was answered and offline it is [12.0]" in finding.detail


def test_the_last_bit_counts() -> None:
    almost = float(np.nextafter(np.float32(6), np.float32(7)))
    (finding,) = judge_outputs(ledger_of([1, 2], [3], outputs=[2, almost, 12]), offline)
    assert (finding.fault, finding.step) == (Fault.SWAPPED, 1)


def test_a_script_is_the_same_for_the_same_seed_and_another_for_another_session() -> None:
    first, again, other = Script(5, 1, 3), Script(5, 1, 3), Script(5, 2, 3)
    chunks = [script.next_chunk() for script in (first, again, other) for _ in range(20)]
    sent = [np.concatenate(chunks[start : start + 20]).tobytes() for start in (0, 20, 40)]
    assert sent[0] == sent[1] != sent[2]
