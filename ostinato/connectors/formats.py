"""Formats of messages: JSON, CSV and binary, each read a batch at a time into columns."""

from __future__ import annotations

import csv
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from ostinato.connectors.bounds import nearest
from ostinato.connectors.settings import MappingSettings
from ostinato.errors import InputError

Members = tuple[Any, ...]
"""What a message holds under the names that were asked for, in their order."""
Faults = dict[int, str]


class Format(ABC):
    """A way to read messages. ``names``: the members of which each message gives its tuple."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    @abstractmethod
    def read(self, values: Sequence[bytes | None]) -> tuple[list[Members], Faults]:
        """The members of each message; of those in the faults (place -> reason) an empty tuple."""

    def check(self) -> None:
        """See that the names can be there, as far as that is known before the first message: ``InputError``."""
        return


class JsonFormat(Format):
    """Objects of JSON; a name with dots leads into those within."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self._members = _getter(self.names)
        # Between any two messages, so that what is no object by itself is none together with its neighbours: nobody
        # who sends messages knows it, and so can put it back where a message of his swallowed it.
        self._mark = secrets.token_hex(8)
        self._between = f',"{self._mark}",'.encode()

    def read(self, values: Sequence[bytes | None]) -> tuple[list[Members], Faults]:
        """See ``Format``: one run of a fast parser for all, and one of Python's for each where that fails, which takes
        more (``NaN``, numbers of any size) and says more about what it does not take.
        """
        try:
            parts = orjson.loads(b"[" + self._between.join(values) + b"]")  # type: ignore[arg-type]
            if len(parts) == 2 * len(values) - 1 and parts[1::2].count(self._mark) == len(values) - 1:
                return [self._members(record) for record in parts[::2]], {}
        except (ValueError, TypeError, LookupError, RecursionError):
            pass
        found: list[Members] = []
        faults: Faults = {}
        for place, value in enumerate(values):
            members: Members = ()
            try:
                members = self._alone(value)
            except (ValueError, RecursionError) as error:
                faults[place] = str(error)
            found.append(members)
        return found, faults

    def _alone(self, value: bytes | None) -> Members:
        if value is None:
            raise ValueError("the message is empty")
        try:
            record = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from None
        if not isinstance(record, dict):
            raise ValueError("not an object of JSON")
        return tuple(_member(record, name) for name in self.names)


class CsvFormat(Format):
    """Lines of CSV, with columns in a fixed order."""

    def __init__(self, names: Sequence[str], columns: Sequence[str]) -> None:
        super().__init__(names)
        self.columns = list(columns)

    def check(self) -> None:
        """See ``Format``."""
        if not self.columns:
            raise InputError("[mapping] columns is absent: the names of CSV's columns, in their order")
        for name in self.names:
            if name not in self.columns:
                raise InputError(f"[mapping] columns has no {name!r}; {nearest(name, self.columns)}")

    def read(self, values: Sequence[bytes | None]) -> tuple[list[Members], Faults]:
        """See ``Format``."""
        members = _items([self.columns.index(name) for name in self.names])
        found: list[Members] = []
        faults: Faults = {}
        for place, value in enumerate(values):
            cells: list[str] = []
            try:
                cells = next(csv.reader([(value or b"").decode().rstrip("\r\n")]), [])
            except (ValueError, csv.Error) as error:
                faults[place] = f"not CSV: {error}"
            if place not in faults and len(cells) != len(self.columns):
                faults[place] = f"{len(cells)} cells for {len(self.columns)} columns"
            found.append(() if place in faults else members(cells))
        return found, faults


class BinaryFormat(Format):
    """Records of a fixed size: ``layout`` has a name and a type for each member, as ``device:S8 at:<i8 x:<f4``."""

    def __init__(self, names: Sequence[str], layout: str) -> None:
        super().__init__(names)
        try:
            parts = [part.rpartition(":") for part in layout.split()]
            self.kind = np.dtype([(name, kind) for name, _, kind in parts])
        except (TypeError, ValueError) as error:
            raise InputError(f"[mapping] layout: {error}; it is as 'device:S8 at:<i8 x:<f4'") from None
        if any(self.kind[place].hasobject or not parts[place][0] for place in range(len(parts))):
            raise InputError("[mapping] layout: every member has a name, and a type of numbers or bytes")

    def check(self) -> None:
        """See ``Format``."""
        known = list(self.kind.names or ())
        for name in self.names:
            if name not in known:
                raise InputError(f"[mapping] layout has no {name!r}; {nearest(name, known)}")

    def read(self, values: Sequence[bytes | None]) -> tuple[list[Members], Faults]:
        """See ``Format``."""
        size = self.kind.itemsize
        faults = {
            place: f"{len(value or b'')} bytes where the layout has {size}"
            for place, value in enumerate(values)
            if value is None or len(value) != size
        }
        good = [value if place not in faults else bytes(size) for place, value in enumerate(values)]
        records = np.frombuffer(b"".join(good), self.kind)  # type: ignore[arg-type]
        columns = [_plain(records[name]) for name in self.names]
        found: list[Members] = list(zip(*columns, strict=True))
        return [() if place in faults else members for place, members in enumerate(found)], faults


def format_of(mapping: MappingSettings, names: Sequence[str]) -> Format:
    """The format that a mapping names, for these members.

    Raises:
        InputError: a binary layout is none.
    """
    if mapping.format == "csv":
        return CsvFormat(names, mapping.columns)
    if mapping.format == "binary":
        return BinaryFormat(names, mapping.layout)
    return JsonFormat(names)


def _plain(column: Any) -> list[Any]:
    """A column's cells as Python has them; bytes as text where they are some."""
    cells: list[Any] = column.tolist()
    return [cell.decode("utf-8", "surrogateescape") for cell in cells] if column.dtype.kind == "S" else cells


def _getter(names: list[str]) -> Callable[[Any], Members]:
    """The members of an object: at once where no name leads into another object."""
    if any("." in name for name in names):
        return lambda record: tuple(_member(record, name) for name in names)
    return _items(names)


def _items(places: Sequence[Any]) -> Callable[[Any], Members]:
    if len(places) == 1:
        only = places[0]
        return lambda record: (record[only],)
    return itemgetter(*places)


def _member(record: Any, name: str) -> Any:
    """An object's member, by its name or the way to it.

    Raises:
        ValueError: it has none; with the nearest.
    """
    found = record
    if isinstance(record, dict) and name in record:
        return record[name]
    for part in name.split("."):
        if not isinstance(found, dict) or part not in found:
            known = [str(one) for one in found] if isinstance(found, dict) else []
            raise ValueError(f"it has no {name!r}" + (f"; {nearest(part, known)}" if known else ""))
        found = found[part]
    return found
