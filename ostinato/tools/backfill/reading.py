"""Reading of columns: rows of numbers as a model takes them, and what is wrong with a row that it does not take."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.arrow.cells import is_null
from ostinato.service.edge.arrow.ipc import without_limit
from ostinato.service.edge.arrow.tensor_types import feature_part, sizes_of
from ostinato.service.edge.arrow.tensors import TensorReader, read_context, read_tensors_of_sequences
from ostinato.service.errors import InvalidInput
from ostinato.tools.backfill.input_columns import InputColumns, parts_of

Judge = Callable[[int], str]
"""What is wrong with a row; empty where nothing is."""


class ReadSteps(NamedTuple):
    """Rows of a file of which each is a step.

    Attributes:
        inputs: rows ``[n, width]`` of the manifest's ``given``.
        context: of each context its numbers in every row, ``[n, F]``.
        doubtful: bool ``[n]``, rows that may be wrong.
        judge: tells what is.
    """

    inputs: NDArray[Any]
    context: list[NDArray[Any]]
    doubtful: NDArray[np.bool_]
    judge: Judge


def read_steps(batch: pa.RecordBatch, manifest: Manifest, columns: InputColumns) -> ReadSteps:
    """Rows of which each is a step of its sequence."""
    readers: list[tuple[str, TensorReader]] = []
    tensors = {}
    for part in parts_of(manifest):
        names = columns.columns[part.name]
        if names is None:
            tensors[part.name] = np.full((len(batch), part.num_features), np.nan, part.dtype)
            continue
        own = list(_readers(batch, part, names))
        readers += own
        parts = [reader.steps for _, reader in own]
        tensors[part.name] = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    doubtful = np.any([reader.doubtful for _, reader in readers], axis=0)

    def judge(row: int) -> str:
        for name, reader in readers:
            try:
                if reader.doubtful[row]:
                    reader.judge(row, "")
            except InvalidInput as error:
                return f"column {name!r}: {error}"
        return ""

    shaped = [tensors[part.name].reshape(len(batch), *part.row_shape) for part in manifest.inputs]
    return ReadSteps(
        manifest.given.pack(shaped), [tensors[part.name] for part in manifest.context], np.asarray(doubtful), judge
    )


def _readers(batch: pa.RecordBatch, part: Input, names: Sequence[str]) -> Iterator[tuple[str, TensorReader]]:
    if len(names) == 1 and sizes_of(batch.column(names[0]).type, part) is not None:
        yield names[0], TensorReader(batch.column(names[0]), part, "")
        return
    for name, feature in zip(names, part.features, strict=True):
        yield name, TensorReader(batch.column(name), feature_part(part, feature), "")


class ReadSequences(NamedTuple):
    """Rows of a file of which each is a sequence.

    Attributes:
        sequences: rows ``[n, width]`` of each; without a step where it is wrong.
        contexts: of each, an array for each context.
        wrong: row -> what is wrong with it.
    """

    sequences: list[NDArray[Any]]
    contexts: list[tuple[NDArray[Any], ...]]
    wrong: dict[int, str]


def read_sequences_of(batch: pa.RecordBatch, manifest: Manifest, columns: InputColumns) -> ReadSequences:
    """Rows of which each is a whole sequence."""
    try:
        return ReadSequences(*_read_whole(batch, manifest, columns), {})
    except InvalidInput:
        pass  # of one or some of them, which are found one by one
    nothing = manifest.given.zeros(0)
    unknown = tuple(np.zeros(part.row_shape, part.dtype) for part in manifest.context)
    sequences, contexts, wrong = [], [], {}
    for row in range(len(batch)):
        try:
            (read,), (context,) = _read_whole(batch.slice(row, 1), manifest, columns)
        except InvalidInput as error:
            wrong[row] = f"{error.field}: {error}" if error.field else str(error)
            read, context = nothing, unknown
        sequences.append(read)
        contexts.append(context)
    return ReadSequences(sequences, contexts, wrong)


def _read_whole(
    batch: pa.RecordBatch, manifest: Manifest, columns: InputColumns
) -> tuple[list[NDArray[Any]], list[tuple[NDArray[Any], ...]]]:
    column = batch.column(columns.whole) if columns.whole else _whole_column(batch, manifest, columns.columns)
    sequences = read_tensors_of_sequences(column, manifest.given, "inputs", without_limit)
    known = [(part, columns.columns[part.name]) for part in manifest.context]
    present = {part.name: _context_column(batch, part, names) for part, names in known if names is not None}
    struct = pa.StructArray.from_arrays(list(present.values()), list(present)) if present else None
    contexts = read_context(struct, manifest.context, len(batch), "context")
    return sequences, [tuple(each) for each in contexts]


def _context_column(batch: pa.RecordBatch, part: Input, names: Sequence[str]) -> pa.Array:
    if len(names) == 1 and sizes_of(batch.column(names[0]).type, part) is not None:
        return batch.column(names[0])
    return pa.StructArray.from_arrays([batch.column(name) for name in names], list(part.features))


def _whole_column(batch: pa.RecordBatch, manifest: Manifest, columns: Mapping[str, tuple[str, ...] | None]) -> pa.Array:
    """The column ``inputs`` as it would be, of one for each tensor or feature."""
    children = []
    for part in manifest.inputs:
        names = columns[part.name] or ()
        children.append(batch.column(names[0]) if len(names) == 1 else _of_features(batch, part, names))
    if manifest.given.is_single:
        return children[0]
    return pa.StructArray.from_arrays(children, [part.name for part in manifest.inputs])


def _of_features(batch: pa.RecordBatch, part: Input, names: Sequence[str]) -> pa.Array:
    """Lists of a number a step for each feature, as lists of steps."""
    lists = [_of_any_length(batch.column(name)) for name in names]
    for name, each in zip(names, lists, strict=True):
        if each.null_count:
            row = int(np.argmax(is_null(each)))
            raise InvalidInput("a list is needed, not null", f"{name}[{row}]")
    lengths = [np.diff(each.offsets.to_numpy()) for each in lists]
    for name, length in zip(names, lengths, strict=True):
        if (length != lengths[0]).any():
            row = int(np.argmax(length != lengths[0]))
            told = f"{names[0]} {lengths[0][row]}, {name} {length[row]}"
            raise InvalidInput(f"the columns differ in their number of steps: {told}", f"{name}[{row}]")
    steps = pa.StructArray.from_arrays([each.flatten() for each in lists], list(part.features))
    bounds = np.concatenate([[0], np.cumsum(lengths[0])]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(bounds), steps)


def _of_any_length(column: pa.Array) -> pa.Array:
    return column.cast(pa.list_(column.type.value_type)) if pa.types.is_fixed_size_list(column.type) else column


def first_wrong(bounds: NDArray[np.int64], doubtful: NDArray[np.bool_], judge: Judge) -> Iterator[tuple[int, int, str]]:
    """Of each sequence the first row that is wrong: the sequence, the row, and why."""
    rows = np.flatnonzero(doubtful)
    if not len(rows):
        return
    for index, (start, end) in enumerate(pairwise(bounds.tolist())):
        for row in rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)].tolist():
            if reason := judge(row):
                yield index, row, reason
                break
