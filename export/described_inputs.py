"""Inputs as a user describes them: in words of the command line, or in a file of TOML or JSON."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input

_EXAMPLE = "write NAME:SHAPE or NAME:SHAPE:DTYPE, as in load:B,T,2 or weekday:B,T:int64"


@dataclass(frozen=True)
class DescribedInputs:
    """What goes in at each step, what is constant for a sequence, and the names of the outputs' numbers."""

    inputs: tuple[Input, ...] = ()
    context: tuple[Input, ...] = ()
    output_features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def described_input(content: Mapping[str, Any]) -> Input:
    """One input; its numbers are called as it is where no features are named, with a number each where they are many.

    Args:
        content: members of ``Input``; its shape may be in words, as ``B,T,2``.

    Raises:
        ExportError: they do not fit together.
    """
    name = str(content.get("name", "inputs"))
    shape = content.get("shape", ("B", "T", 1))
    axes = shape.split(",") if isinstance(shape, str) else shape
    sizes = [int(axis) if str(axis).strip().isdecimal() else str(axis).strip() for axis in axes]
    number = math.prod(axis for axis in sizes if isinstance(axis, int))
    stem = "input" if name == "inputs" else name
    named = [stem] if number == 1 and stem != "input" else [f"{stem}_{index}" for index in range(number)]
    filled = {"dtype": "float32", **content, "name": name, "shape": sizes, "features": content.get("features") or named}
    try:
        return Input.model_validate(filled)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))} {fault['msg']}" for fault in error.errors())
        raise ExportError(f"the input {name!r} as described by the options: {faults.strip()}") from error


def input_of_words(words: str) -> Input:
    """The input that ``NAME:SHAPE[:DTYPE]`` describes.

    Raises:
        ExportError: it does not.
    """
    parts = words.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise ExportError(f"input {words!r}: {_EXAMPLE}")
    name, shape, *dtype = parts
    return described_input({"name": name, "shape": shape, "dtype": dtype[0] if dtype else "float32"})


def read_inputs(path: Path) -> DescribedInputs:
    """The inputs that a file describes: ``inputs`` and ``context``, a list of members of ``Input`` each, and
    ``outputs``, the names of the numbers of each output.

    Raises:
        ExportError: it cannot be read, or describes none.
    """
    try:
        text = path.read_text("utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise ExportError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ExportError(f"{path}: {error}") from error
    if unknown := sorted(set(content) - {"inputs", "context", "outputs"}):
        raise ExportError(f"{path}: {unknown[0]!r} is unknown; it has inputs, context and outputs")
    try:
        features = {name: tuple(names) for name, names in content.get("outputs", {}).items()}
        return DescribedInputs(_described(content.get("inputs", ())), _described(content.get("context", ())), features)
    except (AttributeError, TypeError) as error:
        raise ExportError(f"{path}: inputs and context are lists of tables, outputs a table of lists") from error
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error


def _described(contents: Sequence[Mapping[str, Any]]) -> tuple[Input, ...]:
    return tuple(map(described_input, contents))
