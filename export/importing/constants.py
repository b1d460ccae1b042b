"""Constants of a foreign graph: inputs that are the same in every run, as a sample rate is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from ostinato.export.errors import ExportError
from ostinato.export.graphs.nodes import constant_of
from ostinato.export.importing.ports import Port

_ANYTHING = (0, 1, 16000)
Answers = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]] | None]


@dataclass(frozen=True)
class TriedConstants:
    """Values of constants to run a graph with, and what else they may be where nobody says it.

    Attributes:
        values: by input.
        others: values that may not lead to other answers, if ``values`` is to stand for all; empty where it is said.
        unsaid: what to say if they do.
    """

    values: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    others: tuple[Mapping[str, NDArray[Any]], ...] = ()
    unsaid: str = ""
    notes: tuple[str, ...] = ()

    def is_settled(self, answers: Answers) -> bool:
        """Whether the answers are the same with each of the others.

        Raises:
            ExportError: they are not: nobody but the user knows the constant.
        """
        if not self.others:
            return True
        wanted = answers(self.values)
        for other in self.others:
            made = answers(other)
            if (
                wanted is None
                or made is None
                or any(a.tobytes() != b.tobytes() for a, b in zip(wanted, made, strict=True))
            ):
                raise ExportError(self.unsaid)
        return True


def find_constants(model: ir.Model, numbers: Sequence[Port]) -> Iterator[TriedConstants]:
    """What inputs that are one number, without axes, may be.

    Args:
        numbers: of which nobody said what they are.
    """
    if not numbers:
        yield TriedConstants()
        return
    hints = {port.name: _compared(model, port.name) for port in numbers}
    first = numbers[0]
    known = hints[first.name]
    unsaid = (
        f"input {first.name!r} ({first.dtype}, one number) is the same in every run, and the answers depend on it: say "
        f"what it is with --constant {first.name}={known[0] if known else 'VALUE'}"
        + (f" (the graph compares it with {', '.join(map(str, known))})" if known else "")
    )
    choices = [{port.name: _as(port, value) for port in numbers} for value in _ANYTHING]
    choices += [{port.name: _as(port, value) for port in numbers} for value in known]
    names = ", ".join(repr(port.name) for port in numbers)
    note = f"{names} makes no difference to the answers: it is 0 in every run"
    yield TriedConstants(choices[0], tuple(choices[1:]), unsaid, (note,))
    raise ExportError(unsaid)


def constant_of_port(inputs: Sequence[Port], name: str, given: Any) -> NDArray[Any]:
    """A constant as the graph takes it.

    Raises:
        ExportError: it is none that the input can be.
    """
    port = next(each for each in inputs if each.name == name)
    said = f"--constant {name}={given}"
    try:
        with np.errstate(all="raise"):
            array = np.asarray(given).astype(port.dtype)
            if not np.array_equal(array, np.asarray(given)) and not port.dtype.startswith("float"):
                raise ValueError("it is not a number of that kind")
    except (TypeError, ValueError, OverflowError, FloatingPointError) as error:
        raise ExportError(f"{said}: the input is {port.words}: {error}") from error
    sizes = port.sizes
    if sizes is not None and array.ndim == 0 and sizes and all(size == 1 or isinstance(size, str) for size in sizes):
        return array.reshape((1,) * len(sizes))
    if sizes is not None and (
        array.ndim != len(sizes)
        or any(isinstance(size, int) and size != own for size, own in zip(sizes, array.shape, strict=True))
    ):
        raise ExportError(f"{said}: the input is {port.words}")
    return array


def _as(port: Port, value: int) -> NDArray[Any]:
    return np.array(value).astype(port.dtype)


def _compared(model: ir.Model, name: str) -> list[Any]:
    """Numbers that an input is compared with."""
    value = next(value for value in model.graph.inputs if value.name == name)
    found = []
    for node, _ in value.uses():
        if node.op_type in ("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"):
            for other in node.inputs:
                number = constant_of(other)
                if number is not None and number.size == 1:
                    found.append(number.ravel()[0].item())
    return sorted(set(found))
