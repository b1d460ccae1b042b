"""Schemas of the document: JSON Schema of the types that requests and answers are read and held by."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import msgspec

from ostinato.service.edge.openapi.members import MEMBERS
from ostinato.service.edge.openapi.operation import Schema

REFERENCE = "#/components/schemas/{name}"
STEPS = "Steps"

_STEPS: Schema = {
    "title": STEPS,
    "description": "Steps as the model takes them: of one input a list, each step a list of its features, nested in "
    "its shape; of several inputs such a list for each by name. Null is a missing value, where the model takes one.",
    "anyOf": [
        {"type": "array", "items": {}},
        {"type": "object", "additionalProperties": {"type": "array", "items": {}}},
    ],
}


def components(kinds: Iterable[type[msgspec.Struct]]) -> dict[str, Schema]:
    """The schemas of types and of what they hold, by name."""
    _, made = msgspec.json.schema_components(list(kinds), ref_template=REFERENCE)
    named = {kind.__name__: kind for kind in _with_subclasses(msgspec.Struct)}
    schemas = {name: _described(_plain(schema), named.get(name)) for name, schema in made.items()}
    return {STEPS: _STEPS, **dict(sorted(schemas.items()))}


def reference(kind: Any) -> Schema:
    """A type's schema, by its name; a schema as it is."""
    return kind if isinstance(kind, dict) else {"$ref": REFERENCE.format(name=kind.__name__)}


def _described(schema: Schema, kind: type[msgspec.Struct] | None) -> Schema:
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
        # A reference has its own words, and generators of clients read it best alone.
        if "$ref" not in member:
            properties[name] = {"description": MEMBERS[name], **member}
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
