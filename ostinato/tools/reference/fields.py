"""Fields of a model as its class's docstring and its JSON Schema tell of them: meaning, type, default, bounds."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ostinato.tools.reference.markdown import escaped

_TOLD = re.compile(r"(?:(?<=\n)|(?<=^)|(?<=[.;] ))((?:``\w+``(?:, )?)+): ", re.MULTILINE)
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "as `{}`",
}
_PLAIN = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "nothing",
    "object": "object",
    "array": "list",
}

LinkTo = Callable[[str], str]
"""Makes the name of a type a link to where it is described."""


def lead_of(docstring: str) -> str:
    """What a docstring says before it tells of the first field."""
    text = inspect.cleandoc(docstring)
    first = _TOLD.search(text)
    return " ".join((text[: first.start()] if first else text).split())


def meanings_of(docstring: str) -> dict[str, str]:
    """What a docstring says of fields, where it has ``name``, a colon and words, or several names before the colon."""
    text = inspect.cleandoc(docstring)
    told = list(_TOLD.finditer(text))
    ends = [*(each.start() for each in told[1:]), len(text)][: len(told)]
    found: dict[str, str] = {}
    for each, end in zip(told, ends, strict=True):
        meaning = " ".join(text[each.end() : end].split("\n\n")[0].split())
        meaning = re.sub(r"(?<!\.)\.$|;$", "", meaning)
        found |= dict.fromkeys(re.findall(r"``(\w+)``", each[1]), meaning)
    return found


def meaning_of(model: type, name: str) -> str:
    """What the docstring of a class, or of one that it is made from, says of a field.

    Raises:
        ValueError: none says anything.
    """
    for each in model.__mro__:
        if name in (told := meanings_of(each.__doc__ or "")):
            return told[name]
    raise ValueError(f"no docstring of {model.__qualname__} says what `{name}` is")


def type_words(schema: Mapping[str, Any], link: LinkTo) -> str:
    """The type that a schema stands for, in words, with its bounds."""
    if reference := schema.get("$ref"):
        return link(reference.rpartition("/")[2])
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(each)}`" for each in schema["enum"])
    if several := schema.get("anyOf") or schema.get("oneOf"):
        choices = list(dict.fromkeys(type_words(each, link) for each in several if each.get("type") != "null"))
        if len(choices) == 2 and choices[1].startswith(f"list of {choices[0]}"):
            choices[1] = "a list of these" + choices[1].removeprefix(f"list of {choices[0]}")
        return (", or " if "," in choices[0] else " or ").join(choices)
    kind = schema.get("type", "")
    if kind == "array":
        items: Mapping[str, Any] = schema.get("items") or next(iter(schema.get("prefixItems", ())), {})
        words = f"list of {inner}" if (inner := type_words(items, link)) else "list"
    elif kind == "object" and isinstance(values := schema.get("additionalProperties"), Mapping):
        words = f"object of {type_words(values, link) or 'anything'}"
    else:
        words = "path" if schema.get("format") == "path" else _PLAIN.get(kind, "anything")
    if schema.get("format") == "binary":
        return "bytes"
    bounds = [text.format(_number(schema[key])) for key, text in _BOUNDS.items() if _says_much(schema.get(key))]
    return (
        ", ".join([words, *bounds])
        .replace("at least 1 items", "not empty")
        .replace("at least 1 characters", "not empty")
    )


def default_words(schema: Mapping[str, Any], *, is_needed: bool) -> str:
    """The default of a field, as a file has it."""
    if is_needed:
        return "**needed**"
    default = schema.get("default")
    return "" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def told(text: str) -> str:
    """A meaning as a sentence."""
    text = escaped(text)
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ".)")) or not text else ".")


def _says_much(bound: object) -> bool:
    """Whether a bound is one that somebody may meet, and not that of 64 bits."""
    return bound is not None and not (isinstance(bound, int) and abs(bound) >= 2**53)


def _number(bound: object) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}" if isinstance(bound, float) else str(bound)
