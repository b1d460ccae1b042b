"""Every way in offers the same options with the same defaults."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ostinato.client.async_client import AsyncClient
from ostinato.client.async_session import AsyncSession
from ostinato.client.async_stream import AsyncStream
from ostinato.client.client import Client
from ostinato.client.forecasts import ForecastOptions
from ostinato.client.generation import GenerateOptions
from ostinato.client.offsets import InSource
from ostinato.client.session import Session
from ostinato.client.stream import Stream
from ostinato.commands.generate import generate
from ostinato.service.edge.oip.options import GenerateParameters, PredictParameters, SequenceParameters
from ostinato.service.edge.v1 import schemas
from ostinato.service.inference.generation_options import Options

GIVEN = "given"
"""In place of a default: it must be given."""

NAMES = {"model", "session_id"}


def of_body(body_type: type[msgspec.Struct]) -> dict[str, Any]:
    """Member -> its default."""
    return {field.name: GIVEN if field.required else field.default for field in msgspec.structs.fields(body_type)}


def of_call(call: Callable[..., Any]) -> dict[str, Any]:
    """Parameter -> its default; ``**options`` are those of ``GenerateOptions``, ``**place`` of ``InSource``, of
    which none must be given.
    """
    parameters = [each for each in inspect.signature(call).parameters.values() if each.name != "self"]
    found = {each.name: GIVEN if each.default is each.empty else each.default for each in parameters}
    if "place" in found:
        del found["place"]
        found |= {name: of_body(schemas.StepBody)[name] for name in InSource.__annotations__}
    if "options" in found:
        del found["options"]
        found |= of_body(schemas.GenerateBody) | dict.fromkeys(GenerateOptions.__annotations__, "as the service has it")
    return found


@pytest.mark.parametrize(
    ("typed", "body"),
    [
        (schemas.PredictInput, schemas.PredictBody),
        (schemas.StepInput, schemas.StepBody),
        (schemas.ForecastInput, schemas.ForecastBody),
        (schemas.GenerateInput, schemas.GenerateBody),
        (schemas.GenerateStreamInput, schemas.GenerateBody),
        (schemas.StreamFrame, schemas.StepBody),
    ],
)
def test_a_body_that_names_its_model_or_session_has_all_options(
    typed: type[msgspec.Struct], body: type[msgspec.Struct]
) -> None:
    found = of_body(typed)
    assert len(NAMES & found.keys()) == 1
    found = {name: default for name, default in found.items() if name not in NAMES}
    # A frame has an id, by which its answer is known; a route that streams is named for it.
    found.pop("id", None)
    assert {**found, "stream": False} == {**of_body(body), "stream": False}


@pytest.mark.parametrize(
    ("query", "body", "only_in_json"),
    [
        (schemas.PredictQuery, schemas.PredictBody, {"sequences", "return_state", "initial_state", "context"}),
        (schemas.ColumnsQuery, schemas.ColumnsBody, {"session_ids", "inputs", "seq", "at", *InSource.__annotations__}),
    ],
)
def test_a_query_has_what_arrow_has_no_column_for(
    query: type[msgspec.Struct], body: type[msgspec.Struct], only_in_json: set[str]
) -> None:
    assert {**of_body(query), **{name: of_body(body)[name] for name in only_in_json}} == of_body(body)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("predict", schemas.PredictBody),
        ("score", schemas.ScoreBody),
        ("step_many", schemas.ColumnsBody),
    ],
)
def test_a_client_offers_what_the_route_does(
    kind: type[Client] | type[AsyncClient], verb: str, body: type[msgspec.Struct]
) -> None:
    found = of_call(getattr(kind, verb))
    assert found.pop("model") == GIVEN
    if verb == "step_many":  # its rows are one reading each; no source is the empty one
        assert found.pop("source") is None
        found |= {"source": "", "first_offset": None}
    assert found == of_body(body)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_opens_sessions_with_all_options(kind: type[Client] | type[AsyncClient]) -> None:
    found = of_call(kind.session)
    assert (found.pop("model"), found.pop("keep")) == (GIVEN, False)
    assert found == of_body(schemas.OpenBody)


@pytest.mark.parametrize("kind", [Session, AsyncSession])
def test_a_session_of_a_client_offers_what_the_routes_do(kind: type[Session] | type[AsyncSession]) -> None:
    # It knows its seq.
    assert {**of_call(kind.step), "seq": None} == of_body(schemas.StepBody)
    forecast = inspect.signature(kind.forecast).parameters.keys() - {"self", "options"}
    assert forecast | ForecastOptions.__annotations__.keys() == of_body(schemas.ForecastBody).keys()
    assert of_call(kind.fork) == of_body(schemas.ForkBody)


@pytest.mark.parametrize("kind", [Stream, AsyncStream])
def test_a_stream_of_a_client_offers_what_a_frame_does(kind: type[Stream] | type[AsyncStream]) -> None:
    assert {**of_call(kind.step), "seq": None, "id": None} == of_body(schemas.StreamFrame)


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("verb", ["generate", "generate_stream"])
def test_a_client_generates_with_all_options(kind: type[Client] | type[AsyncClient], verb: str) -> None:
    parameters = inspect.signature(getattr(kind, verb)).parameters
    assert (parameters["inputs"].default, parameters["options"].kind) == (None, inspect.Parameter.VAR_KEYWORD)
    # What is not given is not sent, so that its default is the service's; streaming is a verb of its own.
    assert GenerateOptions.__annotations__.keys() | {"inputs", "stream"} == of_body(schemas.GenerateBody).keys()
    assert GenerateOptions.__total__ is False


def test_the_command_generates_with_all_options() -> None:
    found = of_call(generate)
    expected = of_body(schemas.GenerateBody)
    # Its inputs are texts or a file; its pictures need the attention, and say so by themselves.
    renamed = {"log_probs": "return_log_probs", "plot": "return_attention", "texts": "inputs"}
    offered = {renamed.get(name, name): default for name, default in found.items()}
    assert expected.keys() <= offered.keys()
    same = expected.keys() - {"return_attention"}
    assert {name: offered[name] for name in same} == {name: expected[name] for name in same}


def test_what_generates_takes_all_options_of_the_body() -> None:
    of_the_answer = {"inputs", "version", "stream", "return_log_probs", "return_attention"}
    asked = {name: default for name, default in of_body(schemas.GenerateBody).items() if name not in of_the_answer}
    assert {**Options()._asdict(), "with_attention": False} == {**asked, "with_attention": False}


def test_bentoml_shows_every_option_with_its_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("OSTINATO_REPOSITORY", str(tmp_path))
    inputs: dict[str, type[msgspec.Struct]]
    service = importlib.import_module("ostinato.service.app").Ostinato
    shown = {route["route"]: route["input"] for route in service.schema()["routes"]}
    inputs = {
        "/predict": schemas.PredictInput,
        "/step": schemas.StepInput,
        "/forecast": schemas.ForecastInput,
        "/generate": schemas.GenerateInput,
        "/generate_stream": schemas.GenerateStreamInput,
    }
    assert shown.keys() == inputs.keys()
    for path, body_type in inputs.items():
        expected = of_body(body_type)
        properties = shown[path]["properties"]
        assert {name: part.get("default", GIVEN) for name, part in properties.items()} == expected
        assert set(shown[path]["required"]) == {name for name, default in expected.items() if default is GIVEN}
        assert shown[path]["additionalProperties"] is False
        # BentoML's client takes arguments in this order.
        assert next(iter(properties)) in NAMES


def test_parameters_of_the_open_inference_protocol_are_the_options_of_the_routes_by_the_same_names() -> None:
    step = {**of_body(schemas.StepBody), **of_body(schemas.OpenBody)}
    sequence = of_body(SequenceParameters)
    of_the_protocol = {name for name in sequence if name.startswith("sequence_")}
    assert of_the_protocol == {"sequence_id", "sequence_start", "sequence_end"}
    # Inputs and contexts are tensors, the session's name follows from the sequence's, which begins at its start.
    assert {name: default for name, default in sequence.items() if name not in of_the_protocol} == {
        name: default for name, default in step.items() if name not in {"inputs", "context", "session_id", "checkpoint"}
    }
    predict = of_body(schemas.PredictBody)
    assert of_body(PredictParameters) == {
        name: predict[name] for name in predict if name not in {"sequences", "initial_state", "context"}
    }
    generate = of_body(schemas.GenerateBody)
    tensors = {"inputs", "stream"}
    assert of_body(GenerateParameters) == {name: generate[name] for name in generate if name not in tensors}
