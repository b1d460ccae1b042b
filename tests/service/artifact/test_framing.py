from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, Output, Statistics
from ostinato.service.errors import InvalidInput
from tests.service.puppet import MANIFEST


def manifest_of(**changes: Any) -> Manifest:
    framing, outputs = {"window": 5, "hop": 3}, [{**MANIFEST.outputs[0].model_dump(), "shape": ("B", 1)}]
    members = {**MANIFEST.model_dump(), "feedback": {}, "framing": framing, "outputs": outputs, **changes}
    return Manifest.model_validate(members)


def test_a_window_and_its_hop_are_read_and_written_as_one_word() -> None:
    framing = Framing.parse("576:512")
    assert (framing, str(framing), framing.size, framing.past) == (Framing(window=576, hop=512), "576:512", 512, 64)
    assert Framing.parse("2:5").past == 0
    full = Framing.parse("576:512:full")
    assert (full.begin, str(full), full.size, full.past, full.overlap) == ("full", "576:512:full", 576, 0, 64)
    assert Framing.parse("576:512:zeros") == framing


@pytest.mark.parametrize(
    "text",
    [
        "",
        "576",
        "576:",
        ":512",
        "0:1",
        "1:0",
        "-1:2",
        "1.5:2",
        "a:b",
        "1:2:3",
        "1:2:",
        "1:2:empty",
        "1: 2",
        "1:1000001",
    ],
)
def test_what_is_no_window_with_its_hop_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="two whole numbers, as 576:512"):
        Framing.parse(text)


@pytest.mark.parametrize(
    ("many", "shape", "in_graph"),
    [
        (False, ("B", "T", 2), ("B", 3, 2)),
        (True, ("B", "T", 2), ("B", "T", 3, 2)),
        (False, ("T", "B"), (3, "B")),
        (True, ("T", "B", 2), ("T", 3, "B", 2)),
    ],
)
def test_the_graph_has_a_frame_where_a_step_has_its_place(
    many: bool, shape: tuple[Any, ...], in_graph: tuple[Any, ...]
) -> None:
    features = ("load", "heat")[: 2 if 2 in shape else 1]
    framing = Framing(window=3, hop=3, many=many)
    frame = framing.frame_of(Input(name="x", dtype="float32", shape=shape, features=features))
    assert frame.shape == in_graph
    assert frame.features == tuple(f"{name}_{step}" for step in range(3) for name in features)


def test_what_is_known_of_a_steps_features_is_known_of_a_frames() -> None:
    one = Statistics(mean=(1.0, 2.0), std=(3.0, 4.0), minimum=(0.0, 0.0), maximum=(9.0, 8.0))
    part = Input(
        name="x",
        dtype="float32",
        shape=("B", "T", 2),
        features=("kind", "load"),
        categories={"kind": ("a", "b")},
        unknown={"kind": "b"},
        statistics=one,
    )
    frame = Framing(window=2, hop=2).frame_of(part)
    assert frame.categories == {"kind_0": ("a", "b"), "kind_1": ("a", "b")}
    assert frame.unknown == {"kind_0": "b", "kind_1": "b"}
    assert frame.statistics is not None
    assert frame.statistics.mean == (1.0, 2.0, 1.0, 2.0)
    assert frame.statistics.missing_fraction == ()


def test_a_session_carries_the_steps_of_an_incomplete_frame_behind_all_else() -> None:
    manifest = manifest_of()
    assert [(state.name, state.row_shape) for state in manifest.carried] == [
        ("total", (1,)),
        ("inputs.left_over", (2, 1)),
    ]
    assert [state.name for state in manifest.of_graph.carried] == ["total"]
    assert [state.name for state in manifest_of(framing={"window": 5, "hop": 1}).carried] == ["total"]


def test_the_file_has_framing_only_where_there_is_one(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert not {"framing", "per_frame"} & set((tmp_path / "model.json").read_text().replace('"', " ").split())
    manifest_of().write(tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["framing"] == {"window": 5, "hop": 3}
    assert Manifest.read(tmp_path) == manifest_of()


def test_several_rows_of_a_frame_stand_in_the_graph_where_an_output_has_its_steps() -> None:
    made = Output(name="outputs", dtype="float32", shape=("B", "T", 2), features=("a", "b"), per_frame=4)
    manifest = manifest_of(outputs=[made.model_dump()])
    (in_graph,) = manifest.of_graph.outputs
    assert (in_graph.shape, in_graph.per_frame) == (("B", 4, 2), 1)
    assert in_graph.features[:3] == ("a_0", "b_0", "a_1")


def test_a_graph_that_sees_all_in_its_frame_needs_no_state() -> None:
    manifest = manifest_of(states=[], framing={"window": 4, "hop": 4})
    assert [state.name for state in manifest.carried] == ["inputs.left_over"]


OUTPUT = {**MANIFEST.outputs[0].model_dump(), "shape": ("B", 1)}
INPUT = MANIFEST.inputs[0].model_dump()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"feedback": {"total": "x"}}, "do not forecast"),
        ({"outputs": [{**OUTPUT, "delay": 2}]}, "has a delay"),
        ({"inputs": [{**INPUT, "shape": ["B", 1]}]}, "needs a 'T'"),
        ({"inputs": [{**INPUT, "shape": ["B", 1, "T"]}]}, "comes before all sizes"),
        ({"outputs": [{**OUTPUT, "shape": ["B", 1], "per_frame": 2}]}, "needs a 'T'"),
        ({"outputs": [{**OUTPUT, "per_frame": 2}], "framing": None}, "there is no framing"),
        ({"outputs": [{**OUTPUT, "shape": ["B", "T", 1]}]}, "a graph of one frame gives one row"),
        ({"framing": {"window": 0, "hop": 1}}, "greater than or equal to 1"),
    ],
)
def test_a_framing_that_cannot_be_served_is_refused(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        manifest_of(**changes)
