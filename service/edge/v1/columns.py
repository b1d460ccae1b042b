"""The columnar message in its two forms, JSON and Arrow: a step, or a chunk, for each of many sessions."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge import times
from ostinato.service.edge.arrow.columns import ARROW
from ostinato.service.edge.arrow.templates import Templates
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.message import Request, Response, json_in_slices
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.bodies import BodyForms, first
from ostinato.service.edge.v1.body_place import BodyPlace
from ostinato.service.edge.v1.chunk_rows import are_chunks, chunk_answers, read_chunks
from ostinato.service.edge.v1.large import read_body
from ostinato.service.edge.v1.schemas import ColumnsBody, ColumnsQuery, NestedColumnsBody
from ostinato.service.edge.v1.steps import check_width_of
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError, UpgradeRequired
from ostinato.service.inputs.rows import count_steps, place_moved, read_rows, to_rows
from ostinato.service.inputs.sequences import to_sequence
from ostinato.service.inputs.turns import Pace, in_turns, is_of_objects, to_numbers
from ostinato.service.sessions.blocks import NO_SEQ, RowAnswers
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.offsets import NO_OFFSET, RowOffsets
from ostinato.service.sessions.rows import Columns, step_columns
from ostinato.service.sessions.sessions import Sessions

COLUMNS = BodyForms(ColumnsBody, NestedColumnsBody)


class ColumnSteps:
    """``POST /v1/models/{model}/step``, and the binary frames of a stream."""

    def __init__(self, catalogue: Catalogue, sessions: Sessions, ledger: Ledger, desk: Desk) -> None:
        self._catalogue = catalogue
        self._sessions = sessions
        self._ledger = ledger
        self._desk = desk
        self._templates = Templates()

    async def answer(self, request: Request) -> Response:
        """Apply a message in the form in which it came, and answer in the same."""
        create_missing = codec.decode_query(request.query_string, ColumnsQuery).create_missing
        if request.media_type == ARROW:
            return Response(200, await self.answer_arrow(request.name, request.body, create_missing), ARROW)
        engine = self._catalogue.resolve(request.name)
        body = await self._read(request, engine)
        engine.check_rows(len(body.session_ids))
        if body.holds_numbers:
            body.inputs = await to_numbers(body.inputs, dtype=engine.given.dtype.name)
        columns = await read_columns(body, engine)
        answers = await self._step(engine, columns, body.create_missing or create_missing)
        problems = await self._row_problems(engine, answers)
        content = columns_content(body.session_ids, answers, problems, engine.made, columns.bounds)
        return await json_in_slices(content | (times.row_times(engine, answers) or {}))

    async def _read(self, request: Request, engine: Engine) -> ColumnsBody:
        check = partial(_check, engine)
        try:
            return await COLUMNS.read(request, engine.given, lambda _: check, reads_query=True)
        except InvalidInput as error:
            if not (engine.given.is_flat and (error.field or "").startswith("inputs")):
                raise
            with first(error):
                check = partial(_check_chunks, engine)
                body = await read_body(request, COLUMNS.nested, lambda _: check, reads_query=True)
            if not are_chunks(body.inputs, engine.given):
                raise
            return body

    async def answer_arrow(
        self, model: str, message: bytes, create_missing: bool, when_placed: Callable[[], object] = lambda: None
    ) -> bytes:
        """Apply an Arrow IPC stream; returns the answers as one. ``when_placed``: see ``step_columns``.

        Raises:
            InvalidInput: the message as a whole cannot be read.
            UnknownModel, TooLarge, Overloaded, Draining: nothing was queued.
        """
        engine = self._catalogue.resolve(model)
        engine.check_room()
        columns, template, judging = self._templates.begin(message, engine)
        if judging is not None:
            await in_turns(judging)
        answers = await self._step(engine, columns, create_missing, when_placed)
        problems = await self._row_problems(engine, answers) if answers.errors else {}
        return template.answer(answers, problems, times.row_times(engine, answers))

    async def refuse_without_handshake(self, request: Request) -> Response:
        """The WebSocket's path, without a handshake: those never come here. What a handshake would be refused for is
        told first.
        """
        self._catalogue.resolve(request.name)
        codec.decode_query(request.query_string, ColumnsQuery)
        raise UpgradeRequired("this is a WebSocket: connect to it with ws:// and a WebSocket client")

    async def _step(
        self,
        engine: Engine,
        columns: Columns,
        create_missing: bool,
        when_placed: Callable[[], object] = lambda: None,
    ) -> RowAnswers:
        return await step_columns(
            self._sessions, self._ledger, engine, columns, create_missing=create_missing, when_placed=when_placed
        )

    async def _row_problems(self, engine: Engine, answers: RowAnswers) -> dict[int, dict[str, Any]]:
        """What is told of the rows that failed; each is refused as a request of its own would be."""
        what = f"a row of a message for model {engine.manifest.name}"
        problems = {}
        pace = Pace()
        for row, error in sorted(answers.errors.items()):
            problems[row] = self._desk.refuse(error, what).row
            await pace.rest()
        return problems


async def read_columns(body: ColumnsBody, engine: Engine) -> Columns:
    """A message in JSON.

    Raises:
        InvalidInput: its columns are empty, or of different lengths.
    """
    num_rows = len(body.session_ids)
    if not num_rows:
        raise InvalidInput("there is no row in it; send at least one", field="session_ids")
    given = times.layout_of(engine, body.inputs, body.at)
    num_given = len(body.inputs) if given.is_flat and body.holds_numbers else count_steps(body.inputs, given, "inputs")
    if num_given != num_rows:
        raise InvalidInput(f"{num_given} rows for {num_rows} sessions", field="inputs")
    if body.seq is not None and len(body.seq) != num_rows:
        raise InvalidInput(f"{len(body.seq)} numbers for {num_rows} sessions", field="seq")
    if body.at is not None and len(body.at) != num_rows:
        raise InvalidInput(f"{len(body.at)} times for {num_rows} sessions", field="at")
    seqs = None if body.seq is None else np.array([NO_SEQ if seq is None else seq for seq in body.seq], np.int64)
    errors: dict[int, OstinatoError] = {}
    offsets = _read_offsets(body, errors)
    has_chunks = not body.holds_numbers and are_chunks(body.inputs, given)
    times.check_columns(body.at, has_chunks, body.seq, offsets)
    if has_chunks:
        steps, bounds, refused = await read_chunks(body.inputs, engine)
        return Columns.of(body.session_ids, steps, seqs, {**refused, **errors}, offsets, bounds)
    try:
        if body.holds_numbers and not is_of_objects(body.inputs):
            inputs = _to_rows(body.inputs, given, "inputs")
        else:
            inputs = (await read_rows(body.inputs, given, "inputs")).rows
    except InvalidInput:
        inputs = given.zeros(num_rows)
        to_row = _to_rows if body.holds_numbers else to_rows
        await in_turns(_read_rows(body.inputs, given, to_row, inputs, errors))
    if body.at is not None:
        inputs, timed = times.timed_columns(engine, inputs, given, body.at, errors)
        return Columns.of(body.session_ids, inputs, None, errors, times=timed)
    return Columns.of(body.session_ids, inputs, seqs, errors, offsets)


def _read_offsets(body: ColumnsBody, errors: dict[int, OstinatoError]) -> RowOffsets | None:
    """Where the rows are in their source; None where nothing is said of any."""
    if body.offset is None and not body.source and body.first_offset is None:
        return None
    num_rows = len(body.session_ids)
    for field, column in (("offset", body.offset), ("first_offset", body.first_offset)):
        if column is not None and len(column) != num_rows:
            raise InvalidInput(f"{len(column)} numbers for {num_rows} sessions", field=field)
    if body.offset is None:
        raise InvalidInput("a source or first_offset needs an offset: where the last reading is in it", "offset")
    lasts = np.array([NO_OFFSET if each is None else each for each in body.offset], np.int64)
    firsts = lasts
    if body.first_offset is not None:
        firsts = np.array([NO_OFFSET if each is None else each for each in body.first_offset], np.int64)
    return RowOffsets.read(np.full(num_rows, body.source, object), firsts, lasts, errors)


def _check(engine: Engine, place: BodyPlace, count: int) -> None:
    """Hold a large message to the limits of its model."""
    if not place.depth:
        engine.check_rows(count)
    elif not times.is_short(engine, count):
        check_width_of(engine.given, count, place)


def _check_chunks(engine: Engine, place: BodyPlace, count: int) -> None:
    """The same for one whose rows are chunks."""
    if place.depth == 1:
        engine.check_length(count, place)
    else:
        _check(engine, place, count)


def columns_content(
    session_ids: Sequence[str],
    answers: RowAnswers,
    problems: Mapping[int, Mapping[str, Any]],
    made: RowLayout[Output],
    bounds: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Word the answers: null in rows that failed, which ``errors`` explains; no output of a row without a frame."""
    seqs: Any = answers.seqs
    absent: Mapping[int, Any] | set[int] = problems
    of_frames: dict[str, Any] = {}
    if bounds is not None:
        of_frames = chunk_answers(answers, np.diff(bounds), problems, made)
        outputs, absent = of_frames.pop("outputs"), set()
    else:
        outputs = made.words(answers.outputs, of_many=True)
    if made.framing and bounds is None:
        absent = {*problems, *(~made.has_answer(answers.seqs)).nonzero()[0].tolist()}
        of_frames["output_steps"] = _without(made.steps_of(answers.seqs + 1, of_many=True), absent)
    if absent:
        outputs = _without(outputs, absent)
    if problems:
        seqs = [None if row in problems else seq for row, seq in enumerate(answers.seqs.tolist())]
    errors = [{"row": row, **problem} for row, problem in problems.items()]
    watched: dict[str, Any] = {}
    if answers.anomaly is not None:
        watched["anomaly"] = of_frames.pop("anomaly", answers.anomaly)
        if answers.events:
            watched["events"] = [
                {"row": row, **event} for row, told in sorted(answers.events.items()) for event in told
            ]
    return {"session_ids": session_ids, "seq": seqs, "outputs": outputs, **of_frames, **watched, "errors": errors}


def _without(columns: Any, absent: Container[int]) -> Any:
    """A column, or each of several by name, with null in the rows that are absent."""
    if isinstance(columns, dict):
        return {name: _without(column, absent) for name, column in columns.items()}
    return [None if row in absent else made for row, made in enumerate(columns)]


def _to_rows(given: Any, layout: RowLayout[Input], field: str) -> NDArray[Any]:
    if layout.is_flat and not layout.parts[0].categories:
        return to_sequence(given, layout.parts[0], field)
    return to_rows(given, layout, field)


def _read_rows(
    given: Any,
    layout: RowLayout[Input],
    to_row: Callable[[Any, RowLayout[Input], str], NDArray[Any]],
    inputs: NDArray[Any],
    errors: dict[int, OstinatoError],
) -> Iterator[None]:
    """Put the rows into ``inputs`` ``[R, width]``, one by one; ``errors`` gets the reasons of those that cannot be."""
    for row in range(len(inputs)):
        alone = [given[row]] if layout.is_single else {name: [column[row]] for name, column in given.items()}
        try:
            inputs[row] = to_row(alone, layout, "inputs")[0]
        except InvalidInput as error:
            place = place_moved(error.field, row, layout, "inputs") or "inputs"
            errors[row] = InvalidInput(str(error), field=place if f"[{row}]" in place else f"{place}[{row}]")
        yield
