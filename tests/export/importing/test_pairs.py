"""Pairs of states, told by names, by what the graph does, by shape and by order; what none tells is refused."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from ostinato.export.errors import ExportError
from ostinato.export.importing.flow import Flow
from ostinato.export.importing.pairs import Pair, find_pairs
from ostinato.export.importing.ports import ports_of
from tests.foreign.building import GraphBuilder


def pairs_of(builder: GraphBuilder, said: dict[str, str] | None = None) -> list[Pair]:
    model = ir.from_proto(builder.model("else"))
    return find_pairs(Flow(model.graph), *ports_of(model), said or {})


def copies(inputs: dict[str, list[int | str | None]], outputs: dict[str, list[int | str | None]]) -> GraphBuilder:
    """A graph in which each output is the sum of all inputs, whose shapes are alike enough for that."""
    builder = GraphBuilder(17)
    for name, shape in inputs.items():
        builder.input(name, shape)
    for name, shape in outputs.items():
        builder.node("Sum", list(inputs), name)
        builder.output(name, shape)
    return builder


def test_names_tell_states_of_one_shape_apart() -> None:
    shape: list[int | str | None] = ["N", 4]
    given = dict.fromkeys(("x", "h_in", "c_in"), shape)
    made = dict.fromkeys(("c_out", "y", "h_out"), shape)
    assert [(pair.given, pair.made) for pair in pairs_of(copies(given, made))] == [("h_in", "h_out"), ("c_in", "c_out")]


def test_the_operator_tells_where_names_say_nothing() -> None:
    builder = GraphBuilder(17)
    for name, width in (("input_1", 3), ("input_2", 4), ("input_3", 4)):
        builder.input(name, [None, width])
    weights = [builder.weight(builder.drawn(*shape)) for shape in ((1, 16, 3), (1, 16, 4), (1, 32))]
    begun = [builder.unsqueeze(name, 0) for name in ("input_2", "input_3")]  # h, c; out comes c, h
    nodes = [builder.unsqueeze("input_1", 0), *weights, "", *begun]
    builder.nodes_of("LSTM", nodes, ["", "h", "c"], hidden_size=4)
    for value, name in (("c", "output_1"), ("h", "output_2")):
        builder.squeeze(value, 0, name)
        builder.output(name, [None, 4])
    assert {pair.given: pair.made for pair in pairs_of(builder)} == {"input_2": "output_2", "input_3": "output_1"}


def test_an_order_tells_what_is_as_likely_either_way() -> None:
    wide: list[int | str | None] = ["N", 4]
    builder = copies({"a": ["N", 1], "state": wide, "memory": wide}, {"out": wide, "next": wide})
    assert [(pair.given, pair.made) for pair in pairs_of(builder)] == [("state", "out"), ("memory", "next")]
    assert all("order" in pair.how for pair in pairs_of(builder))


def test_what_goes_in_and_comes_out_alike_is_no_state_beside_one_that_is_named() -> None:
    wide: list[int | str | None] = ["N", 4]
    builder = copies({"noisy": wide, "cache_in": wide}, {"clean": wide, "cache_out": wide})
    assert [(pair.given, pair.made) for pair in pairs_of(builder)] == [("cache_in", "cache_out")]


def test_a_cache_that_is_moved_on_is_seen() -> None:
    builder = GraphBuilder(17)
    x, kept = builder.input("frame", ["N", 1, 3]), builder.input("a", ["N", 2, 3])
    whole = builder.node("Concat", [kept, x], axis=1)
    builder.slice(whole, 1, 1, 3, "b")
    builder.node("ReduceMean", [whole], "y", axes=[1])
    builder.output("y", ["N", 1, 3])
    builder.output("b", ["N", 2, 3])
    (pair,) = pairs_of(builder)
    assert (pair.given, pair.made) == ("a", "b")
    assert "moves" in pair.how


def test_what_nothing_tells_is_refused_with_the_candidates() -> None:
    wide: list[int | str | None] = ["N", 4]
    builder = copies({"p": wide, "q": wide}, {"r": wide})
    with pytest.raises(ExportError, match=r"inputs p .*, q .*; outputs r .*--state p=r"):
        pairs_of(builder)
    assert [(pair.given, pair.made) for pair in pairs_of(builder, {"q": "r"})] == [("q", "r")]


def test_several_dozens_of_states_are_paired_each_with_its_own() -> None:
    wide: list[int | str | None] = ["N", 4]
    given = {"x": wide, **{f"cached_conv_{place}": wide for place in range(40)}}
    made = {"y": wide, **{f"new_cached_conv_{place}": wide for place in reversed(range(40))}}
    pairs = pairs_of(copies(given, made))
    assert len(pairs) == 40
    assert all(pair.made == f"new_{pair.given}" for pair in pairs)
