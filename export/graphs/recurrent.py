"""ONNX graphs of recurrent modules, with any ``B`` and ``T``, names that stay, and nothing superfluous."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from ostinato.export.contracts.axes import Array, States
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.one_step import one_step
from ostinato.export.contracts.symbols import Axes
from ostinato.export.errors import ExportError
from ostinato.export.graphs.counted import CountedSteps
from ostinato.export.graphs.decompositions import WithoutShortcuts, decomposed
from ostinato.export.graphs.files import save_graph
from ostinato.export.graphs.invariant import make_invariant
from ostinato.export.graphs.layers import onnx_forwards, with_onnx_layers
from ostinato.export.graphs.loops import loops_over_steps, scan_over_steps
from ostinato.export.graphs.medians import SortedMedians
from ostinato.export.graphs.nan_guard import guard
from ostinato.export.graphs.open_lengths import open_lengths
from ostinato.export.graphs.packing import PaddedPacking
from ostinato.export.graphs.ranges import FINITE, MAY_BE_MISSING, Range, Ranges
from ostinato.export.graphs.rerolled import reroll
from ostinato.export.graphs.tidy import tidy
from ostinato.export.graphs.untraced import StaticAxes, places_of, untraced
from ostinato.export.graphs.untranslated import untranslated
from ostinato.service.artifact.graphs import open_graph
from ostinato.service.catalogue.tried import try_graph
from ostinato.service.errors import ModelRejected

OPSET_VERSION = 20
TRACED_SIZES = (3, 5)
_NOISY = ("torch.onnx", "torch.export", "torch.fx", "torch._export", "onnxscript", "onnx_ir")


class StepGraph:
    """An ONNX file under onnxruntime on one thread, as a ``StepFunction``."""

    def __init__(self, path: Path, contract: Contract) -> None:
        self._session = open_exported(path)
        self._contract = contract
        self._names = [name for name, _ in Signature.of(contract, "").inputs]
        self._fetches = [name for name, _ in Signature.of(contract, "").outputs]
        self._constants = {part.name: part.array() for part in contract.constants}

    def __call__(self, x: Array, states: States) -> tuple[Array, States]:
        """One run of the graph."""
        tensors = (*self._contract.tensors(x), *states)
        made = self._session.run(self._fetches, {**dict(zip(self._names, tensors, strict=True)), **self._constants})
        count = len(self._contract.made)
        return self._contract.answer(made[:count]), tuple(made[count:])


class _Flat(nn.Module):
    """The module with all its arguments as one: a fixed signature to trace, whatever the module's own is."""

    def __init__(self, module: nn.Module, counted: CountedSteps | None) -> None:
        super().__init__()
        self.module = module
        self.counted = counted

    def forward(self, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if self.counted is None:
            return tuple(self.module(*arguments))
        with self.counted.run(arguments) as settled:
            made: tuple[Tensor, ...] = settled(tuple(self.module(*arguments)))
            return made


@dataclass(frozen=True)
class Signature:
    """What a graph is called and takes and gives: name and symbolic shape of each input and output, in order.

    ``ranges``: name of an input -> what its numbers may be, where they may be other than finite.
    """

    name: str
    inputs: tuple[tuple[str, Axes], ...]
    outputs: tuple[tuple[str, Axes], ...]
    ranges: Mapping[str, Range] = field(default_factory=dict)

    @classmethod
    def of(cls, contract: Contract, name: str) -> Signature:
        """That of a recurrent module."""
        states, parts = contract.states, (*contract.given, *contract.context)
        return cls(
            name,
            inputs=(*((part.name, part.shape) for part in parts), *((state.input, state.shape) for state in states)),
            outputs=(
                *((part.name, part.shape) for part in contract.made),
                *((state.output, state.shape) for state in states),
            ),
            ranges=_ranges_of(contract),
        )

    @property
    def time_axes(self) -> list[tuple[int, int]]:
        """Of each input that has steps, or a source's steps: its place and their axis."""
        places = enumerate(shape for _, shape in self.inputs)
        return [(place, axis) for place, shape in places for axis, size in enumerate(shape) if size in ("T", "S")]

    def dynamic_shapes(self, symbols: Mapping[str, torch.export.Dim]) -> list[dict[int, torch.export.Dim]]:
        """The open axes of each input, as ``torch.export`` wants them."""
        return [
            {axis: symbols[size] for axis, size in enumerate(shape) if isinstance(size, str)}
            for _, shape in self.inputs
        ]


def open_exported(path: Path) -> Any:
    """A graph under onnxruntime, an ``InferenceSession``, as the service opens it; a process of its own did before.

    Raises:
        ExportError: onnxruntime cannot load it, or dies of it.
    """
    try:
        try_graph(path)
        return open_graph(path)
    except ModelRejected as error:
        raise ExportError(f"the exported graph: {error}") from error


def write_graph(contract: Contract, path: Path, name: str = "step", places: dict[str, str] | None = None) -> Contract:
    """Trace the module with ``B`` and ``T`` left open and write the ONNX file.

    What loops over the steps in Python is traced for one step, which a ``Scan`` runs for each.

    Args:
        places: is filled with the line of the user's code that each node comes from, by its name, in brackets.

    Returns:
        the contract, with the states that the graph shows to be ``bounded``.

    Raises:
        ExportError: an axis is secretly static, torch cannot trace or translate the module, or step by step it answers
            differently from in a loop of its own.
    """
    _check_directions(contract)
    signature = Signature.of(contract, name)
    model = _model_of(contract, signature)
    if places is not None:
        places |= places_of(model)
    made = finish(model, signature, path)
    bounded = (state.model_copy(update={"bounded": made[state.output].is_finite}) for state in contract.states)
    return replace(contract, states=tuple(bounded))


def _check_directions(contract: Contract) -> None:
    """Let layers run both ways along any axis that is not that of the steps.

    Raises:
        ExportError: one runs along the steps.
    """
    both_ways = [
        path or type(layer).__name__
        for path, layer in contract.module.named_modules()
        if isinstance(layer, nn.RNNBase) and layer.bidirectional
    ]
    if not both_ways:
        return
    try:
        one_step(contract)
    except ExportError as error:
        raise ExportError(
            f"layer {both_ways[0]!r} is bidirectional over the steps: its outputs depend on steps that a live session "
            "has not seen yet; use one direction, or export the module with task 'sequence', which answers whole "
            "sequences without sessions"
        ) from error


def _model_of(contract: Contract, signature: Signature) -> ir.Model:
    """The graph over all steps, traced as it is; or, where that fails, of one step within a ``Scan``.

    Raises:
        ExportError: as ``write_graph``; of two reasons, that of the whole module.
    """
    if loops_over_steps(contract):
        return _scanned(contract, signature)
    try:
        return _translated(contract, signature)
    except ExportError as error:
        is_of_steps = not isinstance(error, StaticAxes) or "T" in error.axes
        if contract.inputs.time_axis is None or not is_of_steps:
            raise
        try:
            return _scanned(contract, signature)
        except ExportError:
            raise error from None


def _scanned(contract: Contract, signature: Signature) -> ir.Model:
    one = one_step(contract)
    model = _translated(one, Signature.of(one, signature.name))
    carried = {state.input: state.output for state in contract.states}
    scan_over_steps(model, dict(signature.inputs), dict(signature.outputs), carried)
    return model


def _translated(contract: Contract, signature: Signature) -> ir.Model:
    return translate(with_onnx_layers(contract.module), contract.example(*TRACED_SIZES), signature)


def _ranges_of(contract: Contract) -> dict[str, Range]:
    """Of the inputs that may be other than finite."""
    ranges = {part.name: MAY_BE_MISSING for part in (*contract.given, *contract.context) if part.missing}
    for state in contract.states:
        if state.missing or state.infinite:
            ranges[state.input] = Range(np.inf if state.infinite else FINITE.bound, state.missing)
    return ranges


def write_module(module: nn.Module, example: Sequence[Tensor], signature: Signature, path: Path) -> Mapping[str, Range]:
    """Trace a module of tensors to a tuple of tensors, its axes left open as the signature says, and write the file.

    Returns:
        name of an output -> what its numbers may be.

    Raises:
        ExportError: an axis is secretly static, or torch cannot trace or translate the module.
    """
    return finish(translate(module, example, signature), signature, path)


def translate(
    module: nn.Module,
    example: Sequence[Tensor],
    signature: Signature,
    counted: CountedSteps | None = None,
    *,
    defers: bool = False,
) -> ir.Model:
    """The graph of a module as torch makes it.

    Args:
        counted: of a module that loops over its steps; each of its loops is one ``Scan``.
        defers: let pass what torch would have of open axes and that their sizes do not show.

    Raises:
        ExportError: an axis is secretly static, or torch cannot trace or translate the module.
    """
    program = _trace(_Flat(module, counted).eval(), tuple(example), signature, defers)
    with _quiet():
        try:
            program = decomposed(program)
            converted = torch.onnx.export(program, opset_version=OPSET_VERSION, verbose=False, optimize=counted is None)
        except ExportError:
            raise
        except Exception as error:  # the translator's exceptions share no base class
            raise untranslated(error) from error
        assert converted is not None
        if counted is not None:
            reroll(converted.model, counted.time)
            converted.optimize()
    return converted.model


def finish(model: ir.Model, signature: Signature, path: Path) -> Mapping[str, Range]:
    """Make a translated graph invariant, guard it, tidy it and write the file.

    Returns:
        name of an output -> what its numbers may be.
    """
    make_invariant(model)
    made = _guarded(model, signature)
    tidy(model, signature.inputs, signature.outputs, signature.name)
    save_graph(model, path)
    return made


def _trace(
    module: nn.Module, example: tuple[Tensor, ...], signature: Signature, defers: bool
) -> torch.export.ExportedProgram:
    open_axes = signature.dynamic_shapes({symbol: torch.export.Dim(symbol, min=1) for symbol in "BTS"})
    with _quiet(), onnx_forwards(), PaddedPacking(), WithoutShortcuts(), SortedMedians(), open_lengths(module):
        try:
            return torch.export.export(
                module,
                (example,),
                dynamic_shapes=(tuple(open_axes),),
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=defers,
            )
        except ExportError:
            raise
        except Exception as error:  # tracing a user's module may raise anything
            raise untraced(error, [shape for _, shape in signature.inputs]) from error


def _guarded(model: ir.Model, signature: Signature) -> dict[str, Range]:
    """Guard the graph against NaN that it would lose; returns the ranges of its outputs, by the signature's names."""
    given = zip(model.graph.inputs, signature.inputs, strict=True)
    ranges = Ranges(
        {value.name or "": signature.ranges[name] for value, (name, _) in given if name in signature.ranges}
    )
    made = [ranges.of(value) for value in model.graph.outputs]
    guard(model, ranges)
    return {name: found for (name, _), found in zip(signature.outputs, made, strict=True)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's notes on packages that it does not find, and on its own deprecations, from the terminal."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        nowhere = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
