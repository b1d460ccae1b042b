"""Steps of a long data frame: sent in waves of one step of each session, or in chunks of one session after another,
whichever are fewer; a row that fails holds up its own session and no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from numpy.typing import NDArray

from ostinato.client.answers import RowError, SessionInfo
from ostinato.client.data_frame_answers import AnswerColumns
from ostinato.client.data_frame_rows import FrameRows, split_rows
from ostinato.client.exchange import Plan
from ostinato.client.shapes import KnownModels, ModelTensors, TensorShape
from ostinato.client.verbs import ENDED, Verbs
from ostinato.errors import CommandError, RowsFailed, SeqConflict, ServiceError, TimeConflict, UnexpectedAnswer

WAVE_ROWS = 1000
CHUNK_STEPS = 250
LISTED_FOR = 25
"""Sessions to be looked up for which a page of all is asked: it takes about as long as so many looks."""
_MAY_BE_ONE_ROW = (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY)
"""Refusals of which fewer rows may be free; nothing of the request was applied."""
_OF_A_SESSION = (HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.GONE, *_MAY_BE_ONE_ROW)
_RUN_FAILED = "run_failed"
_NOT_ANSWERED = "not_answered"


class FrameSteps:
    """One call of ``step_frame``, on its way.

    A step is sent with its time, where the model's steps have times and the rows do; else, or where it is said, with
    its ``seq``.

    Attributes:
        answers: of the rows that were answered.
        errors: row -> why it was not.
    """

    def __init__(
        self,
        verbs: Verbs,
        models: KnownModels,
        model: str,
        shape: ModelTensors,
        rows: FrameRows,
        seq: Mapping[str, int],
        *,
        create_missing: bool,
    ) -> None:
        self._verbs, self._model, self._shape, self._rows = verbs, model, shape, rows
        self._models, self._create_missing = models, create_missing
        self._at = None if seq or shape.made_features is None else rows.moments()
        self._inputs = shape.inputs if self._at is None else _sent_with_times(shape, rows)
        self._arrays: list[NDArray[Any]] = rows.arrays(self._inputs, model)
        self._contexts = rows.contexts(shape.context, model) if create_missing else {}
        self.answers = AnswerColumns(shape, len(rows.given), rows.kept)
        self.errors: dict[int, RowError] = {}
        self._seq = dict(seq)
        self._is_sent = False
        self._num_applied = dict.fromkeys(rows.positions, 0)
        self._unopened: set[str] = set()
        self._failed: set[str] = set()
        self._stopped: CommandError | None = None

    def run(self) -> Plan[Any]:
        """Step all, and give the frame with the answers.

        Raises:
            RowsFailed: some rows were not answered. CommandError: no session could be looked up.
        """
        queues = self._rows.positions
        try:
            listed = yield from self._listed(queues)
            for session_id in queues:
                yield from self._look_up(session_id, listed.get(session_id))
            self._is_sent = True
            longest = max(map(len, queues.values()), default=0)
            num_chunks = sum(-(-len(rows) // CHUNK_STEPS) for rows in queues.values())
            is_each_alone = self._shape.is_framed or not all(part.has_steps for part in self._shape.outputs)
            if longest <= num_chunks or is_each_alone:
                yield from self._in_waves(longest)
            else:
                yield from self._in_chunks()
        except CommandError as error:  # of the service or the way there, not of a row
            self._stopped = error
        return self._frame()

    def _in_waves(self, longest: int) -> Plan[None]:
        for step in range(longest):
            wave = [(session_id, rows[step]) for session_id, rows in self._rows.positions.items() if step < len(rows)]
            for start in range(0, len(wave), WAVE_ROWS):
                yield from self._wave(wave[start : start + WAVE_ROWS])

    def _in_chunks(self) -> Plan[None]:
        for session_id, rows in self._rows.positions.items():
            for start in range(0, len(rows), CHUNK_STEPS):
                yield from self._chunk(session_id, rows[start : start + CHUNK_STEPS])

    def _listed(self, session_ids: Iterable[str]) -> Plan[dict[str, SessionInfo]]:
        """Those of many sessions that the model's first pages have, so that most are not asked for one by one."""
        wanted = {session_id for session_id in session_ids if not self._seq.get(session_id)}
        found: dict[str, SessionInfo] = {}
        cursor: str | None = None
        for _ in range(len(wanted) // LISTED_FOR):
            page = yield from self._verbs.page(self._model, cursor)
            found |= {info.session_id: info for info in page.sessions if info.session_id in wanted}
            cursor = page.next_cursor
            if cursor is None or len(found) == len(wanted):
                break
        return found

    def _look_up(self, session_id: str, listed: SessionInfo | None) -> Plan[None]:
        """Learn how many steps a session has, unless it was said."""
        if self._seq.get(session_id):
            return
        try:
            found = listed or (yield from self._verbs.look(session_id))
        except ServiceError as error:
            if error.code == ENDED[0] and self._create_missing:
                self._seq[session_id] = 0
                self._unopened.add(session_id)
                return
            self._fail(session_id, self._rows.positions[session_id][0], error)
            return
        if found.model != self._model:
            detail = f"session {session_id!r} is of the model {found.model!r}"
            self._fail_row(session_id, RowError(self._rows.positions[session_id][0], "session_exists", detail))
            return
        other: ModelTensors | None = self._shape
        if found.version != self._shape.version:
            other = yield from self._models.of(self._model, found.version)
        if other is None or (other.inputs, other.outputs) != (self._shape.inputs, self._shape.outputs):
            detail = f"session {session_id!r} is of version {found.version!r}, whose inputs or outputs are others"
            self._fail_row(session_id, RowError(self._rows.positions[session_id][0], "session_exists", detail))
            return
        self._seq.setdefault(session_id, found.steps)

    def _open(self, session_id: str) -> Plan[None]:
        """Open a session that there is not, with its context where the frame has one."""
        self._unopened.discard(session_id)
        yield from self._verbs.open(
            self._model,
            session_id=session_id,
            ttl_seconds=None,
            version=None,
            context=self._contexts.get(session_id),
            checkpoint=None,
        )

    def _wave(self, wave: Sequence[tuple[str, int]]) -> Plan[None]:
        """One step of each of some sessions; those that have failed are passed over."""
        if self._contexts:
            for session_id, row in wave:
                yield from self._opened(session_id, row)
        wave = [each for each in wave if each[0] not in self._failed]
        if not wave:
            return
        ids, rows = [session_id for session_id, _ in wave], [row for _, row in wave]
        inputs, at = split_rows(self._inputs, self._arrays, rows), self._times(rows)
        seq = [self._seq[each] for each in ids] if at is None else None
        try:
            made = yield from self._verbs.step_many(
                self._model, ids, inputs, seq, create_missing=self._create_missing, at=at
            )
        except ServiceError as error:
            if len(wave) > 1 and _may_be_of_fewer(error):
                yield from self._wave(wave[: len(wave) // 2])
                yield from self._wave(wave[len(wave) // 2 :])
                return
            self._fail(ids[0], rows[0], error, is_alone=len(wave) == 1)
            return
        for told in made.errors:
            self._fail_row(ids[told.row], replace(told, row=rows[told.row]))
        done = [place for place, session_id in enumerate(ids) if session_id not in self._failed]
        for place in done:
            self._advance(ids[place], 1)
        ends = next(iter(made.output_steps.values())) if isinstance(made.output_steps, dict) else made.output_steps
        answered = [place for place in done if ends is None or ends[place] > 0]
        if answered:
            self.answers.put([rows[place] for place in answered], made.outputs, answered)

    def _chunk(self, session_id: str, rows: Sequence[int]) -> Plan[None]:
        """Consecutive steps of one session."""
        yield from self._opened(session_id, rows[0])
        if session_id in self._failed:
            return
        session = SessionInfo(session_id, self._model, "", self._seq[session_id], None, None)
        inputs = split_rows(self._inputs, self._arrays, rows)
        try:
            made = yield from self._verbs.step(session, inputs, return_sequences=True, at=self._times(rows))
        except ServiceError as error:
            if len(rows) > 1 and _may_be_of_fewer(error):
                yield from self._chunk(session_id, rows[: len(rows) // 2])
                yield from self._chunk(session_id, rows[len(rows) // 2 :])
                return
            self._fail(session_id, rows[0], error)
            return
        self._advance(session_id, len(rows))
        self.answers.put(rows, made.outputs)

    def _times(self, rows: Sequence[int]) -> list[str] | None:
        return None if self._at is None else [self._at[row] for row in rows]

    def _opened(self, session_id: str, row: int) -> Plan[None]:
        if session_id in self._unopened:
            try:
                yield from self._open(session_id)
            except ServiceError as error:
                self._fail(session_id, row, error)

    def _fail(self, session_id: str, row: int, error: ServiceError, *, is_alone: bool = True) -> None:
        """Note why a session's row failed.

        Raises:
            ServiceError: it is the service that fails, and not this row.
        """
        is_of_row = error.status in _OF_A_SESSION or error.code == _RUN_FAILED
        if not is_alone or not is_of_row or isinstance(error, UnexpectedAnswer):
            raise error
        expected = error.expected_seq if isinstance(error, SeqConflict) else None
        last_at = error.last_at if isinstance(error, TimeConflict) else None
        self._fail_row(session_id, RowError(row, error.code, str(error), expected, last_at))

    def _fail_row(self, session_id: str, error: RowError) -> None:
        self._failed.add(session_id)
        self.errors[error.row] = error

    def _frame(self) -> Any:
        """The frame, where every row was answered.

        Raises:
            RowsFailed: some were not. CommandError: it was found out before anything was sent.
        """
        if self._stopped is not None and not self._is_sent:
            raise self._stopped
        before: dict[str, int] = {}
        for session_id, rows in self._rows.positions.items():
            left = rows[self._num_applied[session_id] :]
            if left and self._at is None:
                before[session_id] = self._seq.get(session_id, 0)
            if left:
                reason = f"row {left[0]} failed before it" if left[0] in self.errors else str(self._stopped)
            for row in left:
                self.errors.setdefault(row, RowError(row, _NOT_ANSWERED, reason))
        frame = self._rows.given.beside(self._rows.kept, self.answers.columns())
        if not self.errors:
            return frame
        errors = tuple(self.errors[row] for row in sorted(self.errors))
        said = f"row {errors[0].row}: {errors[0].detail}"
        raise RowsFailed(
            f"{len(errors)} of {len(self._rows.given)} rows were not answered; {said}", frame, errors, before
        ) from self._stopped

    def _advance(self, session_id: str, num_steps: int) -> None:
        self._seq[session_id] += num_steps
        self._num_applied[session_id] += num_steps


def _sent_with_times(shape: ModelTensors, rows: FrameRows) -> tuple[TensorShape, ...]:
    """The inputs without what a step's time tells, where the frame has no column of that."""
    made = shape.made_features or ()
    if any(name in rows.given for name in made):
        return shape.inputs
    [part] = shape.inputs  # a model whose steps have times has one, of a row of features
    left = tuple(name for name in part.features or () if name not in made)
    # A model that is told nothing else is sent what it is told.
    return (replace(part, features=left, row_shape=(len(left),)),) if left else shape.inputs


def _may_be_of_fewer(error: ServiceError) -> bool:
    # Of times it may be one gap within the chunk that is too long.
    return error.status in _MAY_BE_ONE_ROW or error.code == _RUN_FAILED or isinstance(error, TimeConflict)
