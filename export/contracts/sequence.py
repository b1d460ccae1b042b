"""The contract of a module that answers whole sequences: ``forward(x, lengths) -> y``, or ``forward(x) -> y``.

There are no states. Several inputs are in ``forward``'s order or by their names, and so does context, which is the
same in all steps of a sequence; ``arguments.py`` tells what each argument is given.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from ostinato.export.contracts.arguments import WholeSequences, find_places, flat_tensors
from ostinato.export.contracts.axes import Array, from_axes, to_axes
from ostinato.export.contracts.codes import check_declared, find_codes
from ostinato.export.contracts.preparation import name_of, prepared
from ostinato.export.contracts.probes import draw_sequences
from ostinato.export.contracts.repeats import check_repeats
from ostinato.export.contracts.symbols import PROBE_SIZES, dtype_name, symbolic_shape
from ostinato.export.errors import ExportError, first_line
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Constant, Input, Output

LENGTHS_NAME = "lengths"
_TRIED_LENGTHS = (1, 2, 5, 12, 30)


@dataclass(frozen=True)
class SequenceContract:
    """A module in evaluation mode, what it takes, and what was found of its outputs.

    ``lengths``: the name of the graph's input for them; empty where the module takes none. ``is_wide``: the module is
    in float64.
    """

    module: WholeSequences
    inputs: tuple[Input, ...]
    context: tuple[Input, ...]
    lengths: str
    outputs: tuple[Output, ...]
    is_wide: bool = False
    constants: tuple[Constant, ...] = ()

    @property
    def given(self) -> RowLayout[Input]:
        """A step that goes in, as a row."""
        return RowLayout(self.inputs)

    @property
    def made(self) -> RowLayout[Output]:
        """A step that comes out, as a row."""
        return RowLayout(self.outputs)

    def draw(self, generator: np.random.Generator, lengths: Sequence[int]) -> list[tuple[Array, tuple[Array, ...]]]:
        """A likely sequence of each length: rows ``[n, width]`` of ``given``, and its context."""
        drawn = []
        for length in lengths:
            rows = self.given.pack([draw_sequences(part, generator, 1, length)[0] for part in self.inputs])
            context = tuple(draw_sequences(part, generator, 1, 1)[0, 0] for part in self.context)
            drawn.append((rows, context))
        return drawn

    def answer(
        self,
        sequences: Sequence[Array],
        contexts: Sequence[tuple[Array, ...]],
        num_steps: int = 0,
        padding: float = 0.0,
    ) -> list[Array]:
        """What the network answers to sequences padded side by side, rows of ``made`` for each, cut to its length.

        Args:
            num_steps: that they are padded to, at least the longest.

        Raises:
            ExportError: the network fails.
        """
        lengths = [len(rows) for rows in sequences]
        arrays = list(self.feeds(sequences, contexts, num_steps, padding).values())
        if self.is_wide:
            arrays = [_widened(each) for each in arrays]
        outputs = [
            from_axes(each.astype(part.dtype), part)
            for each, part in zip(_attempt(self.module, arrays), self.outputs, strict=True)
        ]
        return self._rows(outputs, lengths)

    def feeds(
        self,
        sequences: Sequence[Array],
        contexts: Sequence[tuple[Array, ...]],
        num_steps: int = 0,
        padding: float = 0.0,
    ) -> dict[str, Array]:
        """Sequences padded side by side, as the graph's inputs by their names, in order; arguments as of ``answer``."""
        lengths = [len(rows) for rows in sequences]
        num_steps = max(num_steps, *lengths)
        feeds: dict[str, Array] = {}
        for index, part in enumerate(self.inputs):
            wide = np.full((len(sequences), num_steps, *part.row_shape), self._padding(part, padding), part.dtype)
            for row, rows in enumerate(sequences):
                wide[row, : len(rows)] = self.given.unpack(rows)[index]
            feeds[part.name] = to_axes(wide, part)
        if self.lengths:
            feeds[self.lengths] = np.array(lengths)
        for index, part in enumerate(self.context):
            feeds[part.name] = to_axes(np.stack([known[index] for known in contexts])[:, None], part)
        return feeds

    def alone(self, rows: Array, context: tuple[Array, ...] = ()) -> Array:
        """What the network answers to one sequence at its own length: of two that are the same, since a batch of one
        loses its axis in many a ``squeeze``.
        """
        return self.answer([rows, rows], [context, context])[0]

    def example(self, batch_size: int, num_steps: int) -> tuple[Tensor, ...]:
        """Arguments to trace the module with."""
        generator = np.random.default_rng(0)
        tensors = [to_axes(draw_sequences(part, generator, batch_size, num_steps), part) for part in self.inputs]
        context = [to_axes(draw_sequences(part, generator, batch_size, 1), part) for part in self.context]
        # Falling, as a module that packs sorted rows wants them.
        lengths = np.maximum(1, num_steps - np.arange(batch_size, dtype=np.int64))
        return tuple(map(torch.from_numpy, [*tensors, *([lengths] if self.lengths else []), *context]))

    def unpadded(self) -> SequenceContract:
        """The same for sequences that are never padded, each as long as its run."""
        whole, axes = self.module, (self.module.batch_axis, self.module.time_axis)
        made = WholeSequences(whole.module, whole.places, whole.num_inputs, is_unpadded=True).eval()
        made.batch_axis, made.time_axis = axes
        return replace(self, module=made, lengths="")

    def in_doubles(self) -> SequenceContract:
        """The same network in float64."""
        return replace(self, module=copy.deepcopy(self.module).double(), is_wide=True)

    def _rows(self, outputs: Sequence[Array], lengths: Sequence[int]) -> list[Array]:
        """Rows of each sequence out of outputs ``[B, T, ...]``, or ``[B, 1, ...]`` of what is made once."""
        are_steps = [part.time_axis is not None for part in self.outputs]
        found = []
        for row, length in enumerate(lengths):
            num_rows = length if any(are_steps) else 1
            parts = [
                each[row, :length] if is_step else np.repeat(each[row], num_rows, axis=0)
                for each, is_step in zip(outputs, are_steps, strict=True)
            ]
            packed = self.made.pack([np.ascontiguousarray(part) for part in parts])
            found.append(packed if self.made.is_single else self.made.settle(packed))
        return found

    @staticmethod
    def _padding(part: Input, padding: float) -> float:
        return padding if part.dtype.startswith("float") else 0.0


def inspect_sequence_module(
    module: nn.Module,
    inputs: Sequence[Input],
    context: Sequence[Input] = (),
    output_features: Sequence[str] = (),
) -> SequenceContract:
    """Find the outputs' names, dtypes and symbolic shapes, on a copy of the module.

    Raises:
        ExportError: the module breaks the contract; the message says where.
    """
    module = prepared(module)
    for part in inputs:
        if part.time_axis is None:
            raise ExportError(
                f"input {part.name!r} has shape {list(part.shape)}, without T: what is the same in all steps of a "
                "sequence is context"
            )
    whole = WholeSequences(module, find_places(module, inputs, context), len(inputs)).eval()
    whole.batch_axis, whole.time_axis = inputs[0].batch_axis, inputs[0].shape.index("T")
    lengths = _free_name(LENGTHS_NAME, [part.name for part in (*inputs, *context)]) if whole.takes_lengths else ""
    contract = SequenceContract(whole, tuple(inputs), tuple(context), lengths, ())
    contract = replace(contract, inputs=tuple(_with_codes(contract, index) for index in range(len(inputs))))
    check_repeats(module, lambda: _run(whole, contract.example(*PROBE_SIZES[0])))
    answers = [_run(whole, contract.example(*sizes)) for sizes in PROBE_SIZES]
    names = _names_of(module, whole, contract.example(*PROBE_SIZES[0]))
    outputs = tuple(
        _find_output(name, [answer[index] for answer in answers], output_features if len(names) == 1 else ())
        for index, name in enumerate(names)
    )
    return _with_infinities(replace(contract, outputs=outputs))


def _free_name(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _names_of(module: nn.Module, whole: WholeSequences, example: tuple[Tensor, ...]) -> list[str]:
    """Names of the outputs: the keys that lead to them, ``outputs`` where there is one alone."""
    keys: list[str] = []
    handle = module.register_forward_hook(
        lambda _module, _given, made: keys.extend(name for name, _ in flat_tensors(made))
    )
    try:
        _run(whole, example)
    finally:
        handle.remove()
    if len(keys) == 1:
        return ["outputs"]
    return [f"output_{key}" if key[:1].isdecimal() else key for key in keys]


def _run(whole: WholeSequences, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    try:
        with torch.no_grad():
            answer: tuple[Tensor, ...] = whole(*tensors)
    except ExportError:
        raise
    except Exception as error:  # a user's module may raise anything
        shape = list(tensors[0].shape)
        raise ExportError(
            f"{_name_of(whole)} fails on an input of shape {shape}: {type(error).__name__}: {first_line(error)}"
        ) from error
    if not answer:
        raise ExportError(f"{_name_of(whole)}.forward returns no tensor")
    return answer


def _name_of(whole: nn.Module) -> str:
    return name_of(whole.module if isinstance(whole, WholeSequences) else whole)


def _widened(array: Array) -> Array:
    """What is float32 in float64."""
    return array.astype(np.float64) if array.dtype == np.float32 else array


def _attempt(whole: WholeSequences, arrays: Sequence[Array]) -> list[Array]:
    return [tensor.numpy() for tensor in _run(whole, [torch.from_numpy(array) for array in arrays])]


def _with_codes(contract: SequenceContract, index: int) -> Input:
    """One input with the codes and ranges of its features, as the network has them."""
    part = contract.inputs[index]
    if len(part.row_shape) > 1:
        return part
    whole = part.model_copy(update={"missing": False})
    likely = draw_sequences(whole, np.random.default_rng(0), 1, 1).reshape(-1).astype(np.float64)

    def ask(row: Array) -> list[bytes] | None:
        tensors = list(contract.example(1, 1))
        x = to_axes(row.reshape(1, 1, *part.row_shape).astype(part.dtype), part)
        tensors[index] = torch.from_numpy(x)
        try:
            return [tensor.numpy().tobytes() for tensor in _run(contract.module, tensors)]
        except (ExportError, TypeError):
            return None

    check_declared(part, likely, ask)
    return find_codes(part, likely, ask)


def _find_output(name: str, answers: list[Tensor], features: Sequence[str]) -> Output:
    place = "the output" if name == "outputs" else f"output {name!r}"
    shape = symbolic_shape(place, [tuple(answer.shape) for answer in answers])
    number = int(np.prod([size for size in shape if isinstance(size, int)], dtype=np.int64))
    prefix = "output" if name == "outputs" else name
    names = tuple(features) or tuple(f"{prefix}_{index}" for index in range(number))
    content = {"name": name, "dtype": dtype_name(place, answers[0]), "shape": shape, "features": names}
    try:
        return Output.model_validate(content)
    except ValidationError as error:
        raise ExportError(f"{place}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _with_infinities(contract: SequenceContract) -> SequenceContract:
    """The contract with outputs that may be minus infinity said to.

    Raises:
        ExportError: an output is plus infinity for a likely sequence.
    """
    found = list(contract.outputs)
    for rows, context in contract.draw(np.random.default_rng(0), _TRIED_LENGTHS):
        for index, numbers in enumerate(contract.made.flat(contract.alone(rows, context))):
            if numbers.dtype.kind != "f":
                continue
            if (numbers == np.inf).any():
                raise ExportError(
                    "the network's output is plus infinity for likely inputs, and no sequence could be answered with "
                    "that: bound it, as by clamp"
                )
            if (numbers == -np.inf).any():
                found[index] = found[index].model_copy(update={"minus_infinity": True})
    return replace(contract, outputs=tuple(found))
