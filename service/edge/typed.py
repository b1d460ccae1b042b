"""Typed BentoML routes: ``/predict``, ``/step``, ``/forecast``, ``/generate`` and ``/generate_stream``.

They take the bodies of the routes under ``/v1``, with the model or the session named in the body. The edge answers
them, like every other request; BentoML only tells its page and its client what they take.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.message import EventStream, Request, Response
from ostinato.service.edge.v1.bodies import BodyForms
from ostinato.service.edge.v1.codec import decode_json
from ostinato.service.edge.v1.generate import GenerateRoutes
from ostinato.service.edge.v1.large import Check, read_body
from ostinato.service.edge.v1.predict import CONVERT, PredictRoute
from ostinato.service.edge.v1.schemas import (
    Body,
    ForecastInput,
    GenerateInput,
    GenerateStreamInput,
    NestedPredictInput,
    NestedStepInput,
    PredictInput,
    StepInput,
)
from ostinato.service.edge.v1.steps import StepRoutes
from ostinato.service.errors import InvalidInput

BodyType = TypeVar("BodyType", bound=Body)


class _Named(msgspec.Struct):
    """Whom a body names; the rest of it is passed over."""

    model: str | None = None
    session_id: str | None = None


_NAMED = msgspec.json.Decoder(_Named)
_STEP = BodyForms(StepInput, NestedStepInput, of_any_version=True)
_PREDICT = BodyForms(PredictInput, NestedPredictInput, "sequences", of_any_version=True)
TypedHandler = Callable[[Request], Awaitable[Response | EventStream]]


def typed_handlers(predict: PredictRoute, steps: StepRoutes, generate: GenerateRoutes) -> dict[str, TypedHandler]:
    """The handler of each path."""

    async def stream(body: GenerateStreamInput) -> Response | EventStream:
        if not body.stream:
            raise InvalidInput("this route streams; /generate does not", field="stream")
        return await generate.answer_body(body.model, body)

    async def run(request: Request) -> Response:
        async def given() -> RowLayout[Input]:
            return predict.given(_name_in(request, "model"))

        body = await _PREDICT.read_of(request, given, lambda body: predict.check(body.model, body), convert=CONVERT)
        return await predict.answer_body(body.model, body)

    async def step(request: Request) -> Response:
        async def given() -> RowLayout[Input]:
            return await steps.given(_name_in(request, "session_id"))

        body = await _STEP.read_of(request, given, lambda body: steps.check(body.session_id))
        return await steps.step_body(body.session_id, body)

    return {
        "/predict": run,
        "/step": step,
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


def _name_in(request: Request, member: str) -> str:
    """Whom a body names as its ``member``.

    Raises:
        InvalidInput: nobody.
    """
    name: str | None = getattr(decode_json(request.body, _NAMED, "the body"), member)
    if name is None:
        raise InvalidInput(f"Object missing required field `{member}`", member)
    return name


def _reading(
    body_type: type[BodyType],
    answer: Callable[[BodyType], Awaitable[Response | EventStream]],
    begin: Callable[[BodyType], Check],
) -> TypedHandler:
    """A handler that gives ``answer`` the body; ``begin`` is for a large one, see ``read_body``."""
    decoder = msgspec.json.Decoder(body_type)

    async def handle(request: Request) -> Response | EventStream:
        return await answer(await read_body(request, decoder, begin))

    return handle
