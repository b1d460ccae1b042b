"""Chunks of a model's inputs, made of what users have; the service is asked for their names and shapes where needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ostinato.client import given as given_inputs
from ostinato.client.exchange import Plan
from ostinato.client.shapes import KnownModels, ModelTensors, TensorShape
from ostinato.errors import InputError


def count_steps(rows: Any) -> int:
    """How many steps there are in what ``Chunks`` made."""
    return len(next(iter(rows.values()), ())) if isinstance(rows, dict) else len(rows)


class Chunks:
    """Makes chunks, sequences and contexts."""

    def __init__(self, shapes: KnownModels) -> None:
        self._models = shapes

    def rows(self, model: str, version: str, inputs: Any, *, may_be_one: bool = True) -> Plan[Any]:
        """Rows ``[n, F]``, or ``[n, ...]`` of a nested input; of several inputs a dictionary of these by name. Lists
        and arrays of two axes stay as they are, anything else goes by its names or its shape.

        Args:
            version: of the model; empty = any.
            may_be_one: whether one step may come without an axis for it, or several of one feature without another.

        Raises:
            InputError: it is no chunk of the model's features.
        """
        if given_inputs.is_plain(inputs):
            return inputs
        each = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
        has_names = any(map(given_inputs.has_names, each))
        shape = yield from self._models.of(model, version, anew=has_names)
        if shape is None:
            if has_names:
                raise _untold(model, version)
            return _unshaped(inputs, model, may_be_one=may_be_one)
        if isinstance(inputs, Mapping):
            return _by_name(inputs, shape, model, may_be_one=may_be_one)
        if len(shape.inputs) > 1:
            return _split(inputs, shape, model, may_be_one=may_be_one)
        if not shape.inputs:
            return given_inputs.to_rows(inputs, None, model, may_be_one=may_be_one)
        return _to_steps(inputs, shape.inputs[0], model, may_be_one=may_be_one)

    def version_of(self, model: str, *named: Any) -> Plan[str | None]:
        """The version that is meant by now, where something has names, which are put in its order: it must answer.

        None = nothing has names, or the service does not tell.
        """
        if not any(_has_names_within(each) for each in named):
            return None
        shape = yield from self._models.of(model, "", anew=True)
        return (shape.version or None) if shape is not None else None

    def sequences(self, model: str, version: str, sequences: Sequence[Any]) -> Plan[list[Any]]:
        """Whole sequences, each as ``rows`` has it.

        Raises:
            InputError: it is one sequence, and not a list of them.
        """
        is_frame = given_inputs.columns_of(sequences) is not None
        if is_frame or isinstance(sequences, Mapping) or getattr(sequences, "ndim", 3) < 3:
            raise InputError("this is one sequence, and a list of them is asked for: put it in a list")
        made = list(sequences)
        for place, sequence in enumerate(made):
            made[place] = yield from self.rows(model, version, sequence, may_be_one=False)
        return made

    def context(self, model: str, version: str, context: Any) -> Plan[Any]:
        """The context of one sequence by name: numbers, words, lists and arrays as they are; what has names, as a row
        of a data frame, in the order of the model's features. One row may hold all that the context is made of.

        Raises:
            InputError: its names are not those of the model.
        """
        is_mapping = isinstance(context, Mapping)
        if context is None or (is_mapping and not any(map(given_inputs.has_names, context.values()))):
            return context
        shape = yield from self._models.of(model, version, anew=True)
        if shape is None:
            raise _untold(model, version)
        if not is_mapping:
            return _context_of_row(context, shape, model)
        parts = {part.name: part for part in shape.context}
        return {
            name: _one_row(value, parts[name], model) if name in parts and given_inputs.has_names(value) else value
            for name, value in context.items()
        }

    def contexts(self, model: str, version: str, contexts: Any) -> Plan[Any]:
        """One context for all sequences, or one for each: a list, or a data frame with a row for each."""
        if contexts is None or isinstance(contexts, Mapping):
            return (yield from self.context(model, version, contexts))
        columns = given_inputs.columns_of(contexts)
        if columns is None and given_inputs.to_named_row(contexts) is not None:
            return (yield from self.context(model, version, contexts))
        if columns is not None:
            contexts = [given_inputs.NamedRow(columns, row) for row in np.asarray(given_inputs.to_array(contexts))]
        made = list(contexts)
        for place, context in enumerate(made):
            made[place] = yield from self.context(model, version, context)
        return made

    def sources(self, model: str, version: str, sources: Sequence[Any] | None) -> Plan[Sequence[Any] | None]:
        """Sources of outputs: data frames by the names of their columns, anything else as it is."""
        if sources is None or isinstance(sources, str) or not any(map(given_inputs.columns_of, sources)):
            return sources
        shape = yield from self._models.of(model, version, anew=True)
        features = shape.inputs[0].features if shape is not None and shape.inputs else None
        is_frame = [given_inputs.columns_of(source) is not None for source in sources]
        return [
            given_inputs.to_rows(source, features, model) if named else source
            for source, named in zip(sources, is_frame, strict=True)
        ]


def _has_names_within(given: Any) -> bool:
    """Whether sequences or contexts, a list of them or one, have names, or their tensors have."""
    each = given if isinstance(given, list | tuple) else [given]
    tensors = (value for one in each for value in (one.values() if isinstance(one, Mapping) else [one]))
    return given_inputs.has_names(given) or any(map(given_inputs.has_names, tensors))


def _untold(model: str, version: str) -> InputError:
    return InputError(
        f"the service does not tell the features of {model}/{version}, which it does not serve: send numbers in their "
        "order, as by frame.to_numpy()"
    )


def _unshaped(inputs: Any, model: str, *, may_be_one: bool) -> Any:
    """Inputs of a model of which nothing is known: as they are, so that the service judges them."""
    if isinstance(inputs, Mapping):
        return {name: _unshaped(value, model, may_be_one=may_be_one) for name, value in inputs.items()}
    array = given_inputs.to_array(inputs)
    if given_inputs.is_plain(inputs) or (array is not None and array.ndim > 2):
        return inputs if array is None else array
    return given_inputs.to_rows(inputs, None, model, may_be_one=may_be_one)


def _by_name(inputs: Mapping[str, Any], shape: ModelTensors, model: str, *, may_be_one: bool) -> Any:
    names = [part.name for part in shape.inputs]
    if absent := [name for name in names if name not in inputs]:
        raise InputError(f"{model!r} takes {', '.join(names)}, and this lacks {', '.join(absent)}")
    if unknown := [str(name) for name in inputs if name not in names]:
        raise InputError(f"{model!r} takes {', '.join(names)}, and this has {', '.join(unknown)}")
    made = {
        part.name: _to_steps(_in_rows(inputs[part.name], part), part, model, may_be_one=may_be_one)
        for part in shape.inputs
    }
    return made if len(made) > 1 else made[names[0]]


def _in_rows(given: Any, part: TensorShape) -> Any:
    """Steps of one number each, which need no axis for it, with one."""
    if part.num_features > 1 or given_inputs.has_names(given):
        return given
    if isinstance(given, list | tuple):
        is_flat = not any(isinstance(value, list | tuple) or np.ndim(value) for value in given)
        return [[value] for value in given] if is_flat else given
    array = given_inputs.to_array(given)
    return array[:, None] if array is not None and array.ndim == 1 else given


def _split(inputs: Any, shape: ModelTensors, model: str, *, may_be_one: bool) -> dict[str, Any]:
    """A table with the columns of all inputs, by name."""
    names = ", ".join(part.name for part in shape.inputs)
    if not given_inputs.has_names(inputs):
        raise InputError(f"{model!r} takes several inputs: give a mapping with {names}")
    features = [feature for part in shape.inputs for feature in part.features or ()]
    if len(set(features)) != len(features):
        raise InputError(f"inputs of {model!r} have features of one name: give a mapping with {names}")
    rows = given_inputs.to_rows(inputs, features, model, may_be_one=may_be_one)
    if isinstance(rows, list):  # a list of series
        rows = np.stack(rows)
    ends = np.cumsum([part.num_features for part in shape.inputs])
    tables = np.split(rows, ends[:-1], axis=1)
    return {
        part.name: table.reshape(len(table), *(part.row_shape or (1,)))
        for part, table in zip(shape.inputs, tables, strict=True)
    }


def _to_steps(given: Any, part: TensorShape, model: str, *, may_be_one: bool) -> Any:
    """The steps of one input."""
    if len(part.row_shape) > 1:
        array = given_inputs.to_array(given)
        if array is None or given_inputs.columns_of(given) is not None:
            return given if array is None else given_inputs.to_rows(given, part.features, model)
        is_flat = array.ndim == 2 and array.shape[1] == part.num_features
        if array.shape[1:] == part.row_shape or is_flat:
            return array
        if may_be_one and array.shape == part.row_shape:
            return array[None]
        wanted = ", ".join(map(str, part.row_shape))
        what = "a chunk" if may_be_one else "a sequence"
        raise InputError(f"{what} of {model!r} is [n, {wanted}], and this has the shape {[*array.shape]}")
    if given_inputs.is_plain(given):
        return given
    if may_be_one and part.num_features == 1 and (isinstance(given, str) or np.ndim(given) == 0):
        return [[given]]
    return given_inputs.to_rows(given, part.features, model, may_be_one=may_be_one)


def _one_row(given: Any, part: TensorShape, model: str) -> Any:
    """One context of a row of a data frame, or a frame of one."""
    rows = given_inputs.to_rows(given, part.features, model)
    if len(rows) != 1:
        raise InputError(f"context {part.name!r} of {model!r} is one row, and these are {len(rows)}")
    return rows[0]


def _context_of_row(row: Any, shape: ModelTensors, model: str) -> dict[str, Any]:
    """A context from a row of a data frame with all of its features."""
    named = given_inputs.to_named_row(row)
    if named is None:
        names = ", ".join(part.name for part in shape.context) or "none"
        raise InputError(f"a context is a mapping by name, and {model!r} has {names}; or a row of a data frame")
    left = dict(named)
    made: dict[str, Any] = {}
    for part in shape.context:
        features = part.features or ()
        if absent := [name for name in features if name not in left]:
            raise InputError(f"the context of {model!r} has {', '.join(features)}, and this lacks {', '.join(absent)}")
        values = [left.pop(name) for name in features]
        made[part.name] = values if part.row_shape else values[0]
    if left:
        raise InputError(f"the context of {model!r} has no {', '.join(left)}: choose the columns")
    return made
