from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from ostinato.service.artifact import wire
from ostinato.service.artifact.wire import BrokenWire, external_files, fields, tensors
from tests.hostile import dangerous_files as files


def outside(location: str, name: str = "w", *, key: str = "location") -> TensorProto:
    tensor = TensorProto(name=name, data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key=key, value=location)
    return tensor


def everywhere() -> bytes:
    """A model with a file of weights at each place where ONNX may have a tensor."""
    body = helper.make_graph([], "body", [], [], initializer=[outside("body")])
    node = helper.make_node("Loop", ["x"], ["y"], name="loop", body=body, value=outside("attribute"))
    node.attribute.add(name="many").tensors.append(outside("many"))
    node.attribute.add(name="graphs").graphs.append(helper.make_graph([], "g", [], [], initializer=[outside("graphs")]))
    node.attribute.add(name="sparse").sparse_tensor.values.CopyFrom(outside("sparse"))
    made = files.model([node], [outside("initializer")])
    made.graph.sparse_initializer.add().indices.CopyFrom(outside("indices"))
    made.functions.add(name="f").node.append(helper.make_node("C", [], ["c"], value=outside("function")))
    made.training_info.add().algorithm.initializer.append(outside("training"))
    return bytes(made.SerializeToString())


def test_a_file_of_weights_is_found_wherever_it_is_named() -> None:
    places = ["attribute", "body", "function", "graphs", "indices", "initializer", "many", "sparse", "training"]
    assert external_files(everywhere()) == places


@pytest.mark.parametrize(
    "entry",
    [
        b"\x12\x05w.bin\x0a\x08location",  # the name first
        b"\x0a\x88\x00location\x12\x05w.bin",  # a length in more bytes than it needs
        b"\x0a\x08location\x18\x01\x12\x05w.bin",  # a field that nobody knows between the two
        b"\x0a\x01x\x0a\x08location\x12\x05w.bin",  # a key twice, of which the last counts
    ],
)
def test_a_name_is_found_however_it_is_laid_out(entry: bytes) -> None:
    tensor = b"\x10\x01\x6a" + bytes([len(entry)]) + entry + b"\x70\x01"
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    assert external_files(b"\x3a" + bytes([len(graph)]) + graph) == ["w.bin"]


def test_a_long_name_is_found() -> None:
    name = "w" * 300
    assert external_files(files.model([], [outside(name)]).SerializeToString()) == [name]


def test_a_tensor_of_two_files_is_refused() -> None:
    tensor = outside("a")
    tensor.external_data.add(key="location", value="b")
    with pytest.raises(BrokenWire, match="says twice what its location is"):
        external_files(files.model([], [tensor]).SerializeToString())


def test_what_a_tensor_claims_is_told_and_where_it_stands() -> None:
    weight = files.tensor("w", np.ones((2, 3), np.float32))
    node = helper.make_node("Constant", [], ["c"], name="n", value=helper.make_tensor("t", 7, [2], [1, -1]))
    first, second = tensors(files.model([node], [weight]).SerializeToString())
    assert (first.place, first.dims, first.dtype) == ("tensor 't' of attribute 'value' of node 'n'", [2], 7)
    assert first.typed == {7: 2}
    assert (second.place, second.dims, second.raw_bytes) == ("tensor 'w'", [2, 3], 24)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x0a\x05abc", "it is cut off: at byte 0, 5 bytes should follow, and 3 do"),
        (b"\x08", "cut off within a number"),
        (b"\x08" + b"\xff" * 11, "a number without an end"),
        (b"\x00\x00", "there is no field at byte 0"),
        (b"\x0b", "of an unknown kind"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", "should follow"),
    ],
)
def test_bytes_that_are_no_message_are_refused(content: bytes, says: str) -> None:
    with pytest.raises(BrokenWire, match=says):
        list(fields(content))


def test_a_file_of_too_many_parts_is_refused_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_MESSAGES", 1000)
    with pytest.raises(BrokenWire, match="more than 1,000 parts"):
        list(tensors(b"\x3a\xd0\x0f" + b"\x0a\x00" * 1000))


def long(tag: bytes, content: bytes) -> bytes:
    """A field of bytes."""
    size = len(content)
    return tag + bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + content


def test_a_thousand_graphs_in_graphs_are_refused() -> None:
    graph = b""
    for _ in range(1000):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # graph in attribute in node in graph
            graph = long(tag, graph)
    with pytest.raises(BrokenWire, match="graphs in graphs"):
        list(
            tensors(
                b"\x3a" + bytes([len(graph) & 0x7F | 0x80, len(graph) >> 7 & 0x7F | 0x80, len(graph) >> 14]) + graph
            )
        )
