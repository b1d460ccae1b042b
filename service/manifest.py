"""The manifest: what the service must know of a model's graphs (``model.json``, schema version 1).

Symbols in shapes: ``B`` batch, ``T`` time steps; every other size is a number. An axis may stand anywhere, so a
graph that wants time first says ``["T", "B", 8]`` and a stacked LSTM's own state ``[2, "B", 64]``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import TypeAliasType

from service.errors import ModelRejected

MANIFEST_FILE = "model.json"
GOLDEN_FILE = "golden.safetensors"

Name: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
FileName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Dtype: TypeAlias = Literal["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
Axis: TypeAlias = Annotated[int, Field(ge=1)] | Literal["B", "T"]
# A named alias: pydantic cannot follow an unnamed one into itself.
Nested = TypeAliasType("Nested", "float | int | list[Nested]")
Task: TypeAlias = Literal["recurrent", "sequence", "encoder_decoder", "generator"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tensor(_Part):
    """A graph's input or output: its name in the graph, dtype and symbolic shape."""

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
    def row_shape(self) -> tuple[int, ...]:
        """The sizes of one row's one step: the shape without ``B`` and ``T``."""
        return tuple(axis for axis in self.shape if isinstance(axis, int))

    @property
    def num_features(self) -> int:
        """How many numbers one step has: 1 where the shape has nothing but ``B`` and ``T``."""
        return math.prod(self.row_shape)

    @model_validator(mode="after")
    def _check_axes(self) -> Tensor:
        if self.shape.count("B") != 1 or self.shape.count("T") > 1:
            raise ValueError(f"{self.name!r}: shape {list(self.shape)} needs exactly one 'B' and at most one 'T'")
        return self


class Statistics(_Part):
    """What each feature looked like in training, one number per feature, missing values left out."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    missing_fraction: tuple[float, ...] = ()


class Input(Tensor):
    """The sequence that goes in, one row of features a step.

    ``missing``: whether a step may have holes (JSON ``null``, NaN in the graph).
    ``num_codes``: of an integer input, as tokens are: its codes are 0 to ``num_codes`` - 1. None = not known.
    ``categories``: for a feature that is a code, the words that the codes 0, 1, ... stand for.
    """

    features: tuple[str, ...]
    missing: bool = False
    num_codes: Annotated[int, Field(ge=1)] | None = None
    categories: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    statistics: Statistics | None = None

    @model_validator(mode="after")
    def _check_features(self) -> Input:
        _check_names(self, self.features)
        if unknown := set(self.categories) - set(self.features):
            raise ValueError(f"{self.name!r}: categories for features that it does not have: {sorted(unknown)}")
        if self.missing and not self.dtype.startswith("float"):
            raise ValueError(f"{self.name!r}: missing values need a floating dtype, not {self.dtype}")
        if self.num_codes is not None and "int" not in self.dtype:
            raise ValueError(f"{self.name!r}: num_codes is for an integer dtype, not {self.dtype}")
        if self.num_codes is not None and self.num_codes - 1 > np.iinfo(self.dtype).max:
            raise ValueError(f"{self.name!r}: {self.dtype} cannot hold {self.num_codes} codes")
        return self


class Output(Tensor):
    """What the graph answers: one row of features a step, or one per run where the shape has no ``T``."""

    features: tuple[str, ...]

    @model_validator(mode="after")
    def _check_features(self) -> Output:
        _check_names(self, self.features)
        return self


class State(_Part):
    """A recurrent tensor: given to the graph as ``input``, taken from it as ``output``, carried by the session.

    ``initial``: one number for all of it, or the nested list of one row (the shape without ``B``).
    """

    name: str
    input: str
    output: str
    shape: tuple[Axis, ...]
    dtype: Dtype
    initial: Nested = 0.0

    @property
    def batch_axis(self) -> int:
        """The position of ``B``."""
        return self.shape.index("B")

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one session's state."""
        return tuple(axis for axis in self.shape if isinstance(axis, int))

    def initial_row(self) -> np.ndarray[Any, Any]:
        """The state of a sequence that has not begun, of ``row_shape`` and ``dtype``."""
        return np.array(np.broadcast_to(np.asarray(self.initial, self.dtype), self.row_shape))

    @model_validator(mode="after")
    def _check_shape(self) -> State:
        if self.shape.count("B") != 1 or "T" in self.shape:
            raise ValueError(f"state {self.name!r}: shape {list(self.shape)} needs exactly one 'B' and no 'T'")
        given = np.shape(np.asarray(self.initial))
        if given not in ((), self.row_shape):
            raise ValueError(f"state {self.name!r}: initial has shape {list(given)}, its row {list(self.row_shape)}")
        return self


class Constant(_Part):
    """A graph input that is the same in every run, as a sample rate is."""

    name: str
    dtype: Dtype
    value: Nested

    def array(self) -> np.ndarray[Any, Any]:
        """The value as the graph takes it."""
        return np.asarray(self.value, self.dtype)


class Graph(_Part):
    """An ONNX file in the version's directory."""

    file: FileName
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Limits(_Part):
    """What one request of this model may ask for. 0 = only the server's own limit counts."""

    max_chunk_steps: Annotated[int, Field(ge=0)] = 0
    max_horizon: Annotated[int, Field(ge=0)] = 0


class Parity(_Part):
    """How near the graph comes to the trained network, and over what that was measured.

    ``max_difference`` is the largest ``|graph - network| / max(1, |network|)`` over all outputs and states.
    """

    max_difference: Annotated[float, Field(ge=0)]
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    num_chunkings: int


class Manifest(_Part):
    """One version of a model.

    ``graphs``: by role; a recurrent model has one, ``step``.
    ``feedback``: output feature -> the input feature whose next value it foretells; empty where it foretells none.
    ``batch_invariant``: whether a row's numbers are the same to the bit whatever shares its run and however its
    steps are cut; a model without it is run alone.
    """

    schema_version: Literal[1] = 1
    name: Name
    version: Name
    task: Task
    description: str = ""
    graphs: dict[str, Graph]
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    states: tuple[State, ...] = ()
    constants: tuple[Constant, ...] = ()
    feedback: dict[str, str] = Field(default_factory=dict)
    limits: Limits = Limits()
    parity: Parity | None = None
    batch_invariant: bool = True
    provenance: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_whole(self) -> Manifest:
        if self.task == "recurrent" and (len(self.inputs), len(self.outputs), set(self.graphs)) != (1, 1, {"step"}):
            raise ValueError("a recurrent model has one graph, 'step', one sequence input and one output")
        if self.task == "recurrent" and not self.states:
            raise ValueError("a recurrent model has at least one state")
        names = [part.name for part in self.inputs] + [part.name for part in self.constants]
        names += [state.input for state in self.states]
        if len(set(names)) != len(names):
            raise ValueError(f"a graph input is named twice among {sorted(names)}")
        if len({state.name for state in self.states}) != len(self.states):
            raise ValueError("two states have the same name")
        given = {feature for part in self.inputs for feature in part.features}
        made = {feature for part in self.outputs for feature in part.features}
        for source, target in self.feedback.items():
            if source not in made or target not in given:
                raise ValueError(f"feedback {source!r} -> {target!r} does not lead from an output to an input feature")
        return self

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """The manifest of a version's directory.

        Raises:
            ModelRejected: it is absent, is not JSON, or does not fit the schema; the first faults are named.
        """
        path = directory / MANIFEST_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise ModelRejected(f"{path}: {error.strerror}") from error
        except ValidationError as error:
            faults = "; ".join(_fault(fault) for fault in error.errors(include_url=False)[:3])
            raise ModelRejected(f"{path}: {faults}") from error

    def write(self, directory: Path) -> None:
        """Write ``model.json`` into a version's directory, keys in the schema's order."""
        content = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)
        (directory / MANIFEST_FILE).write_text(content + "\n", encoding="utf-8")


def _check_names(tensor: Tensor, features: tuple[str, ...]) -> None:
    if len(features) != tensor.num_features:
        raise ValueError(f"{tensor.name!r}: {len(features)} feature names for {tensor.num_features} features")
    if len(set(features)) != len(features):
        raise ValueError(f"{tensor.name!r}: a feature name stands twice")


def _fault(fault: Any) -> str:
    place = ".".join(str(part) for part in fault["loc"])
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
