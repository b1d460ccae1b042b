"""A Ray on this machine, of two processors and little memory, which ends with the process that started it."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from ostinato.tools.backfill import on_ray
from tests.networks import lstm, offline

NUM_STARTS = 7
TOO_BUSY = "timed out during startup"
"""What Ray says where its own processes did not start within half a minute, as on a busy machine."""
LENGTHS = (1, 700, 3, 64, 65, 2, 1500, 128, 1, 9)

# One Ray for all runs: it takes long to start.
RUNS = """
import sys
from pathlib import Path
import psutil
from typer.testing import CliRunner
from ostinato.cli import app
from ostinato.tools.backfill.on_ray import connected

model, folder = sys.argv[1:]
with connected("local", 2):
    for name in ("in", "mixed", "wrong"):
        file, output = f"{folder}/{name}.parquet", f"{folder}/{name}"
        given = ["run", model, file, "--id", "id", "--time", "at", "--part-rows", "300", "--workers", "2"]
        result = CliRunner().invoke(app, [*given, "--ray", "local", "-o", output])
        Path(f"{folder}/{name}.txt").write_text(f"{result.exit_code}\\n{result.stderr}")
    children = [child.pid for child in psutil.Process().children(recursive=True)]
    Path(f"{folder}/children.txt").write_text(" ".join(map(str, children)))
"""


@pytest.mark.long
def test_actors_of_ray_give_the_numbers_of_one_process_to_the_bit(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    model = lstm().write(tmp_path / "repository", generator.normal(size=(2, 5, 3)).astype(np.float32))
    bounds = np.concatenate([[0], np.cumsum(LENGTHS)])
    values = generator.normal(size=(bounds[-1], 3)).astype(np.float32)
    columns = {f"x{index}": values[:, index] for index in range(3)}
    table = pa.table({"id": np.repeat(np.arange(10), LENGTHS), "at": np.arange(bounds[-1]), **columns})
    mixed = generator.permutation(bounds[-1])
    missing = table.set_column(2, "x0", pa.array(values[:, 0], mask=np.arange(bounds[-1]) == 900))
    for name, each in (("in", table), ("mixed", table.take(mixed)), ("wrong", missing)):
        parquet.write_table(each, tmp_path / f"{name}.parquet", row_group_size=250)

    script = [sys.executable, "-c", RUNS, str(model), str(tmp_path)]
    for _ in range(NUM_STARTS):
        ended = subprocess.run(script, capture_output=True, text=True, check=False)
        if TOO_BUSY not in ended.stderr:
            break
    assert ended.returncode == 0, ended.stderr

    said = {name: (tmp_path / f"{name}.txt").read_text() for name in ("in", "mixed", "wrong")}
    wanted = np.concatenate([offline(model, values[start:end]) for start, end in pairwise(bounds)])[:, 0]
    for name, rows in (("in", np.arange(bounds[-1])), ("mixed", mixed)):
        assert said[name].startswith("0\n"), said[name]
        made = parquet.read_table(tmp_path / name)
        assert made["id"].equals(table.take(rows)["id"])
        assert made[made.schema.names[-1]].to_numpy().tobytes() == wanted[rows].tobytes()
    assert len(list((tmp_path / "in").iterdir())) > 1  # of several parts, each a file
    assert said["wrong"].startswith("1\n")
    assert "row 901 of id '6': column 'x0': a value is missing" in said["wrong"]
    assert not (tmp_path / "wrong").exists()
    children = list(map(int, (tmp_path / "children.txt").read_text().split()))
    assert children
    assert [child for child in children if psutil.pid_exists(child)] == []


def test_what_needs_ray_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from rich.console import Console

    from ostinato.commands.run_columns import BackfillOptions, run_columns
    from ostinato.errors import MissingExtra
    from ostinato.tools.backfill.asked import OnError

    monkeypatch.setattr("ostinato.extras.find_spec", lambda name: None if name == "ray" else object())
    options = BackfillOptions({}, "id", "", False, OnError.STOP, "1GiB", 1, 1, False, on_ray.LOCAL)
    with pytest.raises(MissingExtra, match=r"pip install 'ostinato\[ray\]'"):
        run_columns(Console(), tmp_path, tmp_path / "in.parquet", tmp_path / "out", options)
