"""Arrivals: messages as a source gives them, and readings as they are made of them; columns, not an object for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NEVER = -(2**63)
"""The newest time of a partition, or of a key, that had none yet."""
NO_OFFSET = -1
"""Of messages whose source counts nothing."""


@dataclass(slots=True)
class Messages:
    """Messages of one partition, in their order.

    Attributes:
        partition: its name, which is the source of a session's offset: ``TOPIC/PARTITION``.
        offsets: of each message, growing; ``NO_OFFSET`` where there is none.
        keys: the messages' own keys; None = it has none.
        values: what they hold.
    """

    partition: str
    offsets: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.offsets)

    def first(self, count: int) -> Messages:
        """The first of them, a copy."""
        return Messages(self.partition, self.offsets[:count], self.keys[:count], self.values[:count])

    def rest(self, count: int) -> Messages:
        """Those behind the first, a copy."""
        return Messages(self.partition, self.offsets[count:], self.keys[count:], self.values[count:])


class Refusal(NamedTuple):
    """A message that cannot be applied, and why: a dead letter."""

    partition: str
    offset: int
    key: bytes | None
    value: bytes | None
    reason: str


@dataclass(slots=True)
class Readings:
    """Readings of one partition.

    Attributes:
        offsets: of the message that each was.
        keys: of each.
        times: in microseconds; empty where readings have none.
        shown_times: the same as the messages tell them.
        inputs: ``[n, F]`` in the dtype of the model's input, NaN where a value is missing.
        messages, indices: each reading is ``messages``' one of that index.
    """

    messages: Messages
    offsets: list[int]
    keys: list[str]
    times: list[int]
    shown_times: Sequence[Any]
    inputs: NDArray[Any]
    indices: list[int]

    def __len__(self) -> int:
        return len(self.offsets)

    def refusal(self, index: int, reason: str) -> Refusal:
        """A reading as a dead letter."""
        messages, place = self.messages, self.indices[index]
        return Refusal(
            messages.partition, messages.offsets[place], messages.keys[place], messages.values[place], reason
        )


@dataclass(slots=True)
class Released:
    """Readings of one partition that are to be applied now, in this order.

    ``triggers``: of each, the offset of the message that let it go; its own, unless it was held.
    """

    partition: str
    offsets: list[int]
    triggers: list[int]
    keys: list[str]
    shown_times: list[Any]
    inputs: NDArray[Any]
    refusals: list[Refusal]

    def __len__(self) -> int:
        return len(self.offsets)


class SourcePosition(NamedTuple):
    """How far a partition was answered for.

    Attributes:
        offset: where to read on; lower than ``done`` where readings are held.
        done: every message below was answered for, refused or is held.
        newest: the newest time among them, in microseconds.
    """

    offset: int
    done: int
    newest: int = NEVER

    def text(self) -> str:
        """For what a source or sink keeps with an offset."""
        return f"{self.offset},{self.done},{self.newest}"

    @classmethod
    def read(cls, text: str) -> SourcePosition:
        """The position that ``text`` wrote.

        Raises:
            ValueError: it is none.
        """
        offset, done, newest = map(int, text.split(","))
        return cls(offset, done, newest)


START = SourcePosition(0, 0)


def bytes_of(key: str) -> bytes:
    """A key as it came: bytes that are no UTF-8 are in it as surrogates."""
    return key.encode("utf-8", "surrogateescape")


def no_inputs(width: int, dtype: str = "float32") -> NDArray[Any]:
    """Inputs of no reading, ``[0, F]``."""
    return np.empty((0, width), dtype)
