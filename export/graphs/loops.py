"""Loops over the steps in Python: whether a module has one, and its graph of one step as the body of an ONNX ``Scan``.

torch's export unrolls a loop, so that its graph takes the steps that it was traced with and no others. Where a loop
carries nothing but the module's states, a step of it is a run of one step: that is traced, and ``Scan`` runs it once
for each step of the sequence, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir
import torch
from torch.overrides import TorchFunctionMode

from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.symbols import Axes
from ostinato.export.graphs.tidy import separate_outputs

Shapes = Mapping[str, Axes]

_LENGTHS = (2, 3, 5)


class _Calls(TorchFunctionMode):
    """Counts what is called of torch from Python: a layer over all steps is one call, however many they are."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def loops_over_steps(contract: Contract) -> bool:
    """Whether a module calls torch more often for more steps; False where it cannot run them."""
    if contract.inputs.time_axis is None:
        return False
    return is_called_more_often(lambda num_steps: contract.module(*contract.example(2, num_steps)))


def is_called_more_often(run: Callable[[int], Any]) -> bool:
    """Whether a run of so many steps calls torch more often for more of them; False where it fails."""
    counts: list[int] = []
    for num_steps in _LENGTHS:
        with _Calls() as calls, torch.no_grad():
            try:
                run(num_steps)
            except Exception:  # a user's module may raise anything; what it is shows in the trace
                return False
        counts.append(calls.count)
    return counts[0] < counts[1] < counts[2]


def scan_over_steps(model: ir.Model, inputs: Shapes, outputs: Shapes, carried: Mapping[str, str]) -> None:
    """Make, in place, of a graph of one step one of any number of steps.

    Args:
        model: inputs and outputs in the order of ``inputs`` and ``outputs``, each without its ``T``.
        inputs, outputs: name -> shape over many steps. An output without ``T`` is that of the last step; an input
            without one, which nothing carries on, is the same in each step.
        carried: name of a state's input -> name of its output.
    """
    body = model.graph
    separate_outputs(body)
    given = dict(zip(inputs, body.inputs, strict=True))
    made = dict(zip(outputs, body.outputs, strict=True))
    rows = [name for name, shape in inputs.items() if "T" in shape]
    shown = [name for name in outputs if name not in carried.values()]
    outer = {name: _like(value, f"all_{value.name}", inputs[name]) for name, value in given.items()}
    for name in set(given) - set(rows) - set(carried):
        ir.convenience.replace_all_uses_with(given[name], outer[name])
    body.inputs[:] = [given[name] for name in (*carried, *rows)]
    body.outputs[:] = [made[name] for name in (*carried.values(), *shown)]
    weights = list(body.initializers.values())
    body.initializers.clear()
    body.name = "one_step"
    attributes: dict[str, Any] = {
        "body": body,
        "num_scan_inputs": len(rows),
        "scan_input_axes": [inputs[name].index("T") for name in rows],
        "scan_output_axes": [_axis(outputs[name]) for name in shown],
    }
    scan = ir.node(
        "Scan", [outer[name] for name in (*carried, *rows)], attributes, num_outputs=len(carried) + len(shown)
    )
    nodes = [scan]
    results = dict(zip((*carried.values(), *shown), scan.outputs, strict=True))
    for name, value in results.items():
        value.type = made[name].type
        value.name = f"scanned_{made[name].name}"
        if name in shown and "T" not in outputs[name]:
            last = ir.node("Constant", [], {"value": ir.tensor(-1)})
            nodes += [last, ir.node("Gather", [value, last.outputs[0]], {"axis": 0})]
            results[name] = nodes[-1].outputs[0]
            results[name].type = made[name].type
    model.graph = ir.Graph(
        list(outer.values()),
        [results[name] for name in outputs],
        nodes=nodes,
        initializers=weights,
        opset_imports=body.opset_imports,
        name="steps",
    )


def _like(value: ir.Value, name: str, shape: Axes) -> ir.Value:
    return ir.Value(name=name, type=value.type, shape=ir.Shape(shape))


def _axis(shape: Axes) -> int:
    return shape.index("T") if "T" in shape else 0
