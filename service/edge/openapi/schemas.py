"""Schemas of the document: JSON Schema of the types that requests and answers are read and held by."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, get_args, get_origin

import msgspec

from ostinato.service.edge.openapi.members import MEMBERS
from ostinato.service.edge.openapi.operation import JsonSchema

REFERENCE = "#/components/schemas/{name}"
STEPS = "Steps"

_STEPS: JsonSchema = {
    "title": STEPS,
    "description": "Steps as the model takes them: of one input a list, each step a list of its features, nested in "
    "its shape; of several inputs such a list for each by name. Null is a missing value, where the model takes one.",
    "anyOf": [
        {"type": "array", "items": {}},
        {"type": "object", "additionalProperties": {"type": "array", "items": {}}},
    ],
}


def components(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, JsonSchema]:
    """The schemas of types and of what they hold, by name."""
    _, made = msgspec.json.schema_components(list(kinds), ref_template=REFERENCE)
    named = {kind.__name__: kind for kind in _with_subclasses(msgspec.Struct)}
    schemas = {name: _described(_plain(schema), named.get(name)) for name, schema in made.items()}
    return {STEPS: _STEPS, **dict(sorted(schemas.items()))}


def reference(kind: Any) -> JsonSchema:
    """A type's schema, by its name; of a list the list's; a schema as it is."""
    if isinstance(kind, dict):
        return kind
    if get_origin(kind) is list:
        return {"type": "array", "items": reference(*get_args(kind))}
    return {"$ref": REFERENCE.format(name=kind.__name__)}


def kinds_in(kind: Any) -> Sequence[type[msgspec.Struct]]:
    """The types that a type's schema refers to."""
    if isinstance(kind, dict):
        return ()
    return get_args(kind) if get_origin(kind) is list else (kind,)


def _described(schema: JsonSchema, kind: type[msgspec.Struct] | None) -> JsonSchema:
    """With what its members mean; and where steps may be anything that a model takes, with that in place of the form
    that is read most quickly.
    """
    if schema.get("type") != "object":
        return schema
    # What a type says behind its first paragraph is for those who read the code.
    if kind is not None and kind.__doc__:
        schema["description"] = inspect.cleandoc(kind.__doc__).partition("\n\n")[0].replace("``", "`")
    properties = schema.get("properties", {})
    if hasattr(kind, "holds_numbers"):
        steps = reference({"$ref": REFERENCE.format(name=STEPS)})
        if "sequences" in properties:
            properties["sequences"] = {"type": "array", "items": steps}
        else:
            properties["inputs"] = steps
    for name, member in properties.items():
        told = MEMBERS.get(f"{schema['title']}.{name}") or MEMBERS[name]
        properties[name] = {"description": told, **member}
    return schema


def _plain(schema: Any) -> Any:
    """Arrays of anything with ``items``, which readers of schemas expect, and patterns as ECMAScript has them."""
    if isinstance(schema, list):
        return [_plain(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _plain(value) for key, value in schema.items()}
    if made.get("type") == "array":
        made.setdefault("items", {})
    if isinstance(made.get("pattern"), str):
        made["pattern"] = made["pattern"].replace(r"\Z", "$")
    return made


def _with_subclasses(kind: type[msgspec.Struct]) -> Iterable[type[msgspec.Struct]]:
    for each in kind.__subclasses__():
        yield each
        yield from _with_subclasses(each)
