"""A session's chunk on its way through the engine, its answer, and what waits for that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from ostinato.service.access.meter import Meter
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.service.artifact.watch import Watched
from ostinato.service.engine.recurrent.batching import Work
from ostinato.service.errors import OstinatoError
from ostinato.service.sessions.offsets import ChunkOffset
from ostinato.service.sessions.session import LiveSession
from ostinato.service.state.arena import Arena

logger = logging.getLogger(__name__)


class TimesTold(NamedTuple):
    """What an answer says of times: those of the steps that were sent, and how many were filled in."""

    at: list[str | None]
    filled: int


class StepAnswer(NamedTuple):
    """A chunk's answer: ``seq`` steps were applied before it, ``steps`` with it; outputs are rows ``[n, width]``.

    ``times``: None where the chunk came without. ``watched``: what its readings came to, of a calibrated model.
    """

    session_id: str
    seq: int
    steps: int
    outputs: NDArray[Any]
    made: RowLayout[Output]
    times: TimesTold | None = None
    watched: Watched | None = None


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
    """A session's chunk on its way through the engine.

    Attributes:
        seq: what its client believes; None: it does not say.
        offset: where it is in its source; None: it is not said.
        meter: has counted its steps, and takes them back where they are not applied; None = nobody counts.
        watched: what its readings came to, of a calibrated model; None before they were run.
    """

    future: Waiter

    is_second_run = is_timed = False
    meter: Meter | None = None
    watched: Watched | None = None

    def __init__(
        self,
        session: LiveSession,
        inputs: NDArray[Any] | bytes,
        seq: int | None,
        future: Waiter,
        offset: ChunkOffset | None = None,
    ) -> None:
        super().__init__([session.slot], inputs, 1, 1 if type(inputs) is bytes else len(inputs), future)
        self.session = session
        self.engine = session.engine
        self.seq = seq
        self.offset = offset

    @property
    def arena(self) -> Arena:
        """Where its session is in memory."""
        return self.session.arena

    @property
    def found_at(self) -> float:
        """See ``LiveSession``."""
        return self.session.found_at

    @property
    def answered(self) -> NDArray[Any]:
        """The outputs that are answered, and stored to be answered again."""
        return self.outputs  # type: ignore[no-any-return]

    def answer(self, seq: Any) -> None:
        """It is committed; ``seq`` steps were applied before it."""
        if not self.future.done():
            steps, made = seq + self.num_steps, self.engine.made
            self.give(StepAnswer(self.session.session_id, seq, steps, self.outputs, made, watched=self.watched))

    def give(self, answer: StepAnswer) -> None:
        """Hand the answer to whoever waits for it. It fails nobody: others of its iteration wait for theirs."""
        try:
            self.future.set_result(answer)
        except Exception:
            logger.exception("an answer of session %s could not be handed on", self.session.session_id)

    def count(self, meter: Meter) -> None:
        """Have its steps counted, unless they are not applied."""
        meter.count(self.num_steps)
        self.meter = meter

    def fail_if_replaced(self, opened_at: float) -> None:
        """Fail where its session, which was opened then, has ended, and it was not meant for the one that is there."""
        now_there = float(self.arena.opened_at[self.session.slot])
        if now_there != opened_at and not self.future.done():
            try:
                self.session.check_is_meant(now_there)
            except OstinatoError as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """It was not applied."""
        if self.meter is not None:
            self.meter.count_failed(self.num_steps, error)
        if not self.future.done():
            try:
                self.future.set_exception(error)
            except Exception:  # as in ``give``
                logger.exception("an error of session %s could not be handed on", self.session.session_id)

    def split(self) -> Iterator[Chunk]:
        """Itself: it is one session's already."""
        yield self
