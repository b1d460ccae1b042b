"""Arrow IPC streams in and out: many sessions' steps, or whole sequences, without a number being parsed.

What Arrow cannot say for itself is held to the rules of ``service/inputs/sequences.py``: a number is taken, rounded or
refused as it would be in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.arrow.cells import check_sequence, check_step, is_list, is_null, is_text, to_steps
from ostinato.service.edge.arrow.doubts import judge, judge_rows
from ostinato.service.edge.arrow.ipc import CheckType, read_columns, read_stream, without_limit
from ostinato.service.edge.arrow.keys import KEYS, OFFSETS, check_text, read_offsets, to_seqs, to_text, to_times
from ostinato.service.edge.arrow.tensor_types import check_context, check_tensor_sequences, check_tensors
from ostinato.service.edge.arrow.tensors import (
    begin_tensors,
    read_context,
    read_tensors_of_sequences,
)
from ostinato.service.errors import InvalidInput, OstinatoError, TooLarge
from ostinato.service.sessions.offsets import RowOffsets

ARROW = "application/vnd.apache.arrow.stream"


class _OtherForm(Exception):
    """Steps that are no lists of numbers, but words, or structs of features."""


class _OfChunks(Exception):
    """Rows that are lists of steps."""


class StepRows(NamedTuple):
    """One step, or one chunk, of each of R sessions.

    Attributes:
        session_ids: R texts, empty where null; whether they may be ids is for those to check who open sessions.
        inputs: ``[R, F]`` in the dtype of the model's input, NaN where a value is missing; often read-only.
        seqs: int64 ``[R]``, ``NO_SEQ`` where null; None without such a column.
        errors: row -> what is wrong with it alone; what else is said of that row means nothing.
        id_column: the ids as Arrow has them, for ``write_rows``.
        offsets: where each is in its source; None where nothing is said of any.
        bounds: of chunks, see ``Columns``.
        at: of each step the time as text, None where null; None without such a column.
    """

    session_ids: list[str]
    inputs: NDArray[Any]
    seqs: NDArray[np.int64] | None
    errors: dict[int, OstinatoError]
    id_column: Any
    offsets: RowOffsets | None = None
    bounds: NDArray[np.int64] | None = None
    at: list[str | None] | None = None


Begun: TypeAlias = tuple[StepRows, Iterator[None] | None]


def read_rows(body: bytes | memoryview, part: Input, check_rows: Callable[[int], None] = without_limit) -> StepRows:
    """Columns ``session_id`` (text), ``inputs`` (lists of F numbers) and perhaps ``seq``, ``offset``, ``first_offset``
    (integers) and ``source`` (text), R rows.

    ``check_rows``: raises where so many rows are too many, before any of them is read.

    Raises:
        InvalidInput: the message as a whole cannot be read; names the column. A row's own faults are in ``errors``.
    """
    rows, judging = begin_rows(body, part, check_rows)
    for _ in judging or ():
        pass
    return rows


def begin_rows(
    body: bytes | memoryview,
    part: Input,
    check_rows: Callable[[int], None] = without_limit,
    check_form: CheckType = without_limit,
) -> Begun:
    """``read_rows`` up to the words for what may be wrong with a row's inputs: the iterator puts those into ``errors``,
    a row at a time. None = nothing may be. ``check_form``: looks at the type of the inputs before it is judged.
    """

    def check(kind: pa.DataType) -> None:
        check_form(kind)
        check_step(kind, part)

    message = _read_steps(body, check, check_rows)
    inputs_column = _concatenated(message.columns["inputs"])
    inputs, doubtful = to_steps(inputs_column, part)
    rows = _step_rows(message, inputs, {})
    if not doubtful.any():
        return rows, None
    return rows, judge_rows(inputs_column, part, np.flatnonzero(doubtful).tolist(), rows.errors)


def begin_any_rows(
    body: bytes | memoryview,
    given: RowLayout[Input],
    check_rows: Callable[[int], None] = without_limit,
    check_length: Callable[[int, str], None] = without_limit,
) -> Begun:
    """``begin_rows`` of one flat input, which is the quicker way, ``begin_chunk_rows`` where its rows are lists of
    steps, and ``begin_tensor_rows`` of all else.
    """
    if given.is_flat:
        try:
            return begin_rows(body, given.parts[0], check_rows, _check_form)
        except _OfChunks:
            return begin_chunk_rows(body, given.parts[0], check_rows, check_length)
        except _OtherForm:
            pass
    return begin_tensor_rows(body, given, check_rows)


def begin_chunk_rows(
    body: bytes | memoryview,
    part: Input,
    check_rows: Callable[[int], None] = without_limit,
    check_length: Callable[[int, str], None] = without_limit,
) -> Begun:
    """``begin_rows`` where ``inputs`` are lists of lists of F numbers: a chunk of any number of steps a row."""
    message = _read_steps(body, lambda kind: check_sequence(kind, part), check_rows)
    column = _concatenated(message.columns["inputs"])
    if pa.types.is_fixed_size_list(column.type):
        bounds = (np.arange(len(column) + 1) + column.offset) * column.type.list_size
    else:
        bounds = column.offsets.to_numpy().astype(np.int64)
    steps_column = column.values.slice(int(bounds[0]), int(bounds[-1] - bounds[0]))
    bounds = bounds - bounds[0]
    steps, doubtful = to_steps(steps_column, part)
    errors: dict[int, OstinatoError] = {}
    lengths, null = np.diff(bounds), is_null(column)
    for row in np.flatnonzero(null | (lengths == 0)).tolist():
        why = "a list is needed, not null" if null[row] else "there is no step in it; send at least one"
        errors[row] = InvalidInput(why, f"inputs[{row}]")
    try:
        check_length(int(lengths.max()), "")
    except TooLarge:
        for row, length in enumerate(lengths.tolist()):
            try:
                check_length(length, f"inputs[{row}]")
            except TooLarge as error:
                errors.setdefault(row, error)
    if not len(steps):
        steps = np.zeros((1, part.num_features), part.dtype)
    rows = _step_rows(message, steps, errors)._replace(bounds=bounds)
    if not doubtful.any():
        return rows, None
    return rows, _judge_chunks(steps_column, part, bounds, np.flatnonzero(doubtful).tolist(), rows.errors)


def _judge_chunks(
    steps: pa.Array, part: Input, bounds: NDArray[np.int64], doubtful: list[int], errors: dict[int, OstinatoError]
) -> Iterator[None]:
    for step in doubtful:
        row = int(np.searchsorted(bounds, step, side="right")) - 1
        if row not in errors:
            try:
                judge([steps[step]], part, f"inputs[{row}]", step - int(bounds[row]))
            except InvalidInput as error:
                errors[row] = error
        yield


def begin_tensor_rows(
    body: bytes | memoryview, given: RowLayout[Input], check_rows: Callable[[int], None] = without_limit
) -> Begun:
    """``begin_rows`` for whatever a model takes: ``inputs`` is a struct by name where it takes several, nested lists or
    tensors of fixed shape where one is nested, and may have words for codes. Its rows are ``[R, width]``.
    """
    message = _read_steps(body, lambda kind: check_tensors(kind, given, "inputs"), check_rows)
    try:
        inputs, errors, judging = begin_tensors(_concatenated(message.columns["inputs"]), given, "inputs")
    except pa.ArrowException as error:
        raise _unreadable(error) from error
    return _step_rows(message, inputs, errors), judging


def read_ids(body: bytes | memoryview, check_rows: Callable[[int], None] = without_limit) -> list[str]:
    """Column ``session_id`` (text) alone; an id that is null is empty, and nobody's.

    Raises:
        InvalidInput: the message cannot be read.
    """
    columns = read_columns(body, {"session_id": check_text}, {}, check_rows)
    ids = _concatenated([to_text(chunk) for chunk in columns["session_id"]]).to_pylist()
    return [session_id or "" for session_id in ids]


class _Message(NamedTuple):
    """The columns of a message, what its schema notes, and its ids."""

    columns: dict[str, list[pa.Array]]
    notes: Mapping[bytes, bytes]
    id_column: pa.Array


def _read_steps(body: bytes | memoryview, check_inputs: CheckType, check_rows: Callable[[int], None]) -> _Message:
    required = {"session_id": check_text, "inputs": check_inputs}
    columns, notes = read_stream(body, required, KEYS, check_rows)
    id_column = _concatenated([to_text(chunk) for chunk in columns["session_id"]])
    if not len(id_column):
        raise InvalidInput("there is no row in it; send at least one", field="inputs")
    return _Message(columns, notes, id_column)


def _step_rows(message: _Message, inputs: NDArray[Any], errors: dict[int, OstinatoError]) -> StepRows:
    columns, notes, id_column = message
    seqs = to_seqs(_concatenated(columns["seq"]), errors) if "seq" in columns else None
    placed = {name: _concatenated(columns[name]) for name in OFFSETS if name in columns}
    offsets = read_offsets(placed, notes, errors) if placed or b"source" in notes else None
    at = to_times(_concatenated(columns["at"]), errors) if "at" in columns else None
    session_ids = id_column.to_pylist()
    if id_column.null_count:
        for row in [row for row, session_id in enumerate(session_ids) if session_id is None]:
            session_ids[row] = ""
            errors[row] = InvalidInput("an id is needed, not null", field=f"session_id[{row}]")
    return StepRows(session_ids, inputs, seqs, errors, id_column, offsets, at=at)


def read_sequences(
    body: bytes | memoryview,
    part: Input,
    check_rows: Callable[[int], None] = without_limit,
    check_length: Callable[[int, str], None] = without_limit,
    check_form: CheckType = without_limit,
) -> list[NDArray[Any]]:
    """Column ``inputs``, one row a sequence: lists of any lengths of lists of F numbers.

    Args:
        check_rows, check_length: raise where so many sequences, or steps at a place, are too many; before a number is
            read.
        check_form: as of ``begin_rows``.

    Returns:
        Arrays ``[n, F]`` in the dtype of the model's input, NaN where a value is missing; views, often read-only.

    Raises:
        InvalidInput: the message cannot be read, or a sequence in it; names the column or the place.
    """

    def check(kind: pa.DataType) -> None:
        check_form(kind)
        check_sequence(kind, part)

    required = {"inputs": check}
    column = _concatenated(read_columns(body, required, {}, check_rows)["inputs"])
    if not len(column):
        raise InvalidInput("there is no sequence in it; send at least one", field="inputs")
    if pa.types.is_fixed_size_list(column.type):
        bounds = np.arange(len(column) + 1) * column.type.list_size
    else:
        bounds = column.offsets.to_numpy()
    longest = int(np.argmax(np.diff(bounds)))
    check_length(int(bounds[longest + 1] - bounds[longest]), f"inputs[{longest}]")
    first, last = int(bounds[0]), int(bounds[-1])
    steps, doubtful = to_steps(column.values.slice(first, last - first), part)
    bounds = bounds - first
    if column.null_count or (np.diff(bounds) == 0).any() or doubtful.any():
        for index in range(len(column)):
            start, end = bounds[index : index + 2]
            if start == end or not column[index].is_valid:
                judge([] if column[index].is_valid else None, part, f"inputs[{index}]")
            for step in np.flatnonzero(doubtful[start:end]).tolist():
                judge([column.values[first + start + step]], part, f"inputs[{index}]", step)
    places = bounds.tolist()
    return [steps[start:end] for start, end in pairwise(places)]


def read_any_sequences(
    body: bytes | memoryview,
    given: RowLayout[Input],
    context: Sequence[Input],
    check_rows: Callable[[int], None] = without_limit,
    check_length: Callable[[int, str], None] = without_limit,
) -> tuple[list[NDArray[Any]], list[list[NDArray[Any]]]]:
    """``read_sequences`` for whatever a model takes: lists of steps, in a struct by name where it takes several inputs;
    and the context of each sequence from the column ``context``, a struct by name.

    Returns:
        Rows ``[n, width]`` of each sequence, and its contexts, each an array of its ``row_shape``.
    """
    if given.is_flat and not context:
        with suppress(_OtherForm):
            sequences = read_sequences(body, given.parts[0], check_rows, check_length, _check_list_form)
            return sequences, [[] for _ in sequences]
    required: dict[str, CheckType] = {"inputs": lambda kind: check_tensor_sequences(kind, given, "inputs")}
    optional: dict[str, CheckType] = {"context": lambda kind: check_context(kind, context, "context")}
    columns = read_columns(body, required, optional, check_rows)
    try:
        column = _concatenated(columns["inputs"])
        if not len(column):
            raise InvalidInput("there is no sequence in it; send at least one", field="inputs")
        contexts = _concatenated(columns["context"]) if "context" in columns else None
        known = read_context(contexts, context, len(column), "context")
        return read_tensors_of_sequences(column, given, "inputs", check_length), known
    except pa.ArrowException as error:
        raise _unreadable(error) from error


def _unreadable(error: pa.ArrowException) -> InvalidInput:
    return InvalidInput(f"Arrow cannot read the columns: {str(error).partition(chr(10))[0]}")


def _concatenated(chunks: list[pa.Array]) -> pa.Array:
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _check_form(kind: pa.DataType) -> None:
    if pa.types.is_struct(kind) or is_text(kind) or (is_list(kind) and is_text(kind.value_type)):
        raise _OtherForm
    if is_list(kind) and is_list(kind.value_type):
        raise _OfChunks


def _check_list_form(kind: pa.DataType) -> None:
    if is_list(kind):
        with suppress(_OfChunks):  # sequences of what is none: told as such
            _check_form(kind.value_type)
