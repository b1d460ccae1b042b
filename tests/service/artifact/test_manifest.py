from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, State, TableTimes
from tests.service.puppet import MANIFEST


def content(**changes: Any) -> dict[str, Any]:
    return {**MANIFEST.model_dump(mode="json"), **changes}


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert Manifest.read(tmp_path) == MANIFEST


def test_axes_are_found_wherever_they_stand() -> None:
    part = Input(name="x", dtype="float32", shape=(2, "T", "B", 3), features=tuple("abcdef"))
    assert (part.batch_axis, part.time_axis, part.row_shape, part.num_features) == (2, 1, (2, 3), 6)
    bare = Input(name="tokens", dtype="int64", shape=("B", "T"), features=("token",))
    assert (bare.row_shape, bare.num_features) == ((), 1)


CONTEXT = {"name": "customer", "dtype": "float32", "shape": ["B", 2], "features": ["age", "region"]}
WEEKDAY = {"name": "weekday", "dtype": "int64", "shape": ["B", "T"], "features": ["weekday"]}
LATE = MANIFEST.outputs[0].model_dump() | {"delay": 1}


def test_an_initial_state_is_a_number_or_a_row() -> None:
    filled = State(name="h", input="h", output="hn", shape=(2, "B", 3), dtype="float32", initial=0.5)
    np.testing.assert_array_equal(filled.initial_row(), np.full((2, 3), 0.5, np.float32))
    given = State(name="h", input="h", output="hn", shape=("B", 3), dtype="float32", initial=[1, 2, 3])
    assert given.initial_row().tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../evil"}, "should match pattern"),
        ({"states": []}, "at least one state"),
        ({"states": [MANIFEST.states[0].model_dump() | {"shape": [4, 1]}]}, "exactly one 'B'"),
        ({"states": [MANIFEST.states[0].model_dump() | {"initial": [1, 2]}]}, r"initial has shape \[2\], its row"),
        ({"states": [MANIFEST.states[0].model_dump() | {"input": "inputs"}]}, "named twice"),
        ({"inputs": [MANIFEST.inputs[0].model_dump() | {"features": ["a", "b"]}]}, "2 feature names for 1 features"),
        ({"inputs": [MANIFEST.inputs[0].model_dump() | {"dtype": "int64", "missing": True}]}, "floating dtype"),
        ({"inputs": [MANIFEST.inputs[0].model_dump() | {"num_codes": 5}]}, "num_codes is for an integer dtype"),
        ({"inputs": [MANIFEST.inputs[0].model_dump() | {"dtype": "int8", "num_codes": 129}]}, "int8 cannot hold 129"),
        ({"inputs": [MANIFEST.inputs[0].model_dump() | {"categories": {"z": ["a"]}}]}, r"does not have: \['z'\]"),
        ({"inputs": [MANIFEST.inputs[0].model_dump() | {"shape": ["B", "T", "N"]}]}, "Input should be"),
        ({"feedback": {"total": "y"}}, "does not lead from an output to an input"),
        (
            {"inputs": [MANIFEST.inputs[0].model_dump(), {**WEEKDAY, "features": ["x"]}]},
            "needs a name of its own",
        ),
        (
            {"outputs": [MANIFEST.outputs[0].model_dump(), MANIFEST.outputs[0].model_dump() | {"name": "other"}]},
            "needs a name of its own",
        ),
        ({"graphs": {"encode": MANIFEST.graphs["step"].model_dump()}}, "one graph, 'step'"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate(content(**changes))


def test_what_only_models_of_a_table_have_is_left_out_where_there_was_no_table(tmp_path: Path) -> None:
    """An older release refuses keys that it does not know."""
    MANIFEST.write(tmp_path)
    [written] = json.loads((tmp_path / "model.json").read_text())["inputs"]
    assert {"missing_words", "times"} & written.keys() == set()
    assert written["num_codes"] is None  # known to all releases


def test_how_the_table_of_the_training_was_read_is_written_and_read(tmp_path: Path) -> None:
    times = TableTimes(columns=("year", "month", "day"), step="1 day", gaps="refuse")
    [part] = MANIFEST.inputs
    manifest = MANIFEST.model_copy(
        update={"inputs": (part.model_copy(update={"missing_words": ("-1",), "times": times}),)}
    )
    manifest.write(tmp_path)
    [written] = json.loads((tmp_path / "model.json").read_text())["inputs"]
    assert written["times"] == {"columns": ["year", "month", "day"], "step": "1 day", "gaps": "refuse"}
    assert written["missing_words"] == ["-1"]
    assert Manifest.read(tmp_path) == manifest


def test_what_is_carried_is_the_states_and_behind_them_the_context_which_no_graph_gives_back() -> None:
    manifest = Manifest.model_validate(content(context=[CONTEXT]))
    assert [state.name for state in manifest.carried] == [*(state.name for state in MANIFEST.states), "customer"]
    kept = manifest.carried[-1]
    assert (kept.input, kept.output, kept.row_shape, kept.dtype) == ("customer", "", (2,), "float32")


def test_several_inputs_share_a_row_and_one_has_its_own_dtype() -> None:
    several = Manifest.model_validate(content(inputs=[MANIFEST.inputs[0].model_dump(), WEEKDAY]))
    assert several.given.dtype == np.uint8
    assert MANIFEST.given.dtype == MANIFEST.inputs[0].dtype


def test_context_and_lengths_are_left_out_of_the_file_where_there_are_none(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert {"context", "lengths"}.isdisjoint(json.loads((tmp_path / "model.json").read_bytes()))
    with_context = Manifest.model_validate(content(context=[CONTEXT]))
    with_context.write(tmp_path)
    assert Manifest.read(tmp_path) == with_context


def test_a_delay_is_left_out_of_the_file_where_there_is_none(tmp_path: Path) -> None:
    MANIFEST.write(tmp_path)
    assert "delay" not in json.loads((tmp_path / "model.json").read_bytes())["outputs"][0]
    late = MANIFEST.model_copy(
        update={"outputs": (MANIFEST.outputs[0].model_copy(update={"delay": 3}),), "feedback": {}}
    )
    late.write(tmp_path)
    assert Manifest.read(tmp_path).outputs[0].delay == 3


def sequence(**changes: Any) -> dict[str, Any]:
    graphs = {"sequence": MANIFEST.graphs["step"].model_dump()}
    return content(task="sequence", graphs=graphs, states=[], feedback={}, lengths="lengths", **changes)


def test_a_model_of_whole_sequences_has_lengths_and_no_states() -> None:
    assert Manifest.model_validate(sequence()).lengths == "lengths"


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (content(context=[CONTEXT | {"shape": ["B", "T", 2]}]), "has no 'T'"),
        (content(context=[CONTEXT | {"name": "inputs"}]), "graph input is named twice"),
        (content(inputs=[MANIFEST.inputs[0].model_dump(), WEEKDAY | {"shape": ["B"]}]), "some have none"),
        (content(outputs=[MANIFEST.outputs[0].model_dump()] * 2), "graph output is named twice"),
        (content(outputs=[]), "an output or more"),
        (content(outputs=[LATE | {"shape": ["B", 1]}], feedback={}), "has a delay"),
        (content(outputs=[LATE]), "speaks of a step before"),
        (sequence(outputs=[LATE]), "has a delay"),
        (content(lengths="lengths"), "lengths are of models of whole sequences"),
        (sequence() | {"states": [MANIFEST.states[0].model_dump()]}, "has no states"),
        (sequence() | {"lengths": "inputs"}, "graph input is named twice"),
        (sequence() | {"graphs": {"step": MANIFEST.graphs["step"].model_dump()}}, "one graph, 'sequence'"),
    ],
)
def test_a_manifest_of_several_tensors_that_contradicts_itself_is_refused(
    manifest: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Manifest.model_validate(manifest)
