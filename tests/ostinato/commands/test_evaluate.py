from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.commands import evaluate as command
from ostinato.service.artifact.manifest import Manifest
from ostinato.tools.model_shape import told_by_time
from tests.ostinato.conftest import RunCommand
from tests.timed_networks import timed_lstm

# Totals 1, 3, 3 behind the first three rows, and fed back twice that: the errors are those of tests/.../test_replay.py.
LOADS = "load\n1\n2\nNA\n4\n6\n"


@pytest.fixture
def loads(tmp_path: Path) -> Path:
    path = tmp_path / "loads.csv"
    path.write_text(LOADS)
    return path


def test_the_errors_are_those_that_a_hand_computes(
    models: Path, loads: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    output = tmp_path / "scores.json"
    result = run_command(
        "evaluate", models / "loads", loads, "--horizon", 2, "--origins", 0, "--no-ets", "--from", 1, "-o", output
    )
    assert result.exit_code == 0, result.output
    content = json.loads(output.read_text())
    assert (content["model"], content["num_origins"], content["origins"]) == ("loads", 3, "from 1 on")
    assert content["targets"]["load"]["mae"] == {"model": [1.0, 1.0], "persistence": [1.5, 3.0]}
    assert "loads/1: load, MAE of the model" in result.stdout
    last = [line for line in result.stdout.splitlines() if line.strip()][-1]
    assert last.split() == ["mean", "4", "1", "2.25", "55.6%", "1.207", "-"]


def test_each_series_begins_anew_and_is_scored_with_the_others(
    models: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    file, output = tmp_path / "loads.csv", tmp_path / "scores.json"
    file.write_text("load,site\n1,a\n10,b\n2,a\n20,b\n4,a\n5,c\n")
    result = run_command(
        "evaluate", models / "loads/1", file, "--horizon", 1, "--origins", 0, "--no-ets", "--id", "site", "--from", 1,
        "--output", output,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads(output.read_text())
    # Of a |1 - 2| and |3 - 4|, of b |10 - 20|; c has one row and nothing to score. Persistence 1, 2, 10.
    assert content["targets"]["load"]["mae"] == {"model": [12 / 3], "persistence": [13 / 3]}
    assert (content["num_series"], content["num_origins"]) == (3, 3)


def test_ets_stands_beside_and_knows_no_more_than_the_model(
    models: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    file, output = tmp_path / "loads.csv", tmp_path / "scores.json"
    random = np.random.default_rng(1)
    values = np.tile([1.0, 5.0, 3.0], 20) + random.normal(size=60) / 10
    file.write_text("load\n" + "\n".join(map(str, values.tolist())))
    arguments = ("evaluate", models / "loads", file, "--horizon", 3, "--origins", 4, "--season", 3, "-o", output)
    result = run_command(*arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(output.read_text())
    mae = found["targets"]["load"]["mae"]
    assert list(mae) == ["model", "persistence", "seasonal naive", "ETS"]
    # A season that repeats itself within a tenth: what knows it is near, and the last value is not.
    # A whole season ahead that is the same.
    assert max(mae["ETS"] + mae["seasonal naive"]) < 0.5 < min(mae["persistence"][:2])
    assert found["origins"] == "in the last fifth of the rows"
    assert found["num_origins"] == 4


def test_without_the_extra_it_is_told_and_refused_where_it_is_asked_for(
    models: Path, loads: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "has_ets", lambda: False)
    arguments = ("evaluate", models / "loads", loads, "--horizon", 1, "--from", 1)
    result = run_command(*arguments)
    assert result.exit_code == 0, result.output
    assert "pip install 'ostinato[evaluate]'" in result.stderr
    refused = run_command(*arguments, "--ets")
    assert refused.exit_code == 1
    assert "--ets needs the extra evaluate" in refused.stderr


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("loads", ("--horizon", "9"), "no forecast 9 steps ahead can be scored: there are 1 rows to score"),
        ("loads", ("--known", "wind"), "--known wind: the model's inputs are load"),
        ("loads", ("--output", "scores.csv"), "its name should end in .md or .json"),
        ("loads", ("--id", "site"), "has no column 'site'"),
        ("gusts", (), "cannot forecast: its manifest names no output that predicts an input"),
        ("nobody", (), "there is no model.json in it"),
    ],
)
def test_a_mistake_is_one_line(
    models: Path, loads: Path, run_command: RunCommand, name: str, arguments: tuple[str, ...], message: str
) -> None:
    result = run_command("evaluate", models / name, loads, "--no-ets", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_table_of_several_series_is_told_the_option_that_takes_them(
    models: Path, tmp_path: Path, run_command: RunCommand
) -> None:
    rows = [f"2024-01-{day:02},{day},{site}" for day in range(1, 20) for site in "ab"]
    (tmp_path / "loads.csv").write_text("\n".join(["time,load,site", *rows]))
    for flags, told in (
        ((), "--id site takes each of them by itself"),
        (("--id", "site"), "origins in the last fifth"),
    ):
        result = run_command("evaluate", models / "loads", tmp_path / "loads.csv", "--horizon", 1, "--no-ets", *flags)
        assert told in result.output.replace("\n", " ")


def test_what_a_calendar_tells_is_known_as_it_is_to_a_session_with_times(
    tmp_path: Path, run_command: RunCommand
) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    timed_lstm().write(tmp_path, rows[None, :10])
    timed_lstm(None, model="untimed").write(tmp_path, rows[None, :10])
    (tmp_path / "loads.csv").write_text("load,hour,weekday\n" + "\n".join(",".join(map(str, row)) for row in rows))

    def scores(name: str, *known: str) -> dict[str, Any]:
        output = tmp_path / "scores.json"
        arguments = ("--horizon", 4, "--origins", 0, "--no-ets", "--from", 30, "-o", output, *known)
        result = run_command("evaluate", tmp_path / name, tmp_path / "loads.csv", *arguments)
        assert result.exit_code == 0, result.output
        content: dict[str, Any] = json.loads(output.read_text())
        return {"known": content["known"], **content["targets"]["load"]["mae"]}

    known = scores("untimed", "--known", "weekday,hour")
    assert known["model"] != scores("untimed")["model"]
    assert scores("load") == {**known, "known": ["hour", "weekday"]}
    assert scores("load", "--known", "weekday") == known
    manifest = Manifest.read(tmp_path / "load" / "1").model_dump(mode="json")
    assert told_by_time(manifest) == ("hour", "weekday")
    # No forecast is told anything of a model that decodes, or answers all steps at once.
    assert told_by_time({**manifest, "decoder": {"graphs": {}}}) == told_by_time({**manifest, "feedback": {}}) == ()
