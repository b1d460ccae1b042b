"""Doubts about steps of an Arrow message: what is wrong with them, in the words in which JSON would be refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.arrow.cells import to_plain_row
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs.sequences import check_width, to_sequence

MAX_NARROW = 256
"""Numbers of a step up to which Arrow's own way to Python's is the faster one, inclusive."""


def judge_rows(column: pa.Array, part: Input, rows: list[int], errors: dict[int, OstinatoError]) -> Iterator[None]:
    """Add what is wrong with the inputs of doubtful ``rows`` to ``errors``; what is there already goes before."""
    for row in rows:
        if row not in errors:
            try:
                judge([column[row]], part, "inputs")
            except InvalidInput as error:
                error.field = f"inputs[{row}]{(error.field or '').removeprefix('inputs[0]')}"
                errors[row] = error
        yield


def judge(steps: list[pa.Scalar] | None, part: Input, field: str, first: int = 0) -> None:
    """Raise what is wrong with steps, in the words in which their JSON would be refused.

    ``first``: which of the sequence's steps the first of ``steps`` is.
    """
    if steps is None:
        raise InvalidInput("a list is needed, not null", field=field)
    for step, given in enumerate(steps, first):
        if not given.is_valid:
            raise InvalidInput("a list is needed, not null", field=f"{field}[{step}]")
        check_width(len(given.values), part, f"{field}[{step}]")
    is_narrow = part.num_features <= MAX_NARROW
    rows: list[Any] = [given.as_py() if is_narrow else to_plain_row(given.values) for given in steps]
    try:
        to_sequence(rows, part, field)
    except InvalidInput as error:
        place = (error.field or field).removeprefix(field).removeprefix("[0]") if first else ""
        raise InvalidInput(str(error), f"{field}[{first}]{place}" if first else error.field) from error
