from __future__ import annotations

from typing import Any

import pytest

from ostinato.tools.reference.fields import default_words, lead_of, meaning_of, meanings_of, told, type_words


class Parent:
    """``a``: of the parent."""


class Child(Parent):
    """What it is,
    in two lines.

    ``b``, ``c``: what
    they are. ``d``: 1, 2, ...; ``e``: the last, as ``x: y``.

    More of it.
    """


def test_a_docstring_tells_of_its_fields() -> None:
    assert meanings_of(Child.__doc__ or "") == {
        "b": "what they are",
        "c": "what they are",
        "d": "1, 2, ...",
        "e": "the last, as ``x: y``",
    }
    assert lead_of(Child.__doc__ or "") == "What it is, in two lines."
    assert meanings_of("Nothing.") == {}
    assert lead_of("Nothing.") == "Nothing."


def test_what_a_class_does_not_say_its_parent_may() -> None:
    assert meaning_of(Child, "a") == "of the parent"
    with pytest.raises(ValueError, match="no docstring of Child says what `z` is"):
        meaning_of(Child, "z")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1}, "whole number, at least 1"),
        ({"type": "integer", "minimum": 0, "maximum": 2**63 - 1}, "whole number, at least 0"),
        ({"anyOf": [{"type": "number", "exclusiveMinimum": 0.5}, {"type": "null"}]}, "number, above 0.5"),
        ({"enum": ["a", "b"]}, '`"a"`, `"b"`'),
        ({"type": "array", "items": {"$ref": "#/$defs/Part"}}, "list of <Part>"),
        ({"type": "array", "items": {}}, "list of anything"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "object of text"),
        ({"const": 1, "type": "integer"}, "`1`"),
        ({"type": "string", "format": "binary"}, "bytes"),
        ({"type": "string", "pattern": "^a$", "maxLength": 3}, "text, at most 3 characters, as `^a$`"),
    ],
)
def test_a_type_in_words(schema: dict[str, Any], words: str) -> None:
    assert type_words(schema, lambda name: f"<{name}>") == words


def test_a_default_is_as_a_file_has_it() -> None:
    assert default_words({"default": "a"}, is_needed=False) == '`"a"`'
    assert default_words({"default": None}, is_needed=False) == ""
    assert default_words({}, is_needed=True) == "**needed**"


def test_a_meaning_becomes_a_sentence() -> None:
    assert told("of ``x``; see_this") == "Of `x`; see\\_this."
    assert told("1, ...") == "1, ..."
    assert told("") == ""
