"""The document of all routes, OpenAPI 3.1."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import msgspec

from ostinato.service.artifact.manifest import NAME_PATTERN
from ostinato.service.catalogue.decisions import ALIAS
from ostinato.service.edge.message import JSON
from ostinato.service.edge.oip.answer_schemas import OipError
from ostinato.service.edge.oip.options import GenerateParameters, PredictParameters, SequenceParameters
from ostinato.service.edge.openapi import admin, oip, system, typed, versioned
from ostinato.service.edge.openapi.examples import Examples
from ostinato.service.edge.openapi.members import MEMBERS
from ostinato.service.edge.openapi.operation import JsonSchema, Operation
from ostinato.service.edge.openapi.refusals import PROBLEM_TYPES, forms, refusals
from ostinato.service.edge.openapi.schemas import components, kinds_in, reference
from ostinato.service.edge.v1 import answer_schemas as answers
from ostinato.service.edge.v1.schemas import StreamFrame
from ostinato.service.sessions.session import SESSION_ID_PATTERN

OPERATIONS: tuple[Operation, ...] = (
    *versioned.OPERATIONS,
    *admin.OPERATIONS,
    *oip.OPERATIONS,
    *typed.OPERATIONS,
    *system.OPERATIONS,
)

TAGS = {
    versioned.MODELS: "What is served.",
    versioned.SESSIONS: "Sequences whose state the server keeps, so that a client sends only new steps.",
    versioned.SEQUENCES: "Sequences that are sent whole.",
    versioned.GENERATION: "Models that write: texts, codes or numbers.",
    admin.ADMINISTRATION: "Versions that are loaded while the server runs, and the names of versions.",
    oip.OIP: "The protocol of Triton, KServe and their clients, with the sequence and binary-tensor extensions.",
    oip.OIP_REFUSED: "Parts of the protocol that this server does not have; each is refused with a sentence.",
    typed.TYPED: "The same routes for BentoML's client, with the model or the session in the body.",
    system.OPERATION: "For operators of the service.",
    system.DOCUMENTS: "The documents of this API.",
}
ABOUT = """Recurrent sequence models with their state held on the server, in sessions. What a live session answered \
is, to the bit, what the model answers offline.

A refusal is a problem document (RFC 9457), with a message and a machine's word, `code`; \
under `/v2` by `{"error": ...}`. A path's other methods are answered 405, with `Allow`. What has `Retry-After` may be \
retried; a chunk only with `seq`.

Bodies may come in gzip, zstd or deflate (`Content-Encoding`), and answers leave in them (`Accept-Encoding`). \
Each answer has an `X-Request-ID`, the request's own or one that was made for it."""

_NAMES: dict[str, JsonSchema] = {
    "model": {"type": "string", "pattern": NAME_PATTERN, "description": "The model's name."},
    "version": {"type": "string", "pattern": NAME_PATTERN, "description": "The model's version."},
    "alias": {"type": "string", "pattern": f"^{ALIAS.pattern}$", "description": "Another name of a version."},
    "checkpoint": {
        "type": "string",
        "pattern": SESSION_ID_PATTERN.replace(r"\Z", "$"),
        "description": "The checkpoint's name.",
    },
    "region": {"type": "string", "description": "A region's name."},
    "session_id": {
        "type": "string",
        "pattern": SESSION_ID_PATTERN.replace(r"\Z", "$"),
        "description": "The session's id.",
    },
}
_UNMENTIONED: tuple[type[msgspec.Struct], ...] = (
    StreamFrame,
    answers.StreamOutputs,
    answers.StreamProblem,
    answers.OutputStep,
    SequenceParameters,
    PredictParameters,
    GenerateParameters,
)
"""What only frames, events and parameters are."""
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}


def build(examples: Examples) -> dict[str, Any]:
    """The document, with examples for the models that are served."""
    document = copy.deepcopy(_without_examples())
    for operation in OPERATIONS:
        shown = document["paths"][operation.place][operation.method.lower()]
        for parameter in shown.get("parameters", ()):
            if parameter["in"] == "path" and (named := examples.names(operation.id, parameter["name"])):
                parameter["examples"] = {key: {"value": value} for key, value in named.items()}
        if bodies := examples.bodies(operation.id):
            shown["requestBody"]["content"][JSON]["examples"] = {
                key: {"summary": f"for the model {key}", "value": body} for key, body in bodies.items()
            }
    return document


SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of the server's, where it has keys."},
    "key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same key in a header of its own.",
    },
}


@functools.cache
def _without_examples() -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.place, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ostinato",
            "version": version("ostinato"),
            "summary": "Recurrent sequence models with sessions",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This server."}],
        "tags": [{"name": name, "description": description} for name, description in TAGS.items()],
        "paths": paths,
        "components": {"schemas": components(_kinds()), "securitySchemes": SCHEMES},
        # Where the server has keys, one of the two; where it has none, neither.
        "security": [{name: []} for name in SCHEMES] + [{}],
    }


def _kinds() -> Iterable[type[msgspec.Struct]]:
    """The types that the document refers to."""
    found: list[type[msgspec.Struct]] = [OipError, *PROBLEM_TYPES, *_UNMENTIONED]
    for operation in OPERATIONS:
        for contents in (operation.bodies, *(each.contents for each in operation.answers.values())):
            found += [kind for content in contents.values() for kind in kinds_in(content)]
    return dict.fromkeys(found)


def _operation(operation: Operation) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
    }
    if operation.description:
        shown["description"] = operation.description
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _NAMES[name]["description"],
            "schema": {key: value for key, value in _NAMES[name].items() if key != "description"},
        }
        for name in operation.names
    ]
    parameters += _query(operation)
    parameters += [
        {"name": name, "in": "header", "description": said, "schema": {"type": "integer", "minimum": 0}}
        for name, said in operation.headers.items()
    ]
    if parameters:
        shown["parameters"] = parameters
    if operation.bodies:
        shown["requestBody"] = {
            "required": operation.needs_body,
            "content": {media_type: {"schema": reference(kind)} for media_type, kind in operation.bodies.items()},
        }
    if operation.is_public:
        shown["security"] = []
    shown["responses"] = _responses(operation)
    return shown


def _query(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    properties = components([operation.query])[operation.query.__name__]["properties"]
    made = []
    for name, schema in properties.items():
        # Null cannot be written in a query: the parameter is left out.
        kept = next((each for each in schema.get("anyOf", ()) if each != {"type": "null"}), schema)
        kept = {key: value for key, value in kept.items() if key != "description"}
        if operation.query_needs or kept.get("default", ...) is None:
            # A client that sends what is the default anyway would be refused.
            kept.pop("default", None)
        needs = f" Only {operation.query_needs}." if operation.query_needs else ""
        made.append({"name": name, "in": "query", "description": f"{MEMBERS[name]}{needs}", "schema": kept})
    return made


def _responses(operation: Operation) -> dict[str, Any]:
    shown: dict[int, dict[str, Any]] = {}
    for status, answer in operation.answers.items():
        shown[status] = {"description": answer.description}
        if answer.contents:
            shown[status]["content"] = {kind: {"schema": reference(of)} for kind, of in answer.contents.items()}
        if answer.headers:
            shown[status]["headers"] = {
                name: {"description": said, "schema": {"type": "string"}} for name, said in answer.headers.items()
            }
    for status, codes in refusals(operation).items():
        told = "; ".join(f"`{code}`: {said}" for code, said in codes.items())
        contents = {media_type: {"schema": _any_of(kinds)} for media_type, kinds in forms(operation, status).items()}
        if status in shown:
            # What is told by an answer of its own may be told by a problem, too: before its route is reached.
            shown[status]["description"] += f" Or {told}."
            shown[status]["content"] = contents | shown[status]["content"]
        else:
            shown[status] = {"description": f"{told}.", "content": contents}
        if status in (429, 503):
            shown[status]["headers"] = RETRY_AFTER
        if status == 426:
            shown[status]["headers"] = {
                "Upgrade": {"description": "`websocket`.", "schema": {"type": "string"}},
                "Sec-WebSocket-Version": {"description": "`13`.", "schema": {"type": "string"}},
            }
    return {str(status): shown[status] for status in sorted(shown)}


def _any_of(kinds: Sequence[Any]) -> JsonSchema:
    schemas = [reference(kind) for kind in kinds]
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
