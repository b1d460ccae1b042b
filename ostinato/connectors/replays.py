"""Replays: sessions that answer each reading as it comes, and are put back where one comes late.

A key has two sessions. The *settled* one has the readings before which none may come any more: those that the rule
``hold`` lets go, each applied once by its offset, whatever is killed. The one that answers has all that came. Where a
reading comes late, it begins again as a copy of the settled one, and what waits is applied to it in the order of times;
the answers of what was answered for before are corrections.

So nothing has to be kept of the session that answers: a connector that begins again begins it again, too, when its
key's next reading comes. Its chunks say how many steps it has, so what is still on its way from before is refused, or
is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.connectors.arrivals import Released
from ostinato.connectors.chunks import KeyChunks
from ostinato.connectors.ends import EndUnreachable
from ostinato.connectors.late import HeldReading, KeyArrivals
from ostinato.connectors.service_line import ServiceLine
from ostinato.connectors.settings import MAX_BATCH
from ostinato.connectors.stepping import StaleBatch, SteppedBatch, Stepping
from ostinato.connectors.watched import ToldEvent, WatchedReadings


class ReplayedAnswers(NamedTuple):
    """Answers to readings of one partition: those that came, and those that are corrected.

    Attributes:
        part: the readings.
        outputs: ``[n, O]``.
        corrections: of each reading the offset of the late one that it is answered again for; None = it just came.
        watched: None = the model is not calibrated.
    """

    part: Released
    outputs: NDArray[Any]
    corrections: list[int | None]
    watched: WatchedReadings | None

    def new_events(self) -> dict[int, list[ToldEvent]]:
        """The events of readings that just came, by their places."""
        if self.watched is None:
            return {}
        return {place: told for place, told in self.watched.events.items() if self.corrections[place] is None}


class _Source(NamedTuple):
    """Where the output of a reading stands: a row of what was stepped."""

    stepped: SteppedBatch
    row: int

    @property
    def is_answered(self) -> bool:
        return self.row not in self.stepped.reasons


@dataclass(slots=True)
class _Job:
    """Readings that are applied to the session that answers, which has ``steps`` before; ``sources``: by offsets."""

    key: str
    steps: int
    rows: list[HeldReading]
    sources: dict[int, _Source] = field(default_factory=dict)


class ReplaySessions:
    """The sessions that answer.

    Args:
        session_id, settled_id: of a key.
    """

    def __init__(self, line: ServiceLine, session_id: Callable[[str], str], settled_id: Callable[[str], str]) -> None:
        self._line = line
        self._session_id = session_id
        self._settled_id = settled_id
        self._steps: dict[str, int] = {}

    def forget(self) -> None:
        """Know of no session any more how many steps it has: each begins again with the next reading of its key."""
        self._steps = {}

    def answer(
        self,
        parts: Sequence[Released],
        arrivals: Sequence[list[KeyArrivals]],
        settled: SteppedBatch | None,
        wait: Callable[[Exception], None],
    ) -> list[ReplayedAnswers]:
        """The answers to what came with a batch, whose ``settled`` readings are stepped.

        Args:
            wait: called before something is asked again, with the reason; raises where it is not to be.

        Raises:
            EndUnreachable: a session is not as this connector left it; all has to be begun again.
            CommandError: as ``ServiceLine``.
        """
        jobs = [self._job(arrival) for of_part in arrivals for arrival in of_part]
        self._apply([job for job in jobs if job.rows], wait)
        found, base, left = [], 0, iter(jobs)
        for part, of_part in zip(parts, arrivals, strict=True):
            rows: list[tuple[HeldReading, _Source, int | None]] = []
            for arrival, job in zip(of_part, left, strict=False):
                rows += self._answered(arrival, job, settled, base)
            if rows:
                found.append(_joined(part, rows))
            base += len(part)
        return found

    def _job(self, arrival: KeyArrivals) -> _Job:
        """What is to be applied for what came of a key."""
        key, steps = arrival.key, self._steps.pop(arrival.key, None)
        if steps is not None and arrival.late_from is None:
            came = [reading for _, reading in arrival.released] + arrival.held
            return _Job(key, steps, [reading for reading in came if reading.offset in arrival.new])
        steps = self._line.begin_again(self._session_id(key), self._settled_id(key))
        if steps is None:
            return _Job(key, 0, [])  # as if refused: each is a dead letter when it is settled
        return _Job(key, steps, arrival.held)

    def _apply(self, jobs: list[_Job], wait: Callable[[Exception], None]) -> None:
        """Apply the readings of jobs, in as many messages as they need; what is applied is in ``sources``."""
        done = dict.fromkeys((job.key for job in jobs), 0)
        while waiting := [job for job in jobs if done[job.key] < len(job.rows)]:
            pieces: list[tuple[_Job, list[HeldReading]]] = []
            room = MAX_BATCH
            for job in waiting:
                if room > 0:
                    piece = job.rows[done[job.key] : done[job.key] + room]
                    pieces.append((job, piece))
                    room -= len(piece)
                    done[job.key] += len(piece)
            self._step(pieces, wait)
        for job in jobs:
            if all(source.is_answered for source in job.sources.values()):
                self._steps[job.key] = job.steps

    def _step(self, pieces: list[tuple[_Job, list[HeldReading]]], wait: Callable[[Exception], None]) -> None:
        bounds = np.zeros(len(pieces) + 1, np.int32)
        np.cumsum([len(rows) for _, rows in pieces], out=bounds[1:])
        nothing = np.zeros(len(pieces), np.int64)
        chunks = KeyChunks(
            [self._session_id(job.key) for job, _ in pieces],
            [""] * len(pieces),
            nothing,
            nothing,
            bounds,
            np.stack([reading.inputs for _, rows in pieces for reading in rows]),
            np.arange(bounds[-1]),
            np.array([job.steps for job, _ in pieces], np.int64),
        )
        try:
            stepped = Stepping(self._line, chunks, wait).finish()
        except StaleBatch as error:
            # Another kind: the settled session, whose readings would be refused in the end, is as it has to be.
            raise EndUnreachable(str(error)) from error
        for (job, rows), first in zip(pieces, bounds.tolist(), strict=False):
            sources = {reading.offset: _Source(stepped, first + number) for number, reading in enumerate(rows)}
            job.sources |= sources
            job.steps += sum(source.is_answered for source in sources.values())

    def _answered(
        self, arrival: KeyArrivals, job: _Job, settled: SteppedBatch | None, base: int
    ) -> Iterator[tuple[HeldReading, _Source, int | None]]:
        """What is answered for of a key: readings, where their outputs are, and what for again; in the order of times.

        A reading that the service refuses alone has no answer; it is a dead letter as soon as it is settled.
        """
        known: list[tuple[HeldReading, _Source | None]] = []
        for place, reading in arrival.released:
            assert settled is not None
            known.append((reading, _Source(settled, base + place)))
        known += [(reading, job.sources.get(reading.offset)) for reading in arrival.held]
        for reading, source in known:
            is_new = reading.offset in arrival.new
            is_corrected = not is_new and arrival.late_from is not None and reading.time > arrival.late_from
            if (is_new or is_corrected) and source is not None and source.is_answered:
                yield reading, source, None if is_new else arrival.cause


def _joined(part: Released, rows: list[tuple[HeldReading, _Source, int | None]]) -> ReplayedAnswers:
    readings = [reading for reading, *_ in rows]
    offsets = [reading.offset for reading in readings]
    watched: WatchedReadings | None = None
    for place, (_, (stepped, row), _) in enumerate(rows):
        if stepped.watched is not None:
            watched = watched or WatchedReadings.unknown(len(rows))
            watched.put(np.array([place]), stepped.watched.part(row, row + 1))
    return ReplayedAnswers(
        Released(
            part.partition,
            offsets,
            offsets,
            [reading.key for reading in readings],
            [reading.shown_time for reading in readings],
            np.stack([reading.inputs for reading in readings]),
            [],
        ),
        np.stack([stepped.outputs[row] for _, (stepped, row), _ in rows]),
        [cause for *_, cause in rows],
        watched,
    )
