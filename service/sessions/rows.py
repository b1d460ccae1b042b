"""Rows of a message, a step or a chunk for each of many sessions: they are independent of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.series_time import NO_TIME
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs.timed_rows import TimedRows
from ostinato.service.inputs.turns import Pace
from ostinato.service.sessions.blocks import NO_SEQ, RowAnswers
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.offsets import RowOffsets
from ostinato.service.sessions.refusals import REFUSALS, apply_anew
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.state.arena import Slots
from ostinato.service.state.roster import Roster

MAX_AT_ONCE = 64
"""Rows that are asked again together."""


class Columns(NamedTuple):
    """A message of ``R`` rows, each one step of one session, or one chunk.

    Attributes:
        roster: the sessions' ids.
        inputs: rows ``[R, width]`` of the engine's ``given``, contiguous; of chunks all their steps, one chunk's behind
            another's.
        seqs: steps applied before each, int64 ``[R]``, ``NO_SEQ`` where the client did not say; None where it said
            nothing of any row.
        errors: row -> what is wrong with that row alone, which is not applied.
        offsets: where each is in its source; None where nothing is said of any.
        bounds: where each chunk begins among the steps and the last one ends, int64 ``[R + 1]``; None = each row is one
            step, and is answered by its output and not by a list of them.
        times: row -> its step with its time; None where the client said none. Inputs have what a calendar tells.
    """

    roster: Roster
    inputs: NDArray[Any]
    seqs: Slots | None
    errors: Mapping[int, OstinatoError]
    offsets: RowOffsets | None = None
    bounds: Slots | None = None
    times: Mapping[int, TimedRows] | None = None

    @property
    def numbers(self) -> Slots | None:
        """The numbers of the steps by their times, int64 ``[R]``, ``NO_TIME`` where there is none."""
        if self.times is None:
            return None
        numbers = np.full(len(self.inputs), NO_TIME, np.int64)
        for row, timed in self.times.items():
            numbers[row] = timed.numbers[0]
        return numbers

    @classmethod
    def of(
        cls,
        session_ids: Sequence[str],
        inputs: NDArray[Any],
        seqs: Slots | None,
        errors: Mapping[int, OstinatoError],
        offsets: RowOffsets | None = None,
        bounds: Slots | None = None,
        times: Mapping[int, TimedRows] | None = None,
    ) -> Columns:
        """A message whose sessions were not in one together before."""
        return cls(Roster(session_ids), inputs, seqs, errors, offsets, bounds, times)

    def seq(self, row: int) -> int | None:
        """What is said of a row."""
        return None if self.seqs is None or self.seqs[row] == NO_SEQ else int(self.seqs[row])

    def chunk(self, row: int) -> NDArray[Any]:
        """The steps of a row, ``[n, width]``."""
        start, end = (row, row + 1) if self.bounds is None else self.bounds[row : row + 2]
        return self.inputs[start:end]

    def first_steps(self) -> NDArray[Any]:
        """The first step of each row, ``[R, width]``: that of a row that has none means nothing."""
        if self.bounds is None or len(self.inputs) == len(self.bounds) - 1 == self.bounds[-1]:
            return self.inputs
        return self.inputs[np.minimum(self.bounds[:-1], len(self.inputs) - 1)]


async def step_columns(
    sessions: Sessions,
    ledger: Ledger,
    engine: Engine,
    columns: Columns,
    *,
    create_missing: bool = False,
    when_placed: Callable[[], object] = lambda: None,
) -> RowAnswers:
    """Apply each row to its session, and wait until all that can be are committed. Rows of one step run as blocks.

    A session that is in several rows gets them in their order. Rows fail alone, and say why in the answers.

    Args:
        engine: the version of the model that a missing session is opened with; a session of another is stepped too.
        create_missing: open a session for an id that is unknown; not for one that expired or was closed a while ago,
            nor where ``seq`` says that it has steps, so that no sequence begins again unnoticed.
        when_placed: called when each row has its place among its session's requests: what is put to a session then
            comes behind it.

    Raises:
        TooLarge, Overloaded, RateLimited, Draining: refused before anything was queued.
        InvalidInput: in the same way, where an offset is said that cannot be kept.
    """
    session_ids = columns.roster.session_ids
    num_rows = len(session_ids)
    engine.admit(num_rows)
    answers = RowAnswers(num_rows, engine, engine.new_future(), of_chunks=columns.bounds is not None)
    answers.numbers = columns.numbers
    slots = sessions.use_all(engine, columns.roster)
    if columns.errors or columns.roster.repeated:
        slots = slots.copy()
        slots[[*columns.errors, *columns.roster.repeated]] = -1
    if columns.bounds is not None:
        slots = np.where(np.diff(columns.bounds) == 1, slots, -1)
    try:
        others = ledger.step_ready(engine, slots, columns.first_steps(), columns.seqs, answers, columns.offsets)
    except OstinatoError:
        engine.leave(num_rows)
        raise
    num_admitted = len(others)
    waiting: list[asyncio.Future[StepAnswer]] = []
    found: dict[int, LiveSession] = {}
    pace = Pace()
    try:
        for row in others:
            num_admitted -= 1
            engine.leave(1)  # it is admitted again with its session
            try:
                if row in columns.errors:
                    raise columns.errors[row]
                may_begin = create_missing and not columns.seq(row)
                found[row] = await _session_of(sessions, engine, session_ids[row], may_begin)
                waiting.append(_step(sessions, ledger, engine, columns, row, found[row]))
                waiting[-1].add_done_callback(partial(_take, answers, row))
            except OstinatoError as error:
                answers.fail([row], error)
            await pace.rest()
        when_placed()
        await answers.future
    except BaseException:
        engine.leave(num_admitted)
        answers.future.cancel()
        for future in waiting:
            future.cancel()
        raise
    # What cannot begin, and is not there, no copy has refused.
    final = {*columns.errors, *(row for row in others if row not in found)}
    again: dict[str, list[int]] = {}
    for row in sorted(row for row, error in answers.errors.items() if isinstance(error, REFUSALS) and row not in final):
        again.setdefault(session_ids[row], []).append(row)

    async def step_anew(rows: list[int]) -> None:
        for row in rows:  # of one session, so in their order
            await _step_anew(sessions, ledger, engine, columns, row, found.get(row), answers, create_missing)

    groups = list(again.values())
    for start in range(0, len(groups), MAX_AT_ONCE):
        await asyncio.gather(*map(step_anew, groups[start : start + MAX_AT_ONCE]))
    return answers


async def _session_of(sessions: Sessions, engine: Engine, session_id: str, may_begin: bool) -> LiveSession:
    """The row's session; or one that begins with the row, where it is unknown and ``may_begin``."""
    if (session := sessions.use(session_id)) is not None:
        return session
    return await (sessions.find_or_begin(session_id, engine) if may_begin else sessions.find(session_id))


def _step(
    sessions: Sessions, ledger: Ledger, engine: Engine, columns: Columns, row: int, session: LiveSession
) -> asyncio.Future[StepAnswer]:
    """Apply one row, if its session is of a version that takes and gives what ``engine`` does.

    Raises:
        InvalidInput: it is another model's, or of a version with other features.
        Overloaded, Draining: and a session that was to begin with it is not there.
    """
    manifest, other = engine.manifest, session.engine.manifest
    try:
        if other.name != manifest.name:
            raise InvalidInput(f"session {session.session_id!r} is of model {other.name!r}, not of {manifest.name!r}")
        for taken, others in ((_taken(manifest), _taken(other)), (_given(manifest), _given(other))):
            if taken != others:
                raise InvalidInput(
                    f"session {session.session_id!r} runs version {other.version!r}, which takes or gives other "
                    f"numbers than version {manifest.version!r}; step it by its own route"
                )
        if columns.times is not None and row in columns.times:
            if manifest.time != other.time:
                raise InvalidInput(
                    f"session {session.session_id!r} runs version {other.version!r}, whose time is another; step it by "
                    "its own route",
                    field=f"at[{row}]",
                )
            return ledger.step(session, columns.times[row])
        offset = None if columns.offsets is None else columns.offsets.row(row)
        return ledger.step(session, columns.chunk(row), columns.seq(row), offset=offset)
    except BaseException:
        sessions.abandon(session)
        raise


async def _step_anew(
    sessions: Sessions,
    ledger: Ledger,
    engine: Engine,
    columns: Columns,
    row: int,
    session: LiveSession | None,
    answers: RowAnswers,
    create_missing: bool,
) -> None:
    """Apply one row that was refused; ``session`` None = as one of a block of ``engine``'s."""
    error = answers.errors[row]
    assert isinstance(error, OstinatoError)
    if session is None:
        session = LiveSession(columns.roster.names[row], engine, engine.arena, -1, answers.found_at)
    missing = engine if create_missing and not columns.seq(row) else None
    try:
        attempt = partial(_step, sessions, ledger, engine, columns, row)
        answer = await apply_anew(sessions, session, error, attempt, missing)
    except Exception as failure:
        answers.errors[row] = failure
    else:
        del answers.errors[row]
        answers.put_chunk(row, answer)


def _taken(manifest: Manifest) -> list[Any]:
    limits = [(part.missing, part.num_codes, part.categories, part.unknown, part.ranges) for part in manifest.inputs]
    return [*_numbers(manifest.inputs), limits]


def _given(manifest: Manifest) -> list[Any]:
    return [*_numbers(manifest.outputs), manifest.framing, [part.per_frame for part in manifest.outputs]]


def _numbers(parts: Sequence[Input] | Sequence[Output]) -> list[Any]:
    """What tells one row of numbers from another; what an only tensor is called, no client need know."""
    is_single = len(parts) == 1
    return [("" if is_single else part.name, part.features, part.dtype, part.row_shape) for part in parts]


def _take(answers: RowAnswers, row: int, future: asyncio.Future[StepAnswer]) -> None:
    """Take in the answer to a row that went its own way."""
    if future.cancelled():
        return
    error = future.exception()
    if error is not None:
        answers.fail([row], error)
    else:
        answers.put_chunk(row, future.result())
