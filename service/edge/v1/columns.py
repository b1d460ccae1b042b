"""The columnar message in its two forms, JSON and Arrow: one step for each of many sessions."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.arrow.answers import write_rows
from ostinato.service.edge.arrow.columns import ARROW
from ostinato.service.edge.arrow.templates import Templates
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.message import Request, Response, json_in_slices
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.bodies import BodyForms
from ostinato.service.edge.v1.body_place import BodyPlace
from ostinato.service.edge.v1.schemas import ColumnsBody, ColumnsQuery, NestedColumnsBody
from ostinato.service.edge.v1.steps import check_width_of
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError, UpgradeRequired
from ostinato.service.inputs.rows import count_steps, place_moved, read_rows, to_rows
from ostinato.service.inputs.sequences import to_sequence
from ostinato.service.inputs.turns import Pace, in_turns, is_of_objects, to_numbers
from ostinato.service.sessions.blocks import NO_SEQ, RowAnswers
from ostinato.service.sessions.ledger import Ledger
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
        body = await COLUMNS.read(request, engine.given, lambda _: partial(_check, engine), reads_query=True)
        engine.check_rows(len(body.session_ids))
        if body.holds_numbers:
            body.inputs = await to_numbers(body.inputs, dtype=engine.given.dtype.name)
        columns = await read_columns(body, engine)
        answers = await self._step(engine, columns, body.create_missing or create_missing)
        problems = await self._row_problems(engine, answers)
        return await json_in_slices(columns_content(body.session_ids, answers, problems, engine.made))

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
        if not answers.errors:
            return template.answer(answers)
        problems = await self._row_problems(engine, answers)
        words = {row: (problem["code"], problem["detail"]) for row, problem in problems.items()}
        return write_rows(template.id_column, answers.seqs, answers.outputs, words, engine.made)

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
    given = engine.given
    num_given = len(body.inputs) if given.is_flat and body.holds_numbers else count_steps(body.inputs, given, "inputs")
    if num_given != num_rows:
        raise InvalidInput(f"{num_given} rows for {num_rows} sessions", field="inputs")
    if body.seq is not None and len(body.seq) != num_rows:
        raise InvalidInput(f"{len(body.seq)} numbers for {num_rows} sessions", field="seq")
    seqs = None if body.seq is None else np.array([NO_SEQ if seq is None else seq for seq in body.seq], np.int64)
    errors: dict[int, OstinatoError] = {}
    try:
        if body.holds_numbers and not is_of_objects(body.inputs):
            inputs = _to_rows(body.inputs, given, "inputs")
        else:
            inputs = (await read_rows(body.inputs, given, "inputs")).rows
    except InvalidInput:
        inputs = given.zeros(num_rows)
        to_row = _to_rows if body.holds_numbers else to_rows
        await in_turns(_read_rows(body.inputs, given, to_row, inputs, errors))
    return Columns.of(body.session_ids, inputs, seqs, errors)


def _check(engine: Engine, place: BodyPlace, count: int) -> None:
    """Hold a large message to the limits of its model."""
    if place.depth:
        check_width_of(engine.given, count, place)
    else:
        engine.check_rows(count)


def columns_content(
    session_ids: Sequence[str],
    answers: RowAnswers,
    problems: Mapping[int, Mapping[str, Any]],
    made: RowLayout[Output],
) -> dict[str, Any]:
    """Word the answers: null in rows that failed, which ``errors`` explains; no output of a row without a frame."""
    seqs: Any = answers.seqs
    outputs: Any = made.words(answers.outputs, of_many=True)
    absent: Mapping[int, Any] | set[int] = problems
    of_frames: dict[str, Any] = {}
    if made.framing:
        absent = {*problems, *(~made.has_answer(answers.seqs)).nonzero()[0].tolist()}
        of_frames["output_steps"] = _without(made.steps_of(answers.seqs + 1, of_many=True), absent)
    if absent:
        outputs = _without(outputs, absent)
    if problems:
        seqs = [None if row in problems else seq for row, seq in enumerate(answers.seqs.tolist())]
    errors = [{"row": row, **problem} for row, problem in problems.items()]
    return {"session_ids": session_ids, "seq": seqs, "outputs": outputs, **of_frames, "errors": errors}


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
