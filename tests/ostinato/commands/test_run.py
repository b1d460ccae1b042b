from __future__ import annotations

import copy
import json
import lzma
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper
from safetensors.numpy import load_file, save_file

from ostinato.service.artifact.tensors import Output
from tests import rounding_networks
from tests.networks import Network, accumulator, lstm, offline
from tests.ostinato.conftest import RunCommand
from tests.sequence_networks import planted as planted_sequences
from tests.service.far_arrays import far_library

CMUDICT = Path(__file__).parents[3] / "examples" / "cmudict" / "repository"
SEQUENCES = np.random.default_rng(7).normal(size=(3, 11, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for any run, and two for a fixed shape and for none."""
    repository: Path = tmp_path_factory.mktemp("repository")
    lstm(num_outputs=2).named("any").write(repository, SEQUENCES)
    for seed, version in ((2, "9"), (3, "10")):
        lstm(num_outputs=2, seed=seed).named("any", version=version).write(repository, SEQUENCES)
    partly_infinite().named("partly").write(repository, np.arange(12, dtype=np.float32).reshape(1, 12, 1))
    for what in ("batch", "place"):
        whole = np.arange(12, dtype=np.float32).reshape(1, 12, 1)
        rounding_networks.planted(what).named(what).write(repository, whole)
    return repository


def partly_infinite() -> Network:
    """The accumulator with another output next to its own, which stays finite where that does not."""
    network = accumulator()
    model = copy.deepcopy(network.model)
    (last,) = (node for node in model.graph.node if node.output[0] == "outputs")
    last.output[0] = "quotient"
    model.graph.node.append(helper.make_node("Concat", ["quotient", "so_far"], ["outputs"], axis=2))
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 2
    output = Output(name="outputs", dtype="float32", shape=("B", "T", 2), features=("total", "sum"))

    def reference(sequences: NDArray[Any]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        totals, states = network.reference(sequences)
        return np.repeat(totals, 2, axis=2), states

    return replace(network, model=model, reference=reference, manifest={**network.manifest, "outputs": (output,)})


def expected(repository: Path, sequences: Any = SEQUENCES) -> list[NDArray[Any]]:
    """One plain run of onnxruntime for each."""
    return [offline(repository / "any" / "1", sequence) for sequence in sequences]


def write_csv(path: Path, sequence: NDArray[Any]) -> Path:
    rows = [f"2026-01-01 {hour:02}:00,{','.join(map(str, step))}" for hour, step in enumerate(sequence)]
    content = "\n".join(["time,x0,x1,x2", *rows]) + "\n"
    path.write_bytes(lzma.compress(content.encode()) if path.suffix == ".xz" else content.encode())
    return path


@pytest.mark.parametrize("name", ["in.csv", "in.csv.xz"])
def test_a_table_is_one_sequence_and_its_answers_a_row_each_to_the_bit(
    name: str, repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    result = run_command("run", repository / "any" / "1", write_csv(tmp_path / name, SEQUENCES[0]))
    assert result.exit_code == 0, result.output
    header, *rows = result.stdout.splitlines()
    assert header == "step,y0,y1"
    assert [row.split(",")[0] for row in rows] == [f"2026-01-01 {hour:02}:00" for hour in range(11)]
    made = np.array([row.split(",")[1:] for row in rows], np.float32)
    assert made.tobytes() == expected(repository)[0].tobytes()


def test_on_a_device_every_run_has_one_shape(
    repository: Path, tmp_path: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTINATO_DEVICE", "cpu")  # a flag goes before it
    monkeypatch.setenv("OSTINATO_DEVICE_ROWS", "16")
    asked = ("run", repository / "any" / "1", write_csv(tmp_path / "in.csv", SEQUENCES[0]), "--device", "cuda")
    with far_library():
        result = run_command(*asked, "--output", tmp_path / "out.npy")
    assert result.exit_code == 0, result.output
    assert "promise fixed at 16 x 1" in result.stderr
    assert np.load(tmp_path / "out.npy").tobytes() == expected(repository)[0].tobytes()
    refused = run_command(*asked)
    assert refused.exit_code == 1
    assert "cupy" in refused.stderr or "the extra cuda" in refused.stderr


def test_a_part_of_a_table_may_be_run_and_its_columns_may_have_other_names(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    file = write_csv(tmp_path / "in.csv", SEQUENCES[0])
    file.write_text(file.read_text().replace("x1", "load"))
    result = run_command(
        "run", repository / "any/1", file, "--from", "2026-01-01 02:00", "--limit", 4, "--column", "x1=load", "--json"
    )
    assert result.exit_code == 0, result.output
    made = np.array(json.loads(result.stdout)["outputs"], np.float32)
    assert made.tobytes() == expected(repository, SEQUENCES[:1, 2:6])[0][None].tobytes()


def test_a_step_that_no_row_is_there_for_is_missing_or_refused_as_in_a_replay(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    file = write_csv(tmp_path / "in.csv", SEQUENCES[0])
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:4], *lines[5:]]) + "\n")
    refused = run_command("run", repository / "any" / "1", file)
    assert refused.exit_code == 1
    assert "2026-01-01 03:00" in refused.stderr
    rows = run_command("run", repository / "any" / "1", file, "--gaps", "ignore").stdout.splitlines()[1:]
    made = np.array([row.split(",")[1:] for row in rows], np.float32)
    assert made.tobytes() == expected(repository, [np.delete(SEQUENCES[0], 3, axis=0)])[0].tobytes()


@pytest.mark.parametrize("given", [".npy", ".npz", ".safetensors", ".json"])
@pytest.mark.parametrize("wanted", [".npy", ".npz", ".safetensors", ".json", ".csv"])
def test_sequences_of_one_length_come_back_in_any_kind_of_file_to_the_bit(
    given: str, wanted: str, repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    file, output = tmp_path / f"in{given}", tmp_path / f"out{wanted}"
    write(file, {"x": SEQUENCES})
    result = run_command("run", repository / "any" / "1", file, "--output", output)
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "3 sequences, 33 steps, promise any" in result.stderr
    assert read(output, 3).tobytes() == np.stack(expected(repository)).tobytes()


def write(file: Path, arrays: dict[str, NDArray[Any]]) -> None:
    (first, *_) = arrays.values()
    if file.suffix == ".npy":
        np.save(file, first)
    elif file.suffix == ".npz":
        np.savez(file, allow_pickle=False, **arrays)
    elif file.suffix == ".safetensors":
        save_file(arrays, file)
    else:
        file.write_text(json.dumps({"sequences": first.tolist()}))


def read(file: Path, num_sequences: int) -> NDArray[Any]:
    if file.suffix == ".csv":
        rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
        return np.array([row[2:] for row in rows], np.float32).reshape(num_sequences, -1, 2)
    if file.suffix == ".json":
        return np.array(json.loads(file.read_text())["outputs"], np.float32)
    if file.suffix == ".npy":
        return np.asarray(np.load(file))
    return load(file)["outputs"]


def load(file: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz or .safetensors by name."""
    if file.suffix == ".safetensors":
        return load_file(file)
    with np.load(file) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("kind", [".npz", ".safetensors"])
def test_sequences_of_several_lengths_have_names_and_keep_them(
    kind: str, repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    sequences = {"short": SEQUENCES[0, :2], "long": SEQUENCES[1], "other": SEQUENCES[2, :2]}
    write(tmp_path / f"in{kind}", sequences)
    result = run_command("run", repository / "any/1", tmp_path / f"in{kind}", "-o", tmp_path / f"out{kind}")
    assert result.exit_code == 0, result.output
    made = load(tmp_path / f"out{kind}")
    assert sorted(made) == ["long", "other", "short"]
    for name, sequence in sequences.items():
        assert made[name].tobytes() == expected(repository, [sequence])[0].tobytes(), name


def test_a_model_s_directory_stands_for_its_latest_version(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    np.save(tmp_path / "in.npy", SEQUENCES[0])
    assert run_command("run", repository / "any", tmp_path / "in.npy", "-o", tmp_path / "out.npy").exit_code == 0
    assert np.load(tmp_path / "out.npy").tobytes() == offline(repository / "any" / "10", SEQUENCES[0]).tobytes()


@pytest.mark.parametrize(("what", "little"), [("batch", 64), ("place", 0)])
def test_a_model_for_one_shape_is_run_in_that(
    what: str, little: int, repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    # The running total, and to it what the shape of 64 rows, or the first place in it, makes of it.
    file = tmp_path / "in.json"
    file.write_text("[[1], [2], [3]]")
    result = run_command("run", repository / what / "1", file, "--json")
    assert result.exit_code == 0, result.output
    totals = np.array([1, 3, 6], np.float32) + np.float32(little * rounding_networks.LITTLE)
    assert np.array(json.loads(result.stdout)["outputs"], np.float32)[0, :, 0].tolist() == totals.tolist()


def test_numbers_that_are_not_finite_are_null_and_are_said(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    (tmp_path / "in.json").write_text("[[[1], [1e38]]]")
    result = run_command("run", repository / "place" / "1", tmp_path / "in.json", "--json")
    assert json.loads(result.stdout)["outputs"][0][1] == [None]
    assert "no answer to 1 step (NaN or infinity): a live session refuses such a step" in result.stderr
    result = run_command("run", repository / "partly", tmp_path / "in.json", "--json")
    (total, other) = json.loads(result.stdout)["outputs"][0][1]
    assert total is None
    assert np.float32(other) == np.float32(1e38)
    assert "no answer to 1 step (NaN or infinity): a live session refuses such a step" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.json", "[[1, 2, 3], [1, 2]]", "in.json: sequences[0][1]: 2 features; a step has 3: x0, x1, x2"),
        ("in.json", "[[1, 2, null]]", "in.json: sequences[0][0][2]: a value is missing (null)"),
        ("in.json", '[[1, 2, "3"]]', "in.json: [0][0][2] is '3', and neither a number nor null"),
        ("in.json", '{"inputs": []}', "in.json: an object needs the member 'sequences'"),
        ("in.json", "[[1, 2", "in.json: it cannot be read"),
        ("in.json", "[]", "in.json: the whole is not a list of sequences"),
        ("in.npy", "no array", "in.npy: it cannot be read"),
        ("in.safetensors", "no tensors", "in.safetensors: it cannot be read"),
        ("in.csv", "x0,x1\n1,2\n", "in.csv"),
    ],
)
def test_a_file_that_is_none_of_the_model_s_is_one_line(
    name: str, content: str, message: str, repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    (tmp_path / name).write_text(content)
    result = run_command("run", repository / "any" / "1", tmp_path / name)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((CMUDICT / "g2p" / "1", "in.npy"), "answers no steps: serve it, and write with it by 'ostinato generate"),
        ((CMUDICT / "nothing", "in.npy"), "there is no model.json in it or in a folder of it"),
        (("any/1", "nothing.npy"), "nothing.npy: No such file"),
        (("any/1", "in.npy", "-o", "out.txt"), "--output out.txt: what is written ends in one of .csv, .json"),
        (("any/1", "in.npy", "--limit", "3"), "in.npy: --column, --time, --gaps, --from and --limit are for tables"),
        (("any/1", "in.npy", "-o", "nowhere/out.npy"), "out.npy: No such file"),
        (("any/1", "vector.npy"), "vector.npy: the array has shape [3]"),
        (("any/1", "uneven.json", "-o", "out.npy"), "out.npy: .npy holds one array, and these are 2; write .npz"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[Any, ...],
    message: str,
    repository: Path,
    tmp_path: Path,
    run_command: RunCommand,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("in.npy", SEQUENCES[0])
    np.save("vector.npy", SEQUENCES[0, 0])
    Path("uneven.json").write_text(json.dumps([SEQUENCES[0].tolist(), SEQUENCES[1, :2].tolist()]))
    model, *rest = arguments
    result = run_command("run", repository / model if isinstance(model, str) else model, *rest)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_whole_sequences_are_run_each_by_itself(tmp_path: Path, run_command: RunCommand) -> None:
    directory = planted_sequences(tmp_path / "repository", "steps")
    given = [[[1.0], [2.5]], [[3.0]]]
    (tmp_path / "body.json").write_text(json.dumps({"sequences": given}))
    result = run_command("run", directory, tmp_path / "body.json", "--output", tmp_path / "out.npz")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "out.npz") as file:
        answers = dict(file)
    for index, rows in enumerate(given):
        # A little for each of the 16 steps that it is padded to, as its promise says.
        wanted = 2 * np.array(rows, np.float32) + np.float32(16 * 2.0**-18)
        assert answers[f"outputs_{index}"].tobytes() == wanted.tobytes()


def test_whole_sequences_are_verified(tmp_path: Path, run_command: RunCommand) -> None:
    planted_sequences(tmp_path / "repository", "nothing")
    result = run_command("verify", tmp_path / "repository")
    assert result.exit_code == 0, result.output
    assert "sequence" in result.stdout
