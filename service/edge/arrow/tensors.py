"""Columns of Arrow for whatever tensors a model takes and gives: a struct by name where there are several, nested lists
or Arrow's tensors of fixed shape in a nested one's shape, words for codes. Lists of numbers of one flat tensor, which
are most of what there is, go by ``columns`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.edge.arrow.cells import is_null, is_text, to_numbers, to_plain_row
from ostinato.service.edge.arrow.tensor_types import feature_part, is_by_feature, sizes_of
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs.rows import to_rows


def begin_tensors(
    column: pa.Array, given: RowLayout[Input], field: str
) -> tuple[NDArray[Any], dict[int, OstinatoError], Iterator[None] | None]:
    """Steps, one a row, as rows ``[n, width]``, NaN where a value is missing; and what is wrong with a row alone, whose
    numbers then mean nothing: the iterator adds it, a row at a time. None = nothing is, or all is said.
    """
    errors: dict[int, OstinatoError] = {}
    tensors = []
    doubts: list[tuple[TensorReader, list[int]]] = []
    for part, child, place in _children(column, given.parts, field, errors, by_name=not given.is_single):
        reader = TensorReader(child, part, place)
        tensors.append(reader.steps.reshape(len(reader.steps), *part.row_shape))
        if reader.doubtful.any():
            doubts.append((reader, np.flatnonzero(reader.doubtful).tolist()))
    return given.pack(tensors), errors, _judge_rows(doubts, errors) if doubts else None


def _judge_rows(doubts: Sequence[tuple[TensorReader, list[int]]], errors: dict[int, OstinatoError]) -> Iterator[None]:
    for reader, rows in doubts:
        for row in rows:
            if row not in errors:
                try:
                    reader.judge(row)
                except InvalidInput as error:
                    errors[row] = error
            yield


def read_tensors_of_sequences(
    column: pa.Array, given: RowLayout[Input], field: str, check_length: Callable[[int, str], None]
) -> list[NDArray[Any]]:
    """Sequences, one a row, each as rows ``[n, width]``.

    ``check_length``: raises where so many steps at a place are too many, before a number is read.

    Raises:
        InvalidInput: one cannot be read; names the place.
    """
    errors: dict[int, OstinatoError] = {}
    listed = list(_children(column, given.parts, field, errors, by_name=not given.is_single))
    if errors:
        raise errors[min(errors)]
    bounds = [_bounds(child, field, place.removeprefix(field)) for _, child, place in listed]
    lengths = np.diff(np.stack(bounds))
    if (lengths != lengths[0]).any():
        row = int(np.argmax((lengths != lengths[0]).any(axis=0)))
        told = ", ".join(f"{part.name} {length[row]}" for part, length in zip(given.parts, lengths, strict=True))
        raise InvalidInput(f"the inputs differ in their number of steps: {told}", f"{field}[{row}]")
    longest = int(np.argmax(lengths[0]))
    check_length(int(lengths[0, longest]), f"{field}[{longest}]")
    tensors = []
    for (part, child, place), bound in zip(listed, bounds, strict=True):
        steps = _storage(child.values.slice(int(bound[0]), int(bound[-1] - bound[0])))
        reader = TensorReader(steps, part, "")
        for step in np.flatnonzero(reader.doubtful).tolist():
            row = int(np.searchsorted(bound - bound[0], step, side="right")) - 1
            name = f"{place.removeprefix(field)}[{step - int(bound[row] - bound[0])}]"
            reader.judge(step, f"{field}[{row}]{name}")
        tensors.append(reader.steps.reshape(len(reader.steps), *part.row_shape))
    rows = given.pack(tensors)
    places = (bounds[0] - bounds[0][0]).tolist()
    return [rows[start:end] for start, end in pairwise(places)]


def read_context(
    column: pa.Array | None, context: Sequence[Input], num_rows: int, field: str
) -> list[list[NDArray[Any]]]:
    """The context of each of ``num_rows`` sequences, each an array of its ``row_shape``; None = no such column.

    Raises:
        InvalidInput: one cannot be read; names the place.
    """
    errors: dict[int, OstinatoError] = {}
    read: dict[str, NDArray[Any]] = {}
    if column is not None:
        names = {column.type.field(index).name for index in range(column.type.num_fields)}
        present = [part for part in context if part.name in names]
        for part, child, _ in _children(column, present, field, errors, by_name=True):
            if errors:
                raise errors[min(errors)]
            reader = TensorReader(child, part, "")
            for row in np.flatnonzero(reader.doubtful).tolist():
                reader.judge(row, f"{field}[{row}].{part.name}")
            read[part.name] = reader.steps
    for part in context:
        if part.name not in read and not part.missing:
            raise InvalidInput(
                f"{part.name!r} is absent, which this model needs for each sequence: a column 'context', of structs",
                field,
            )
        if part.name not in read:
            read[part.name] = np.full((num_rows, part.num_features), np.nan, part.dtype)
    return [[read[part.name][row].reshape(part.row_shape) for part in context] for row in range(num_rows)]


class TensorReader:
    """A column of one tensor's steps.

    Attributes:
        steps: ``[n, F]`` in its dtype.
        doubtful: bool ``[n]``: which may have been misread; ``judge`` tells what is wrong with one, if anything.
    """

    def __init__(self, column: pa.Array, part: Input, field: str) -> None:
        self._column, self._part, self._field = _storage(column), part, field
        self._features: list[TensorReader] = []
        if is_by_feature(self._column.type, part):
            self._read_features()
            return
        sizes = sizes_of(self._column.type, part)
        assert sizes is not None, "the type was looked at before"
        self._sizes = sizes
        values, self._is_whole = _values(self._column, sizes)
        good = self._is_whole
        doubtful = np.zeros(int(np.count_nonzero(good)), bool)
        if is_text(values.type):
            values, unknown = _to_codes(values, part)
            doubtful |= unknown.reshape(len(doubtful), -1).any(axis=1)
        numbers = to_numbers(values, part, doubtful)
        if good.all():
            self.steps, self.doubtful = numbers, doubtful
        else:
            self.steps = np.zeros((len(good), part.num_features), part.dtype)
            self.steps[good] = numbers
            self.doubtful = ~good
            self.doubtful[good] |= doubtful

    def _read_features(self) -> None:
        self._features = [
            TensorReader(self._column.field(name), feature_part(self._part, name), "") for name in self._part.features
        ]
        self.steps = np.concatenate([feature.steps for feature in self._features], axis=1)
        self.doubtful = np.any([feature.doubtful for feature in self._features], axis=0)
        if self._column.null_count:
            self.doubtful |= is_null(self._column)

    def judge(self, step: int, place: str | None = None) -> None:
        """Raise what is wrong with a step, in the words in which its JSON would be refused.

        ``place``: of the step; None = in the column.
        """
        place = f"{self._field}[{step}]" if place is None else place
        if self._features:
            if not self._column[step].is_valid:
                raise InvalidInput("an object is needed, not null", place)
            for index, feature in enumerate(self._features):
                feature.judge(step, f"{place}[{index}]")
            return
        alone, is_whole = self._column.slice(step, 1), bool(self._is_whole[step])
        if not is_whole:
            _judge_lists(alone[0], self._sizes, place)
        values, _ = _values(alone, self._sizes)
        given: Any = [values.to_pylist()]
        if not is_text(values.type):
            given = to_plain_row(values).reshape(1, *self._part.row_shape)
        try:
            to_rows(given, RowLayout((self._part,)), place)
        except InvalidInput as error:
            inner = (error.field or place).removeprefix(place).removeprefix("[0]")
            raise InvalidInput(str(error), place + (inner if self._sizes else "")) from error


def to_column(made: RowLayout[Output], rows: NDArray[Any], null: pa.Array | None = None) -> pa.Array:
    """One step's outputs a row ``[n, width]``: nested lists of fixed size, in a struct by name where there are several;
    null where ``null`` is true.
    """
    if made.is_single:
        return _nested(made.unpack(rows)[0], null)
    children = [_nested(np.ascontiguousarray(tensor)) for tensor in made.unpack(rows)]
    return pa.StructArray.from_arrays(children, [part.name for part in made.parts], mask=null)


def to_sequences_column(
    made: RowLayout[Output], outputs: Sequence[NDArray[Any]], null: NDArray[np.bool_] | None = None
) -> pa.Array:
    """The outputs of one sequence a row: lists of steps, in a struct by name where there are several. One that is made
    once a run is a list of one step. ``outputs``: rows ``[n, width]`` of any n; null where ``null`` is true.
    """
    words = [made.words(rows) for rows in outputs]
    if made.is_single:
        return _lists(words, (made.width,) if made.is_flat else made.shown[0].row_shape, null)
    children = [_lists([word[part.name] for word in words], part.row_shape) for part in made.shown]
    return _struct(children, [part.name for part in made.shown], null)


def to_steps_column(made: RowLayout[Output], ends: NDArray[np.int64], absent: NDArray[np.bool_]) -> pa.Array:
    """Of ``to_column``'s rows, answers to frames that are complete after ``ends`` [n] steps, the steps that they are
    of; null where ``absent``.
    """
    mask = pa.array(absent)

    def column(steps: NDArray[np.int64]) -> pa.Array:
        return pa.array(steps, mask=absent) if steps.ndim == 1 else _nested(steps, mask)

    steps = made.steps_of(ends, of_many=True)
    if made.is_single:
        return column(steps)
    return pa.StructArray.from_arrays([column(each) for each in steps.values()], list(steps), mask=mask)


def to_sequences_steps(
    made: RowLayout[Output], ends: Sequence[NDArray[np.int64]], null: NDArray[np.bool_] | None = None
) -> pa.Array:
    """Of ``to_sequences_column``'s rows the steps that they are of, lists; ``ends`` as of ``to_steps_column``."""
    steps = [made.steps_of(each) for each in ends]
    if made.is_single:
        return _lists(steps, (), null)
    names = [part.name for part in made.parts]
    return _struct([_lists([each[name] for each in steps], ()) for name in names], names, null)


def _struct(children: list[pa.Array], names: list[str], null: NDArray[np.bool_] | None) -> pa.Array:
    return pa.StructArray.from_arrays(children, names, mask=None if null is None else pa.array(null))


def _lists(
    tensors: Sequence[NDArray[Any]], row_shape: tuple[int, ...], null: NDArray[np.bool_] | None = None
) -> pa.Array:
    bounds = np.zeros(len(tensors) + 1, np.int32)
    np.cumsum([len(tensor) for tensor in tensors], out=bounds[1:])
    steps = np.concatenate(tensors)
    mask = None if null is None else pa.array(null)
    return pa.ListArray.from_arrays(pa.array(bounds), _nested(steps.reshape(len(steps), *row_shape)), mask=mask)


def _nested(tensor: NDArray[Any], null: pa.Array | None = None) -> pa.Array:
    """A tensor ``[n, ...]`` as lists of fixed sizes, or as plain numbers where it has no more axes."""
    column = pa.array(tensor.ravel())
    for axis in range(tensor.ndim - 1, 0, -1):
        column = pa.FixedSizeListArray.from_arrays(column, tensor.shape[axis], mask=null if axis == 1 else None)
    return column


def _children(
    column: pa.Array, parts: Sequence[Input], field: str, errors: dict[int, OstinatoError], *, by_name: bool
) -> Iterator[tuple[Input, pa.Array, str]]:
    """Each part with its column and its place; rows of a struct that are null are told in ``errors``."""
    if not by_name:
        yield parts[0], _storage(column), field
        return
    if column.null_count:
        for row in np.flatnonzero(is_null(column)).tolist():
            errors[row] = InvalidInput("an object is needed, not null", f"{field}[{row}]")
    for part in parts:
        yield part, _storage(column.field(part.name)), f"{field}.{part.name}"


def _storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _bounds(column: pa.Array, field: str, name: str) -> NDArray[np.int64]:
    """Where sequences begin and end among their steps.

    Raises:
        InvalidInput: one is null, or has no step.
    """
    bounds: NDArray[np.int64]
    if pa.types.is_fixed_size_list(column.type):
        bounds = (np.arange(len(column) + 1) + column.offset) * column.type.list_size
    else:
        bounds = column.offsets.to_numpy().astype(np.int64)
    if column.null_count:
        row = int(np.argmax(is_null(column)))
        raise InvalidInput("a list is needed, not null", f"{field}[{row}]{name}")
    if (empty := np.diff(bounds) == 0).any():
        raise InvalidInput("there is no step in it; send at least one", f"{field}[{int(np.argmax(empty))}]{name}")
    return bounds


def _values(column: pa.Array, sizes: Sequence[int]) -> tuple[pa.Array, NDArray[np.bool_]]:
    """What lists of these sizes hold, behind each other; and which of them all are of these sizes, bool ``[n]``."""
    num_rows = len(column)
    good: NDArray[np.bool_] = np.ones(num_rows, bool)
    if not sizes:
        return column, good
    size = sizes[0]
    if column.null_count:
        good &= ~is_null(column)
    if pa.types.is_fixed_size_list(column.type):
        inner = column.values.slice(column.offset * size, num_rows * size)
    else:
        bounds = column.offsets.to_numpy()
        good &= np.diff(bounds) == size
        inner = column.values.slice(int(bounds[0]), int(bounds[-1] - bounds[0]))
    if good.all():
        values, is_sound = _values(inner, sizes[1:])
        good = np.all(is_sound.reshape(num_rows, size), axis=1)
        if good.all():
            return values, good
    kept = good.copy()
    values, good[kept] = _values(column.filter(pa.array(kept)), sizes)
    return values, good


def _to_codes(values: pa.Array, part: Input) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Words as their codes, null where there is none; and which are no words of the model."""
    codes = np.zeros(len(values), np.int64)
    width = part.num_features
    holes = is_null(values).copy()
    for place, name in enumerate(part.features):
        words = pa.array(part.categories[name], pa.utf8())
        of_feature = values.take(pa.array(np.arange(place, len(values), width)))
        if pa.types.is_dictionary(of_feature.type):
            # Each word is looked up once, however many rows have it.
            found = pc.index_in(of_feature.dictionary.cast(pa.utf8()), value_set=words).take(of_feature.indices)
            no_word = pa.array(is_null(of_feature.dictionary)).take(of_feature.indices).fill_null(True)
            holes[place::width] = no_word.to_numpy(zero_copy_only=False)
        else:
            found = pc.index_in(of_feature.cast(pa.utf8()), value_set=words)
        unknown = part.unknown.get(name)
        of_others = -1 if unknown is None else part.categories[name].index(unknown)
        codes[place::width] = found.fill_null(of_others).to_numpy()
    return pa.array(np.maximum(codes, 0), mask=holes), (codes < 0) & ~holes


def _judge_lists(given: Any, sizes: Sequence[int], place: str) -> None:
    """Find the list that is null, or of another size."""
    if not sizes:
        return
    if not given.is_valid:
        raise InvalidInput("a list is needed, not null", place)
    if len(given.values) != sizes[0]:
        raise InvalidInput(f"{len(given.values)} values where the shape of the rest is {list(sizes)}", place)
    for index, inner in enumerate(given.values if len(sizes) > 1 else ()):
        _judge_lists(inner, sizes[1:], f"{place}[{index}]")
