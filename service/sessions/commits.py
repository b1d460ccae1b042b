"""Commits: what an iteration has finished, as the store is to have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.recurrent.protocols import Finished
from ostinato.service.errors import StateStoreUnavailable
from ostinato.service.sessions import timed
from ostinato.service.sessions.blocks import Block
from ostinato.service.sessions.chunk import Chunk
from ostinato.service.sessions.watching import answer, watch_all
from ostinato.service.state.arena import NOT_ALL, Arena, Slots
from ostinato.service.state.checksums import checksums
from ostinato.service.state.commit import Commit
from ostinato.service.state.reaches import NO_OFFSET, Reaches

_OVERTAKEN = (
    "the connection to the store was lost before it answered, and another change of the session has followed since; "
    "this one may have been applied before that; with seq, sending it again finds out"
)


class CommitWatcher(Protocol):
    """What is shown each commit. It must not raise, nor take long."""

    def see(self, works: list[Chunk | Block], commit: Commit) -> Callable[[NDArray[np.bool_]], None] | None:
        """See what is about to be committed, while the sessions are as they were; gives what is to be called when it
        was and its answers are under way, with which rows were, bool ``[R]``; None = nothing is.
        """


def answer_all(works: list[Chunk | Block], steps_before: NDArray[np.int64]) -> None:
    """Answer everyone: all of it is committed."""
    if len(works) == len(steps_before):
        for work, seq in zip(works, steps_before.tolist(), strict=True):
            answer(work, seq)
        return
    end = 0
    for work in works:
        start, end = end, end + work.num_rows
        seqs = steps_before[start:end]
        answer(work, int(seqs[0]) if work.num_rows == 1 else seqs)


def digests_of(work: Chunk | Block) -> NDArray[np.int64]:
    """The checksum of each row's chunk, int64 ``[R]``."""
    inputs = work.inputs
    if type(inputs) is bytes:
        inputs = np.frombuffer(inputs, work.engine.given.dtype)
    return checksums(inputs.reshape(work.num_rows, -1))


def commit_of(arena: Arena, finished: Finished) -> Commit:
    """What an iteration has finished, all of it of sessions of ``arena``."""
    _, slots, states, last_outputs, inputs = finished
    works = cast(list[Chunk | Block], finished.works)
    steps_before = arena.steps[slots]
    if inputs is not None:
        steps_after = steps_before + works[0].num_steps
        digests = checksums(inputs.reshape(len(slots), -1))
    else:
        steps_after = steps_before + np.repeat([work.num_steps for work in works], [work.num_rows for work in works])
        digests = np.concatenate([digests_of(work) for work in works])
    long_answers: dict[int, NDArray[Any]] = {}
    if inputs is None or works[0].num_steps > 1:
        row = 0
        for work in works:
            # What was filled in is kept where its outputs, too, go into what readings come to, which is told again.
            outputs = work.answered if arena.watch is None else work.outputs
            if work.num_steps > 1 and len(outputs) > 1:
                # Copied, since the answer of one chunk must not keep the outputs of its whole batch alive.
                long_answers[row] = outputs.copy()
            row += work.num_rows
    if arena.kept:
        states = (*states, *_kept(arena, finished))
    if arena.watch is not None:
        states = (*states, *watch_all(arena, arena.watch, finished))
    if arena.times is not None:
        states = (*states, timed.times_after(arena.times[slots, 0], steps_after - steps_before, works))
        digests = timed.marked(digests, works)
    return Commit(
        arena=arena,
        slots=slots,
        states=states,
        steps_before=steps_before,
        steps_after=steps_after,
        digests=digests,
        outputs=last_outputs,
        long_answers=long_answers,
        reaches=_reaches(arena, works, slots, steps_after),
    )


def _reaches(arena: Arena, works: list[Chunk | Block], slots: Slots, steps_after: Slots) -> Reaches | None:
    """How far each session has come in its source; None where no row says an offset."""
    if not any(_says_offset(work) for work in works):
        return None
    reaches, row = arena.reaches(slots), 0
    for work in works:
        if isinstance(work, Chunk):
            if work.offset is not None:
                reaches.sources[row], reaches.offsets[row] = work.offset.source, work.offset.last
                reaches.steps[row] = steps_after[row]
        elif work.offsets is not None:
            rows = row + (work.offsets.lasts != NO_OFFSET).nonzero()[0]
            told = work.offsets.at(rows - row)
            reaches.sources[rows], reaches.offsets[rows] = told.sources, told.lasts
            reaches.steps[rows] = steps_after[rows]
        row += work.num_rows
    return reaches


def _says_offset(work: Chunk | Block) -> bool:
    return (work.offset if isinstance(work, Chunk) else work.offsets) is not None


def _kept(arena: Arena, finished: Finished) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The steps that the sessions keep with these behind them, ``[R, K, width]``, and how many they are, ``[R, 1]``."""
    rows, counts = arena.kept
    num_kept, slots = rows.shape[1], finished.slots
    kept, before = rows[slots], counts[slots]
    was_put = before <= NOT_ALL
    counts = np.where(was_put, NOT_ALL - before, before)
    if finished.inputs is not None:
        _shift(kept, counts, finished.inputs.reshape(len(slots), -1, rows.shape[2]))
    else:
        end = 0
        for work in cast(list[Chunk | Block], finished.works):
            start, end = end, end + work.num_rows
            inputs = work.inputs
            if type(inputs) is bytes:
                inputs = np.frombuffer(inputs, rows.dtype)
            _shift(kept[start:end], counts[start:end], inputs.reshape(work.num_rows, -1, rows.shape[2]))
    return kept, np.where(was_put & (counts < num_kept), NOT_ALL - counts, np.minimum(counts, num_kept))


def _shift(kept: NDArray[Any], counts: NDArray[np.int64], inputs: NDArray[Any]) -> None:
    """Put ``inputs`` [R, n, width] behind what is kept, in its place, and count them."""
    num_kept, num_steps = kept.shape[1], inputs.shape[1]
    if num_steps < num_kept:
        kept[:, :-num_steps] = kept[:, num_steps:]
        kept[:, -num_steps:] = inputs
    else:
        kept[:] = inputs[:, num_steps - num_kept :]
    counts += num_steps


def uncommitted_error(error: BaseException) -> StateStoreUnavailable:
    """The error of rows whose commit has failed with this one."""
    if isinstance(error, StateStoreUnavailable):
        return error
    unavailable = StateStoreUnavailable("the store did not commit; with seq it is safe to retry")
    unavailable.__cause__ = error
    return unavailable


def outage_error(commit: Commit) -> StateStoreUnavailable:
    """The error of a row of which the store does not know whether it was committed."""
    if commit.trouble is None:
        return StateStoreUnavailable(_OVERTAKEN)
    return StateStoreUnavailable(f"{commit.trouble}; it may or may not have been applied; with seq it is safe to retry")
