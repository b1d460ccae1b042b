"""Types of columns that may hold a model's tensors.

No type is let in of which a row may need no byte: lists have the sizes that the model has, which are 1 at least, and a
struct has the names of the model's tensors, each of which needs some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.arrow.cells import is_list, is_text, unfit
from ostinato.service.errors import InvalidInput


def has_words(part: Input) -> bool:
    """Whether its steps may be words: each feature has some."""
    return bool(part.categories) and set(part.categories) == set(part.features)


def check_tensors(kind: pa.DataType, given: RowLayout[Input], field: str) -> None:
    """Refuse a column that is not one step of a model's inputs a row.

    Raises:
        InvalidInput: names the column, or its part.
    """
    if given.is_single:
        _check_tensor(kind, given.parts[0], field)
    else:
        _check_struct(kind, given.parts, field, _check_tensor)


def check_tensor_sequences(kind: pa.DataType, given: RowLayout[Input], field: str) -> None:
    """Refuse a column that is not one sequence of a model's inputs a row: lists of steps, by name where there are
    several inputs.

    Raises:
        InvalidInput: names the column, or its part.
    """
    if given.is_single:
        _check_steps(kind, given.parts[0], field)
    else:
        _check_struct(kind, given.parts, field, _check_steps)


def check_context(kind: pa.DataType, context: Sequence[Input], field: str) -> None:
    """Refuse a column that is not one context a row, by name; those that may be missing may be absent.

    Raises:
        InvalidInput: names the column, or its part.
    """
    names = {kind.field(index).name for index in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
    present = [part for part in context if part.name in names or not part.missing]
    if not present:  # a struct of nothing needs no byte
        raise unfit(kind, f"objects with {', '.join(part.name for part in context) or 'nothing: it has none'}", field)
    _check_struct(kind, present, field, _check_tensor)


def _check_struct(
    kind: pa.DataType, parts: Sequence[Input], field: str, check: Callable[[pa.DataType, Input, str], None]
) -> None:
    """Refuse what is not a struct with each of ``parts`` by its name and nothing else, as ``check`` takes it."""
    names = [part.name for part in parts]
    if not pa.types.is_struct(kind):
        raise unfit(kind, f"structs with {', '.join(names)}", field)
    given = [kind.field(index).name for index in range(kind.num_fields)]
    if unknown := [name for name in given if name not in names]:
        raise InvalidInput(f"the model has no {unknown[0]!r} here; it has {', '.join(names)}", f"{field}.{unknown[0]}")
    for part in parts:
        if given.count(part.name) != 1:
            raise InvalidInput(f"{part.name!r} is {'twice there' if part.name in given else 'absent'}", field)
        check(kind.field(part.name).type, part, f"{field}.{part.name}")


def _check_tensor(kind: pa.DataType, part: Input, field: str) -> None:
    if isinstance(kind, pa.FixedShapeTensorType) and kind.permutation not in (None, list(range(len(kind.shape)))):
        raise InvalidInput(f"column {field!r} is of tensors whose axes are permuted: send them in order", field)
    if is_by_feature(kind, part):
        _check_features(kind, part, field)
        return
    if sizes_of(kind, part) is None:
        what = "words or numbers" if part.categories else "numbers"
        raise unfit(kind, f"{what}, nested as {list(part.row_shape)} is ({part.few_features})", field)


def _check_steps(kind: pa.DataType, part: Input, field: str) -> None:
    if not is_list(kind):
        raise unfit(kind, "lists of steps", field)
    if pa.types.is_fixed_size_list(kind) and not kind.list_size:
        raise InvalidInput("there is no step in its sequences; send at least one", field)
    _check_tensor(kind.value_type, part, field)


def is_by_feature(kind: pa.DataType, part: Input) -> bool:
    """Whether a flat tensor's steps come as structs with a column for each feature, as a data frame has them."""
    return bool(pa.types.is_struct(kind)) and len(part.row_shape) <= 1


def feature_part(part: Input, name: str) -> Input:
    """A flat tensor's feature as a tensor of its own, which has one number a step."""
    axes = tuple(axis for axis in part.shape if not isinstance(axis, int))
    return part.of_feature(name).model_copy(update={"shape": axes})


def _check_features(kind: pa.DataType, part: Input, field: str) -> None:
    given = [kind.field(index).name for index in range(kind.num_fields)]
    if sorted(given) != sorted(part.features):
        raise InvalidInput(f"a struct with {', '.join(given[:8]) or 'nothing'}; a step has {part.few_features}", field)
    for name in part.features:
        of_feature = kind.field(name).type
        if sizes_of(of_feature, feature_part(part, name)) != ():
            what = "words or numbers" if name in part.categories else "numbers"
            raise unfit(of_feature, what, f"{field}.{name}")


def sizes_of(kind: pa.DataType, part: Input) -> tuple[int, ...] | None:
    """The sizes of the lists in which a step comes, from the outermost: the tensor's shape, or its numbers in one; None
    where a type does not fit.
    """
    if isinstance(kind, pa.FixedShapeTensorType):
        if tuple(kind.shape) not in (part.row_shape, (part.num_features,)):
            return None
        kind = kind.storage_type
    declared: list[int | None] = []
    while is_list(kind) and len(declared) <= len(part.row_shape):
        declared.append(kind.list_size if pa.types.is_fixed_size_list(kind) else None)
        kind = kind.value_type
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    is_number |= pa.types.is_boolean(kind) and part.dtype == "bool"
    is_word = is_text(kind) and has_words(part)
    shapes = [part.row_shape, (part.num_features,), *([()] if part.num_features == 1 else [])]
    sizes = next((shape for shape in shapes if len(shape) == len(declared)), None)
    if sizes is None or not (is_number or is_word):
        return None
    if any(size not in (None, wanted) for size, wanted in zip(declared, sizes, strict=True)):
        return None
    return sizes
