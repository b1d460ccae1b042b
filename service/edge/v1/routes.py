"""The routes under ``/v1``: from a request's bytes to the domain and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.arrow import columns as arrow
from ostinato.service.edge.message import EventStream, Request, Response, json_response
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.columns import ColumnSteps
from ostinato.service.edge.v1.generate import GenerateRoutes
from ostinato.service.edge.v1.schemas import ForecastBody, PredictBody, StepBody
from ostinato.service.edge.v1.sessions import SessionLife
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, MethodNotAllowed, UnknownRoute, UpgradeRequired
from ostinato.service.inference.prediction import ForecastPlan, forecast, predict
from ostinato.service.inputs.sequences import to_sequence, to_states, to_steps
from ostinato.service.sessions.chunk import StepAnswer, Waiter
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions

Handler = Callable[[Request], Awaitable[Response]] | Callable[[Request], Awaitable[Response | EventStream]]

STEP = "/v1/sessions/{}/step"

_STEP = msgspec.json.Decoder(StepBody)
_PREDICT = msgspec.json.Decoder(PredictBody)
_FORECAST = msgspec.json.Decoder(ForecastBody)


class Rest:
    """Handlers of ``/v1``, by method and path.

    Every path is ``/v1/<collection>``, ``/v1/<collection>/<name>`` or ``/v1/<collection>/<name>/<action>``, so that
    one look into a dictionary finds its handler.
    """

    def __init__(self, catalogue: Catalogue, sessions: Sessions, ledger: Ledger) -> None:
        self._catalogue = catalogue
        self._sessions = sessions
        self._ledger = ledger
        self.columns = ColumnSteps(catalogue, sessions, ledger)
        life, generating = SessionLife(sessions), GenerateRoutes(catalogue)
        routes: dict[tuple[str, str], Handler] = {
            ("GET", "/v1/models"): self.list_models,
            ("GET", "/v1/models/{}"): self.show_model,
            ("POST", "/v1/models/{}/predict"): self.predict,
            ("POST", "/v1/models/{}/step"): self.columns.answer,
            ("POST", "/v1/models/{}/generate"): generating.generate,
            ("POST", "/v1/models/{}/score"): generating.score,
            ("POST", "/v1/models/{}/sessions"): life.open,
            ("GET", "/v1/models/{}/stream"): self.stream,
            ("GET", "/v1/sessions"): life.list,
            ("GET", "/v1/sessions/{}"): life.show,
            ("DELETE", "/v1/sessions/{}"): life.close,
            ("POST", "/v1/sessions/{}/reset"): life.reset,
            ("POST", "/v1/sessions/{}/fork"): life.fork,
            ("GET", "/v1/sessions/{}/state"): life.get_state,
            ("PUT", "/v1/sessions/{}/state"): life.put_state,
            ("POST", "/v1/sessions/{}/step"): self.step,
            ("POST", "/v1/sessions/{}/forecast"): self.forecast,
        }
        # By the number of parts, the collection and the action: all of a path but its name.
        self._paths: dict[tuple[int, str, str], tuple[str, dict[str, Handler]]] = {}
        for (method, path), handler in routes.items():
            _, _, collection, _, action = [*path.split("/"), "", ""][:5]
            self._paths.setdefault((path.count("/") + 1, collection, action), (path, {}))[1][method] = handler

    def route(self, method: str, path: str) -> tuple[str, str, Handler]:
        """The route that serves a path: its pattern, the path's variable part, and the handler.

        Raises:
            UnknownRoute, MethodNotAllowed.
        """
        if method == "HEAD":  # the server leaves the body out
            method = "GET"
        parts = path.split("/")
        num_parts = len(parts)
        found = self._paths.get((num_parts, parts[2] if num_parts > 2 else "", parts[4] if num_parts == 5 else ""))
        if found is None:
            raise UnknownRoute(f"there is no {path}; the README lists the routes")
        pattern, handlers = found
        handler = handlers.get(method)
        if handler is None:
            allowed = tuple(sorted(handlers))
            raise MethodNotAllowed(f"{pattern} takes {' and '.join(allowed)}, not {method}", allowed)
        return pattern, parts[3] if num_parts > 3 else "", handler

    async def list_models(self, _: Request) -> Response:
        """All models, served or not."""
        return json_response({"models": [self._model(name) for name in self._catalogue.models]})

    async def show_model(self, request: Request) -> Response:
        """One model with the manifest of its latest served version."""
        model = self._model(request.name)
        versions = self._catalogue.versions(request.name)
        latest = next(reversed(versions.values()), None)
        model["manifest"] = latest.manifest.model_dump(mode="json") if latest else None
        return json_response(model)

    async def predict(self, request: Request) -> Response:
        """Whole sequences of any lengths."""
        if request.media_type == arrow.STREAM:
            return await self._predict_arrow(request)
        body = codec.decode_body(request, _PREDICT)
        engine = self._catalogue.resolve(request.name, body.version)
        return json_response(await predict_content(engine, body))

    async def _predict_arrow(self, request: Request) -> Response:
        engine = self._catalogue.resolve(request.name, request.query().get("version"))
        engine.check_room()
        go_backwards, return_sequences = request.flag("go_backwards"), request.flag("return_sequences", default=True)
        sequences = arrow.read_sequences(request.body, engine.manifest.inputs[0])
        for index, sequence in enumerate(sequences):
            engine.check_length(len(sequence), f"inputs[{index}]")
        if go_backwards:
            sequences = [np.ascontiguousarray(sequence[::-1]) for sequence in sequences]
        outputs = [made.outputs for made in await predict(engine, sequences, [None] * len(sequences))]
        if not return_sequences:
            outputs = [made[-1] for made in outputs]
        return Response(200, arrow.write_sequences(outputs), arrow.STREAM)

    async def step(self, request: Request) -> Response:
        """Apply a chunk to a session."""
        session, body = self.read_step(request) or self._read_step(await self._sessions.find(request.name), request)
        return json_response(step_content(await begin_step(self._ledger, session, body), body))

    async def stream(self, _: Request) -> Response:
        """The WebSocket's path, without a handshake: those never come here."""
        raise UpgradeRequired("this is a WebSocket: connect to it with ws:// and a WebSocket client")

    def read_step(self, request: Request) -> tuple[LiveSession, StepBody] | None:
        """A chunk, and its session where that is in memory; None where it is not."""
        session = self._sessions.resident(request.name)
        return None if session is None else self._read_step(session, request)

    def _read_step(self, session: LiveSession, request: Request) -> tuple[LiveSession, StepBody]:
        session.engine.check_room()
        return session, codec.decode_body(request, _STEP)

    def begin_step(self, session: LiveSession, body: StepBody, future: Waiter) -> None:
        """Put a chunk to its session, its answer to ``future``."""
        begin_step(self._ledger, session, body, future)

    async def forecast(self, request: Request) -> Response:
        """Look into a session's future."""
        body = codec.decode_body(request, _FORECAST)
        session = await self._sessions.find(request.name)
        return json_response(await forecast_content(self._sessions, session, body))

    def _model(self, name: str) -> dict[str, Any]:
        versions, rejections = self._catalogue.versions(name), self._catalogue.rejected(name)
        task = next(reversed(versions.values())).manifest.task if versions else None
        return {
            "model": name,
            "task": task,
            "versions": list(versions),
            "status": "ready" if versions else "failed",
            "failed": [{"version": rejection.version, "reason": rejection.reason} for rejection in rejections],
        }


def begin_step(
    ledger: Ledger, session: LiveSession, body: StepBody, future: Waiter | None = None
) -> Awaitable[StepAnswer]:
    """Check a chunk and put it to its session; ``future`` gets its answer, or else one that is returned."""
    engine = session.engine
    rows = body.inputs
    if len(rows) > 1:
        engine.check_length(len(rows), "the chunk")
    return ledger.step(session, to_steps(rows, engine.manifest.inputs[0], engine.pack_step, "inputs"), body.seq, future)


def step_content(answer: StepAnswer, body: StepBody) -> dict[str, Any]:
    """Word a chunk's answer."""
    session_id, seq, steps, outputs = answer
    if not body.return_sequences:
        outputs = outputs[-1:]
    return {"session_id": session_id, "seq": seq, "steps": steps, "outputs": outputs}


async def forecast_content(sessions: Sessions, session: LiveSession, body: ForecastBody) -> dict[str, Any]:
    """Forecast and word the answer."""
    engine = session.engine
    features = ForecastPlan(engine.manifest).known_features if engine.generator is None else ()
    outputs = await forecast(sessions, session, body.horizon, codec.known_future(body.known_future, features))
    return {"session_id": session.session_id, "outputs": outputs}


async def predict_content(engine: Engine, body: PredictBody) -> dict[str, Any]:
    """Run whole sequences and word the answer: outputs ``[n, O]`` each, or ``[O]`` without ``return_sequences``."""
    manifest = engine.manifest
    if not body.sequences:
        raise InvalidInput("there is no sequence in it; send at least one", field="sequences")
    for index, rows in enumerate(body.sequences):
        engine.check_length(len(rows), f"sequences[{index}]")
    sequences = [
        to_sequence(rows, manifest.inputs[0], f"sequences[{index}]") for index, rows in enumerate(body.sequences)
    ]
    if body.go_backwards:
        sequences = [np.ascontiguousarray(sequence[::-1]) for sequence in sequences]
    initial_states = _initial_states(engine, body)
    predictions = await predict(engine, sequences, initial_states, with_states=body.return_state)
    content: dict[str, Any] = {
        "model": manifest.name,
        "version": manifest.version,
        "outputs": [made.outputs if body.return_sequences else made.outputs[-1] for made in predictions],
    }
    if body.return_state:
        names = [state.name for state in manifest.states]
        content["states"] = [dict(zip(names, made.states, strict=True)) for made in predictions]
    return content


def _initial_states(engine: Engine, body: PredictBody) -> list[list[NDArray[Any]] | None]:
    given = body.initial_state
    if given is None:
        return [None] * len(body.sequences)
    if isinstance(given, dict):
        return [to_states(given, engine.manifest, "initial_state")] * len(body.sequences)
    if len(given) != len(body.sequences):
        raise InvalidInput(f"{len(given)} states for {len(body.sequences)} sequences", field="initial_state")
    return [
        None if states is None else to_states(states, engine.manifest, f"initial_state[{index}]")
        for index, states in enumerate(given)
    ]
