"""Frames of a foreign graph: where its steps come several at a time, it is looked at in frames of them."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import onnx_ir as ir

from ostinato.export.errors import ExportError
from ostinato.export.importing.files import Workbench
from ostinato.export.importing.finder import AnswersOnce, find_streams
from ostinato.export.importing.finding import Finding, ImportHints
from ostinato.service.artifact.framing import Framing

_LEAST_STEPS = 2


def find(model: ir.Model, hints: ImportHints, bench: Workbench) -> Finding:
    """What a graph carries and is given, found by names, by what it does, and by runs.

    A graph of a fixed number of steps that can be no other, and one that answers once in several, is given frames.

    Args:
        model: stays as it is.

    Raises:
        ExportError: something is not clear, or nothing that was tried runs; says what to say.
    """
    try:
        found = find_streams(model.clone(), hints, bench)
    except AnswersOnce as error:
        frames = Framing(window=error.rate, hop=error.rate)
        found = find_streams(model.clone(), replace(hints, framing=frames), bench)
        told = f"it answers once in {error.rate} steps, so a session's frames have {error.rate} (--framing {frames})"
        return replace(found, notes=(*found.notes, told))
    if not found.streams and not found.layout.has_steps:  # no sequences either
        raise ExportError("; ".join([*_windows(found), *found.obstacles]))
    size = fixed_steps(found)
    if hints.framing is not None or not size:
        return found
    with contextlib.suppress(ExportError):
        frames = Framing(window=size, hop=size)
        framed = find_streams(model.clone(), replace(hints, framing=frames), bench)
        if framed.streams:
            told = (
                f"the file takes {size} steps a run: a session's frames have {size}. Where its windows share steps, "
                f"say --framing {size}:HOP; where the {size} are no steps, say its axes with --axes"
            )
            return replace(framed, notes=(*framed.notes, told))
    return found


def _windows(found: Finding) -> list[str]:
    """What a graph seems to be given that takes so many steps and no others."""
    wide = [found.layout.roles[port.name] for port in found.fed if len(found.layout.roles[port.name]) > 2]
    sizes = {roles[1] for roles in wide}
    size = sizes.pop() if len(sizes) == 1 else 0
    if not isinstance(size, int) or size < _LEAST_STEPS or found.framing is not None:
        return []
    return [f"it is given windows of {size} steps, it seems: --framing {size}:1 answers at each step"]


def fixed_steps(found: Finding) -> int:
    """The number of steps that is fixed in a graph of ``[B, T, F]`` which streams so many at a time; 0 = none is."""
    shapes = [found.layout.roles[port.name] for port in found.fed]
    wide = [roles for roles in shapes if len(roles) == 3 and roles[0] == "B" and "1" not in roles]
    if not found.streams or found.layout.has_steps or len(wide) < len(shapes) or found.said_axes:
        return 0
    sizes = {roles[1] for roles in wide}
    size = sizes.pop() if len(sizes) == 1 else 0
    if not isinstance(size, int) or size < _LEAST_STEPS:
        return 0
    takes = [found.survey.takes(found.layout, axis, 2 * max(int(roles[axis]) for roles in wide)) for axis in (1, 2)]
    return 0 if takes == [False, True] else size  # what is behind the steps is tied to weights
