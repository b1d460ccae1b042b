"""The judge: whether what was acknowledged was lost, applied twice, or wrong. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from tests.faults.chunk import Answer, Chunk, Refused, Steps
from tests.faults.ledger import Ledger

ENDED = ("unknown_session", "session_closed", "session_expired")


class Fault(Enum):
    """What must never be seen."""

    LOST = "lost"
    """The service has fewer steps than it acknowledged, or has no answer any more for the chunk it applied last."""
    DOUBLED = "doubled"
    """The service has more steps than it was sent."""
    SWAPPED = "swapped"
    """An answer is not, to the bit, what the model answers offline to what was sent."""
    FAILED = "failed"
    """An answer that is no answer: an error that should not be, or none for as long as patience lasts."""
    IMPOSSIBLE = "impossible"
    """No order of the requests explains the answers."""
    UNDECIDED = "undecided"
    """Too many orders are possible to try them all."""


@dataclass(frozen=True)
class Finding:
    """A fault of one session, ``step`` steps into it."""

    fault: Fault
    session_id: str
    step: int
    detail: str

    def __str__(self) -> str:
        return f"{self.fault.value}: session {self.session_id}, step {self.step}: {self.detail}"


def judge_steps(ledger: Ledger, steps: int, where: str) -> Iterator[Finding]:
    """Compare the steps that the service says a session has with those that it acknowledged."""
    said = f"{where} says it has {steps} steps, and {ledger.steps} were acknowledged"
    if steps < ledger.steps:
        yield Finding(Fault.LOST, ledger.session_id, steps, said)
    elif steps > ledger.steps:
        yield Finding(Fault.DOUBLED, ledger.session_id, ledger.steps, said)


def judge_answer(chunk: Chunk, answer: Answer) -> Iterator[Finding]:
    """Look whether an answer is one to this chunk; what its numbers are is for ``judge_outputs``."""
    where = chunk.session_id, chunk.seq
    if answer.session_id != chunk.session_id:
        yield Finding(Fault.SWAPPED, *where, f"the answer is session {answer.session_id}'s")
    elif answer.seq != chunk.seq:
        yield Finding(Fault.SWAPPED, *where, f"the answer is that of seq {answer.seq}")
    elif answer.steps != chunk.end:
        fault = Fault.DOUBLED if answer.steps > chunk.end else Fault.LOST
        yield Finding(fault, *where, f"{len(chunk.inputs)} steps were sent, and the session now has {answer.steps}")
    elif len(answer.outputs) != len(chunk.inputs):
        yield Finding(Fault.SWAPPED, *where, f"{len(answer.outputs)} outputs for {len(chunk.inputs)} steps")


def judge_again(chunk: Chunk, first: Answer, again: Answer) -> Iterator[Finding]:
    """Compare two answers to one chunk."""
    if not first.equals(again):
        yield Finding(Fault.SWAPPED, chunk.session_id, chunk.seq, "sent again, it was answered otherwise")


def judge_refusal(chunk: Chunk, refused: Refused) -> Finding:
    """What it means that a chunk was refused which is the session's next, or was sent before and not answered."""
    fault = Fault.FAILED
    expected = refused.expected_seq
    if expected is not None:
        # Up to the chunk's end, it may have been applied by an attempt before; but then it had to be answered.
        fault = Fault.DOUBLED if expected > chunk.end else Fault.LOST
    elif refused.code in ENDED:
        fault = Fault.LOST
    return Finding(fault, chunk.session_id, chunk.seq, f"sent {len(chunk.inputs)} steps: {refused}")


def judge_outputs(ledger: Ledger, offline: Callable[[Steps], Steps]) -> Iterator[Finding]:
    """Compare all acknowledged outputs with one offline run, to the bit."""
    if not ledger.num_chunks:
        return
    inputs, outputs = ledger.whole()
    expected = offline(inputs)
    if outputs.shape != expected.shape:
        said = f"the outputs' shape is {outputs.shape} and offline it is {expected.shape}"
        yield Finding(Fault.SWAPPED, ledger.session_id, 0, said)
        return
    # As bits: a NaN would differ from itself, and 0 from no -0.
    differs = (outputs.view(np.uint32) != expected.view(np.uint32)).any(axis=1)
    if differs.any():
        step = int(differs.argmax())
        said = f"{outputs[step].tolist()} was answered and offline it is {expected[step].tolist()}"
        yield Finding(Fault.SWAPPED, ledger.session_id, step, f"{said}; {int(differs.sum())} steps differ")
