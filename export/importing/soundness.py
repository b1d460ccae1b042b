"""Soundness of a graph as ONNX has it: operators that exist, and values that something makes, once and in no circle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import onnx
from onnx import TensorProto

from ostinato.export.errors import ExportError

Key = TypeVar("Key")
STANDARD = ("", "ai.onnx")
KNOWN_DOMAINS = (
    "ai.onnx.ml",
    "ai.onnx.preview",
    "ai.onnx.preview.training",
    "ai.onnx.training",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
)
"""Whose operators onnxruntime has, or says itself that it has not."""
NEWEST_OPSET = onnx.defs.onnx_opset_version()
MAX_NESTED_GRAPHS = 16


@dataclass(frozen=True)
class _Names:
    """What is known of names while graphs are walked: the functions, and the release of each domain's operators."""

    functions: frozenset[tuple[str, str]]
    opsets: Mapping[str, int]


def check_sound(model: onnx.ModelProto, path: Path) -> None:
    """Every check of a graph that needs no numbers.

    Raises:
        ExportError: one fails; names the node or the value.
    """
    if fault := next(_faults(model), None):
        raise ExportError(f"{path}: {fault}")


def is_sorted(model: onnx.ModelProto) -> bool:
    """Whether each node of the graph stands behind those that make what it takes."""
    made = _given(model.graph)
    for node in model.graph.node:
        if any(name not in made for name in _taken(node)):
            return False
        made |= set(node.output)
    return True


def _faults(model: onnx.ModelProto) -> Iterator[str]:
    opsets = {each.domain if each.domain != "ai.onnx" else "": each.version for each in model.opset_import}
    if not opsets:
        yield "it names no opset, so it is unknown which release of the operators it means: save it again"
    newest = opsets.get("", 1)
    if not 1 <= newest <= NEWEST_OPSET:
        yield f"it is of opset {newest}, and this release of onnx knows 1 to {NEWEST_OPSET}: export it to one of them"
    names = _Names(frozenset((each.domain, each.name) for each in model.functions), opsets)
    graph = model.graph
    if not graph.node:
        yield "the graph has no nodes"
    if not graph.output:
        yield "the graph has no outputs"
    initializers = {each.name for each in graph.initializer}
    if not any(each.name not in initializers for each in graph.input):
        yield "the graph has no inputs"
    for value in graph.input:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            yield f"input {value.name!r} is no tensor ({kind or 'of no type'})"
        if value.type.tensor_type.elem_type == TensorProto.STRING:
            yield f"input {value.name!r} takes words, and only numbers are carried: look words up before it"
    yield from _function_faults(model, names)
    yield from _graph_faults(graph, "", frozenset(), names, 0)


def _function_faults(model: onnx.ModelProto, names: _Names) -> Iterator[str]:
    keys = [(each.domain, each.name) for each in model.functions]
    if len(set(keys)) != len(keys):
        yield f"function {_twice(keys)!r} occurs twice"
    calls = {
        (each.domain, each.name): {(node.domain, node.op_type) for node in _all_nodes(each.node)} & names.functions
        for each in model.functions
    }
    if circle := _circle(calls):
        yield f"function {circle[1]!r} calls itself"
    for function in model.functions:
        opsets = {each.domain: each.version for each in function.opset_import} or dict(names.opsets)
        own = _Names(names.functions, {**names.opsets, **opsets})
        place = f"function {function.name!r}: "
        yield from _node_faults(function.node, function.output, set(function.input), frozenset(), place, own, 0)


def _graph_faults(
    graph: onnx.GraphProto, place: str, outer: frozenset[str], names: _Names, depth: int
) -> Iterator[str]:
    if depth > MAX_NESTED_GRAPHS:
        yield f"graphs in graphs, deeper than {MAX_NESTED_GRAPHS}, in {place[-200:].removesuffix(': ')}"
        return
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        yield f"{place}initializer {name!r} is sparse: save it as a dense one"
    for what, given in (("input", graph.input), ("initializer", graph.initializer), ("output", graph.output)):
        listed = [each.name for each in given]
        if "" in listed:
            yield f"{place}an {what} has no name"
        if len(set(listed)) != len(listed):
            yield f"{place}{what} {_twice(listed)!r} occurs twice"
    outputs = [each.name for each in graph.output]
    yield from _node_faults(graph.node, outputs, _given(graph), outer, place, names, depth)


def _node_faults(
    nodes: Iterable[onnx.NodeProto],
    outputs: Iterable[str],
    given: set[str],
    outer: frozenset[str],
    place: str,
    names: _Names,
    depth: int,
) -> Iterator[str]:
    nodes = list(nodes)
    makers: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        if fault := _operator_fault(node, names):
            yield f"{place}{_named(node)}: {fault}"
        for name in filter(None, node.output):
            if name in makers or name in given:
                before = _named(makers[name]) if name in makers else "an input or initializer"
                yield f"{place}value {name!r} is made twice: by {before} and by {_named(node)}"
            makers[name] = node
    there = given | makers.keys() | outer
    for node in nodes:
        for name in _taken(node):
            if name not in there:
                yield f"{place}{_named(node)} takes {name!r}, which nothing makes"
    for name in outputs:
        if name not in there:
            yield f"{place}output {name!r} is made by no node"
    places = {id(node): node for node in nodes}
    needs = {key: {id(makers[name]) for name in _taken(node) if name in makers} for key, node in places.items()}
    if (circle := _circle(needs)) is not None:
        yield f"{place}{_named(places[circle])} needs what is made of its own output: the graph has a circle"
    for node in nodes:
        for attribute in node.attribute:
            if attribute.sparse_tensors or attribute.HasField("sparse_tensor"):
                yield f"{place}{_named(node)}: attribute {attribute.name!r} is sparse: save it as a dense one"
            for inner in _graphs(attribute):
                below = f"{place}{_named(node)}, {attribute.name}: "
                yield from _graph_faults(inner, below, frozenset(there), names, depth + 1)


def _operator_fault(node: onnx.NodeProto, names: _Names) -> str:
    if any(isinstance(word, bytes) for word in (node.op_type, node.domain, node.name, *node.input, *node.output)):
        return "a name of it is no text (UTF-8)"
    domain = "" if node.domain in STANDARD else node.domain
    if (node.domain, node.op_type) in names.functions:
        return ""
    if domain and domain not in KNOWN_DOMAINS:
        return (
            f"operator {node.op_type!r} is of the domain {domain!r}, which needs a library of its own: onnxruntime, as "
            "it is installed, has no such operator. Export the network without it"
        )
    if domain not in names.opsets:
        return f"the file names no opset for the domain {domain or 'ai.onnx'!r} of operator {node.op_type!r}"
    if domain == "com.microsoft" or domain.startswith("com."):
        return ""  # of these onnx has no list, and onnxruntime says what it lacks
    version = names.opsets[domain]
    if not onnx.defs.has(node.op_type, domain):
        return f"there is no operator {node.op_type!r} in {domain or 'ONNX'}"
    try:
        onnx.defs.get_schema(node.op_type, version, domain)
    except onnx.defs.SchemaError:
        return f"there is no operator {node.op_type!r} in opset {version}, which the file names"
    return ""


def _given(graph: onnx.GraphProto) -> set[str]:
    return {each.name for each in (*graph.input, *graph.initializer)}


def _taken(node: onnx.NodeProto) -> set[str]:
    """What a node takes, and what the graphs in it take from around them."""
    taken = {name for name in node.input if name}
    for attribute in node.attribute:
        for inner in _graphs(attribute):
            own = _given(inner) | {name for each in inner.node for name in each.output}
            needed = {name for each in inner.node for name in _taken(each)} | {each.name for each in inner.output}
            taken |= {name for name in needed if name and name not in own}
    return taken


def _graphs(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                yield from _all_nodes(inner.node)


def _circle(needs: Mapping[Key, set[Key]]) -> Key | None:
    """One of those that need themselves by way of others; None = there is none."""
    waiting = {key: len(needed) for key, needed in needs.items()}
    wanted: dict[Key, list[Key]] = {}
    for key, needed in needs.items():
        for each in needed:
            wanted.setdefault(each, []).append(key)
    free = [key for key, number in waiting.items() if not number]
    while free:
        for each in wanted.get(free.pop(), ()):
            waiting[each] -= 1
            if not waiting[each]:
                free.append(each)
    stuck = [key for key, number in waiting.items() if number]
    if not stuck:
        return None
    key = stuck[0]
    for _ in stuck:  # behind those that only wait for the circle
        key = next(each for each in needs[key] if waiting[each])
    return key


def _named(node: onnx.NodeProto) -> str:
    made = next((name for name in node.output if name), "")
    named = f" {node.name!r}" if node.name else f" that makes {made!r}" if made else ""
    return f"node{named} ({node.op_type or 'no operator'})"


def _twice(names: Iterable[Key]) -> Key | None:
    seen: set[Key] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
