"""The ends of a connector: a source of messages, a sink of answers, and the keeper of how far it has come.

Anyone who keeps the positions decides what is promised. Where the sink keeps them, in the same transaction as the
answers, each answer is published once. Else a keeper is told after the answers are published, and what was not yet
told of is published again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from ostinato.connectors.arrivals import Messages, Refusal, SourcePosition
from ostinato.errors import CommandError


class ReportLine(Protocol):
    """Writes a line for who runs the connector; ``about``: lines about the same are not written one after the other."""

    def __call__(self, line: str, about: str = "") -> None:
        """Write a line."""


class EndUnreachable(CommandError):
    """A broker, a store or a disk does not answer: what was under way is begun anew later."""


class Published(NamedTuple):
    """An answer as it leaves: ``value`` is JSON; ``partition`` and ``offset`` of the reading that it is to.

    ``correction``: the offset of the late reading that it is given again for; None = it is the first.
    """

    partition: str
    offset: int
    key: str
    value: bytes
    correction: int | None = None

    @property
    def id(self) -> str:
        """What is the same however often it is published, and different in all others (an offset may be a key's)."""
        again = "" if self.correction is None else f"/{self.correction}"
        return f"{self.partition}/{self.offset}/{self.key}{again}"


class BatchCommit(NamedTuple):
    """What a batch came to, to be kept as one.

    Attributes:
        answers, refusals: to be published.
        positions: of the batch's partitions, when it is.
        before: the same as they were.
        times: partition -> key -> the time of its last reading, of those that changed.
    """

    answers: Sequence[Published]
    refusals: Sequence[Refusal]
    positions: Mapping[str, SourcePosition]
    before: Mapping[str, SourcePosition]
    times: Mapping[str, Mapping[str, int]]


class Kept(NamedTuple):
    """What was kept of a partition: its position, None = nothing yet; and the times of its keys' last readings."""

    position: SourcePosition | None
    times: dict[str, int]


class PositionKeeper(ABC):
    """Where positions are. Methods raise ``EndUnreachable``."""

    @abstractmethod
    def kept(self, partitions: Iterable[str]) -> dict[str, Kept]:
        """What the last commit left of each partition."""


class ReadingSource(ABC):
    """A source of messages. Methods raise ``EndUnreachable``.

    Attributes:
        is_replayable: whether messages can be read again from an offset on.
        is_over: whether no message will come any more.
        keeper: of positions, for sinks that keep none.
    """

    is_replayable = True
    is_over = False
    keeper: PositionKeeper | None = None

    def open(self, on_given: Callable[[list[str]], None], on_taken: Callable[[list[str]], None]) -> None:
        """Begin, or begin again. The callbacks are told of partitions that this connector is given, before it reads
        from them, and of those that are taken from it, before somebody else does; at once or while it polls.
        """
        del on_taken
        on_given(self.partitions())

    @abstractmethod
    def partitions(self) -> list[str]:
        """Those that are read now."""

    @abstractmethod
    def start_at(self, positions: Mapping[str, SourcePosition | None]) -> None:
        """Read partitions from these positions on; None = where the settings begin."""

    @abstractmethod
    def poll(self, max_messages: int, seconds: float) -> list[Messages]:
        """The next messages, after at most so many seconds; fewer or none where there are no more yet."""

    @abstractmethod
    def at_end(self) -> set[str]:
        """Partitions of which all that there is was given; more may come."""

    def idle(self, seconds: float) -> None:
        """Wait, and stay with those who share the source, without taking messages."""
        del seconds

    def lags(self, positions: Mapping[str, SourcePosition]) -> dict[str, int]:
        """Messages of each partition behind its position; empty = not known."""
        del positions
        return {}

    def answered(self, commit: BatchCommit) -> None:
        """The batch was published, where the sink keeps no positions."""
        del commit

    def close(self) -> None:
        """Leave."""
        return


class AnswerSink(ABC):
    """A sink of answers and dead letters. Methods raise ``EndUnreachable``.

    ``keeper``: of positions, where it keeps them with the answers.
    """

    keeper: PositionKeeper | None = None

    def open(self) -> None:
        """Begin, or begin anew: what was not committed is gone."""
        return

    @abstractmethod
    def commit(self, commit: BatchCommit) -> None:
        """Publish a batch; all of it and its positions, or nothing, where the sink keeps these."""

    def abandon(self) -> None:
        """Leave what is not committed."""
        return

    def close(self) -> None:
        """Leave."""
        return


def refusal_json(refusal: Refusal) -> dict[str, object]:
    """A dead letter as an object of JSON, for sinks without headers."""
    return {
        "reason": refusal.reason,
        "source": refusal.partition,
        "offset": refusal.offset,
        "key": None if refusal.key is None else refusal.key.decode("utf-8", "backslashreplace"),
        "value": None if refusal.value is None else refusal.value.decode("utf-8", "backslashreplace"),
    }
