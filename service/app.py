"""The BentoML service: the typed APIs, and the edge in front of everything."""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Awaitable
from http import HTTPStatus
from typing import Any

import bentoml
from bentoml import Service
from bentoml.exceptions import BentoMLException
from starlette.responses import Response as StarletteResponse

from ostinato.service.config import Settings
from ostinato.service.edge.asgi import App
from ostinato.service.edge.message import Response, json_response
from ostinato.service.edge.problems import problem_response, status_and_code
from ostinato.service.edge.v1.codec import convert_body
from ostinato.service.edge.v1.generate import generate_content, generate_events
from ostinato.service.edge.v1.routes import begin_step, forecast_content, predict_content, step_content
from ostinato.service.edge.v1.schemas import ForecastBody, GenerateBody, PredictBody, StepBody
from ostinato.service.errors import OstinatoError
from ostinato.service.worker import Worker

Sequence = list[list[float | None]]

logger = logging.getLogger(__name__)

settings = Settings()


@functools.cache
def worker() -> Worker:
    """The objects of this process."""
    return Worker(settings)


class EdgedService(Service[Any]):  # type: ignore[misc]  # BentoML ships no types
    """A BentoML service whose outermost ASGI application is the edge."""

    def to_asgi(self, is_main: bool = True) -> App:
        """BentoML's application behind the edge."""
        return worker().edge(super().to_asgi(is_main=is_main))


async def _respond(content: Awaitable[dict[str, Any]]) -> StarletteResponse:
    try:
        response: Response = json_response(await content)
    except Exception as error:
        if not isinstance(error, OstinatoError):
            logger.exception("a typed API failed")
        response = problem_response(error)
    headers = {name.decode(): value.decode() for name, value in response.headers}
    return StarletteResponse(response.body, response.status, headers, response.media_type)


@bentoml.service(
    name="ostinato",
    service_class=EdgedService,
    workers=settings.workers,
    http={"host": settings.host, "port": settings.port},
    traffic={"timeout": settings.deadline_seconds or 86_400.0},
    # BentoML's own metrics count what the edge hides from them; /metrics is the edge's.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Ostinato:
    """Recurrent sequence models with sessions: the typed APIs beside the routes under ``/v1``."""

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    async def predict(
        self, model: str, sequences: list[Sequence], version: str | None = None, return_sequences: bool = True
    ) -> dict[str, Any]:
        """Run whole sequences of any lengths."""

        async def content() -> dict[str, Any]:
            members = {"sequences": sequences, "return_sequences": return_sequences}
            body = convert_body(members, PredictBody)
            return await predict_content(worker().catalogue.resolve(model, version), body)

        return await _respond(content())  # type: ignore[return-value]

    @bentoml.api(route="/step")  # type: ignore[untyped-decorator]
    async def step(
        self, session_id: str, inputs: Sequence, seq: int | None = None, return_sequences: bool = True
    ) -> dict[str, Any]:
        """Apply a chunk to a session."""

        async def content() -> dict[str, Any]:
            sessions = worker().sessions
            members = {"inputs": inputs, "seq": seq, "return_sequences": return_sequences}
            body = convert_body(members, StepBody)
            return step_content(await begin_step(worker().ledger, await sessions.find(session_id), body), body)

        return await _respond(content())  # type: ignore[return-value]

    @bentoml.api(route="/forecast")  # type: ignore[untyped-decorator]
    async def forecast(
        self, session_id: str, horizon: int, known_future: dict[str, list[float | None]] | None = None
    ) -> dict[str, Any]:
        """Look into a session's future."""

        async def content() -> dict[str, Any]:
            sessions = worker().sessions
            body = convert_body({"horizon": horizon, "known_future": known_future}, ForecastBody)
            return await forecast_content(sessions, await sessions.find(session_id), body)

        return await _respond(content())  # type: ignore[return-value]

    @bentoml.api(route="/generate")  # type: ignore[untyped-decorator]
    async def generate(
        self,
        model: str,
        inputs: list[Any] | None = None,
        method: str = "greedy",
        max_steps: int | None = None,
        num_beams: int | None = None,
        num_return: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        return_attention: bool = False,
        version: str | None = None,
    ) -> dict[str, Any]:
        """Write an output for each input: a text, a list of codes, or a sequence of numbers."""
        members = {
            "inputs": inputs,
            "method": method,
            "max_steps": max_steps,
            "num_beams": num_beams,
            "num_return": num_return,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "seed": seed,
            "return_attention": return_attention,
            "version": version,
        }

        async def content() -> dict[str, Any]:
            return await generate_content(worker().catalogue, model, convert_body(members, GenerateBody))

        return await _respond(content())  # type: ignore[return-value]

    @bentoml.api(route="/generate_stream")  # type: ignore[untyped-decorator]
    async def generate_stream(
        self, model: str, inputs: list[Any] | None = None, method: str = "greedy", max_steps: int | None = None
    ) -> AsyncGenerator[str, None]:
        """As ``generate``, in server-sent events that arrive as the steps are made."""
        try:
            body = convert_body({"inputs": inputs, "method": method, "max_steps": max_steps}, GenerateBody)
            async for part in generate_events(worker().catalogue, model, body):
                yield part.decode()
        except OstinatoError as error:
            # Before the first event, where BentoML still can give a status.
            status, _ = status_and_code(error)
            raise BentoMLException(str(error), error_code=HTTPStatus(status)) from error
