from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from ostinato.service.edge.desk import Desk
from ostinato.service.edge.message import JSON
from ostinato.service.edge.openapi.document import OPERATIONS, build
from ostinato.service.edge.openapi.examples import Examples
from ostinato.service.edge.openapi.members import MEMBERS
from ostinato.service.edge.openapi.operation import Operation
from ostinato.service.edge.openapi.refusals import refusals, status_of
from ostinato.service.edge.problems import MEDIA_TYPE, PROBLEMS
from ostinato.service.edge.routes import Routes
from ostinato.service.edge.system import SystemRoutes
from ostinato.service.edge.v1.schemas import Body
from tests.service.puppet import House

DOCUMENT = build(Examples([]))
SCHEMAS = DOCUMENT["components"]["schemas"]
OF_OTHERS = {("GET", path) for path in (*SystemRoutes.paths, "/openapi.json", "/docs")}
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 0.5, 1, 10, 10.5, 1000, 1000.5, 1001, 10**9, 10**9 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 1e-300,
    "", "a", "a b", "x" * 128, "x" * 129, "greedy", "guess", [], [1], ["a"], [["a"]], [[1.5]], [None],
    {}, {"a": [1]}, {"a": None}, [{}], [[]],
)  # fmt: skip
BODIES = sorted({kind for each in OPERATIONS for kind in each.bodies.values() if isinstance(kind, type)}, key=str)


def test_it_is_valid() -> None:
    validate(DOCUMENT)


async def test_it_has_each_route_that_is_answered_and_no_other() -> None:
    house = House()
    live: Any = Mock()  # which nobody asks anything
    routes = Routes(house.catalogue, house.sessions, house.ledger, Desk(house.metrics, house.settings), live=live)
    described = [(each.method, each.path) for each in OPERATIONS]
    assert sorted(described) == sorted({*routes.patterns, *OF_OTHERS})


def test_each_operation_has_a_name_of_its_own_and_names_for_all_of_its_path() -> None:
    assert len({each.id for each in OPERATIONS}) == len(OPERATIONS)
    for each in OPERATIONS:
        assert each.path.count("{}") == len(each.names), each.id
        shown = DOCUMENT["paths"][each.place][each.method.lower()]
        assert [part["name"] for part in shown.get("parameters", ()) if part["in"] == "path"] == list(each.names)


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
def test_a_body_has_the_members_that_are_read_and_takes_what_is_taken(kind: type[Body]) -> None:
    schema = SCHEMAS[kind.__name__]
    fields = msgspec.structs.fields(kind)
    assert list(schema["properties"]) == [field.encode_name for field in fields]
    assert set(schema["required"]) == {field.encode_name for field in fields if field.required}
    assert schema.get("additionalProperties", True) is not kind.__struct_config__.forbid_unknown_fields
    of_steps = {"inputs", "sequences"} if hasattr(kind, "holds_numbers") else set()
    for field in fields:
        if field.name in of_steps:  # what a model takes is more than the form that is read most quickly
            continue
        member = schema["properties"][field.encode_name]
        if not field.required:
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            assert member["default"] == default, field.name
        validator = Draft202012Validator({**member, "components": DOCUMENT["components"]})
        for value in VALUES:
            assert validator.is_valid(value) == takes(field.type, value), (field.name, value)


def takes(kind: Any, value: object) -> bool:
    try:
        msgspec.json.decode(json.dumps(value), type=kind)
    except msgspec.ValidationError:
        return False
    return True


def test_what_a_query_may_have_is_described_with_its_bounds() -> None:
    [page] = [each for each in OPERATIONS if each.id == "listSessions"]
    parameters = DOCUMENT["paths"][page.place]["get"]["parameters"]
    assert {each["name"]: each["schema"] for each in parameters} == {
        "model": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
        "cursor": {"type": "string"},
        "tenant": {"type": "string"},
    }


def test_every_member_is_explained_and_nothing_else() -> None:
    shown = {name for schema in SCHEMAS.values() for name in schema.get("properties", ())}
    queries = {field.name for each in OPERATIONS if each.query for field in msgspec.structs.fields(each.query)}
    shown |= {f"{name}.{member}" for name, schema in SCHEMAS.items() for member in schema.get("properties", ())}
    assert {name for name in MEMBERS if name not in shown | queries} == set()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_each_status_of_a_refusal_has_a_typed_problem(operation: Operation) -> None:
    responses = DOCUMENT["paths"][operation.place][operation.method.lower()]["responses"]
    wanted = {str(status_of(operation, error)) for error in operation.raises} | {"500"}
    assert set(responses) == wanted | {str(status) for status in operation.answers}
    for status, codes in refusals(operation).items():
        response = responses[str(status)]
        assert all(f"`{code}`" in response["description"] for code in codes)
        if operation.is_of_protocol:
            assert response["content"][JSON]["schema"]["$ref"].endswith(("/OipError", "/OipReady"))
            continue
        told = json.dumps(response["content"][MEDIA_TYPE]["schema"])
        assert ("InvalidInputProblem" in told) == ("invalid_input" in codes)
        assert ("SeqConflictProblem" in told) == ("seq_conflict" in codes)
        assert ("Retry-After" in response.get("headers", {})) == (status in (429, 503))


def test_every_error_is_some_operations() -> None:
    # What was judged by an old copy is judged anew, and a path has no other methods than those that are here.
    unseen = {error.__name__ for error in PROBLEMS} - {e.__name__ for each in OPERATIONS for e in each.raises}
    assert unseen == {"CopyOutdated", "MethodNotAllowed"}
