"""Helm's templates, as far as the chart goes: conditions, loops, values, ``eq``, ``and``, ``or`` and ``quote``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_ACTION = re.compile(r"(\s*)\{\{(-?)\s*(`[^`]*`|/\*.*?\*/|[^{}]*?)\s*\}\}", re.DOTALL)
_WORD = re.compile(r'[()|]|"[^"]*"|`[^`]*`|[^\s()|]+')
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "eq": lambda first, second: first == second,
    "and": lambda *values: next((each for each in values if not each), values[-1]),
    "or": lambda *values: next((each for each in values if each), values[-1]),
    "quote": lambda value: json.dumps(str(value)),
}

Part = str | tuple[str]
"""Text, or an action."""


def render_template(text: str, values: Mapping[str, Any], release: str) -> str:
    """What Helm makes of a template; what is not among the above is an error."""
    scope = {".": {"Values": values, "Release": {"Name": release}}}
    parts = iter([*_parts(text), ("end",)])
    rendered, _ = _block(list(parts), 0, scope)
    return rendered


def _parts(text: str) -> Iterator[Part]:
    at = 0
    for match in _ACTION.finditer(text):
        space, trims, action = match.groups()
        yield text[at : match.start()] + ("" if trims else space)
        if not action.startswith("/*"):
            yield (action,)
        at = match.end()
    assert "{{" not in text[at:]
    yield text[at:]


def _block(parts: list[Part], at: int, scope: Mapping[str, Any]) -> tuple[str, int]:
    """Render from a place to the ``end`` or ``else`` that belongs to it, and tell where that is."""
    rendered = ""
    while True:
        part = parts[at]
        if isinstance(part, str):
            rendered += part
        elif part[0] in ("end", "else"):
            return rendered, at
        elif part[0].startswith("if "):
            first, at = _block(parts, at + 1, scope)
            second = ""
            if parts[at] == ("else",):
                second, at = _block(parts, at + 1, scope)
            rendered += first if _value(part[0][3:], scope) else second
        elif part[0].startswith("range "):
            name, value, of = re.fullmatch(r"range (\$\w+), (\$\w+) := (.*)", part[0]).groups()  # type: ignore[union-attr]
            rows = sorted(_value(of, scope).items()) or [("", "")]
            made = [_block(parts, at + 1, {**scope, name: key, value: each}) for key, each in rows]
            rendered += "".join(text for text, _ in made) if _value(of, scope) else ""
            at = made[0][1]
        else:
            rendered += str(_value(part[0], scope))
        at += 1


def _value(expression: str, scope: Mapping[str, Any]) -> Any:
    first, *rest = expression.split("|")
    value = _call(_WORD.findall(first), scope)
    for name in rest:
        value = _FUNCTIONS[name.strip()](value)
    return value


def _call(words: list[str], scope: Mapping[str, Any]) -> Any:
    """The value of words of which the first may be a function; takes them from the list, to the bracket that closes."""
    name = words[0] if words[0] in _FUNCTIONS else ""
    if name:
        words.pop(0)
    arguments = []
    while words:
        word = words.pop(0)
        if word == ")":
            break
        arguments.append(_call(words, scope) if word == "(" else _operand(word, scope))
    if name:
        return _FUNCTIONS[name](*arguments)
    (only,) = arguments
    return only


def _operand(word: str, scope: Mapping[str, Any]) -> Any:
    if word[0] in '"`':
        return word[1:-1]
    if word[0] == "$":
        return scope[word]
    assert word[0] == ".", f"{word} is none of what is known here"
    found = scope["."]
    for name in word[1:].split("."):
        found = found[name]
    return found
