"""Works in frames: what is between an engine's owner, whose works are of steps, and its scheduler, whose are of frames.

A work that completes no frame is not run: it is handed to the owner to be committed when the event loop turns, together
with all others of that turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.service.engine.recurrent.batching import Work
from ostinato.service.engine.recurrent.protocols import Finished, Owner
from ostinato.service.errors import DeadlineExceeded, OstinatoError
from ostinato.service.inputs.framing import Framer, LeftOver
from ostinato.service.state.arena import Arena, Slots


class FramedWork(Work):
    """A work of sessions in frames.

    Attributes:
        asked: the work of steps that it is.
        left_over: what its rows have left over behind it, arrays ``[R, size - 1, ...]``.
    """

    def __init__(self, asked: Work, frames: NDArray[Any], left_over: LeftOver) -> None:
        num_frames = len(frames) // asked.num_rows
        super().__init__(asked.slots, frames, asked.num_rows, num_frames, asked.future)
        self.asked, self.span = asked, asked.span
        self.left_over = left_over


class FramedWorks:
    """Makes works of steps into works of frames, and back: see ``Owner``.

    Args:
        made: how an answer lies in a row.
        owner: to whom the works of steps come back.
        run: the scheduler's ``submit``.
        max_batch_size: rows that are committed together.
    """

    def __init__(
        self,
        framer: Framer,
        arena: Arena,
        made: RowLayout[Output],
        owner: Owner,
        run: Callable[[Work], None],
        loop: asyncio.AbstractEventLoop,
        max_batch_size: int,
    ) -> None:
        self._framer = framer
        self._arena = arena
        self._nothing = made.zeros(0)
        self._owner = owner
        self._run = run
        self._loop = loop
        self._max_batch_size = max_batch_size
        self._idle: list[FramedWork] = []

    def blocks(self, slots: Slots) -> Iterator[NDArray[np.intp]]:
        """The places of ``slots`` [R] in parts that may be a block: one step completes a frame of all, or of none."""
        completes = self._framer.framing.completes(self._arena.steps[slots])
        for alike in (completes, ~completes):
            places = alike.nonzero()[0]
            for start in range(0, len(places), self._max_batch_size):
                yield places[start : start + self._max_batch_size]

    def submit(self, work: Work) -> None:
        """Put an admitted work of steps to what it is for: frames that are run, or nothing but what is left over."""
        framed = self._framed(work)
        if framed.num_steps:
            self._run(framed)
            return
        self._idle.append(framed)
        if len(self._idle) == 1:
            self._loop.call_soon(self._commit_idle)

    def commit(self, finished: Finished) -> None:
        """See ``Owner.commit``: with the states what is left over goes to the sessions."""
        works: list[FramedWork] = finished.works  # type: ignore[assignment]
        left_over = [np.concatenate(parts) for parts in zip(*(work.left_over for work in works), strict=True)]
        for work in works:
            work.asked.outputs = work.outputs
        asked = [work.asked for work in works]
        self._owner.commit(finished._replace(works=asked, states=(*finished.states, *left_over), inputs=None))

    def hand_back(self, works: list[Work]) -> None:
        """See ``Owner.hand_back``."""
        for work in works:
            assert isinstance(work, FramedWork)
            work.asked.error = work.error
        self._owner.hand_back([work.asked for work in works])  # type: ignore[attr-defined]

    def close(self, error: OstinatoError) -> None:
        """Hand back what waits as failed."""
        works, self._idle = self._idle, []
        self._fail(works, error)

    def _framed(self, work: Work) -> FramedWork:
        framer, arena = self._framer, self._arena
        samples = work.inputs
        if type(samples) is bytes:
            samples = np.frombuffer(samples, arena.manifest.given.dtype)[None]
        slots = np.asarray(work.slots, np.int64)
        steps = arena.steps[slots]
        left_over = [rows[slots] for rows in arena.left_over]
        if work.num_rows == 1:
            frames, left = framer.frames(samples, [rows[0] for rows in left_over], int(steps[0]))
            return FramedWork(work, frames, [rows[None] for rows in left])
        if framer.framing.completes(steps[:1])[0]:
            return FramedWork(work, *framer.complete(samples, left_over))
        return FramedWork(work, samples[:0], framer.add_steps(samples, left_over, steps))

    def _commit_idle(self) -> None:
        works, self._idle = self._idle, []
        dropped = [work for work in works if work.future.cancelled()]
        if dropped:
            self._fail(dropped, DeadlineExceeded("dropped: its caller had gone or its time was up"))
            works = [work for work in works if work.error is None]
        together: list[Work] = []
        num_rows = 0
        for work in works:
            if num_rows + work.num_rows > self._max_batch_size and together:
                self._commit_together(together)
                together, num_rows = [], 0
            together.append(work)
            num_rows += work.num_rows
        if together:
            self._commit_together(together)

    def _commit_together(self, works: list[Work]) -> None:
        arena = self._arena
        for work in works:
            work.outputs = self._nothing
        slots = np.concatenate([np.asarray(work.slots, np.int64) for work in works])
        states = tuple(rows[slots] for rows in arena.run_states)
        self.commit(Finished(works, slots, states, arena.last_output[slots], None))

    def _fail(self, works: list[FramedWork], error: OstinatoError) -> None:
        for work in works:
            work.error = error
        if works:
            self.hand_back([*works])
