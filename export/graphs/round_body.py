"""The body of a ``Scan``: the graph of one round of a loop that was traced as it ran."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from ostinato.export.graphs.rounds import Carried, Given, InRound, Loop, whole_round


class RoundBody:
    """The graph of one round.

    Args:
        outer: what a value outside of the rounds is.
    """

    def __init__(self, name: str, outer: Callable[[ir.Value], ir.Value]) -> None:
        self._name, self._outer = name, outer
        self._nodes: list[ir.Node] = []

    def graph(self, loop: Loop, carried: list[Carried], given: list[Given], wanted: list[InRound]) -> ir.Graph:
        """Carried and given values in, carried and wanted values out."""
        begun: dict[Carried | Given, ir.Value] = {}
        begun |= {each: self._input(f"carried_{place}", each.begin) for place, each in enumerate(carried)}
        begun |= {each: self._input(f"given_{place}", each.values[1]) for place, each in enumerate(given)}
        made: list[Sequence[ir.Value]] = []
        for position, (node, kinds) in enumerate(zip(whole_round(loop), loop.inputs, strict=True)):
            inputs: list[ir.Value | None] = []
            for kind in kinds:
                if isinstance(kind, InRound):
                    inputs.append(made[kind.position][kind.output])
                elif isinstance(kind, Carried | Given):
                    inputs.append(begun[kind])
                else:
                    inputs.append(None if kind is None else self._same(kind))
            made.append(self._copy(node, inputs, position))
        outputs = [self._shown(made[each.position][each.output]) for each in (*(one.made for one in carried), *wanted)]
        return ir.Graph(list(begun.values()), outputs, nodes=self._nodes, name=f"{self._name}/step")

    def _input(self, name: str, like: ir.Value) -> ir.Value:
        return ir.Value(name=f"{self._name}/{name}", type=like.type, shape=like.shape)

    def _copy(self, node: ir.Node, inputs: list[ir.Value | None], position: int) -> Sequence[ir.Value]:
        copied = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            list(node.attributes.values()),
            overload=node.overload,
            num_outputs=len(node.outputs),
            version=node.version,
            name=f"{self._name}/{position}",
            metadata_props=dict(node.metadata_props),
        )
        for number, (new, old) in enumerate(zip(copied.outputs, node.outputs, strict=True)):
            new.type, new.shape, new.name = old.type, old.shape, f"{self._name}/{position}.{number}"
        self._nodes.append(copied)
        return copied.outputs

    def _same(self, value: ir.Value) -> ir.Value:
        """What is the same in all rounds: a constant within them, all else from outside."""
        node = value.producer()
        if node is None or node.op_type != "Constant":
            return self._outer(value)
        return self._copy(node, [], len(self._nodes) + 100_000)[0]

    def _shown(self, value: ir.Value) -> ir.Value:
        """An output of its own, since one value may be several."""
        node = ir.node("Identity", [value])
        node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
        node.outputs[0].name = f"{self._name}/shown_{len(self._nodes)}"
        self._nodes.append(node)
        return node.outputs[0]
