"""A session's chunk on its way through the engine, its answer, and what waits for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.service.engine.recurrent.batching import Work
from ostinato.service.sessions.session import LiveSession
from ostinato.service.state.arena import Arena


class StepAnswer(NamedTuple):
    """A chunk's answer: ``seq`` steps were applied before it, ``steps`` with it; outputs are rows ``[n, width]``."""

    session_id: str
    seq: int
    steps: int
    outputs: NDArray[Any]
    made: RowLayout[Output]


class Waiter(Protocol):
    """What waits for a chunk's answer: a future, or an object that acts like one. It must not raise."""

    def done(self) -> bool:
        """Whether it has its answer, or does not want it any more."""

    def cancelled(self) -> bool:
        """Whether it does not want it any more."""

    def set_result(self, answer: StepAnswer, /) -> object:
        """Take the answer."""

    def set_exception(self, error: Exception, /) -> object:
        """Take the error."""


class Chunk(Work):
    """A session's chunk on its way through the engine; ``seq`` is what its client believes, None: it does not say."""

    future: Waiter

    is_second_run = False

    def __init__(self, session: LiveSession, inputs: NDArray[Any] | bytes, seq: int | None, future: Waiter) -> None:
        super().__init__([session.slot], inputs, 1, 1 if type(inputs) is bytes else len(inputs), future)
        self.session = session
        self.engine = session.engine
        self.seq = seq

    @property
    def arena(self) -> Arena:
        """Where its session is in memory."""
        return self.session.arena

    @property
    def found_at(self) -> float:
        """See ``LiveSession``."""
        return self.session.found_at

    def answer(self, seq: Any) -> None:
        """It is committed; ``seq`` steps were applied before it."""
        if not self.future.done():
            self.future.set_result(
                StepAnswer(self.session.session_id, seq, seq + self.num_steps, self.outputs, self.engine.made)
            )

    def fail(self, error: Exception) -> None:
        """It was not applied."""
        if not self.future.done():
            self.future.set_exception(error)

    def split(self) -> Iterator[Chunk]:
        """Itself: it is one session's already."""
        yield self
