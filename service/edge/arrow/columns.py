"""Arrow IPC streams in and out: many sessions' steps, or whole sequences, without a number being parsed.

What Arrow cannot say for itself is held to the rules of ``service/inputs/sequences.py``: a number is taken, rounded or
refused as it would be in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.arrow.doubts import is_null, judge, judge_rows
from ostinato.service.edge.arrow.ipc import read_columns, without_limit, write_columns
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.sequences import EXACT_INTEGERS, check_codes, is_finite
from ostinato.service.sessions.blocks import NO_SEQ

ARROW = "application/vnd.apache.arrow.stream"

MAX_ID_BYTES = 128
"""Ids that share their text are refused where they are longer than this on average."""


class StepRows(NamedTuple):
    """One step of each of R sessions.

    Attributes:
        session_ids: R texts, empty where null; whether they may be ids is for those to check who open sessions.
        inputs: ``[R, F]`` in the dtype of the model's input, NaN where a value is missing; often read-only.
        seqs: int64 ``[R]``, ``NO_SEQ`` where null; None without such a column.
        errors: row -> what is wrong with it alone; what else is said of that row means nothing.
        id_column: the ids as Arrow has them, for ``write_rows``.
    """

    session_ids: list[str]
    inputs: NDArray[Any]
    seqs: NDArray[np.int64] | None
    errors: dict[int, InvalidInput]
    id_column: Any


def read_rows(body: bytes | memoryview, part: Input, check_rows: Callable[[int], None] = without_limit) -> StepRows:
    """Columns ``session_id`` (text), ``inputs`` (lists of F numbers) and perhaps ``seq`` (integers), R rows.

    ``check_rows``: raises where so many rows are too many, before any of them is read.

    Raises:
        InvalidInput: the message as a whole cannot be read; names the column. A row's own faults are in ``errors``.
    """
    rows, judging = begin_rows(body, part, check_rows)
    for _ in judging or ():
        pass
    return rows


def begin_rows(
    body: bytes | memoryview, part: Input, check_rows: Callable[[int], None] = without_limit
) -> tuple[StepRows, Iterator[None] | None]:
    """``read_rows`` up to the words for what may be wrong with a row's inputs: the iterator puts those into ``errors``,
    a row at a time. None = nothing may be.
    """
    required = {"session_id": _check_text, "inputs": lambda kind: _check_step(kind, part)}
    columns = read_columns(body, required, {"seq": _check_seq}, check_rows)
    id_column = _concatenated([_to_text(chunk) for chunk in columns["session_id"]])
    inputs_column = _concatenated(columns["inputs"])
    if not len(id_column):
        raise InvalidInput("there is no row in it; send at least one", field="inputs")
    inputs, doubtful = _to_steps(inputs_column, part)
    errors: dict[int, InvalidInput] = {}
    seqs = _to_seqs(_concatenated(columns["seq"]), errors) if "seq" in columns else None
    session_ids = id_column.to_pylist()
    if id_column.null_count:
        for row in [row for row, session_id in enumerate(session_ids) if session_id is None]:
            session_ids[row] = ""
            errors[row] = InvalidInput("an id is needed, not null", field=f"session_id[{row}]")
    judging = judge_rows(inputs_column, part, np.flatnonzero(doubtful).tolist(), errors) if doubtful.any() else None
    return StepRows(session_ids, inputs, seqs, errors, id_column), judging


def write_rows(
    session_ids: Sequence[str] | Any,
    seqs: NDArray[np.int64],
    outputs: NDArray[Any],
    errors: Mapping[int, tuple[str, str]],
) -> bytes:
    """Columns ``session_id``, ``seq`` (int64), ``outputs`` (fixed-size lists of O), ``code`` and ``detail`` (text).

    Args:
        session_ids: R ids, or the ``id_column`` that they were read from, which need not be encoded again.
        seqs: int64 ``[R]``, the steps applied before each.
        outputs: ``[R, O]``.
        errors: row -> code and detail; its ``seq`` and ``outputs`` become null. In other rows these two are.
    """
    num_rows, width = outputs.shape
    if errors:
        failed = np.zeros(num_rows, bool)
        failed[list(errors)] = True
        mask = pa.array(failed)
        code, detail = (
            pa.array([errors[row][part] if row in errors else None for row in range(num_rows)], pa.utf8())
            for part in (0, 1)
        )
    else:
        failed, mask = None, None
        code = detail = pa.nulls(num_rows, pa.utf8())
    columns = {
        "session_id": session_ids if isinstance(session_ids, pa.Array) else pa.array(session_ids, pa.utf8()),
        "seq": pa.array(seqs, mask=failed),
        "outputs": pa.FixedSizeListArray.from_arrays(pa.array(outputs.ravel()), width, mask=mask),
        "code": code,
        "detail": detail,
    }
    return write_columns(columns)


def read_sequences(
    body: bytes | memoryview,
    part: Input,
    check_rows: Callable[[int], None] = without_limit,
    check_length: Callable[[int, str], None] = without_limit,
) -> list[NDArray[Any]]:
    """Column ``inputs``, one row a sequence: lists of any lengths of lists of F numbers.

    Args:
        check_rows, check_length: raise where so many sequences, or steps at a place, are too many; before a number is
            read.

    Returns:
        Arrays ``[n, F]`` in the dtype of the model's input, NaN where a value is missing; views, often read-only.

    Raises:
        InvalidInput: the message cannot be read, or a sequence in it; names the column or the place.
    """
    required = {"inputs": lambda kind: _check_sequence(kind, part)}
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
    steps, doubtful = _to_steps(column.values.slice(first, last - first), part)
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


def write_sequences(outputs: Sequence[NDArray[Any]]) -> bytes:
    """Column ``outputs``, one row a sequence: lists of fixed-size lists of O, or these alone.

    Args:
        outputs: at least one array, all ``[n, O]`` with any n or, where only last steps were asked for, all ``[O]``.
    """
    if outputs[0].ndim == 1:
        return write_columns({"outputs": _fixed_size_lists(np.stack(outputs))})
    bounds = np.zeros(len(outputs) + 1, np.int32)
    np.cumsum([len(output) for output in outputs], out=bounds[1:])
    return write_columns(
        {"outputs": pa.ListArray.from_arrays(pa.array(bounds), _fixed_size_lists(np.concatenate(outputs)))}
    )


def _concatenated(chunks: list[pa.Array]) -> pa.Array:
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _to_text(column: pa.Array) -> pa.Array:
    """Ids as plain utf8, in whichever of Arrow's forms they came.

    Raises:
        InvalidInput: they are not text; or many rows share a long text, which would be written out for each of them.
    """
    kind = column.type
    if pa.types.is_string(kind):
        return column
    if pa.types.is_large_string(kind):
        return column.cast(pa.utf8())
    if pa.types.is_dictionary(kind):
        words = _to_text(column.dictionary)
        num_bytes = pc.sum(pc.binary_length(words).take(column.indices)).as_py() or 0
    elif pa.types.is_string_view(kind):
        # A view is 16 bytes, the first four of them the length of its text.
        lengths = np.frombuffer(column.buffers()[1], np.int32, 4 * len(column))[::4]
        num_bytes = lengths.sum(where=~is_null(column), dtype=np.int64)
    else:
        raise _unfit(kind, "text", "session_id")
    if num_bytes > MAX_ID_BYTES * len(column):
        raise InvalidInput(f"ids of more than {MAX_ID_BYTES} characters", field="session_id")
    if pa.types.is_dictionary(kind):
        return words.take(column.indices)
    # Arrow's own cast follows even the views of nulls, which nobody has checked, out of its buffers.
    return pa.array(column.to_pylist(), pa.utf8())


def _check_text(kind: pa.DataType) -> None:
    words = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(words) or pa.types.is_large_string(words) or pa.types.is_string_view(words)):
        raise _unfit(words, "text", "session_id")


def _check_seq(kind: pa.DataType) -> None:
    if not (pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise _unfit(kind, "integers", "seq")


def _check_step(kind: pa.DataType, part: Input) -> None:
    """Refuse what is not lists of F numbers; a list of no number needs no byte, and there may be any number of them."""
    width = part.num_features
    number = kind.value_type if _is_list(kind) else pa.null()
    is_bool = pa.types.is_boolean(number) and part.dtype == "bool"
    if not (pa.types.is_floating(number) or pa.types.is_integer(number) or is_bool):
        raise _unfit(kind, f"lists of {width} numbers", "inputs")
    if pa.types.is_fixed_size_list(kind) and kind.list_size != width:
        raise InvalidInput(f"lists of {kind.list_size}; a step has {width}: {part.few_features}", field="inputs")


def _check_sequence(kind: pa.DataType, part: Input) -> None:
    if not _is_list(kind) or not _is_list(kind.value_type):
        raise _unfit(kind, "lists (sequences) of lists (steps) of numbers", "inputs")
    if pa.types.is_fixed_size_list(kind) and not kind.list_size:
        raise InvalidInput("there is no step in its sequences; send at least one", field="inputs")
    _check_step(kind.value_type, part)


def _to_seqs(column: pa.Array, errors: dict[int, InvalidInput]) -> NDArray[np.int64]:
    """int64 ``[R]``, ``NO_SEQ`` where null; negative ones are added to ``errors``."""
    if pa.types.is_null(column.type):
        return np.full(len(column), NO_SEQ)
    given = column.fill_null(0) if column.null_count else column
    seqs: NDArray[np.int64] = given.to_numpy().astype(np.int64, copy=False)
    if seqs.min() < 0:  # or too large for int64
        for row in np.flatnonzero(seqs < 0).tolist():
            errors[row] = InvalidInput(f"{column[row]} is no number of steps", field=f"seq[{row}]")
    return np.where(is_null(column), NO_SEQ, seqs) if column.null_count else seqs


def _to_steps(column: pa.Array, part: Input) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Lists of F numbers as ``[n, F]`` in the dtype of the model's input, and bool ``[n]``: which are doubtful.

    A doubtful step may have been misread; ``judge`` tells what is wrong with it, if anything.
    """
    num_steps, width = len(column), part.num_features
    doubtful = np.zeros(num_steps, bool)
    if pa.types.is_fixed_size_list(column.type):
        values = column.values.slice(column.offset * width, num_steps * width)
    else:
        bounds = column.offsets.to_numpy()
        doubtful |= np.diff(bounds) != width
        if doubtful.any():
            good = ~doubtful
            steps = np.zeros((num_steps, width), part.dtype)
            steps[good], doubtful[good] = _to_steps(column.filter(pa.array(good)), part)
            return steps, doubtful
        values = column.values.slice(bounds[0], bounds[-1] - bounds[0])
    if column.null_count:
        doubtful |= is_null(column)
    return _to_numbers(values, part, doubtful), doubtful


def _to_numbers(values: pa.Array, part: Input, doubtful: NDArray[np.bool_]) -> NDArray[Any]:
    """Values, n * F of them, as ``[n, F]``; steps whose values the model may not take are marked in ``doubtful``."""
    shape = (len(doubtful), part.num_features)
    plain = values.fill_null(False if pa.types.is_boolean(values.type) else 0) if values.null_count else values
    given = plain.to_numpy(zero_copy_only=False).reshape(shape)
    given = given if given.flags.aligned else given.copy()
    array: NDArray[Any] = given
    if given.dtype != part.dtype:
        # Through float64, as a number in JSON goes.
        source = given.astype(np.float64) if given.dtype.kind in "iu" and part.dtype.startswith("float") else given
        with np.errstate(all="ignore"):
            array = source.astype(part.dtype)
        if not part.dtype.startswith("float"):
            lost = array != given
            if given.dtype.kind == "f":
                lost |= np.abs(given) > EXACT_INTEGERS
            doubtful |= lost.any(axis=1)
    if values.null_count:
        holes = is_null(values).reshape(shape)
        if part.missing:
            array = np.where(holes, array.dtype.type(np.nan), array)
        else:
            doubtful |= holes.any(axis=1)
    if array.dtype.kind == "f" and not is_finite(array):
        doubtful |= (np.isinf(array) if part.missing else ~np.isfinite(array)).any(axis=1)
    if part.is_limited:
        try:
            check_codes(array, part, "inputs")
        except InvalidInput:
            doubtful[:] = True
    return array


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _unfit(kind: pa.DataType, wanted: str, name: str) -> InvalidInput:
    return InvalidInput(f"column {name!r} is of {kind}, not of {wanted}", field=name)


def _fixed_size_lists(rows: NDArray[Any]) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])
