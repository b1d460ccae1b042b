"""Watching: what finished chunks of a calibrated model's sessions came to, before they are committed with it."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.watch import ReadingWatch, Watched
from ostinato.service.engine.recurrent.protocols import Finished
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.sessions.blocks import Block
from ostinato.service.sessions.chunk import Chunk
from ostinato.service.state.arena import Arena


def watch_all(arena: Arena, watch: ReadingWatch, finished: Finished) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the sessions keep count of then, and what they did before, each ``[R, width]``; the works are told what they
    came to.
    """
    before = arena.watched[0][finished.slots]
    after = np.empty_like(before)
    by_length: dict[int, list[tuple[Chunk | Block, slice]]] = {}
    end = 0
    for work in cast(list[Chunk | Block], finished.works):
        start, end = end, end + work.num_rows
        by_length.setdefault(work.num_steps, []).append((work, slice(start, end)))
    for works in by_length.values():
        rows = np.concatenate([np.arange(place.start, place.stop) for _, place in works])
        inputs = np.concatenate([_steps(work) for work, _ in works])
        outputs = np.concatenate([_answers(work) for work, _ in works])
        watched = watch.see(before[rows], inputs, outputs)
        after[rows] = watched.tracked.after
        first = 0
        for work, place in works:
            last = first + place.stop - place.start
            work.watched = watched.of(slice(first, last))
            first = last
    return after, before


def watch_again(part: Chunk | Block) -> None:
    """Tell a row that was applied last, and is sent again, what it came to; its outputs are there."""
    arena = part.arena
    if arena.watch is not None:
        before = arena.watched[1][np.asarray(part.slots)]
        part.watched = arena.watch.see(before, _steps(part), _answers(part))


def answer(work: Chunk | Block, seq: Any) -> None:
    """Answer a work that is committed, and count what its readings came to."""
    work.answer(seq)
    if work.watched is not None:
        _count(work.watched, work.engine.metrics)


def _count(watched: Watched, metrics: ModelMetrics) -> None:
    """Count what was committed: readings that had a forecast, those within each interval, and anomalies that began."""
    tracked = watched.tracked
    metrics.interval_readings.inc(int(np.count_nonzero(tracked.seen)))
    for place, series in metrics.interval_covered:
        series.inc(int(np.count_nonzero(tracked.within[..., place])))
    for events in watched.events.values():
        metrics.anomalies.inc(sum(event["event"] == "anomaly_began" for event in events))


def _steps(work: Chunk | Block) -> NDArray[Any]:
    """What went in, rows ``[R, n, width]``."""
    given = work.engine.given
    inputs = work.inputs
    if type(inputs) is bytes:
        inputs = np.frombuffer(inputs, given.dtype)
    steps: NDArray[Any] = inputs.reshape(work.num_rows, work.num_steps, given.width)
    return steps


def _answers(work: Chunk | Block) -> NDArray[Any]:
    """What was answered, rows ``[R, n, width]``."""
    answers: NDArray[Any] = work.outputs.reshape(work.num_rows, work.num_steps, -1)
    return answers
