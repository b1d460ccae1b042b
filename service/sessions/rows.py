"""Rows of a message, one step for each of many sessions: they are independent of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs.turns import Pace
from ostinato.service.sessions.blocks import NO_SEQ, RowAnswers
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.refusals import REFUSALS, apply_anew
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.state.arena import Slots
from ostinato.service.state.roster import Roster

MAX_AT_ONCE = 64
"""Rows that are asked again together."""


class Columns(NamedTuple):
    """A message of ``R`` rows, each one step of one session.

    Attributes:
        roster: the sessions' ids.
        inputs: rows ``[R, width]`` of the engine's ``given``, contiguous.
        seqs: steps applied before each, int64 ``[R]``, ``NO_SEQ`` where the client did not say; None where it said
            nothing of any row.
        errors: row -> what is wrong with that row alone, which is not applied.
    """

    roster: Roster
    inputs: NDArray[Any]
    seqs: Slots | None
    errors: Mapping[int, OstinatoError]

    @classmethod
    def of(
        cls,
        session_ids: Sequence[str],
        inputs: NDArray[Any],
        seqs: Slots | None,
        errors: Mapping[int, OstinatoError],
    ) -> Columns:
        """A message whose sessions were not in one together before."""
        return cls(Roster(session_ids), inputs, seqs, errors)


async def step_columns(
    sessions: Sessions,
    ledger: Ledger,
    engine: Engine,
    columns: Columns,
    *,
    create_missing: bool = False,
    when_placed: Callable[[], object] = lambda: None,
) -> RowAnswers:
    """Apply each row to its session, and wait until all that can be are committed.

    A session that stands in several rows gets them in their order. Rows fail alone, and say why in the answers.

    Args:
        engine: the version of the model that a missing session is opened with; a session of another is stepped too.
        create_missing: open a session for an id that is unknown; not for one that expired or was closed a while ago,
            nor where ``seq`` says that it has steps, so that no sequence begins anew unnoticed.
        when_placed: called when each row has its place among its session's requests: what is put to a session then
            comes behind it.

    Raises:
        TooLarge, Overloaded, Draining: refused before anything was queued.
    """
    session_ids = columns.roster.session_ids
    num_rows = len(session_ids)
    engine.admit(num_rows)
    answers = RowAnswers(num_rows, engine, engine.new_future())
    slots = sessions.use_all(engine, columns.roster)
    if columns.errors or columns.roster.repeated:
        slots = slots.copy()
        slots[[*columns.errors, *columns.roster.repeated]] = -1
    others = ledger.step_ready(engine, slots, columns.inputs, columns.seqs, answers)
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
                may_begin = create_missing and not (_seq_of(columns, row) or 0)
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
    again = sorted(row for row, error in answers.errors.items() if isinstance(error, REFUSALS) and row not in final)
    for start in range(0, len(again), MAX_AT_ONCE):
        rows = again[start : start + MAX_AT_ONCE]
        await asyncio.gather(
            *(
                _step_anew(sessions, ledger, engine, columns, row, found.get(row), answers, create_missing)
                for row in rows
            )
        )
    return answers


def _seq_of(columns: Columns, row: int) -> int | None:
    return None if columns.seqs is None or columns.seqs[row] == NO_SEQ else int(columns.seqs[row])


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
        return ledger.step(session, columns.inputs[row : row + 1], _seq_of(columns, row))
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
        session = LiveSession(columns.roster.session_ids[row], engine, engine.arena, -1, answers.found_at)
    missing = engine if create_missing and not (_seq_of(columns, row) or 0) else None
    try:
        attempt = partial(_step, sessions, ledger, engine, columns, row)
        answer = await apply_anew(sessions, session, error, attempt, missing)
    except Exception as failure:
        answers.errors[row] = failure
    else:
        del answers.errors[row]
        answers.put(np.array([row]), answer.seq, answer.outputs[-1:])


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
        answer = future.result()
        answers.put(np.array([row]), answer.seq, answer.outputs[-1:])
