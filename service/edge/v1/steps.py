"""Steps of one session, and forecasts from it."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Any

import msgspec

from ostinato.service.edge.message import Request, Response, json_in_slices, json_response
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.large import FEW_BYTES, Check, is_large, read_body
from ostinato.service.edge.v1.schemas import ForecastBody, StepBody
from ostinato.service.errors import OstinatoError, TooLarge, UpgradeRequired
from ostinato.service.inference.prediction import ForecastPlan, forecast
from ostinato.service.inputs.sequences import check_width, to_steps
from ostinato.service.inputs.turns import to_numbers
from ostinato.service.sessions.chunk import StepAnswer, Waiter
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.refusals import apply, apply_anew
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions

_STEP = msgspec.json.Decoder(StepBody)
_FORECAST = msgspec.json.Decoder(ForecastBody)


class StepRoutes:
    """Handlers of ``POST /v1/sessions/{id}/step`` and ``/forecast``."""

    def __init__(self, sessions: Sessions, ledger: Ledger) -> None:
        self._sessions = sessions
        self._ledger = ledger

    async def step(self, request: Request) -> Response:
        """Apply a chunk to a session."""
        session = self._sessions.use(request.name) or await self._sessions.find(request.name)
        session.engine.check_room()
        body = await read_body(request, _STEP, lambda _: check_chunk(session))
        return await self.step_body(request.name, body)

    def check(self, session_id: str) -> Check:
        """What holds a large chunk to the limits of its session's model, see ``read_body``."""
        return check_chunk(self._sessions.use(session_id))

    async def step_body(self, session_id: str, body: StepBody) -> Response:
        """Apply a chunk that was read already."""
        body.inputs = await to_numbers(body.inputs)
        answer = await apply(self._sessions, session_id, partial(self.begin, body=body))
        return await json_in_slices(step_content(answer, body))

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
        return session, codec.decode_body(request, _STEP)

    def begin(self, session: LiveSession, body: StepBody, future: Waiter | None = None) -> Awaitable[StepAnswer]:
        """Check a chunk and put it to its session; ``future`` gets its answer, or else one that is returned."""
        engine = session.engine
        rows = body.inputs
        if len(rows) > 1:
            engine.check_length(len(rows), "the chunk")
        inputs = to_steps(rows, engine.manifest.inputs[0], engine.pack_step, "inputs")
        return self._ledger.step(session, inputs, body.seq, future)

    async def forecast(self, request: Request) -> Response:
        """Look into a session's future."""
        body = await read_body(request, _FORECAST, lambda _: self.check_forecast(request.name))
        return await self.forecast_body(request.name, body)

    def check_forecast(self, session_id: str) -> Check:
        """What holds a large body to the limits of its session's model, see ``read_body``."""
        session = self._sessions.use(session_id)

        def check(place: str, count: int) -> None:
            if session is not None:
                most = max(session.engine.max_horizon, session.engine.manifest.inputs[0].num_features)
                if count > most:
                    raise TooLarge(f"{place} has {count} values; the most is {most}")

        return check

    async def forecast_body(self, session_id: str, body: ForecastBody) -> Response:
        """Forecast what a body asks for."""
        outputs = await apply(self._sessions, session_id, partial(self._forecast, body=body))
        return await json_in_slices({"session_id": session_id, "outputs": outputs})

    async def _forecast(self, session: LiveSession, body: ForecastBody) -> Any:
        engine = session.engine
        features = ForecastPlan(engine.manifest).known_features if engine.generator is None else ()
        known_future = codec.known_future(body.known_future, features)
        return await forecast(self._sessions, session, body.horizon, known_future)

    async def refuse_without_handshake(self, _: Request) -> Response:
        """The WebSocket's path, without a handshake: those never come here."""
        raise UpgradeRequired("this is a WebSocket: connect to it with ws:// and a WebSocket client")


def check_chunk(session: LiveSession | None) -> Check:
    """What holds a large chunk to the limits of its session's model, see ``read_body``; nothing without a session."""

    def check(place: str, count: int) -> None:
        if session is None:
            return
        engine = session.engine
        if "[" in place:
            check_width(count, engine.manifest.inputs[0], place)
        else:
            engine.check_length(count, "the chunk")

    return check


def step_content(answer: StepAnswer, body: StepBody) -> dict[str, Any]:
    """Word a chunk's answer."""
    session_id, seq, steps, outputs = answer
    if not body.return_sequences:
        outputs = outputs[-1:]
    return {"session_id": session_id, "seq": seq, "steps": steps, "outputs": outputs}
