"""Operators of a foreign graph that look back over the steps: what they see before the first step becomes a state.

A convolution that is padded before the first step, an explicit padding there, a constant put before the sequence, and a
sum that runs along the steps. Each piece then sees the end of the one before, and the first what the whole would see.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ostinato.export.graphs.nodes import Nodes
from ostinato.export.graphs.observed import Size
from ostinato.export.graphs.rewiring import Placement, Rewiring

_LAST = int(np.iinfo(np.int64).max)
_STEPWISE = {
    "Relu",
    "LeakyRelu",
    "PRelu",
    "Elu",
    "Selu",
    "Sigmoid",
    "Tanh",
    "HardSigmoid",
    "HardSwish",
    "Softplus",
    "Gelu",
}
_STEPWISE |= {"BatchNormalization", "Identity", "Dropout", "Cast", "Gather", "Squeeze", "Unsqueeze", "Transpose"}
_ZERO_POINTS = {"Conv": None, "ConvInteger": 2, "QLinearConv": 2}
"""Convolutions, and the place of what they take for zero."""


def rewire_padding(rewiring: Rewiring, node: ir.Node) -> None:
    """``Pad`` before the first step: the steps before, which are the padding at first.

    Raises:
        Hindered: it is not known which part of the state is of which row.
    """
    mode = node.attributes.get("mode")
    pads, number, axes = (rewiring.settled(node, place) for place in (1, 2, 3))
    sizes = rewiring.observed.sizes(node.inputs[0])
    if pads is None or sizes is None or (mode is not None and mode.as_string() != "constant"):
        return
    if number is None and len(node.inputs) > 2 and node.inputs[2] is not None:
        return
    padded = range(len(sizes)) if axes is None else [int(axis) % len(sizes) for axis in axes.ravel()]
    for place, axis in enumerate(padded):
        before, behind = int(pads[place]), int(pads[place + len(padded)])
        if _is_steps(sizes[axis]) and before > 0 and behind == 0:
            pads = pads.copy()
            pads[place] = 0
            _put_past(rewiring, node, axis, before, 0.0 if number is None else number.ravel()[0].item())
            nodes = Nodes(np.int64)
            node.replace_input_with(1, nodes.integers([int(each) for each in pads]))
            node.prepend(nodes.made)
            return


def rewire_convolution(rewiring: Rewiring, node: ir.Node) -> None:
    """A convolution that is padded before the first step, and not behind the last one, or what is there is cut off.

    Raises:
        Hindered: it is not known which part of the state is of which row.
    """
    sizes = rewiring.observed.sizes(node.inputs[0])
    given, place_of_zero = node.attributes.get("pads"), _ZERO_POINTS[node.op_type]
    zero = None if place_of_zero is None else rewiring.settled(node, place_of_zero)
    auto_pad, strides = node.attributes.get("auto_pad"), node.attributes.get("strides")
    if sizes is None or given is None or (auto_pad is not None and auto_pad.as_string() != "NOTSET"):
        return
    if place_of_zero is not None and zero is None and len(node.inputs) > place_of_zero:
        return
    pads, num_axes = list(given.as_ints()), len(sizes) - 2
    for place in range(num_axes):
        before, behind = pads[place], pads[place + num_axes]
        is_every = strides is None or strides.as_ints()[place] == 1
        if not _is_steps(sizes[place + 2]) or not before or not is_every:
            continue
        cut = _cuts_of_end(rewiring, node, place + 2, behind) if behind else []
        if cut is None:
            continue
        _put_past(rewiring, node, place + 2, before, 0.0 if zero is None else zero.ravel()[0].item())
        pads[place] = pads[place + num_axes] = 0
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)
        for user in cut:
            _become(user, "Identity", [user.inputs[0]])
        return


def rewire_transposed_convolution(rewiring: Rewiring, node: ir.Node) -> None:
    """``ConvTranspose`` each step of which goes into later ones, where what it makes behind the last step is cut off.

    Raises:
        Hindered: it is not known which part of the state is of which row.
    """
    sizes, weights = rewiring.observed.sizes(node.inputs[0]), rewiring.observed.sizes(node.inputs[1])
    if sizes is None or weights is None or {"auto_pad", "output_shape"} & set(node.attributes):
        return
    num_axes = len(sizes) - 2
    pads, others = _integers(node, "pads", [0] * 2 * num_axes), _integers(node, "output_padding", [0] * num_axes)
    strides, dilations = (_integers(node, name, [1] * num_axes) for name in ("strides", "dilations"))
    for place in range(num_axes):
        reach = (int(weights[place + 2].rest) - 1) * dilations[place]
        behind = reach - pads[place + num_axes]
        if not _is_steps(sizes[place + 2]) or not reach or strides[place] != 1 or others[place] or pads[place]:
            continue
        cut = _cuts_of_end(rewiring, node, place + 2, behind) if behind else []
        if cut is None:
            continue
        _put_past(rewiring, node, place + 2, reach, 0.0)
        pads[place] = pads[place + num_axes] = reach
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)
        for user in cut:
            _become(user, "Identity", [user.inputs[0]])
        return


def rewire_concatenation(rewiring: Rewiring, node: ir.Node) -> None:
    """A constant put before the first step: zeros, or a step that was learned.

    Raises:
        Hindered: it is not known which part of the state is of which row, or rows begin with different numbers.
    """
    if len(node.inputs) != 2:
        return
    before, value = node.inputs
    sizes, of_past = rewiring.observed.sizes(value), rewiring.observed.sizes(before)
    if value is None or before is None or sizes is None or of_past is None or len(sizes) < 2:
        return
    axis = node.attributes["axis"].as_int() % len(sizes)
    is_constant = not any(size.is_of_steps for size in of_past) and not rewiring.begins_with_inputs(
        before, node.outputs[0]
    )
    if not _is_steps(sizes[axis]) or not is_constant:
        return
    placement = rewiring.placement_of(value, {axis: int(of_past[axis].rest)})
    state = rewiring.add_state(
        node, "past", placement, rewiring.dtype_of(value), rewiring.initial_of(before, placement, node.outputs[0])
    )
    given = Nodes(np.int64)
    node.replace_input_with(0, placement.inside(given, state))
    node.prepend(given.made)
    _end_past(rewiring, node, node.outputs[0], axis, placement, state)


def rewire_running_sum(rewiring: Rewiring, node: ir.Node) -> None:
    """``CumSum`` along the steps: it continues from the sum so far.

    Raises:
        Hindered: it is not known which part of the state is of which row.
    """
    axes, sizes = rewiring.settled(node, 1), rewiring.observed.sizes(node.inputs[0])
    if axes is None or sizes is None or _integer(node, "reverse"):
        return
    axis = int(axes.ravel()[0]) % len(sizes)
    if not _is_steps(sizes[axis]):
        return
    value = node.inputs[0]
    assert value is not None
    placement = rewiring.placement_of(value, {axis: 1})
    state = rewiring.add_state(node, "past", placement, rewiring.dtype_of(value), 0.0)
    nodes = Nodes(np.int64)
    joined = nodes.op("Concat", placement.inside(nodes, state), value, axis=axis)
    sums = nodes.op("CumSum", joined, node.inputs[1])
    begin, end = (0, -1) if _integer(node, "exclusive") else (1, _LAST)
    cut = [nodes.integers([number]) for number in (begin, end, axis)]
    node.prepend(nodes.made)
    _become(node, "Slice", [sums, *cut])
    producer = sums.producer()
    assert producer is not None
    _end_past(rewiring, producer, sums, axis, placement, state)


def _is_steps(size: Size) -> bool:
    """Whether an axis has the steps, and not the rows of the batch, too."""
    return size.is_of_steps and not size.batch


def _put_past(rewiring: Rewiring, node: ir.Node, axis: int, count: int, initial: float) -> None:
    """Put the end of the piece before in front of what a node is given."""
    value = node.inputs[0]
    assert value is not None
    placement = rewiring.placement_of(value, {axis: count})
    state = rewiring.add_state(node, "past", placement, rewiring.dtype_of(value), initial)
    nodes = Nodes(np.int64)
    joined = nodes.op("Concat", placement.inside(nodes, state), value, axis=axis)
    node.prepend(nodes.made)
    node.replace_input_with(0, joined)
    _end_past(rewiring, nodes.made[-1], joined, axis, placement, state)


def _end_past(
    rewiring: Rewiring, node: ir.Node, value: ir.Value, axis: int, placement: Placement, state: ir.Value
) -> None:
    """Make the last places of what a node makes the state in the end."""
    nodes = Nodes(np.int64)
    ends = [nodes.integers([number]) for number in (-placement.sizes[axis], _LAST, axis)]
    last = placement.outside(nodes, nodes.op("Slice", value, *ends))
    node.append(nodes.made)
    rewiring.end_state(state, last)


def _cuts_of_end(rewiring: Rewiring, node: ir.Node, axis: int, count: int) -> list[ir.Node] | None:
    """The nodes that cut off what a convolution makes behind the last step; None where something else uses it."""
    made = node.outputs[0]
    users = [user for user, _ in made.uses()]
    if made.is_graph_output() or not users:
        return None
    cuts: list[ir.Node] = []
    for user in users:
        if _cuts(rewiring, user, made, axis, count):
            cuts.append(user)
            continue
        moved = _axis_behind(rewiring, user, made, axis)
        others = None if moved is None else _cuts_of_end(rewiring, user, moved, count)
        if others is None:
            return None
        cuts += others
    return cuts


def _axis_behind(rewiring: Rewiring, node: ir.Node, value: ir.Value, axis: int) -> int | None:
    """Where the steps are behind a node that does to each step the same; None behind another."""
    before, after = rewiring.observed.sizes(value), rewiring.observed.sizes(node.outputs[0])
    chosen = _integer(node, "axis") % len(before or ()) if node.op_type == "Gather" and before else None
    if (
        node.op_type not in _STEPWISE
        or before is None
        or after is None
        or chosen == axis
        or node.inputs[0] is not value
    ):
        return None
    places = [place for place, size in enumerate(after) if size == before[axis]]
    return places[0] if len(places) == 1 else None


def _cuts(rewiring: Rewiring, node: ir.Node, value: ir.Value, axis: int, count: int) -> bool:
    """Whether a node gives a value without so many places at the end of an axis, and nothing else."""
    before, after = rewiring.observed.sizes(value), rewiring.observed.sizes(node.outputs[0])
    if node.op_type != "Slice" or node.inputs[0] is not value or before is None or after is None:
        return False
    whole, base = rewiring.observed.base[value.name or ""], rewiring.observed.base[node.outputs[0].name or ""]
    kept = [slice(None)] * whole.ndim
    kept[axis] = slice(0, -count)
    expected = [size.rest - (count if place == axis else 0) for place, size in enumerate(before)]
    return np.array_equal(whole[tuple(kept)], base) and [size.rest for size in after] == expected


def _become(node: ir.Node, operator: str, inputs: Sequence[ir.Value | None]) -> None:
    """Let a node be another operator that makes the same outputs."""
    node.op_type, node.domain = operator, ""
    node.attributes.clear()
    node.resize_inputs(len(inputs))
    for place, value in enumerate(inputs):
        node.replace_input_with(place, value)


def _integer(node: ir.Node, name: str) -> int:
    attribute = node.attributes.get(name)
    return 0 if attribute is None else attribute.as_int()


def _integers(node: ir.Node, name: str, default: list[int]) -> list[int]:
    attribute = node.attributes.get(name)
    return default if attribute is None else list(attribute.as_ints())
