from __future__ import annotations

import onnx
import onnx_ir as ir

from ostinato.export.graphs.tidy import tidy


def test_names_are_the_manifest_s_and_stand_once_in_bodies_too() -> None:
    body = onnx.parser.parse_graph(
        "b (float[B, 2] y, float[B, 2] a) => (float[B, 2] h, float[B, 2] g) { h = Add(y, a) g = Identity(h) }"
    )
    scan = onnx.helper.make_node("Scan", ["h", "x"], ["a", "b"], body=body, num_scan_inputs=1)
    graph = onnx.parser.parse_graph("g (float[T, B, 2] x, float[B, 2] h) => (float[B, 2] a, float[T, B, 2] b) {}")
    graph.node.append(scan)
    graph.node[0].doc_string = "secret.py"
    model = ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]))
    tidy(model, [("x", ("T", "B", 2)), ("h", ("B", 2))], [("h_next", ("B", 2)), ("y", ("T", "B", 2))], "step")
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    (node,) = proto.graph.node
    inner = node.attribute[0].g
    assert ([each.name for each in proto.graph.input], list(node.output)) == (["x", "h"], ["h_next", "y"])
    names = [each.name for each in inner.input] + [name for each in inner.node for name in each.output]
    assert len({*names, "x", "h", "h_next", "y"}) == len(names) + 4
    assert "secret" not in str(proto)


def test_weights_may_be_called_as_the_manifest_s_inputs_are() -> None:
    graph = onnx.parser.parse_graph(
        "g (float[B, 2] a) => (float[B, 2] b) <float[2] x = {1, 2}, float[2] w = {3, 4}> "
        "{ c = Add(a, x) b = Mul(c, w) }"
    )
    model = ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]))
    tidy(model, [("x", ("B", 2))], [("w", ("B", 2))], "step")
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto)
    assert ([each.name for each in proto.graph.input], [each.name for each in proto.graph.output]) == (["x"], ["w"])


def test_what_a_body_ends_with_keeps_its_axes_which_onnxruntime_may_not_find_out() -> None:
    body = onnx.parser.parse_graph("b (float[2] y) => (float[2] g) { g = Identity(y) }")
    graph = onnx.parser.parse_graph("g (float[T, 2] x) => (float[T, 2] b) {}")
    graph.node.append(onnx.helper.make_node("Scan", ["x"], ["b"], body=body, num_scan_inputs=1))
    model = ir.from_proto(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)]))
    tidy(model, [("x", ("T", 2))], [("b", ("T", 2))], "step")
    made = ir.to_proto(model).graph.node[0].attribute[0].g.output[0].type.tensor_type
    assert made.HasField("shape")
    assert len(made.shape.dim) == 1
