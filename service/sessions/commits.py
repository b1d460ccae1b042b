"""Commits: what an iteration has finished, as the store is to have it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.service.engine.recurrent.protocols import Finished
from ostinato.service.sessions.blocks import Block
from ostinato.service.sessions.chunk import Chunk
from ostinato.service.state.arena import Arena
from ostinato.service.state.base import Commit
from ostinato.service.state.checksums import checksums


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
            if work.num_steps > 1 and len(work.outputs) > 1:
                # Copied, since the answer of one chunk must not keep the outputs of its whole batch alive.
                long_answers[row] = work.outputs.copy()
            row += work.num_rows
    return Commit(
        arena=arena,
        slots=slots,
        states=states,
        steps_before=steps_before,
        steps_after=steps_after,
        digests=digests,
        outputs=last_outputs,
        long_answers=long_answers,
    )
