"""The tensors of a graph, as a manifest describes them.

Symbols in shapes: ``B`` batch, ``T`` time steps, ``S`` steps of a source that a decoder attends to; every other size
is a number. An axis may be anywhere, so a graph that wants time first says ``["T", "B", 8]`` and a stacked LSTM's
own state ``[2, "B", 64]``.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from typing_extensions import TypeAliasType

Dtype: TypeAlias = Literal["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
Axis: TypeAlias = Annotated[int, Field(ge=1)] | Literal["B", "T", "S"]
# A named alias: pydantic cannot follow an unnamed one into itself.
Nested = TypeAliasType("Nested", "float | int | list[Nested]")
_LEFT_OUT: dict[str, Any] = {
    "missing_words": None,
    "times": None,
    "ranges": {},
    "minus_infinity": False,
    "missing": False,
    "infinite": False,
    "bounded": False,
    "delay": 0,
    "per_frame": 1,
    "unknown": {},
}
"""Members that are in the file only where they say more than this: a release that is rolled back to knows no such
keys, and refuses what it does not know.
"""


def _content(part: BaseModel, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
    """A part without what may be left out; an input's ``missing`` has always been there."""
    content: dict[str, Any] = write(part)
    kept = {"missing"} if isinstance(part, Input) else set()
    return {
        key: value for key, value in content.items() if key in kept or key not in _LEFT_OUT or value != _LEFT_OUT[key]
    }


class Part(BaseModel):
    """A piece of a manifest: nothing unknown in it, and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Tensor(Part):
    """A graph's input or output: its name in the graph, dtype and symbolic shape.

    ``name``: its name in the graph.
    ``dtype``: the type of its numbers.
    ``shape``: sizes, and the symbols ``B``, ``T`` and ``S``.
    """

    name: str
    dtype: Dtype
    shape: tuple[Axis, ...]

    @property
    def batch_axis(self) -> int:
        """The position of ``B``."""
        return self.shape.index("B")

    @property
    def time_axis(self) -> int | None:
        """The position of ``T``; None where the tensor holds one step (or one vector per sequence)."""
        return self.shape.index("T") if "T" in self.shape else None

    @property
    def source_axis(self) -> int | None:
        """The position of ``S``; None where the tensor has no steps of a source."""
        return self.shape.index("S") if "S" in self.shape else None

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The sizes of one row's one step: the shape without its symbols."""
        return tuple(axis for axis in self.shape if isinstance(axis, int))

    @property
    def num_features(self) -> int:
        """How many numbers one step has: 1 where the shape has nothing but ``B`` and ``T``."""
        return math.prod(self.row_shape)

    @model_validator(mode="after")
    def _check_axes(self) -> Tensor:
        if self.shape.count("B") != 1 or self.shape.count("T") + self.shape.count("S") > 1:
            raise ValueError(
                f"{self.name!r}: shape {list(self.shape)} needs exactly one 'B' and at most one 'T' or 'S'"
            )
        return self


class Statistics(Part):
    """What each feature looked like in training, one number per feature, without missing values.

    ``mean``, ``std``: the mean, and the standard deviation, of each feature.
    ``minimum``, ``maximum``: the lowest, and the highest, value of each feature.
    ``missing_fraction``: the part of the values that was missing.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    missing_fraction: tuple[float, ...] = ()


class FeatureRange(Part):
    """What a feature may be, both ends included. The network has no answer to anything else.

    ``least``, ``most``: the lowest, and the highest, value.
    ``whole``: whether it must be a whole number, as a code that is looked up in a table of the network.
    """

    least: float
    most: float
    whole: bool = True

    @property
    def words(self) -> str:
        """The range in words."""
        return f"{self.least:.9g} to {self.most:.9g}"


class TableTimes(Part):
    """How the table of the training gave the times of its rows, for readers of similar tables.

    ``columns``: one column with times, or year, month, day and smaller units.
    ``step``: the time between two steps in words, as ``1 hour``; None = it is not known.
    ``gaps``: what was done about steps without a row: filled in, refused, or rows taken as steps whatever their times.
    """

    columns: Annotated[tuple[str, ...], Field(min_length=1, max_length=6)]
    step: str | None = None
    gaps: Literal["fill", "refuse", "ignore"] = "fill"


class Input(Tensor):
    """The sequence that goes in, one row of features a step.

    ``features``: the names of the numbers of a step.
    ``missing``: whether a step may have missing values (JSON ``null``, NaN in the graph).
    ``missing_words``: the words that meant a missing value in the table of the training; left out where there was none.
    ``times``: how that table gave times; left out where there was none.
    ``num_codes``: of an integer input, as tokens are: its codes are 0 to ``num_codes`` - 1. None = not known.
    ``categories``: for a feature that is a code, the words that the codes 0, 1, ... mean.
    ``unknown``: for some of these features, the word that replaces every word which is not in the list. Without it,
    such words are refused.
    ``ranges``: limits of other features that the network takes only within limits, as a column that is looked up in a
    table. The exporter finds them.
    ``statistics``: statistics of the features in training; None = not known.
    """

    features: tuple[str, ...]
    missing: bool = False
    missing_words: tuple[str, ...] | None = None
    times: TableTimes | None = None
    num_codes: Annotated[int, Field(ge=1)] | None = None
    categories: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    unknown: dict[str, str] = Field(default_factory=dict)
    ranges: dict[str, FeatureRange] = Field(default_factory=dict)
    statistics: Statistics | None = None

    @property
    def is_limited(self) -> bool:
        """Whether some finite numbers of its dtype are refused, so that each must be looked at."""
        return bool(self.categories or self.ranges or self.num_codes is not None)

    @property
    def few_features(self) -> str:
        """The first of the features in words, and not all of thousands."""
        return ", ".join(self.features[:8]) + (", ..." if len(self.features) > 8 else "")

    def of_feature(self, name: str) -> Input:
        """The same with one feature alone."""
        words = {key: found for key, found in self.categories.items() if key == name}
        ranges = {key: found for key, found in self.ranges.items() if key == name}
        unknown = {key: word for key, word in self.unknown.items() if key == name}
        update = {"features": (name,), "categories": words, "unknown": unknown, "ranges": ranges}
        return self.model_copy(update=update)

    @model_serializer(mode="wrap")
    def _leave_out_tables(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _content(self, write)

    @model_validator(mode="after")
    def _check_features(self) -> Input:
        _check_names(self, self.features)
        if unknown := set(self.ranges) - set(self.features):
            raise ValueError(f"{self.name!r}: ranges for features that it does not have: {sorted(unknown)}")
        if unknown := set(self.categories) - set(self.features):
            raise ValueError(f"{self.name!r}: categories for features that it does not have: {sorted(unknown)}")
        for name, word in self.unknown.items():
            if word not in self.categories.get(name, ()):
                raise ValueError(f"{self.name!r}: unknown: {word!r} is none of the categories of {name!r}")
        if self.missing and not self.dtype.startswith("float"):
            raise ValueError(f"{self.name!r}: missing values need a floating dtype, not {self.dtype}")
        if self.num_codes is not None and "int" not in self.dtype:
            raise ValueError(f"{self.name!r}: num_codes is for an integer dtype, not {self.dtype}")
        if self.num_codes is not None and self.num_codes - 1 > np.iinfo(self.dtype).max:
            raise ValueError(f"{self.name!r}: {self.dtype} cannot hold {self.num_codes} codes")
        return self


class Output(Tensor):
    """What the graph answers: one row of features a step, or one per run where the shape has no ``T``.

    ``features``: the names of the numbers of a row.
    ``minus_infinity``: whether a number may be minus infinity, as the logarithm of a probability or a score that is
    masked; ``null`` in JSON. Without it, a row with an infinity fails, as one with NaN or plus infinity always does.
    ``delay``: the row of step t is about step t - ``delay``: the network waits so long before it answers. It changes no
    number. The first rows are about no step.
    ``per_frame``: of a model with framing, how many rows there are for each frame; the graph has them where the shape
    here has ``T``.
    """

    features: tuple[str, ...]
    minus_infinity: bool = False
    delay: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    per_frame: Annotated[int, Field(ge=1, le=1_000_000)] = 1

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _content(self, write)

    def is_unsound(self, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Which numbers cannot be answered, bool of the same shape."""
        if numbers.dtype.kind != "f":
            return np.zeros(numbers.shape, bool)
        wrong: np.ndarray[Any, Any] = ~np.isfinite(numbers)
        return wrong & (np.isnan(numbers) | (numbers > 0)) if self.minus_infinity else wrong

    @model_validator(mode="after")
    def _check_features(self) -> Output:
        _check_names(self, self.features)
        return self


class State(Part):
    """A recurrent tensor: given to the graph as ``input``, taken from it as ``output``, carried by the session. Without
    an ``output`` it never changes.

    ``name``: its name in files of states.
    ``input``, ``output``: its names among the inputs, and the outputs, of the graph.
    ``shape``: sizes, and the symbol ``B``.
    ``dtype``: the type of its numbers.
    ``initial``: one number for all of it, or the nested list of one row (the shape without ``B``).
    ``missing``: whether the network's own states hold NaN, as for what was not seen yet. Without it, no NaN may come
    in, and a step that would lead to one fails.
    ``infinite``: whether the network's own states hold infinity. Without it, no infinity may come in, and a step that
    would lead to one fails.
    ``bounded``: whether the graph itself shows that it stays finite, so that nothing need check it.
    """

    name: str
    input: str
    output: str
    shape: tuple[Axis, ...]
    dtype: Dtype
    initial: Nested = 0.0
    missing: bool = False
    infinite: bool = False
    bounded: bool = False

    @classmethod
    def kept(cls, part: Input) -> State:
        """A context as a session carries it; the graph does not give it back."""
        initial = float("nan") if part.missing else 0.0
        return cls(
            name=part.name,
            input=part.name,
            output="",
            shape=part.shape,
            dtype=part.dtype,
            initial=initial,
            missing=part.missing,
        )

    @classmethod
    def unseen(cls, name: str, row_shape: tuple[int, ...], dtype: Any) -> State:
        """What a session has and the graph neither takes nor gives; zeros at first."""
        return cls(name=name, input="", output="", shape=("B", *row_shape), dtype=dtype)

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _content(self, write)

    @property
    def batch_axis(self) -> int:
        """The position of ``B``."""
        return self.shape.index("B")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one session's state."""
        return tuple(axis for axis in self.shape if isinstance(axis, int))

    def is_unsound(self, numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Which numbers are NaN or infinite and should not be, bool of the same shape."""
        if numbers.dtype.kind != "f":
            return np.zeros(numbers.shape, bool)
        wrong = np.zeros(numbers.shape, bool)
        if not self.missing:
            wrong |= np.isnan(numbers)
        if not self.infinite:
            wrong |= np.isinf(numbers)
        return wrong

    def initial_row(self) -> np.ndarray[Any, Any]:
        """The state of a sequence that has not begun, of ``row_shape`` and ``dtype``."""
        return np.array(np.broadcast_to(np.asarray(self.initial, self.dtype), self.row_shape))

    @model_validator(mode="after")
    def _check_shape(self) -> State:
        if self.shape.count("B") != 1 or not all(axis == "B" or isinstance(axis, int) for axis in self.shape):
            raise ValueError(f"state {self.name!r}: shape {list(self.shape)} needs exactly one 'B' and else numbers")
        given = np.shape(np.asarray(self.initial))
        if given not in ((), self.row_shape):
            raise ValueError(f"state {self.name!r}: initial has shape {list(given)}, its row {list(self.row_shape)}")
        return self


class Constant(Part):
    """A graph input that is the same in every run, as a sample rate is.

    ``name``: its name among the inputs of the graph.
    ``dtype``: the type of its numbers.
    ``value``: what is given in every run.
    """

    name: str
    dtype: Dtype
    value: Nested

    def array(self) -> np.ndarray[Any, Any]:
        """The value as the graph takes it."""
        return np.asarray(self.value, self.dtype)


def _check_names(tensor: Tensor, features: tuple[str, ...]) -> None:
    if len(features) != tensor.num_features:
        raise ValueError(f"{tensor.name!r}: {len(features)} feature names for {tensor.num_features} features")
    if len(set(features)) != len(features):
        raise ValueError(f"{tensor.name!r}: a feature name occurs twice")
