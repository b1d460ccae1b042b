"""What is sent to a session and what comes back, whatever way it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.float32]
"""Inputs ``[n, F]`` or outputs ``[n, O]``."""

NOT_NOW = ("overloaded", "starting", "draining", "state_store_unavailable", "deadline_exceeded")
"""The refusals after which a client sends the same again."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive steps of a session, ``inputs`` ``[n, F]``, after ``seq`` steps."""

    session_id: str
    seq: int
    inputs: Steps

    @property
    def end(self) -> int:
        """The session's steps when the chunk has been applied."""
        return self.seq + len(self.inputs)


@dataclass(frozen=True, eq=False)
class Answer:
    """What the service says a chunk gave: ``outputs`` ``[n, O]``."""

    session_id: str
    seq: int
    steps: int
    outputs: Steps

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Answer:
        """The members of a step's answer."""
        outputs = np.array(content["outputs"], np.float32)
        return cls(content["session_id"], content["seq"], content["steps"], outputs)

    def equals(self, other: Answer) -> bool:
        """Whether both say the same, to the bit."""
        return (self.session_id, self.seq, self.steps, self.outputs.tobytes()) == (
            other.session_id,
            other.seq,
            other.steps,
            other.outputs.tobytes(),
        )


class NotAnswered(Exception):
    """Whether it was applied is not known, or it was refused for now: the same may be sent again."""


class Refused(Exception):
    """An answer that sending the same again would not change.

    Attributes:
        expected_seq: where it is a conflict.
        row: of which row, where several chunks went together.
    """

    def __init__(self, code: str, detail: str, expected_seq: int | None = None, row: int = 0) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.expected_seq = expected_seq
        self.row = row


def refusal(problem: Mapping[str, Any]) -> NotAnswered | Refused:
    """The error for a problem document."""
    code, detail = str(problem.get("code", "no code")), str(problem.get("detail", ""))
    if code in NOT_NOW:
        return NotAnswered(f"{code}: {detail}")
    return Refused(code, detail, problem.get("expected_seq"), problem.get("row", 0))
