from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pytest
from numpy.typing import NDArray
from onnx import helper
from pyarrow import parquet

from ostinato.errors import InputError
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, Output
from ostinato.tools.output_place import check_output_place
from tests.networks import Network, accumulator, build_network, lstm, offline, token_counter
from tests.ostinato.conftest import RunCommand, words_and_numbers
from tests.sequence_networks import planted as planted_sequences
from tests.tensor_networks import offline as panel_offline
from tests.tensor_networks import panel
from tests.timed_networks import timed_lstm

Array = NDArray[Any]
LENGTHS = (1, 2, 700, 1, 64, 65, 3, 3, 1500, 5, 128, 1)
"""Some of them are far longer than what is in memory at a time."""
LITTLE = ("--memory", "1MiB", "--part-rows", 300, "--workers", 1)
"""Memory for a few thousand rows, and many parts."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repository: Path = tmp_path_factory.mktemp("repository")
    generator = np.random.default_rng(0)
    lstm(num_outputs=2).named("any").write(repository, generator.normal(size=(3, 11, 3)).astype(np.float32))
    words_and_numbers().named("words").write(repository, np.zeros((1, 4, 3), np.float32))
    token_counter().named("once").write(repository, generator.integers(7, size=(2, 5, 1)))
    accumulator().write(repository, np.arange(12, dtype=np.float32).reshape(1, 12, 1))
    framed().write(repository, np.ones((2, 1, 4), np.float32))
    panel().write(repository)
    return repository


def framed() -> Network:
    """Four steps are a frame, which is weighed."""
    weights = np.arange(8, dtype=np.float32).reshape(4, 2)
    inputs = (Input(name="x", dtype="float32", shape=("B", 4), features=tuple("abcd")),)
    outputs = (Output(name="y", dtype="float32", shape=("B", 2), features=("s", "t")),)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    network = build_network("framed", nodes, inputs, outputs, (), {"w": weights}, lambda steps: (steps @ weights, {}))
    steps = (Input(name="x", dtype="float32", shape=("B", "T"), features=("x",)),)
    return network.named("framed", inputs=steps, framing=Framing(window=4, hop=4))


class Readings:
    """Readings of devices, a row a step, and the sequences that they are."""

    def __init__(self, lengths: Any = LENGTHS, seed: int = 1) -> None:
        generator = np.random.default_rng(seed)
        self.bounds = np.concatenate([[0], np.cumsum(lengths)])
        self.names = [f"device {number}" for number in generator.permutation(len(lengths))]
        self.values = generator.normal(size=(self.bounds[-1], 3)).astype(np.float32)
        self.ids = np.repeat(self.names, lengths)
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        self.times = [begin + timedelta(minutes=int(step)) for step in np.concatenate([np.arange(n) for n in lengths])]

    def table(self, **columns: Any) -> pa.Table:
        features = {f"x{index}": self.values[:, index] for index in range(3)}
        return pa.table({"device": self.ids, "at": self.times, "remark": self.ids, **features, **columns})

    def expected(self, directory: Path) -> Array:
        """One plain run of onnxruntime for each."""
        return np.concatenate([offline(directory, self.values[start:end]) for start, end in pairwise(self.bounds)])


def numbers(table: pa.Table, *names: str) -> Array:
    return np.stack([table[name].to_numpy() for name in names], axis=1)


def run(run_command: RunCommand, *arguments: object) -> Any:
    result = run_command("run", *arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("options", [LITTLE, ("--workers", 1), (*LITTLE[:4], "--workers", 2)])
def test_each_sequence_has_the_numbers_of_its_offline_run_and_rows_stay_as_they_were(
    options: tuple[Any, ...], repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    readings = Readings()
    parquet.write_table(readings.table(), tmp_path / "in.parquet", row_group_size=250, compression="zstd")
    output = tmp_path / "out.parquet"
    result = run(
        run_command,
        repository / "any",
        tmp_path / "in.parquet",
        "--id",
        "device",
        "--time",
        "at",
        "-o",
        output,
        *options,
    )
    table = parquet.read_table(output)
    assert table.schema.names == ["device", "at", "step", "y0", "y1"]
    assert table["device"].to_pylist() == readings.ids.tolist()
    assert table["at"].to_pylist() == readings.times
    assert table["step"].to_pylist() == [step for length in LENGTHS for step in range(1, length + 1)]
    assert numbers(table, "y0", "y1").tobytes() == readings.expected(repository / "any" / "1").tobytes()
    assert parquet.ParquetFile(output).metadata.row_group(0).column(0).compression == "ZSTD"
    assert "12" in result.stderr
    assert "2,473" in result.stderr
    assert list(tmp_path.glob("*.parts")) == []


def test_memory_and_workers_change_no_byte(repository: Path, tmp_path: Path, run_command: RunCommand) -> None:
    parquet.write_table(Readings().table(), tmp_path / "in.parquet", row_group_size=250)
    made = []
    for memory, workers in (("1MiB", 1), ("1GiB", 1), ("3MiB", 2)):
        output = tmp_path / f"{memory}{workers}.parquet"
        given = (repository / "any", tmp_path / "in.parquet", "--id", "device", "-o", output)
        run(run_command, *given, "--memory", memory, "--workers", workers, "--part-rows", 300)
        made.append(output.read_bytes())
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("kind", ["text", "dictionary", "large text", "int32", "uint64"])
def test_rows_in_any_order_come_back_in_theirs(
    kind: str, repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    readings = Readings()
    names = list(dict.fromkeys(readings.ids.tolist()))
    codes = np.array([names.index(name) for name in readings.ids])
    ids: Any = {
        "text": pa.array(readings.ids),
        "dictionary": pa.array(readings.ids).dictionary_encode(),
        "large text": pa.array(readings.ids, pa.large_utf8()),
        "int32": pa.array((codes - 5).astype(np.int32)),
        "uint64": pa.array(codes.astype(np.uint64) + np.uint64(2**63)),
    }[kind]
    shuffled = np.random.default_rng(3).permutation(len(codes))
    table = readings.table(device=ids).take(shuffled)
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=250)
    output = tmp_path / "out.parquet"
    given = (repository / "any", tmp_path / "in.parquet", "--id", "device", "--time", "at", "-o", output)
    run(run_command, *given, *LITTLE)
    made = parquet.read_table(output)
    assert made["device"].to_pylist() == table["device"].to_pylist()
    assert numbers(made, "y0", "y1").tobytes() == readings.expected(repository / "any" / "1")[shuffled].tobytes()


def test_rows_without_times_are_taken_as_they_stand_though_ids_come_again(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    readings = Readings((40, 40, 40))
    turns = np.arange(120).reshape(3, 40).T.ravel()  # a row of each in turn
    feather.write_feather(readings.table().take(turns), tmp_path / "in.feather", chunksize=17)
    output = tmp_path / "out.parquet"
    run(run_command, repository / "any", tmp_path / "in.feather", "--id", "device", "-o", output, *LITTLE)
    made = numbers(parquet.read_table(output), "y0", "y1")
    assert made.tobytes() == readings.expected(repository / "any" / "1")[turns].tobytes()


def test_a_folder_and_a_pattern_are_one_table_and_an_id_may_go_on_in_the_next_file(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    readings = Readings()
    folder = tmp_path / "readings"
    folder.mkdir()
    for number, first in enumerate(range(0, 2473, 400)):
        parquet.write_table(readings.table().slice(first, 400), folder / f"{number}.parquet")
    (folder / "_SUCCESS").touch()
    wanted = readings.expected(repository / "any" / "1")
    for given in (folder, folder / "*.parquet"):
        output = tmp_path / "out.parquet"
        run(run_command, repository / "any", given, "--id", "device", "-o", output, *LITTLE)
        assert numbers(parquet.read_table(output), "y0", "y1").tobytes() == wanted.tobytes()


def test_the_last_answer_of_each_sequence_alone(repository: Path, tmp_path: Path, run_command: RunCommand) -> None:
    readings = Readings()
    parquet.write_table(readings.table(), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    run(run_command, repository / "any", tmp_path / "in.parquet", "--id", "device", "--last", "-o", output, *LITTLE)
    table = parquet.read_table(output)
    assert table["device"].to_pylist() == readings.names
    assert table["step"].to_pylist() == list(LENGTHS)
    wanted = readings.expected(repository / "any" / "1")[readings.bounds[1:] - 1]
    assert numbers(table, "y0", "y1").tobytes() == wanted.tobytes()


def test_a_model_that_answers_once_a_run_has_a_row_a_sequence(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    lengths = (3, 1, 900)
    words = np.random.default_rng(2).integers(7, size=904)
    ids = np.repeat([7, 5, 6], lengths)
    (part,) = token_counter().manifest["inputs"]
    parquet.write_table(pa.table({"id": ids, part.features[0]: words}), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    run(run_command, repository / "once", tmp_path / "in.parquet", "--id", "id", "-o", output, *LITTLE)
    table = parquet.read_table(output)
    assert table["id"].to_pylist() == [7, 5, 6]
    for row, (start, end) in enumerate(pairwise([0, 3, 4, 904])):
        wanted = offline(repository / "once" / "1", words[start:end])
        assert np.array([table[name][row].as_py() for name in table.schema.names[2:]]).tolist() == wanted.tolist()


def test_words_are_codes_and_a_missing_value_is_missing(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    (part,) = words_and_numbers().manifest["inputs"]
    name, word, other = part.features
    words, others = part.categories[word], part.categories[other]
    table = {"id": ["a", "a", "b"], name: [1.5, -2.0, 3.0]}
    table |= {word: [words[0], words[1], words[-1]], other: [others[-1], others[0], others[1]]}
    parquet.write_table(pa.table(table), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    run(run_command, repository / "words", tmp_path / "in.parquet", "--id", "id", "-o", output, *LITTLE)
    codes = np.array(
        [
            [1.5, 0, len(others) - 1],
            [-2, 1, 0],
            [3, len(words) - 1, 1],
        ],
        np.float32,
    )
    directory = repository / "words" / "1"
    wanted = np.concatenate([offline(directory, codes[:2]), offline(directory, codes[2:])])
    made = parquet.read_table(output)
    assert numbers(made, *made.schema.names[2:]).tobytes() == wanted.tobytes()


def test_several_inputs_and_outputs_with_a_context_that_stands_in_every_row(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    generator, lengths = np.random.default_rng(4), (3, 800, 1)
    steps = sum(lengths)
    load, weekday = generator.normal(size=(steps, 2)).astype(np.float32), generator.integers(7, size=steps)
    customer, region = generator.normal(size=(3, 3)).astype(np.float32), np.array([4, 0, 2])
    of_row = np.repeat(np.arange(3), lengths)
    columns: dict[str, Any] = {"who": of_row, "load": load[:, 0], "price": load[:, 1], "weekday": weekday}
    columns["region"] = region[of_row]
    columns |= {name: customer[of_row, index] for index, name in enumerate(("age", "size", "since"))}
    parquet.write_table(pa.table(columns), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    run(run_command, repository / "panel", tmp_path / "in.parquet", "--id", "who", "-o", output, *LITTLE)
    table = parquet.read_table(output)
    assert table.schema.names == ["who", "step", "next", "after", "kind", "a", "b", "c", "d"]
    for index, (start, end) in enumerate(pairwise([0, 3, 803, 804])):
        inputs: dict[str, Array] = {"load": load[start:end], "weekday": weekday[start:end]}
        context: dict[str, Array] = {"customer": customer[index], "region": np.asarray(region[index])}
        wanted = panel_offline(repository / "panel" / "1", inputs, context)
        rows = table.slice(start, end - start)
        assert numbers(rows, "next", "after").tobytes() == wanted["level"].tobytes()
        assert rows["kind"].to_pylist() == wanted["kind"].tolist()
        # What is made once a run stands in the last row.
        assert [rows["a"][step].is_valid for step in range(end - start)] == [False] * (end - start - 1) + [True]
        assert numbers(rows.slice(end - start - 1), *"abcd").tobytes() == wanted["summary"].tobytes()
    columns["age"][700] += 1
    parquet.write_table(pa.table(columns), tmp_path / "other.parquet")
    result = run_command("run", repository / "panel", tmp_path / "other.parquet", "--id", "who", "-o", output)
    assert result.exit_code == 1
    assert "row 701 of who '1': context 'age' is another than in the sequence's first row" in result.stderr


def test_frames_are_answered_in_the_rows_that_complete_them(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    lengths = (10, 3, 4, 20_001)
    values = np.arange(sum(lengths), dtype=np.float32)
    parquet.write_table(pa.table({"id": np.repeat(list("abcd"), lengths), "x": values}), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    run(run_command, repository / "framed", tmp_path / "in.parquet", "--id", "id", "-o", output, *LITTLE)
    table = parquet.read_table(output)
    assert table["id"].to_pylist() == ["a"] * 2 + ["c"] + ["d"] * 5000
    assert table["step"].to_pylist() == [4, 8, 4, *range(4, 20_001, 4)]
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    frames = [
        values[start : end - (end - start) % 4].reshape(-1, 4) for start, end in pairwise(bounds) if end - start >= 4
    ]
    wanted = np.concatenate(frames) @ np.arange(8, dtype=np.float32).reshape(4, 2)
    assert numbers(table, "s", "t").tolist() == wanted.tolist()


@pytest.mark.parametrize("form", ["inputs", "x by feature"])
def test_a_row_may_be_a_whole_sequence_of_lists(
    form: str, repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    readings = Readings()
    sequences = [readings.values[start:end] for start, end in pairwise(readings.bounds)]
    columns: dict[str, Any] = {"name": readings.names}
    if form == "inputs":
        columns["inputs"] = pa.array([each.tolist() for each in sequences], pa.list_(pa.list_(pa.float32(), 3)))
    else:
        columns |= {f"x{index}": [each[:, index] for each in sequences] for index in range(3)}
    parquet.write_table(pa.table(columns), tmp_path / "in.parquet", row_group_size=2)
    output = tmp_path / "out.parquet"
    given = (repository / "any", tmp_path / "in.parquet", "--id", "name", "-o", output, "--part-rows", 2)
    run(run_command, *given, "--workers", 1, "--memory", "1MiB")
    table = parquet.read_table(output)
    assert table["name"].to_pylist() == readings.names
    made = np.concatenate([np.array(each, np.float32) for each in table["outputs"].to_pylist()])
    assert made.tobytes() == readings.expected(repository / "any" / "1").tobytes()
    run(run_command, *given, "--last")
    last = np.array(parquet.read_table(output)["outputs"].to_pylist(), np.float32)
    assert last.tobytes() == made[readings.bounds[1:] - 1].tobytes()


def test_whole_sequences_of_a_model_without_sessions(tmp_path: Path, run_command: RunCommand) -> None:
    lengths = (1, 40, 7, 900, 2, 2)
    values = np.random.default_rng(1).normal(size=sum(lengths)).astype(np.float32)
    directory = planted_sequences(tmp_path / "sequences", "nothing")
    feature = Manifest.read(directory).inputs[0].features[0]
    parquet.write_table(
        pa.table({"id": np.repeat(np.arange(6), lengths), feature: values}), tmp_path / "in.parquet", row_group_size=50
    )
    output = tmp_path / "out.parquet"
    run(run_command, directory, tmp_path / "in.parquet", "--id", "id", "-o", output, *LITTLE)
    table = parquet.read_table(output)
    assert numbers(table, table.schema.names[-1])[:, 0].tobytes() == (2 * values).tobytes()


def test_a_row_that_is_not_taken_stops_all_or_ends_the_answers_of_its_sequence(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    readings = Readings()
    values = readings.values[:, 1].astype(object)
    begin, end = readings.bounds[8:10]
    values[begin + 650] = None
    parquet.write_table(readings.table(x1=pa.array(values, pa.float32())), tmp_path / "in.parquet", row_group_size=250)
    output = tmp_path / "out.parquet"
    given = (repository / "any", tmp_path / "in.parquet", "--id", "device", "-o", output, *LITTLE)
    stopped = run_command("run", *given)
    assert stopped.exit_code == 1
    assert f"row {begin + 651} of device {readings.names[8]!r}: column 'x1': a value is missing" in stopped.stderr
    assert not output.exists()
    # The same again, which leaves the parts that are there as they are.
    result = run(run_command, *given, "--on-error", "skip")
    assert "parts are there already" in result.stderr
    assert "out.parquet.skipped.csv lists what was left out" in result.stderr
    table = parquet.read_table(output)
    is_absent = np.zeros(len(readings.ids), bool)
    is_absent[begin + 650 : end] = True
    assert np.array(table["y0"].is_null()).tolist() == is_absent.tolist()
    wanted = readings.expected(repository / "any" / "1")[~is_absent]
    assert numbers(table.filter(pa.array(~is_absent)), "y0", "y1").tobytes() == wanted.tobytes()
    header, row = (tmp_path / "out.parquet.skipped.csv").read_text().splitlines()
    assert header == "id,row,reason"
    assert row.startswith(f"{readings.names[8]},{begin + 651},\"column 'x1': a value is missing (null)")


def test_steps_without_an_answer_are_counted_and_are_nan(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    table = {"id": [1, 1, 1, 2, 2], "x": np.array([1, 3e38, 1, 5, 6], np.float32)}
    parquet.write_table(pa.table(table), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    result = run(run_command, repository / "accumulator", tmp_path / "in.parquet", "--id", "id", "-o", output, *LITTLE)
    total = parquet.read_table(output)["total"].to_numpy()
    assert total[[0, 3, 4]].tolist() == [1, 5, 11]
    assert not np.isfinite(total[1:3]).any()
    assert "no answer (NaN or infinity)  2 steps" in " ".join(result.stderr.split("\n"))


def test_a_file_without_rows_has_none_in_its_output(repository: Path, tmp_path: Path, run_command: RunCommand) -> None:
    parquet.write_table(Readings().table().slice(0, 0), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    run(run_command, repository / "any", tmp_path / "in.parquet", "--id", "device", "-o", output)
    table = parquet.read_table(output)
    assert table.num_rows == 0
    assert table.schema.names == ["device", "step", "y0", "y1"]


def test_another_model_or_input_is_refused_until_all_begins_anew(
    repository: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    readings = Readings()
    values = readings.values[:, 1].astype(object)
    values[-1] = None
    file, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    parquet.write_table(readings.table(x1=pa.array(values, pa.float32())), file, row_group_size=250)
    given = (repository / "any", file, "--id", "device", "-o", output, *LITTLE)
    assert run_command("run", *given).exit_code == 1  # with all parts but the last
    parquet.write_table(readings.table(), file, row_group_size=250)
    refused = run_command("run", *given)
    assert refused.exit_code == 1
    assert "out.parquet.parts: what was begun there had another input: --restart throws it away" in refused.stderr
    refused = run_command("run", *given, "--last")
    assert "another input and another --last" in refused.stderr
    run(run_command, *given, "--restart")
    made = numbers(parquet.read_table(output), "y0", "y1")
    assert made.tobytes() == readings.expected(repository / "any" / "1").tobytes()


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({}, ("--id", "devise"), "there is no column 'devise', which --id names; did you mean 'device'?"),
        (
            {"x1": None},
            ("--id", "device"),
            "no column 'x1', which is 'x1' of 'inputs'; did you mean 'x2' or 'x0'?",
        ),
        ({"x1": list("abc")}, ("--id", "device"), "column 'x1' is of string, not of numbers"),
        ({"device": [1.0, 2.0, 3.0]}, ("--id", "device"), "ids are whole numbers or text"),
        ({"device": ["a", None, "a"]}, ("--id", "device"), "column 'device': row 2 has none (null)"),
        ({"at": [1.0, float("nan"), 3.0]}, ("--id", "device", "--time", "at"), "column 'at': row 2 has none (null)"),
        ({"at": list("abc")}, ("--id", "device", "--time", "at"), "times are timestamps, dates or numbers"),
        ({}, ("--id", "device", "--column", "y1=x1"), "--column y1=x1: the model takes no 'y1'; did you mean 'x1'?"),
        ({}, (), "--id names the column that tells the sequences apart"),
        ({"x0": [1e39, 1.0, 2.0]}, ("--id", "device"), "row 1 of device '1': column 'x0': this number does not fit"),
        ({}, ("--id", "device", "--json"), "--json is for files that are read at once"),
        ({}, ("--id", "device", "--align"), "--align is for files that are read at once"),
        ({}, ("--id", "device", "--memory", "lots"), "--memory lots: a size of 1MiB at least"),
        ({"y0": [1, 2, 3]}, ("--id", "y0"), "row 1"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_run(
    columns: dict[str, Any],
    arguments: tuple[str, ...],
    message: str,
    repository: Path,
    tmp_path: Path,
    run_command: RunCommand,
) -> None:
    table: dict[str, Any] = {"device": [1, 1, 1], **{f"x{index}": [0.5, 1.0, 1.5] for index in range(3)}, **columns}
    table = {name: values for name, values in table.items() if values is not None}
    parquet.write_table(pa.table(table), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    result = run_command("run", repository / "any", tmp_path / "in.parquet", "-o", output, *arguments, "--workers", 1)
    if message == "row 1":  # a column of the file may be called like an output, which then has another name
        assert result.exit_code == 0, result.output
        assert parquet.read_schema(output).names == ["y0", "step", "outputs.y0", "outputs.y1"]
        return
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert not output.exists()


@pytest.mark.parametrize(
    ("given", "output", "message"),
    [
        ("days/1.parquet", "days/1.parquet", "it is what is read, and would be overwritten"),
        ("days/1.parquet", "again.parquet", "it is what is read, and would be overwritten"),  # another name of it
        ("days", "days/2/out.parquet", "it lies in"),
        ("days", "days", "it is what is read"),
        ("days/*.parquet", "days/out.parquet", "the pattern of what is read fits it, too"),
        ("**/1.parquet", "a/b/1.parquet", "the pattern of what is read fits it, too"),
        ("d*/1.parquet", "data/1.parquet", "the pattern of what is read fits it, too"),
        ("days/*.parquet", "days/sub/out.parquet", ""),
        ("days/*.parquet", "days/out", ""),
        ("days/1.parquet", "days/2.parquet", ""),
        ("days", "days-out", ""),
    ],
)
def test_an_output_takes_no_place_of_what_is_read(given: str, output: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    (tmp_path / "days" / "1.parquet").touch()
    (tmp_path / "again.parquet").symlink_to(tmp_path / "days" / "1.parquet")
    with pytest.raises(InputError, match=message) if message else nullcontext():
        check_output_place(tmp_path / output, tmp_path / given)


def test_a_file_is_not_overwritten_by_its_answers(repository: Path, tmp_path: Path, run_command: RunCommand) -> None:
    table = pa.table({"device": [1], **{f"x{index}": [0.5] for index in range(3)}})
    parquet.write_table(table, tmp_path / "in.parquet")
    (tmp_path / "in.csv").write_text("x0,x1,x2\n1,2,3\n")
    for name, flags in (("in.parquet", ("--id", "device")), ("in.csv", ())):
        before = (tmp_path / name).read_bytes()
        result = run_command("run", repository / "any", tmp_path / name, "-o", tmp_path / name, *flags)
        assert result.exit_code == 1
        assert "would be overwritten" in result.stderr
        assert (tmp_path / name).read_bytes() == before


def test_flags_for_columns_are_for_columns(repository: Path, tmp_path: Path, run_command: RunCommand) -> None:
    np.save(tmp_path / "in.npy", np.zeros((3, 3), np.float32))
    result = run_command("run", repository / "any", tmp_path / "in.npy", "--last")
    assert "--last is for columns that are written to Parquet: --output OUT.parquet" in result.stderr
    result = run_command("run", repository / "any", tmp_path / "in.npy", "--id", "device")
    assert "in.npy: of columns, Parquet is written: --output OUT.parquet" in result.stderr
    result = run_command("run", repository / "any", tmp_path / "nothing*.parquet", "-o", tmp_path / "out.parquet")
    assert "there is no file of columns in it" in result.stderr
    result = run_command("run", repository / "any", tmp_path / "in.npy", "--id", "a", "-o", tmp_path / "out.parquet")
    assert "in.npy: cannot be read" in result.stderr


def test_it_is_told_that_times_fill_nothing_in(repository: Path, tmp_path: Path, run_command: RunCommand) -> None:
    timed_lstm().write(tmp_path, np.zeros((1, 3, 3), np.float32))
    times = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (0, 2)]
    features = {name: [0.5, 1.0] for name in ("load", "hour", "weekday", "x0", "x1", "x2")}
    parquet.write_table(pa.table({"device": [1, 1], "at": times, **features}), tmp_path / "in.parquet")
    for model, is_told in ((tmp_path / "load", True), (repository / "any", False)):
        arguments = ("--id", "device", "--time", "at", "--workers", 1, "-o", tmp_path / "out.parquet")
        result = run_command("run", model, tmp_path / "in.parquet", *arguments)
        assert result.exit_code == 0, result.output
        assert ("no missing step was put in" in result.stderr) is is_told
