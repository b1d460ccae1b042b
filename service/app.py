"""The BentoML service: the edge in front of BentoML's application, and what BentoML tells of the typed routes."""

from __future__ import annotations

import functools
import gc
import logging
import os
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, NoReturn

import bentoml
import msgspec
from bentoml import Service
from pydantic import BaseModel, ConfigDict, create_model

from ostinato.service import logs
from ostinato.service.edge.certificates import tls_options
from ostinato.service.edge.v1.schemas import (
    Body,
    ForecastInput,
    GenerateInput,
    GenerateStreamInput,
    PredictInput,
    StepInput,
)
from ostinato.service.errors import OstinatoError
from ostinato.service.startup import begin, settings_or_exit
from ostinato.service.tether import Tether

if TYPE_CHECKING:
    from ostinato.service.edge.asgi import App
    from ostinato.service.worker import Worker

settings = settings_or_exit()


@functools.cache
def worker() -> Worker:
    """The objects of this process, which ends with its parent from now on.

    Raises:
        SystemExit: it cannot start; the parent is told why.
    """
    tether = Tether.of(os.environ)
    tether.hold()
    # The parent of the workers has no use for the half of the library.
    from ostinato.service.edge.arrow import without_pandas

    without_pandas.settle()
    gc.freeze()  # what BentoML has imported lives as long as the process: to look at it again takes a tenth of a second
    from ostinato.service.worker import Worker

    logs.configure(settings)
    try:
        return Worker(settings, tether)
    except (OstinatoError, ValueError, OSError) as error:
        logging.getLogger(__name__).error("this worker cannot start: %s", error)
        tether.fail(str(error))
        raise SystemExit(1) from None


class EdgedService(Service[Any]):  # type: ignore[misc]  # BentoML ships no types
    """A BentoML service whose outermost ASGI application is the edge."""

    def to_asgi(self, is_main: bool = True) -> App:
        """BentoML's application behind the edge."""
        return worker().edge(super().to_asgi(is_main=is_main))


_STEPS: dict[str, Any] = {
    "oneOf": [  # of "anyOf" BentoML shows, and its client sends, the first form only
        {
            "type": "array",
            "items": {"type": "array"},
            "description": "steps of one input, each a list of its features, or nested in its shape; a word stands for "
            "its code, and null for a missing value",
        },
        {
            "type": "object",
            "additionalProperties": {"type": "array"},
            "description": "steps of each of several inputs, by name",
        },
    ]
}


def input_spec(body_type: type[Body]) -> type[BaseModel]:
    """A body as BentoML describes it to its page and its client: the members, their defaults and their bounds."""
    schema = msgspec.json.schema_components([body_type])[1][body_type.__name__]
    properties = schema["properties"]
    kinds: dict[str, Any] = {}
    if body_type is StepInput:
        properties["inputs"] = _STEPS
        kinds = {"inputs": Any}
    if body_type is PredictInput:
        properties["sequences"]["items"] = _STEPS
        kinds = {"sequences": list[Any]}
    # The model or the session first, then what must be given and what is written from: BentoML's client takes arguments
    # in this order.
    fields = sorted(
        msgspec.structs.fields(body_type),
        key=lambda field: (field.name not in ("model", "session_id"), not field.required, field.name != "inputs"),
    )
    schema["properties"] = {field.name: schema["properties"][field.name] for field in fields}
    members: dict[str, Any] = {
        field.name: (kinds.get(field.name, field.type), ... if field.required else field.default) for field in fields
    }
    config = ConfigDict(extra="forbid", json_schema_extra=lambda shown: shown.update(schema))
    return create_model(body_type.__name__, __config__=config, **members)


def _answered_by_the_edge() -> NoReturn:
    raise NotImplementedError("the edge answers the typed routes; BentoML only describes them")


@bentoml.service(
    name="ostinato",
    service_class=EdgedService,
    workers=settings.workers,
    http={"host": settings.host, "port": settings.port},
    **tls_options(settings),
    traffic={"timeout": settings.deadline_seconds or 86_400.0},
    # BentoML's own metrics count what the edge hides from them; /metrics is the edge's.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
)
class Ostinato:
    """Recurrent sequence models with sessions: the typed routes, with all options of those under ``/v1``."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    def deploy() -> None:
        """What the parent of the workers does before it starts any."""
        begin(settings, getattr(Ostinato, "bento", None))

    @bentoml.api(route="/predict", input_spec=input_spec(PredictInput))  # type: ignore[untyped-decorator]
    async def predict(self, **_: Any) -> dict[str, Any]:
        """Run whole sequences of any lengths."""
        _answered_by_the_edge()

    @bentoml.api(route="/step", input_spec=input_spec(StepInput))  # type: ignore[untyped-decorator]
    async def step(self, **_: Any) -> dict[str, Any]:
        """Apply a chunk to a session."""
        _answered_by_the_edge()

    @bentoml.api(route="/forecast", input_spec=input_spec(ForecastInput))  # type: ignore[untyped-decorator]
    async def forecast(self, **_: Any) -> dict[str, Any]:
        """Predict the steps to come of a session, which stays as it is."""
        _answered_by_the_edge()

    @bentoml.api(route="/generate", input_spec=input_spec(GenerateInput))  # type: ignore[untyped-decorator]
    async def generate(self, **_: Any) -> dict[str, Any]:
        """Write an output for each input: a text, a list of codes, or a sequence of numbers."""
        _answered_by_the_edge()

    @bentoml.api(  # type: ignore[untyped-decorator]
        route="/generate_stream", input_spec=input_spec(GenerateStreamInput)
    )
    async def generate_stream(self, **_: Any) -> AsyncGenerator[str, None]:
        """As ``generate``, in server-sent events that arrive as the steps are made."""
        yield _answered_by_the_edge()
