"""Markdown of generated pages: tables, text that is escaped, docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

MADE = "<!-- Written by `make reference` from the code: change it there. -->"

_CODE = re.compile(r"(`+[^`]*`+)")
_SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields|Every verb raises):$")
_ENTRY = re.compile(r"^(\w[\w, ]*): (.*)$")


def page(title: str, *parts: str) -> str:
    """A whole page: its title, the note that it is written by a program, and its parts."""
    return "\n\n".join((f"# {title}", MADE, *(part.strip("\n") for part in parts if part))) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def escaped(text: str) -> str:
    """Text in which nothing but code between backticks is Markdown."""
    text = text.replace("``", "`")
    return "".join(
        part if place % 2 else re.sub(r"([\\<>*_\[\]])", r"\\\1", part) for place, part in enumerate(_CODE.split(text))
    )


def described(docstring: str | None) -> str:
    """A docstring as Markdown: paragraphs, and a list for each of its sections."""
    parts: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(docstring or "")):
        first, *rest = paragraph.splitlines() or [""]
        if _SECTION.match(first):
            parts.append(f"**{first.removesuffix(':')}**\n\n{_entries(inspect.cleandoc(chr(10).join(['', *rest])))}")
        else:
            parts.append(escaped(" ".join(paragraph.split())))
    return "\n\n".join(parts)


def _entries(text: str) -> str:
    """The entries of a section as a list: a line that is not indented begins one."""
    entries: list[str] = []
    for line in text.splitlines():
        if line.startswith(" ") and entries:
            entries[-1] += f" {line.strip()}"
        else:
            entries.append(line.strip())
    return "\n".join(f"- {_named(entry)}" for entry in entries)


def _named(entry: str) -> str:
    found = _ENTRY.match(entry)
    if found is None:
        return escaped(entry)
    return f"{', '.join(f'`{name}`' for name in found[1].split(', '))}: {escaped(found[2])}"
