"""JSON as rows of cells, written as a text file would have them: an object or a list a line, or one list of these.

An object within an object makes a column of each of its own keys, as ``translation.en``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from math import isnan
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
    """The names of the columns, and behind them each row's cells, with the line of each. ``null`` is an empty cell.

    The columns are the keys of the first thousand objects; of lists, ``1``, ``2``, ...; of one object, whose values are
    no lists or objects, ``key`` and ``value``.

    Raises:
        InputError: the file cannot be read, or is not of that form.
    """
    rows = ((line, _cells(path, line, row)) for line, row in _rows(path))
    first = list(islice(rows, _LOOKED_AT))
    if not first:
        return
    names = list(dict.fromkeys(name for _, cells in first for name in cells))
    yield first[0][0], [name.strip() for name in names]
    known = set(names)
    for line, cells in chain(first, rows):
        if unknown := cells.keys() - known:
            raise InputError(f"{path}: line {line}: has {min(unknown)!r}, which is in no row above")
        yield line, [cells.get(name, "") for name in names]


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Each row, and the line that it is in; of one list, its place in it, counted from 1."""
    lines = [(number, line) for number, line in enumerate(read_lines(path), start=1) if line.strip()]
    if len(lines) > 1 and _is_whole(lines[0][1]):
        for number, line in lines:
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}: line {number}: is not JSON: {error}") from error
        return
    try:
        found = json.loads("".join(line for _, line in lines) or "[]")
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from error
    if isinstance(found, dict):
        found = [found] if plain_suffix(path) != ".json" else _of_object(found)
    if not isinstance(found, list):
        raise InputError(f"{path}: is no table: it is a list of objects, or an object a line")
    yield from enumerate(found, start=1)


def _is_whole(line: str) -> bool:
    try:
        return isinstance(json.loads(line), (dict, list))
    except ValueError:
        return False


def _of_object(found: dict[str, Any]) -> list[Any]:
    """The rows of one object: what it maps to what; or the list in it, where that is all it has."""
    lists = [value for value in found.values() if isinstance(value, list)]
    if len(lists) == 1 and all(isinstance(row, (dict, list)) for row in lists[0]):
        return lists[0]
    if len(lists) == len(found) > 0 and len(set(map(len, lists))) == 1:
        return [dict(zip(found, row, strict=True)) for row in zip(*lists, strict=True)]
    return [{"key": key, "value": value} for key, value in found.items()]


def _cells(path: Path, line: int, row: Any) -> dict[str, str]:
    if isinstance(row, list):
        row = {str(place): value for place, value in enumerate(row, start=1)}
    if not isinstance(row, dict):
        raise InputError(f"{path}: line {line}: is no row: each is an object, or a list of its cells")
    cells: dict[str, str] = {}
    for name, value in row.items():
        for inner, own in value.items() if isinstance(value, dict) else (("", value),):
            place = f"{name}.{inner}" if inner else name
            if isinstance(own, (dict, list)):
                raise InputError(f"{path}: line {line}: {place!r} holds {own!r:.40}, and no single value")
            cells[place] = _text(own)
    return cells


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(value).strip()
