"""Typed BentoML routes: ``/predict``, ``/step``, ``/forecast``, ``/generate`` and ``/generate_stream``.

They take the bodies of the routes under ``/v1``, with the model or the session named in the body. The edge answers
them, like every other request; BentoML only tells its page and its client what they take.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from ostinato.service.edge.message import EventStream, Request, Response
from ostinato.service.edge.v1.generate import GenerateRoutes
from ostinato.service.edge.v1.large import Check, Convert, read_body
from ostinato.service.edge.v1.predict import CONVERT, PredictRoute
from ostinato.service.edge.v1.schemas import (
    Body,
    ForecastInput,
    GenerateInput,
    GenerateStreamInput,
    PredictInput,
    StepInput,
)
from ostinato.service.edge.v1.steps import StepRoutes
from ostinato.service.errors import InvalidInput

BodyType = TypeVar("BodyType", bound=Body)
TypedHandler = Callable[[Request], Awaitable[Response | EventStream]]


def typed_handlers(predict: PredictRoute, steps: StepRoutes, generate: GenerateRoutes) -> dict[str, TypedHandler]:
    """The handler of each path."""

    async def stream(body: GenerateStreamInput) -> Response | EventStream:
        if not body.stream:
            raise InvalidInput("this route streams; /generate does not", field="stream")
        return await generate.answer_body(body.model, body)

    return {
        "/predict": _reading(
            PredictInput,
            lambda body: predict.answer_body(body.model, body),
            lambda body: predict.check(body.model, body),
            CONVERT,
        ),
        "/step": _reading(
            StepInput, lambda body: steps.step_body(body.session_id, body), lambda body: steps.check(body.session_id)
        ),
        "/forecast": _reading(
            ForecastInput,
            lambda body: steps.forecast_body(body.session_id, body),
            lambda body: steps.check_forecast(body.session_id),
        ),
        "/generate": _reading(
            GenerateInput,
            lambda body: generate.answer_body(body.model, body),
            lambda body: generate.check(body.model, body),
        ),
        "/generate_stream": _reading(GenerateStreamInput, stream, lambda body: generate.check(body.model, body)),
    }


def _reading(
    body_type: type[BodyType],
    answer: Callable[[BodyType], Awaitable[Response | EventStream]],
    begin: Callable[[BodyType], Check],
    convert: dict[str, Convert] | None = None,
) -> TypedHandler:
    """A handler that gives ``answer`` the body; ``begin`` and ``convert`` are for a large one, see ``read_body``."""
    decoder = msgspec.json.Decoder(body_type)

    async def handle(request: Request) -> Response | EventStream:
        return await answer(await read_body(request, decoder, begin, convert=convert))

    return handle
