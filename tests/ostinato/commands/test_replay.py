from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.ostinato.conftest import RunCommand
from tests.server import ServerProcess

# One server for all tests that ask it.
pytestmark = pytest.mark.xdist_group("ostinato_server")


def test_each_id_of_a_parquet_file_has_a_session_of_its_own(
    server: ServerProcess, tmp_path: Path, run_command: RunCommand
) -> None:
    file = tmp_path / "loads.parquet"
    pl.DataFrame({"station": ["a", "b", "a", "b", "a"], "load": [1.0, 10.0, 2.0, 20.0, 4.0]}).write_parquet(file)
    result = run_command("replay", file, "-m", "loads", "--id", "station", "--url", server.url)
    assert result.exit_code == 0, result.output
    # Totals of a: 1, 3; of b: 10. Errors |1 - 2|, |3 - 4| and |10 - 20|; persistence 1, 2 and 10.
    assert "5 rows in 2 sessions" in result.output
    assert f"{(1 + 1 + 10) / 3:.3f}" in result.output
    assert f"{(1 + 2 + 10) / 3:.3f}" in result.output


def test_a_report_has_the_errors_at_each_step_ahead(
    server: ServerProcess, tmp_path: Path, run_command: RunCommand
) -> None:
    file, report, page, plot = (tmp_path / name for name in ("loads.csv", "scores.json", "scores.md", "loads.png"))
    file.write_text("load\n1\n2\nNA\n4\n6\n")
    arguments = ("replay", file, "-m", "loads", "--horizon", 2, "--url", server.url)
    result = run_command(*arguments, "--report", report, "--plot", plot)
    assert result.exit_code == 0, result.output
    # Totals 1, 3, 3 behind the first three rows; fed back, twice that. What came, and what was last seen:
    # of 1: forecasts 1, 2  came 2, NA  last seen 1
    # of 2: forecasts 3, 6  came NA, 4  last seen 2
    # of NA: forecasts 3, 6  came 4, 6  last seen 2
    content = json.loads(report.read_text())
    assert content["targets"]["load"] == {
        "num_scored": [2, 2],
        "mae": {"model": [(1 + 1) / 2, (2 + 0) / 2], "persistence": [(1 + 2) / 2, (2 + 4) / 2]},
        "rmse": {"model": [1.0, 2**0.5], "persistence": [2.5**0.5, 10**0.5]},
        "mase": {"model": [None, None], "persistence": [None, None]},
        "skill": {"model": [pytest.approx(1 / 3), pytest.approx(2 / 3)]},
    }
    assert (content["num_origins"], content["horizon"]) == (3, 2)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert run_command(*arguments, "--report", page).exit_code == 0
    assert "| 2 | 2 | 1 | 3 | 66.7% | 1.414 | - |" in page.read_text().splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--report", "scores.txt"), "its name should end in .md or .json"),
        (("--plot", "loads.bmp"), "its name should end in .png, .svg or .pdf"),
        (("--id", "place"), "has no column 'place'"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_anything_is_replayed(
    server: ServerProcess, tmp_path: Path, run_command: RunCommand, arguments: tuple[str, str], message: str
) -> None:
    file = tmp_path / "loads.csv"
    file.write_text("load\n1\n2\n")
    result = run_command("replay", file, "-m", "loads", "--url", server.url, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "rows in" not in result.output
