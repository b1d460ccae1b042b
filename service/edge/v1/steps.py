"""Steps of one session, and forecasts from it."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable
from functools import partial
from typing import Any

import msgspec
from numpy.typing import NDArray

from ostinato.service.access.meter import UNMETERED, Meter
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.edge import times
from ostinato.service.edge.message import Request, Response, json_in_slices, json_response
from ostinato.service.edge.v1.bodies import BodyForms
from ostinato.service.edge.v1.body_place import BodyPlace
from ostinato.service.edge.v1.forecasts import check_known, forecast_content
from ostinato.service.edge.v1.large import FEW_BYTES, Check, is_large, read_body
from ostinato.service.edge.v1.schemas import ForecastBody, NestedStepBody, StepBody
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs.rows import ReadRows, count_steps, read_rows, to_rows
from ostinato.service.inputs.sequences import check_width, to_steps
from ostinato.service.inputs.timed_rows import TimedRows
from ostinato.service.inputs.turns import is_of_objects, to_numbers
from ostinato.service.sessions.chunk import StepAnswer, Waiter
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.refusals import apply, apply_anew
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions

STEP = BodyForms(StepBody, NestedStepBody, of_any_version=True)
_FORECAST = msgspec.json.Decoder(ForecastBody)


class StepRoutes:
    """Handlers of ``POST /v1/sessions/{id}/step`` and ``/forecast``."""

    def __init__(self, sessions: Sessions, ledger: Ledger, meter: Meter = UNMETERED) -> None:
        self._meter = meter
        self._sessions = sessions
        self._ledger = ledger

    async def step(self, request: Request) -> Response:
        """Apply a chunk to a session."""
        session = self._sessions.use(request.name) or await self._sessions.find(request.name)
        session.engine.check_room()
        body = await STEP.read(request, session.engine.given, lambda _: check_chunk(session))
        return await self.step_body(request.name, body)

    async def given(self, session_id: str) -> RowLayout[Input]:
        """What a session's model takes.

        Raises:
            UnknownSession and its like: there is none.
        """
        return (await self._sessions.find(session_id)).engine.given

    def check(self, session_id: str) -> Check:
        """What holds a large chunk to the limits of its session's model, see ``read_body``."""
        return check_chunk(self._sessions.use(session_id))

    async def step_body(self, session_id: str, body: StepBody) -> Response:
        """Apply a chunk that was read already."""
        await self.prepare(session_id, body)
        answer = await apply(self._sessions, session_id, partial(self.begin, body=body))
        return await json_in_slices(step_content(answer, body))

    async def prepare(self, session_id: str, body: StepBody) -> None:
        """Turn the many numbers of a large chunk into arrays a slice at a time, as its session's model takes them."""
        await prepare_inputs(body, self._sessions, session_id)

    def told(self, body: StepBody, error: Exception) -> Exception:
        """See ``DirectRoute``."""
        del body
        return error

    async def step_anew(self, session: LiveSession, body: StepBody, error: OstinatoError) -> Response:
        """Apply a chunk that ``session``, which may be an old copy, has refused with ``error``."""
        answer = await apply_anew(self._sessions, session, error, partial(self.begin, body=body))
        return json_response(step_content(answer, body))

    def read(self, request: Request) -> tuple[LiveSession, StepBody] | None:
        """A chunk, and its session where that is in memory; None where it is not, or where the chunk is large."""
        if len(request.body) > FEW_BYTES and is_large(request.body):
            return None
        session = self._sessions.use(request.name)
        if session is None:
            return None
        session.engine.check_room()
        return session, STEP.decode(request, session.engine.given)

    def begin(self, session: LiveSession, body: StepBody, future: Waiter | None = None) -> Awaitable[StepAnswer]:
        """Check a chunk and put it to its session; ``future`` gets its answer, or else one that is returned."""
        inputs = chunk_inputs(session.engine, body)
        return self._ledger.step(session, inputs, body.seq, future, body.chunk_offset)

    def answer(self, answer: StepAnswer, body: StepBody) -> Response:
        """Word a chunk's answer."""
        return json_response(step_content(answer, body))

    async def answer_in_slices(self, answer: StepAnswer, body: StepBody) -> Response:
        """``answer`` for many numbers, so that others have their turn."""
        return await json_in_slices(step_content(answer, body))

    async def forecast(self, request: Request) -> Response:
        """Look into a session's future."""
        body = await read_body(request, _FORECAST, lambda _: self.check_forecast(request.name))
        return await self.forecast_body(request.name, body)

    def check_forecast(self, session_id: str) -> Check:
        """What holds a large body to the limits of its session's model, see ``read_body``."""
        session = self._sessions.use(session_id)
        return check_known(None if session is None else session.engine)

    async def forecast_body(self, session_id: str, body: ForecastBody) -> Response:
        """Forecast what a body asks for."""
        attempt = partial(forecast_content, self._sessions, self._meter, body)
        content = await apply(self._sessions, session_id, attempt)
        return await json_in_slices({"session_id": session_id, **content})


def check_chunk(session: LiveSession | None) -> Check:
    """What holds a large chunk to the limits of its session's model, see ``read_body``; nothing without a session."""

    def check(place: BodyPlace, count: int) -> None:
        if session is None:
            return
        if not place.depth:
            session.engine.check_length(count, "the chunk")
        elif not times.is_short(session.engine, count):
            check_width_of(session.engine.given, count, place)

    return check


def check_width_of(given: RowLayout[Input], count: int, place: str) -> None:
    """Refuse more numbers at a place within a step than any input has, before they are looked at.

    Raises:
        InvalidInput: names the place.
    """
    if given.is_flat:
        check_width(count, given.parts[0], place)
    elif count > (most := max(len(part.features) for part in given.parts)):
        raise InvalidInput(f"{count} elements; a step of this model has {most} at most", place)


async def prepare_inputs(body: StepBody, sessions: Sessions, session_id: str, missing: Engine | None = None) -> None:
    """Turn the many numbers of a large chunk into arrays a slice at a time, as its session's model takes them; of the
    newest, where that refuses it and was a copy of another. ``missing``: what runs a session that there is not.

    Raises:
        InvalidInput, TooLarge: as ``chunk_inputs``.
    """
    if body.holds_numbers:
        body.inputs = await to_numbers(body.inputs, dtype="")
        if not is_of_objects(body.inputs):
            return
    session = None
    with contextlib.suppress(OstinatoError):  # which is told when the chunk is put to it
        session = sessions.use(session_id) or await sessions.find(session_id)
    engine = missing if session is None else session.engine
    try:
        await _read_slices(body, engine)
    except InvalidInput:
        if session is None or (newest := await sessions.find_newest(session_id)).engine is engine:
            raise
        await _read_slices(body, newest.engine)


async def _read_slices(body: StepBody, engine: Engine | None) -> None:
    if engine is not None and (num_steps := count_steps(body.inputs, engine.given, "inputs")) > 1:
        engine.check_length(num_steps, "the chunk")
        layout = times.layout_of(engine, body.inputs, body.at)
        body.inputs = await read_rows(body.inputs, layout, "inputs")  # type: ignore[assignment]


def chunk_inputs(engine: Engine, body: StepBody) -> NDArray[Any] | bytes | TimedRows:
    """A chunk as the ledger takes it.

    Raises:
        InvalidInput: it is not what the model takes; names the place.
        TooLarge: it has too many steps.
    """
    if body.at is None:
        return _read_chunk(engine, body, engine.given)
    layout = times.layout_of(engine, body.inputs, body.at)
    rows = _read_chunk(engine, body, layout)
    return times.timed_rows(engine, rows, layout, body.at, body.seq, body.chunk_offset)


def _read_chunk(engine: Engine, body: StepBody, layout: RowLayout[Input]) -> NDArray[Any] | bytes:
    """A chunk as steps of ``layout``, which is what the model takes, or what is sent of it; raises as above."""
    given, part = body.inputs, layout.parts[0]
    if layout.is_flat and body.holds_numbers and not isinstance(given, ReadRows):
        if len(given) > 1:
            engine.check_length(len(given), "the chunk")
        if not part.categories:
            return to_steps(given, part, engine.pack_step if layout is engine.given else None, "inputs")
    engine.check_length(count_steps(given, layout, "inputs"), "the chunk")
    return to_rows(given, layout, "inputs")


def step_content(answer: StepAnswer, body: StepBody) -> dict[str, Any]:
    """Word a chunk's answer."""
    session_id, seq, steps, outputs, made, told, watched = answer
    if not body.return_sequences:
        outputs = outputs[-1:]
    content = {"session_id": session_id, "seq": seq, "steps": steps, "outputs": made.words(outputs)}
    if made.delay is not None:
        content["speaks_of"] = first_spoken_of(steps - len(outputs), made.delay)
    if made.framing:
        content["output_steps"] = made.steps_of(made.ends_of(steps, len(outputs)))
    if told is not None:
        content["at"], content["filled"] = told.at[len(told.at) - len(outputs) :], told.filled
    if watched is not None:
        content["anomaly"] = watched.anomaly[0, -len(outputs) :]
        if watched.events:
            content["events"] = watched.events_of(0, seq)
    return content


def first_spoken_of(first: int, delay: int | dict[str, int]) -> int | dict[str, int]:
    """The step of which the first row of an answer speaks, of each output with a delay; negative before the first."""
    return first - delay if isinstance(delay, int) else {name: first - each for name, each in delay.items()}
