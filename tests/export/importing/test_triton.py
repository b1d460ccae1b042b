"""Models of a repository of Triton: what is told of them, what is refused, and graphs that feed their own controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ostinato.export.errors import ExportError
from ostinato.export.importing.triton import Told, TritonModel, told, triton_models
from ostinato.service.artifact.graphs import open_graph
from tests.foreign.building import BOOL, FLOAT, INT32
from tests.foreign.case import Array
from tests.foreign.triton import START, STATE, accumulator, control, put, sequence


def read(repository: Path) -> tuple[Told, ir.Model]:
    """What is told of a repository's one model, and its graph with its controls fed."""
    (found,) = triton_models(repository)
    assert found.refused == ""
    model = ir.load(found.path)
    return told(found.config, model, found.path.parents[1]), model


def streamed(known: Told, model: ir.Model, path: Path, rows: Array) -> Array:
    """The answers ``[B, T, 2]`` to rows, a step a run, the states carried."""
    ir.save(model, path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = open_graph(path)
    dtypes = {
        part.name: part.type.replace("tensor(", "").rstrip(")").replace("float", "float32")
        for part in session.get_inputs()
    }
    states: dict[str, Any] = {}
    for name in known.states:
        shape = [len(rows), *(int(size) for size in known.axes.get(name, ("B", 1))[1:])]
        states[name] = np.broadcast_to(np.asarray(known.initial[name], dtypes[name]), shape)
    answers = []
    for t in range(rows.shape[1]):
        made = session.run(["OUTPUT", *known.states.values()], {"INPUT": rows[:, t], **states})
        answers.append(made[0])
        states = dict(zip(known.states, made[1:], strict=True))
    return np.stack(answers, axis=1)


ROWS = np.arange(12, dtype=np.float32).reshape(2, 3, 2)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (FLOAT, "fp32_false_true: [ 0, 1 ]"),
        (INT32, "int32_false_true: [ 0, 1 ]"),
        (BOOL, "bool_false_true: [ false, true ]"),
    ],
)
def test_start_is_true_in_the_first_run_alone(tmp_path: Path, dtype: int, values: str) -> None:
    put(tmp_path, sequence(control("START", values) + STATE % ""), accumulator(start=dtype))
    known, model = read(tmp_path)
    assert known.states == {"START": "START_after", "INPUT_STATE": "OUTPUT_STATE"}
    assert known.axes["INPUT_STATE"] == ("B", 2)
    known.initial["INPUT_STATE"] = 100.0  # type: ignore[index] # what stands in memory, which START clears
    np.testing.assert_array_equal(streamed(known, model, tmp_path / "fed.onnx", ROWS), ROWS.cumsum(axis=1))


def test_values_of_a_control_may_be_swapped(tmp_path: Path) -> None:
    put(tmp_path, sequence(control("START", "fp32_false_true: [ 1, 0 ]") + STATE % ""))
    known, model = read(tmp_path)
    assert known.initial["START"] == 0.0
    later = streamed(known, model, tmp_path / "fed.onnx", ROWS)
    np.testing.assert_array_equal(later[:, 1:], ROWS[:, 1:])  # "false", which clears, in all runs but the first


@pytest.mark.parametrize("kind", ["READY", "END"])
def test_ready_is_always_true_and_end_always_false(tmp_path: Path, kind: str) -> None:
    model = accumulator(ready=INT32)
    for part in (*model.graph.input, *model.graph.node):
        if isinstance(part, onnx.ValueInfoProto) and part.name == "READY":
            part.name = kind
        elif isinstance(part, onnx.NodeProto):
            part.input[:] = [kind if name == "READY" else name for name in part.input]
    put(tmp_path, sequence(START + control(kind, "int32_false_true: [ 0, 1 ]") + STATE % ""), model)
    known, fed = read(tmp_path)
    answers = streamed(known, fed, tmp_path / "fed.onnx", ROWS)
    np.testing.assert_array_equal(answers, ROWS.cumsum(axis=1) * (kind == "READY"))
    assert any(kind in note for note in known.notes)


@pytest.mark.parametrize("corrid", ["ignored", "repeated"])
def test_a_number_of_the_sequence_that_nothing_depends_on_is_left_out(tmp_path: Path, corrid: str) -> None:
    config = sequence(START + control("CORRID", "data_type: TYPE_UINT64") + STATE % "")
    put(tmp_path, config, accumulator(corrid=corrid))
    known, model = read(tmp_path)
    assert [value.name for value in model.graph.outputs] == ["OUTPUT", "OUTPUT_STATE", "START_after"]
    np.testing.assert_array_equal(streamed(known, model, tmp_path / "fed.onnx", ROWS), ROWS.cumsum(axis=1))


def test_a_number_of_the_sequence_that_answers_depend_on_is_refused_by_its_node(tmp_path: Path) -> None:
    put(
        tmp_path,
        sequence(START + control("CORRID", "data_type: TYPE_UINT64") + STATE % ""),
        accumulator(corrid="added"),
    )
    with pytest.raises(ExportError, match=r"depend on 'CORRID'.* node 'Cast_\d+'"):
        read(tmp_path)


def test_a_state_begins_with_its_file_in_row_major_order(tmp_path: Path) -> None:
    begun = 'initial_state: { data_type: TYPE_FP32 dims: [ 2 ] data_file: "sum" name: "begin" }'
    folder = put(tmp_path, sequence(STATE % begun), accumulator(start=None))
    (folder / "initial_state").mkdir()
    np.array([10, 20], np.float32).tofile(folder / "initial_state" / "sum")
    known, model = read(tmp_path)
    assert known.initial == {"INPUT_STATE": [10.0, 20.0]}
    answers = streamed(known, model, tmp_path / "fed.onnx", ROWS)
    np.testing.assert_array_equal(answers, ROWS.cumsum(axis=1) + np.array([10, 20]))


@pytest.mark.parametrize("where", ["../../secret", "/etc/hostname", "link"])
def test_a_file_of_a_state_outside_the_model_is_not_read(tmp_path: Path, where: str) -> None:
    begun = f'initial_state: {{ data_type: TYPE_FP32 dims: [ 2 ] data_file: "{where}" name: "begin" }}'
    folder = put(tmp_path, sequence(STATE % begun), accumulator(start=None))
    (folder / "initial_state").mkdir()
    (tmp_path / "secret").write_bytes(bytes(8))
    (folder / "initial_state" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ExportError, match="leads out of"):
        read(tmp_path)


@pytest.mark.parametrize("size", [0, 4, 12])
def test_a_file_of_a_state_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    begun = 'initial_state: { data_type: TYPE_FP32 dims: [ 2 ] data_file: "sum" name: "begin" }'
    folder = put(tmp_path, sequence(STATE % begun), accumulator(start=None))
    (folder / "initial_state").mkdir()
    (folder / "initial_state" / "sum").write_bytes(bytes(size))
    with pytest.raises(ExportError, match=rf"has {size} bytes.* are 8"):
        read(tmp_path)


def test_a_state_of_any_size_has_that_of_its_beginning_or_is_refused(tmp_path: Path) -> None:
    open_state = (STATE % "%s").replace("dims: [ 2 ]", "dims: [ -1 ]")
    begun = 'initial_state: { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true name: "begin" }'
    put(tmp_path / "one", sequence(open_state % begun), accumulator(start=None))
    assert read(tmp_path / "one")[0].axes["INPUT_STATE"] == ("B", 2)
    put(tmp_path / "other", sequence(open_state % "use_growable_memory: true"), accumulator(start=None))
    with pytest.raises(ExportError, match="a size that may grow"):
        read(tmp_path / "other")


def test_an_axis_of_any_size_is_that_of_the_steps(tmp_path: Path) -> None:
    config = sequence(STATE % "").replace("dims: [ 2 ] } ]\n    output", "dims: [ -1, 2 ] } ]\n    output")
    put(tmp_path, config, accumulator(start=None))
    known, _ = read(tmp_path)
    assert known.axes["INPUT"] == ("B", "T", 2)
    assert known.axes["OUTPUT"] == ("B", 2)


def test_outputs_that_the_configuration_does_not_name_are_left_out(tmp_path: Path) -> None:
    model = accumulator(start=None)
    model.graph.node.append(onnx.helper.make_node("Neg", ["OUTPUT"], ["DEBUG"]))
    model.graph.output.append(onnx.helper.make_tensor_value_info("DEBUG", FLOAT, [None, 2]))
    put(tmp_path, sequence(STATE % ""), model)
    known, fed = read(tmp_path)
    assert [value.name for value in fed.graph.outputs] == ["OUTPUT", "OUTPUT_STATE"]
    assert any("DEBUG" in note for note in known.notes)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ('backend: "python"', "export the network that it calls"),
        ('platform: "tensorrt_plan"', "the ONNX file that the plan was built from"),
        (
            'ensemble_scheduling { step [ { model_name: "a" input_map { key: "b" value: "c" } } ] }',
            "one by one",
        ),
        ('backend: "vllm"', "if there is one"),
        ('name: "another"', "calls it 'another'"),
        ("sequence_batching { iterative_sequence: true }", "any number of times"),
        ('batch_input [ { kind: BATCH_ELEMENT_COUNT target_name: "N" } ]', "what shares a batch"),
        ('input [ { name: "words" data_type: TYPE_STRING dims: [ 1 ] } ]', "'words' is text"),
        ("input [ { name: 3 } ]", "not a configuration of Triton: 1:17"),
        ('default_model_filename: "../../other/1/model.onnx"', "leads out of"),
        ('default_model_filename: "net.onnx"', "no version of it has a file net.onnx"),
    ],
)
def test_a_model_that_cannot_be_imported_says_why_and_the_others_go_on(
    tmp_path: Path, config: str, sentence: str
) -> None:
    put(tmp_path, config, name="a")
    put(tmp_path, sequence(STATE % ""), name="b")
    refused, other = triton_models(tmp_path)
    assert sentence in refused.refused
    assert (other.name, other.version, other.refused) == ("b", "1", "")


def test_all_versions_are_found_by_number_and_one_of_them_by_its_name(tmp_path: Path) -> None:
    for version in ("2", "10", "1", "0", "01", "new"):
        put(tmp_path, sequence(STATE % ""), version=version)
    large = tmp_path / "sums" / "3" / "model.onnx"
    large.mkdir(parents=True)
    (large / "model.onnx").write_bytes(accumulator().SerializeToString())
    found: list[TritonModel] = triton_models(tmp_path)
    assert [each.version for each in found] == ["1", "2", "3", "10"]
    assert found[2].path == large / "model.onnx"
    assert [each.version for each in triton_models(tmp_path, "sums", "10")] == ["10"]
    with pytest.raises(ExportError, match="no model called 'other'"):
        triton_models(tmp_path, "other")


def test_the_rest_of_a_configuration_is_passed_over_and_said(tmp_path: Path) -> None:
    rest = """
        max_sequence_idle_microseconds: 5000000
        oldest { max_candidate_sequences: 4 preferred_batch_size: [ 2, 4 ] }
    """
    others = """
        instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ]
          rate_limiter { resources [ { name: "R1" count: 4 } ] } } ]
        optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt"
          parameters { key: "precision_mode" value: "FP16" } } ] } }
        parameters [ { key: "a" value: { string_value: "b" } } ]
        version_policy: { all { } }  # every one
    """
    put(tmp_path, sequence(rest + START + STATE % "") + others)
    known, _ = read(tmp_path)
    said = " ".join(known.notes)
    assert "idle for 5 s" in said
    assert "instance_group, optimization: passed over" in said
    assert known.inputs == ("INPUT",)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (sequence(START.replace('"START"', '"BEGIN"')), "'BEGIN'.* the graph has no such input"),
        (sequence(START.replace("fp32_false_true", "int32_false_true")), "the graph takes FLOAT.* int32"),
        (sequence(START.replace("[ 0, 1 ]", "[ 0 ]")), "START needs one of"),
        (sequence(START + (STATE % "").replace("OUTPUT_STATE", "NEXT")), "names the state 'NEXT'"),
        (sequence(START).replace('"INPUT"', '"X"'), "names the input 'X'"),
    ],
)
def test_a_configuration_that_does_not_fit_its_graph_is_refused(tmp_path: Path, config: str, sentence: str) -> None:
    put(tmp_path, config)
    with pytest.raises(ExportError, match=sentence):
        read(tmp_path)


def test_a_model_without_a_configuration_is_found_and_nothing_is_told(tmp_path: Path) -> None:
    (put(tmp_path, "") / "config.pbtxt").unlink()
    known, _ = read(tmp_path)
    assert (known.states, known.axes) == ({}, {})
    assert "no config.pbtxt" in known.notes[0]
