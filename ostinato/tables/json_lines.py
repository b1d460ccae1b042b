"""JSON as rows of cells, written as a text file would have them: an object a line, or one list of objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.tables.text import plain_suffix, read_lines

SUFFIXES = (".jsonl", ".ndjson", ".json")
_LOOKED_AT = 1000


def is_json(path: Path) -> bool:
    """Whether a file is one, by its name."""
    return plain_suffix(path) in SUFFIXES


def json_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The names of the columns, and behind them each object's cells, with the line of each. ``null`` is an empty cell.

    The columns are the keys of the first thousand objects.

    Raises:
        InputError: the file cannot be read, or is not of that form.
    """
    first: list[tuple[int, Mapping[str, Any]]] = []
    rows = _objects(path)
    for row in rows:
        first.append(row)
        if len(first) == _LOOKED_AT:
            break
    names = list(dict.fromkeys(name for _, row in first for name in row))
    if not first:
        return
    yield first[0][0], [name.strip() for name in names]
    known = set(names)
    for source in (first, rows):
        for line, cells in source:
            if unknown := cells.keys() - known:
                raise InputError(f"{path}: line {line}: has the key {min(unknown)!r}, which no object above has")
            yield line, [_text(path, line, name, cells.get(name)) for name in names]


def _objects(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    lines = enumerate(read_lines(path), start=1)
    number, text = next(((number, line) for number, line in lines if line.strip()), (1, ""))
    if not text.lstrip().startswith("["):
        yield from _objects_by_line(path, [(number, text)])
        yield from _objects_by_line(path, lines)
        return
    try:
        found = json.loads(text + "".join(line for _, line in lines))
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    for place, row in enumerate(found):
        if not isinstance(row, dict):
            raise InputError(f"{path}: item {place} is no object: a table in JSON is a list of objects, or one a line")
        yield place + 1, row


def _objects_by_line(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}: line {number}: is not JSON: {error}; each line is an object") from error
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number}: is no object: each line is one, with a value for each column")
        yield number, row


def _text(path: Path, line: int, name: str, value: Any) -> str:
    if isinstance(value, (dict, list)):
        what = "an object" if isinstance(value, dict) else "a list"
        raise InputError(f"{path}: line {line}: {name!r} holds {what}, and no single value")
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(value).strip()
