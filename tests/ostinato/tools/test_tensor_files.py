"""``ostinato run`` over models of several inputs, outputs and contexts, and of nested shapes: any kind of file in and
out gives one plain run of the graph, to the bit.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from ostinato.errors import InputError
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Output
from ostinato.tools.tensor_files import TensorFile, read_context, read_tensor_file, shown_tensors
from tests import tensor_networks
from tests.histories.network import KINDS
from tests.live_sequences import draw
from tests.ostinato.conftest import RunCommand

Array = NDArray[Any]
NUM_SEQUENCES, NUM_STEPS = 3, 7


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    tensor_networks.panel().write(folder)
    tensor_networks.frames().write(folder)
    return folder


def drawn(repository: Path, model: str) -> tuple[dict[str, Array], dict[str, Array], list[dict[str, Array]]]:
    """Inputs ``[B, T, ...]`` and contexts ``[B, ...]``, and what one run of each sequence gives."""
    directory = repository / model / "1"
    inputs, context = draw(Manifest.read(directory), np.random.default_rng(4), NUM_SEQUENCES, NUM_STEPS)
    golden = [
        tensor_networks.offline(
            directory, {name: array[row] for name, array in inputs.items()}, {n: a[row] for n, a in context.items()}
        )
        for row in range(NUM_SEQUENCES)
    ]
    return dict(inputs), dict(context), golden


def write(path: Path, inputs: dict[str, Array], context: dict[str, Array]) -> Path:
    arrays = {**inputs, **context}
    if path.suffix == ".npz":
        np.savez(path, allow_pickle=False, **arrays)
    elif path.suffix == ".npy":
        np.save(path, next(iter(inputs.values())))
    elif path.suffix == ".safetensors":
        save_file(arrays, path)
    else:
        rows = range(NUM_SEQUENCES)
        body: dict[str, Any] = {"sequences": [named(inputs, row) for row in rows]}
        if context:
            body["context"] = [{name: array[row] for name, array in context.items()} for row in rows]
        path.write_bytes(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))
    return path


def named(inputs: dict[str, Array], row: int) -> Any:
    found = {name: array[row] for name, array in inputs.items()}
    return found if len(found) > 1 else next(iter(found.values()))


def check(made: Sequence[dict[str, Any]], golden: Sequence[dict[str, Array]]) -> None:
    for outputs, wanted in zip(made, golden, strict=True):
        for name, array in wanted.items():
            assert np.array(outputs[name], array.dtype).reshape(array.shape).tobytes() == array.tobytes(), name


def arrays_of(output: Path, names: Sequence[str]) -> dict[str, Any]:
    """The arrays of a file by the names of the outputs."""
    if output.suffix == ".safetensors":
        return dict(load_file(output))
    loaded = np.load(output)
    if output.suffix == ".npy":
        return {names[0]: loaded}
    with loaded:
        return {name: loaded[name] for name in names}


@pytest.mark.parametrize(
    ("model", "given", "wanted"),
    [
        ("panel", ".npz", ".json"),
        ("panel", ".json", ".safetensors"),
        ("panel", ".safetensors", ".npz"),
        ("frames", ".npy", ".npy"),
        ("frames", ".json", ".json"),
    ],
)
def test_sequences_come_back_by_name_and_in_their_shape(
    model: str, given: str, wanted: str, repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    inputs, context, golden = drawn(repository, model)
    file, output = write(tmp_path / f"in{given}", inputs, context), tmp_path / f"out{wanted}"
    result = run_command("run", repository / model, file, "--output", output)
    assert result.exit_code == 0, result.output
    assert "3 sequences, 21 steps, promise any" in result.stderr
    names = list(golden[0])
    if wanted == ".json":
        outputs = json.loads(output.read_text())["outputs"]
        made = [each if isinstance(each, dict) else {names[0]: each} for each in outputs]
    else:
        arrays = arrays_of(output, names)
        made = [{name: arrays[name][row] for name in names} for row in range(NUM_SEQUENCES)]
    check(made, golden)


def test_a_table_has_the_columns_of_all_inputs_and_the_context_comes_apart(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    inputs, context, golden = drawn(repository, "panel")
    file = tmp_path / "days.csv"
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["weekday", "price", "load"])
        for (load, price), day in zip(inputs["load"][0].tolist(), inputs["weekday"][0].tolist(), strict=True):
            writer.writerow([day, repr(price), repr(load)])
    told = orjson.dumps({name: array[0] for name, array in context.items()}, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    result = run_command("run", repository / "panel" / "1", file, "--context", told)
    assert result.exit_code == 0, result.output
    header, *rows = csv.reader(result.stdout.splitlines())
    assert header == ["step", "next", "after", "kind", "a", "b", "c", "d"]
    assert [row[4:] for row in rows[:-1]] == [[""] * 4] * (NUM_STEPS - 1)
    made = {"level": [row[1:3] for row in rows], "kind": [row[3] for row in rows], "summary": rows[-1][4:]}
    check([{name: np.array(cells, np.float64) for name, cells in made.items()}], golden[:1])
    kept = tmp_path / "context.json"
    kept.write_text(told)
    assert run_command("run", repository / "panel" / "1", file, "--context", kept).stdout == result.stdout


@pytest.mark.parametrize(
    ("changes", "options", "error"),
    [
        ({"weekday": None}, [], "input 'weekday' is absent; arrays are found by the names load, weekday"),
        ({"other": np.zeros(3, np.float32)}, [], "the model has no input 'other'; it takes load, weekday"),
        ({"weekday": np.zeros((3, 7, 1, 1), np.int64)}, [], "several one axis more in front"),
        ({"weekday": np.zeros((2, 7), np.int64)}, [], "differ in their number of sequences"),
        ({"customer": np.zeros((2, 3), np.float32)}, [], "one such for each of 3 sequences"),
        ({"customer": None}, [], "context[0]: 'customer' is absent"),
        ({"weekday": np.full((3, 7), 9)}, [], "sequences[0].weekday[0][0]: 9 is no code"),
        ({}, ["--context", "{"], "--context: it is not JSON"),
        ({}, ["--context", "nowhere.json"], "give an object of JSON, or a file of it"),
        ({}, ["--context", "[{}]"], "1 contexts for 3 sequences"),
        ({}, ["--limit", "3"], "are for tables"),
    ],
    ids=range(11),
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    changes: dict[str, Any],
    options: list[str],
    error: str,
    repository: Path,
    tmp_path: Path,
    run_command: RunCommand,
) -> None:
    inputs, context, _ = drawn(repository, "panel")
    arrays = {name: array for name, array in {**inputs, **context, **changes}.items() if array is not None}
    file = write(tmp_path / "in.npz", arrays, {})
    result = run_command("run", repository / "panel" / "1", file, *options)
    assert result.exit_code == 1
    assert error in " ".join(result.stderr.split())


def test_one_sequence_needs_no_axis_for_them(repository: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(repository / "panel" / "1")
    parts = [[part.model_dump(mode="json") for part in group] for group in (manifest.inputs, manifest.context)]
    inputs, context, _ = drawn(repository, "panel")
    file = write(tmp_path / "in.npz", {n: a[0] for n, a in inputs.items()}, {n: a[0] for n, a in context.items()})
    read = read_tensor_file(file, *parts)
    assert read.is_one
    assert read.sequences[0]["load"].tolist() == inputs["load"][0].tolist()
    assert read.contexts[0]["customer"].tolist() == context["customer"][0].tolist()


def test_a_feature_that_two_inputs_have_is_no_column(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text("x\n1\n")
    part = {"shape": ["B", "T", 1], "dtype": "float32", "features": ["x"]}
    with pytest.raises(InputError, match="several inputs have a feature 'x'"):
        read_tensor_file(file, [{"name": "a", **part}, {"name": "b", **part}], [], read_context("{}"))


@pytest.fixture(scope="module")
def framed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of three steps a frame, and what it answers to the steps 1 to 7: a number for each of two frames."""
    folder = tmp_path_factory.mktemp("framed")
    steps = np.arange(6, dtype=np.float32).reshape(2, 1, 3)
    KINDS["framed", "1"].network().write(folder, steps)
    return folder / "framed" / "1"


@pytest.mark.parametrize("kind", [".csv", ".npy", ".json"])
def test_a_model_that_answers_once_a_frame_has_a_line_for_each(
    kind: str, framed: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    file, steps = tmp_path / f"steps{kind}", [[float(number)] for number in range(1, 8)]
    if kind == ".csv":
        file.write_text("x0\n" + "\n".join(str(number) for (number,) in steps))
    elif kind == ".npy":
        np.save(file, np.array(steps, np.float32))
    else:
        file.write_text(json.dumps(steps))
    first, second = KINDS["framed", "1"].run(0, tuple((int(number),) for (number,) in steps))[0]
    head, *rows = csv.reader(run_command("run", framed, file).stdout.splitlines())
    assert head == ["step", "y"]
    assert [tuple(map(float, row)) for row in rows] == [(3, first), (6, second)]
    answer = json.loads(run_command("run", framed, file, "--json").stdout)
    assert answer == {"outputs": [[[first], [second]]], "output_steps": [[3, 6]]}


def test_a_frame_with_more_rows_than_steps_has_a_line_for_each_row() -> None:
    framing = Framing(window=2, hop=2)
    outputs = (
        Output(name="sound", dtype="float32", shape=("B", "T", 1), features=("sample",), per_frame=5),
        Output(name="speech", dtype="float32", shape=("B", 1), features=("likely",)),
    )
    made = RowLayout([framing.answer_of(part) for part in outputs], framing, outputs)
    rows = made.pack([np.arange(10, dtype=np.float32).reshape(2, 5, 1), np.array([[0.25], [0.5]], np.float32)])
    text = shown_tensors(TensorFile([[[0]] * 4], [None], is_one=True), [rows], made, as_json=False)
    lines = ["1,0,", "1,1,", "2,2,0.25", "2,3,", "2,4,", "3,5,", "3,6,", "4,7,0.5", "4,8,", "4,9,"]
    assert [line.replace(".0", "") for line in text.split()] == ["step,sample,likely", *lines]


def test_a_sequence_without_a_whole_frame_has_no_answer(framed: Path, tmp_path: Path, run_command: RunCommand) -> None:
    (tmp_path / "steps.json").write_text('{"sequences": [[[1.0], [2.0]], [[1.0], [2.0], [3.0]]]}')
    result = run_command("run", framed, tmp_path / "steps.json", "--output", tmp_path / "answers.csv")
    assert "2 sequences, 5 steps" in result.stderr
    rows = list(csv.reader((tmp_path / "answers.csv").read_text().splitlines()))
    assert [row[:2] for row in rows] == [["sequence", "step"], ["1", "3"]]


def test_steps_of_one_number_may_stand_in_rows_of_their_own(tmp_path: Path) -> None:
    part = {"name": "x", "dtype": "float32", "shape": ["B", "T"], "features": ["x"]}
    np.save(tmp_path / "flat.npy", np.arange(5.0))
    np.save(tmp_path / "rows.npy", np.arange(5.0)[:, None])
    for name in ("flat.npy", "rows.npy"):
        given = read_tensor_file(tmp_path / name, [part], [], None)
        assert (given.is_one, [sequence.tolist() for sequence in given.sequences]) == (True, [[0, 1, 2, 3, 4]])
