"""ONNX graphs of modules that see all their steps at once: whole sequences, and sources."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir
from torch import Tensor, nn

from ostinato.export.errors import ExportError
from ostinato.export.graphs.counted import NUM_TRACED, CountedSteps
from ostinato.export.graphs.loops import is_called_more_often
from ostinato.export.graphs.ranges import Range
from ostinato.export.graphs.recurrent import TRACED_SIZES, Signature, finish, translate
from ostinato.export.graphs.untraced import StaticAxes, places_of


def write_whole(
    module: nn.Module,
    example: Callable[[int, int], Sequence[Tensor]],
    signature: Signature,
    path: Path,
    lengths: int | None = None,
    places: dict[str, str] | None = None,
) -> Mapping[str, Range]:
    """As ``write_module``, of a module of whole sequences, which may loop over their steps in Python.

    Args:
        example: arguments of so many sequences of so many steps.
        lengths: the place among them of the sequences' lengths.
        places: as of ``write_graph``.
    """
    model: ir.Model | None = None
    if is_called_more_often(lambda num_steps: module(*example(2, num_steps))):
        counted = CountedSteps(signature.time_axes, lengths)
        with contextlib.suppress(ExportError):  # the reason of the whole module names the line
            model = translate(module, example(TRACED_SIZES[0], NUM_TRACED), signature, counted)
    model = model or _translated_whole(module, example(*TRACED_SIZES), signature)
    if places is not None:
        places |= places_of(model)
    return finish(model, signature, path)


def _translated_whole(module: nn.Module, traced: Sequence[Tensor], signature: Signature) -> ir.Model:
    """The graph; where torch asks more of the steps than it can know, as behind a stride, the proof decides of it."""
    try:
        return translate(module, traced, signature)
    except StaticAxes as error:
        if "B" in error.axes:
            raise
        try:
            return translate(module, traced, signature, defers=True)
        except ExportError:
            raise error from None
