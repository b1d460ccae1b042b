"""Stepping: a batch's chunks sent until each reading has its answer or a reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.connectors.chunks import ChunkAnswers, KeyChunks
from ostinato.connectors.ends import EndUnreachable
from ostinato.connectors.service_line import ServiceLine, is_passing
from ostinato.connectors.watched import WatchedReadings
from ostinato.errors import CommandError

PASSING_CODES = frozenset(
    {"overloaded", "draining", "state_store_unavailable", "deadline_exceeded", "rate_limited", "internal_error"}
)
CONFLICT = "seq_conflict"
NOT_THERE = frozenset({"unknown_session", "session_expired", "session_closed"})
UNREADABLE = "invalid_input"
REPEATED = "a reading that was applied before"
"""Why a reading of a source that cannot be read again has no answer: it came twice."""
ANSWER_LOST = "applied before, and its answer is not kept: somebody else stepped the session since"

_STEP = re.compile(r"inputs\[\d+\]\[(\d+)\]")


class StaleBatch(EndUnreachable):
    """A session is past what a chunk is about, so the batch is not cut as it was applied: it is read anew."""


@dataclass(slots=True)
class SteppedBatch:
    """What became of a batch's readings.

    Attributes:
        outputs: ``[N, O]`` in the order of the batch; what was refused has zeros.
        reasons: place in the batch -> why the reading was refused.
        watched: what a calibrated model says of them; None = it is none.
    """

    outputs: NDArray[Any]
    reasons: dict[int, str] = field(default_factory=dict)
    watched: WatchedReadings | None = None


class Stepping:
    """A batch under way to the service.

    Args:
        wait: called before something is asked again, with the reason; raises where it is not to be.
        if_past: the reason for which readings of a session that is past them are refused; empty = ``StaleBatch``.
    """

    def __init__(
        self, line: ServiceLine, chunks: KeyChunks, wait: Callable[[Exception], None], *, if_past: str = ""
    ) -> None:
        self._line = line
        self._chunks = chunks
        self._wait = wait
        self._if_past = if_past
        self._is_sent = False
        self._reasons: dict[int, str] = {}

    def begin(self) -> None:
        """Send the chunks; what fails now is sent again by ``finish``."""
        try:
            self._line.send(self._chunks)
            self._is_sent = True
        except CommandError as error:
            if not is_passing(error):
                raise

    def finish(self) -> SteppedBatch:
        """Wait for the answers, and retry what was not applied for a passing reason.

        Raises:
            StaleBatch.
            CommandError: the service refuses the message as a whole, for what does not pass.
        """
        outputs: NDArray[Any] | None = None
        watched: WatchedReadings | None = None
        pending = self._chunks
        while len(pending):
            answers = self._exchange(pending)
            if outputs is None:
                outputs = np.zeros((len(self._chunks.rows), answers.outputs.shape[1]), answers.outputs.dtype)
            outputs[pending.places] = answers.outputs
            if answers.watched is not None:
                watched = watched or WatchedReadings.unknown(len(outputs))
                watched.put(pending.places, answers.watched)
            pending = self._left(pending, answers)
        assert outputs is not None
        return SteppedBatch(outputs, self._reasons, watched)

    def _exchange(self, pending: KeyChunks) -> ChunkAnswers:
        while True:
            try:
                if not self._is_sent:
                    self._line.send(pending)
                self._is_sent = False
                return self._line.receive()
            except CommandError as error:
                self._is_sent = False
                if not is_passing(error):
                    raise
                self._wait(error)

    def _left(self, pending: KeyChunks, answers: ChunkAnswers) -> KeyChunks:
        """What is to be sent again of chunks that were answered."""
        done = set(range(len(pending))) - answers.problems.keys()
        bad_steps: set[int] = set()
        passing = ""
        for chunk, (code, detail) in answers.problems.items():
            first, last = int(pending.bounds[chunk]), int(pending.bounds[chunk + 1])
            step = _STEP.search(detail)
            if (code == CONFLICT and not self._if_past) or (code in NOT_THERE and pending.seqs is not None):
                raise StaleBatch(f"session {pending.session_ids[chunk]}: {detail}")
            if code in PASSING_CODES:
                passing = detail
            elif code == UNREADABLE and step and first + int(step[1]) < last:
                bad_steps.add(first + int(step[1]))
                self._refuse(pending, [first + int(step[1])], f"{detail} [{code}]")
            elif code == CONFLICT and (before := _before_last(pending, chunk, answers)):
                bad_steps.update(range(first, first + before))
                self._refuse(pending, range(first, first + before), self._if_past)
            else:
                done.add(chunk)
                reason = self._if_past if code == CONFLICT else f"{detail} [{code}]"
                self._refuse(pending, range(first, last), reason)
        if passing:
            self._wait(EndUnreachable(f"the service: {passing}"))
        return pending.without(bad_steps, done)

    def _refuse(self, pending: KeyChunks, rows: Any, reason: str) -> None:
        for row in rows:
            self._reasons[int(pending.places[row])] = reason


def _before_last(pending: KeyChunks, chunk: int, answers: ChunkAnswers) -> int:
    """How many readings of a chunk that was refused lie before those of the chunk applied last, which are its end and
    can be answered again; 0 = they are not.
    """
    offset, length = answers.lasts.get(chunk, (-1, 0))
    before = int(pending.lengths[chunk]) - length
    return before if length > 0 and before > 0 and offset == pending.triggers[chunk] else 0
