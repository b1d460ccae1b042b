"""Untraced modules: what torch's tracer could not follow, in which line of whose code, and what to do about it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence

import onnx_ir as ir
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from ostinato.export.contracts.symbols import Axes
from ostinato.export.errors import ExportError, first_line
from ostinato.export.places import place_of

_STACK_TRACE = "pkg.torch.onnx.stack_trace"
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)')
_SOURCE = re.compile(r"\[(\d+)\]\.size\(\)\[(\d+)\]")
_STATIC_ADVICE = {
    "T": (
        "its graph would take that many steps only. A size that is read as a number does this, as int(x.shape[1]) is: "
        "let it follow from x, or export the module one step at a time (step_by_step=True, --step-by-step)"
    ),
    "S": (
        "its graph would take sources of that length only. A size read as a number does this, or a Python loop over "
        "the source whose rounds are not alike: use nn.LSTM or nn.GRU by ostinato.models.networks.ragged.run_ragged"
    ),
    "B": (
        "its graph would take that many sequences only: do not read the size of the batch as a number, as "
        "int(x.shape[0]) and [n] * x.shape[0] do, and x.shape[0] and x.new_full(x.shape[:1], n) do not"
    ),
}
_ADVICE = (
    (
        r"data-dependent|DataDependent|unbacked",
        "what the numbers are decides there what Python does, and a graph does the same for all: choose by torch.where "
        "or a mask, and keep numbers in tensors, without item(), float() and if",
    ),
    (r"\.numpy\(\)|\.tolist\(\)|numpy", "compute with torch, since numpy cannot be followed into a graph"),
)


class StaticAxes(ExportError):
    """Axes that have to be open, and that the module's code takes as numbers.

    Attributes:
        axes: their symbols.
    """

    def __init__(self, message: str, axes: tuple[str, ...] = ()) -> None:
        super().__init__(message, axes)
        self.axes = axes

    def __str__(self) -> str:
        return str(self.args[0])


def untraced(error: Exception, shapes: Sequence[Axes]) -> ExportError:
    """What to raise where torch's tracer raised ``error``.

    Args:
        shapes: of the inputs, in their order, with their symbols.
    """
    violated = re.search(r"Constraints violated \(([^)]*)\)", str(error))
    if violated is None:
        frames = traceback.extract_tb(error.__traceback__)
        place = place_of([(frame.filename, frame.lineno, frame.line) for frame in frames])
        said = f"{type(error).__name__}: {first_line(error)}"
        advice = next((way_out for pattern, way_out in _ADVICE if re.search(pattern, said)), said)
        return ExportError(f"torch cannot trace the module{place}: {advice}")
    axes = [axis for axis in ("T", "S", "B") if axis in violated.group(1).replace(",", " ").split()]
    places = _places(error, shapes)
    faults = [f"axis {axis} is secretly static{places.get(axis, '')}: {_STATIC_ADVICE[axis]}" for axis in axes]
    return StaticAxes("; ".join(faults) or first_line(error), tuple(axes))


def place_in(stack_trace: str) -> str:
    """The same from a stack trace in words."""
    return place_of([(file, int(line), code) for file, line, code in _FRAME.findall(stack_trace)])


def places_of(model: ir.Model) -> dict[str, str]:
    """Name of a node of a graph as torch made it -> the line that it comes from."""
    nodes = ir.traversal.RecursiveGraphIterator(model.graph)
    found = {node.name or "": place_in(node.metadata_props.get(_STACK_TRACE, "")) for node in nodes}
    return {name: place for name, place in found.items() if place}


def _places(error: Exception, shapes: Sequence[Axes]) -> dict[str, str]:
    """Symbol -> the line that made a number of it: what torch found out of its sizes has the place where it did."""
    places: dict[str, str] = {}
    for environment in _environments(error):
        for symbol, sources in environment.var_to_sources.items():
            found = _SOURCE.search(str(sources[0].name))
            if found is None or int(found[1]) >= len(shapes):
                continue
            axis = str(shapes[int(found[1])][int(found[2])])
            for guard in environment.guards:
                if symbol in guard.expr.free_symbols and axis not in places:
                    frame = guard.sloc.framework_loc
                    if isinstance(frame, traceback.FrameSummary):
                        places[axis] = place_of([(frame.filename, frame.lineno, frame.line)])
    return places


def _environments(error: BaseException) -> Iterator[ShapeEnv]:
    """What torch knew of sizes: only the frames that raised hold it."""
    seen = set()
    frame = error.__traceback__
    while frame is not None:
        for value in list(frame.tb_frame.f_locals.values()):
            environment = getattr(value, "shape_env", None)
            if isinstance(environment, ShapeEnv) and id(environment) not in seen:
                seen.add(id(environment))
                yield environment
        frame = frame.tb_next
