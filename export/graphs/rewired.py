"""Foreign graphs made to stream: operators that begin from a constant, and keep what they know, take and give states.

A graph that somebody exported for whole sequences has recurrent operators that begin with zeros. Here what they begin
with becomes an input, and what they end with an output, so that a sequence may come in pieces. What runs along another
axis than that of the steps stays as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveUnusedNodesPass

from ostinato.export.contracts.axes import Array
from ostinato.export.graphs.dependence import failure, first_dependence
from ostinato.export.graphs.feeding import Feeding, InputAxes
from ostinato.export.graphs.inferred import infer_shapes
from ostinato.export.graphs.observed import CannotRun, Observed, observe
from ostinato.export.graphs.opsets import with_new_operators
from ostinato.export.graphs.rewired_layers import LAYERS, rewire_layer, steps_first
from ostinato.export.graphs.rewired_loops import rewire_loop
from ostinato.export.graphs.rewired_pasts import (
    rewire_concatenation,
    rewire_convolution,
    rewire_padding,
    rewire_running_sum,
    rewire_transposed_convolution,
)
from ostinato.export.graphs.rewiring import Hindered, Obstacle, Rewiring
from ostinato.export.graphs.settled import settle
from ostinato.export.graphs.sources import all_nodes, give_names
from ostinato.service.artifact.tensors import State

__all__ = ["InputAxes", "Obstacle", "Rewired", "first_dependence", "rewire"]

_REWRITES = {**dict.fromkeys(LAYERS, rewire_layer), "Scan": rewire_loop, "Loop": rewire_loop}
_REWRITES_OF_PASTS = {
    **dict.fromkeys(("Conv", "ConvInteger", "QLinearConv"), rewire_convolution),
    "ConvTranspose": rewire_transposed_convolution,
    "Pad": rewire_padding,
    "Concat": rewire_concatenation,
    "CumSum": rewire_running_sum,
}
"""What only looks back. What stands in the way of these may matter to nobody: it is named where it does."""


_MANY_STEPS = 1000
"""Of more, one row is enough to see what depends on other steps: all values of a graph are kept for that."""


@dataclass(frozen=True)
class Rewired:
    """A graph whose recurrent operators take and give their states.

    ``states``: those that it was given, the names of its inputs and outputs among them.
    ``obstacles``: what hinders it to stream, each by node, operator and reason; empty where nothing does.
    ``words``: a sentence for each state.
    """

    model: ir.Model
    states: tuple[State, ...]
    obstacles: tuple[Obstacle, ...]
    words: tuple[str, ...]


def rewire(
    model: ir.Model,
    batch_and_time: InputAxes,
    *,
    constants: Mapping[str, Array] | None = None,
    states: Sequence[State] = (),
    unit: int = 1,
) -> Rewired:
    """Make recurrent operators that begin from a constant take and give their states.

    Args:
        model: stays as it is; what is given back is another.
        batch_and_time: name of an input -> the axis of the batch and the axis of the steps, None where it has none.
        constants: inputs that are the same in every run.
        states: those that the graph has already.
        unit: each piece of a sequence is a multiple of so many steps, as for a graph of frames.
    """
    made = model.clone()
    InlinePass()(made)
    made = with_new_operators(made)
    steps_first(made.graph)
    _tidy(made)
    axes = dict(batch_and_time) | {state.input: (state.batch_axis, None) for state in states}
    given = dict(constants or {})
    try:
        observed = _observed(made, Feeding(made.graph, axes, given, unit))
    except CannotRun as error:
        return Rewired(made, (), (_cannot_run(made, error),), ())
    settle(made, observed, given)
    fed = {*given, *(state.input for state in states), *(name for name, (_, time) in axes.items() if time is not None)}
    rewiring = Rewiring(made, observed, fed)
    for node, around in list(all_nodes(made.graph)):
        if node.op_type in _REWRITES and all(each.op_type == "If" for each in around):
            try:
                _REWRITES[node.op_type](rewiring, node)
            except Hindered as error:
                rewiring.hinder(node, str(error))
        if node.op_type in _REWRITES_OF_PASTS and all(each.op_type == "If" for each in around):
            with contextlib.suppress(Hindered):
                _REWRITES_OF_PASTS[node.op_type](rewiring, node)
    _tidy(made)
    _drop_inputs(rewiring)
    infer_shapes(made)
    if not rewiring.obstacles:
        feeder = Feeding(made.graph, axes, given, unit)
        rewiring.obstacles.extend(_dependence(rewiring, feeder, (*states, *rewiring.states)))
    return Rewired(made, tuple(rewiring.states), tuple(rewiring.obstacles), tuple(rewiring.words))


def _observed(model: ir.Model, feeder: Feeding) -> Observed:
    """The values of a graph, in branches that no run took, too, where they can run."""
    operators = {*_REWRITES, *_REWRITES_OF_PASTS}
    observed = observe(model, feeder, operators)
    if any(node.op_type in operators and around for node, around in all_nodes(model.graph)):
        with contextlib.suppress(CannotRun):
            observed.merge(observe(model, feeder, operators, opposite=True))
    return observed


def _dependence(rewiring: Rewiring, feeder: Feeding, states: Sequence[State]) -> list[Obstacle]:
    """What still answers differently in pieces, as far as runs show."""
    longer = rewiring.observed.longer
    if not feeder.has_steps or feeder.fixed(1) is not None:
        return []
    carried = {state.input for state in states}
    is_long = longer.num_steps > _MANY_STEPS and feeder.fixed(0) is None
    drawn = feeder(1 if is_long else longer.batch_size, longer.num_steps, 4)
    feeds = {name: array for name, array in drawn.items() if name not in carried}
    found = first_dependence(rewiring.model, feeds, feeder.axes, states, feeder.unit)
    return [] if found is None else [found]


def _tidy(model: ir.Model) -> None:
    give_names(model)
    RemoveUnusedNodesPass()(model)


def _drop_inputs(rewiring: Rewiring) -> None:
    """Take away inputs that states stand for now."""
    graph = rewiring.model.graph
    for value in [value for value in graph.inputs if value.name in rewiring.forgotten and not value.uses()]:
        graph.inputs.remove(value)
        rewiring.words.append(f"input {value.name!r}: a state stands for it, at first 0")


def _cannot_run(model: ir.Model, error: CannotRun) -> Obstacle:
    what = "any of the numbers of steps that were tried"
    found = failure((node for node, _ in all_nodes(model.graph)), str(error), what)
    return found or Obstacle(model.graph.name or "", "graph", f"it cannot run with {what}: {error}")
