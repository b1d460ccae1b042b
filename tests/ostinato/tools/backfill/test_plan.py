"""Back-fills as processes that are killed, or watched: what is done is kept, and memory stays within its bound."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import parquet

from tests.networks import lstm, offline
from tests.waiting import PATIENCE_SECONDS, until

MEASURED = """
import sys
from pathlib import Path
from ostinato.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
(peak,) = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
print(peak)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    golden = np.random.default_rng(0).normal(size=(2, 5, 16)).astype(np.float32)
    return lstm(16).write(tmp_path_factory.mktemp("repository"), golden)


def readings(num_rows: int, seed: int, longest: int = 200) -> pa.Table:
    """Sequences of all lengths behind one that is far longer than the others."""
    generator = np.random.default_rng(seed)
    lengths = [num_rows // 8]
    while sum(lengths) < num_rows:
        lengths.append(int(generator.integers(1, longest)))
    ids = np.repeat(np.arange(len(lengths)), lengths)[:num_rows]
    values = {f"x{index}": generator.normal(size=num_rows).astype(np.float32) for index in range(16)}
    return pa.table({"id": ids, "at": np.arange(num_rows), **values})


def shuffled(table: pa.Table, seed: int) -> pa.Table:
    return table.take(np.random.default_rng(seed).permutation(len(table)))


def start(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ostinato.cli", "run", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "OSTINATO_LOG_LEVEL": "error"})


def kill_when(is_so: Callable[[], object], *arguments: object) -> None:
    """Start a run, and kill it at once when something is so; or it has ended by then."""
    process = start(*arguments)
    try:
        until(lambda: is_so() or process.poll() is not None, "the moment to be killed at")
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_run_that_is_killed_anywhere_goes_on_and_ends_with_the_same_bytes(
    seed: int, model: Path, tmp_path: Path
) -> None:
    generator = np.random.default_rng(seed)
    table = readings(60_000, seed)
    if seed == 2:  # so that it is killed while it sorts, too
        table = shuffled(table, seed)
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=3000)
    options = ("--id", "id", "--time", "at", "--memory", "4MiB", "--part-rows", 3000, "--workers", seed)
    whole, output = tmp_path / "whole.parquet", tmp_path / "out.parquet"
    assert start(model, tmp_path / "in.parquet", *options, "-o", whole).wait(PATIENCE_SECONDS) == 0

    folder = tmp_path / "out.parquet.parts"
    given = (model, tmp_path / "in.parquet", *options, "-o", output)
    kill_when(folder.exists, *given)
    if seed == 2:
        kill_when(lambda: list(folder.glob(".runs/*")), *given)
    done = 0
    for _ in range(2):
        wanted = done + int(generator.integers(1, 6))
        kill_when(lambda wanted=wanted: len(list(folder.glob("part-*.parquet"))) >= wanted, *given)  # type: ignore[misc]
        kept = sorted(folder.glob("part-*.parquet"))
        assert len(kept) >= wanted
        assert not output.exists()
        done = len(kept)
    inodes = {path.name: path.stat().st_ino for path in folder.glob("part-*.parquet")}
    kill_when(lambda: list(folder.glob(".out.parquet.*")), *given)
    if folder.exists():  # else it was quicker
        now = {path.name: path.stat().st_ino for path in folder.glob("part-*.parquet")}
        assert inodes.items() <= now.items(), "a part that was there was made again"
    assert start(*given).wait(PATIENCE_SECONDS) == 0
    assert output.read_bytes() == whole.read_bytes()
    assert not folder.exists()
    check_some(table, output, model, generator)


def check_some(table: pa.Table, output: Path, model: Path, generator: np.random.Generator) -> None:
    """Hold the answers of some sequences to a plain run of each, the longest among them."""
    made = parquet.read_table(output)
    assert made["id"].equals(table["id"])
    ids, times = table["id"].to_numpy(), table["at"].to_numpy()
    values = np.stack([table[f"x{index}"].to_numpy() for index in range(16)], axis=1)
    answers: NDArray[Any] = made[made.schema.names[-1]].to_numpy()
    for name in [0, *generator.choice(ids, 20).tolist()]:
        rows = np.flatnonzero(ids == name)
        rows = rows[np.argsort(times[rows])]
        wanted = offline(model, values[rows])
        assert answers[rows].tobytes() == wanted.tobytes(), f"sequence {name}"


def test_nobody_else_writes_the_same_output_meanwhile(model: Path, tmp_path: Path) -> None:
    parquet.write_table(readings(60_000, 3), tmp_path / "in.parquet", row_group_size=3000)
    given = (model, tmp_path / "in.parquet", "--id", "id", "--part-rows", 3000, "--workers", 1)
    first = start(*given, "-o", tmp_path / "out.parquet")
    try:
        until(lambda: list(tmp_path.glob("*.parts/part-*")), "the first part")
        first.send_signal(signal.SIGSTOP)
        assert not (tmp_path / "out.parquet").exists()
        assert start(*given, "-o", tmp_path / "out.parquet").wait(PATIENCE_SECONDS) == 1
        first.send_signal(signal.SIGCONT)
        assert first.wait(PATIENCE_SECONDS) == 0
    finally:
        first.kill()
        first.wait()


def peak_kib(model: Path, file: Path) -> int:
    command = [sys.executable, "-c", MEASURED, "run", str(model), str(file), "--id", "id"]
    command += ["-o", str(file.with_suffix(".out.parquet")), "--memory", "16MiB", "--workers", "1"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return int(made.stdout)


@pytest.mark.long
@pytest.mark.parametrize("is_in_order", [True, False])
def test_a_file_that_is_five_times_as_large_takes_no_more_memory(
    is_in_order: bool, model: Path, tmp_path: Path
) -> None:
    tables = [readings(num_rows, 5) for num_rows in (240_000, 1_200_000)]
    sizes = [table.nbytes // 1024 for table in tables]
    peaks = []
    for table in tables:
        file = tmp_path / f"{len(table)}.parquet"
        parquet.write_table(table if is_in_order else shuffled(table, 1), file, row_group_size=50_000)
        peaks.append(peak_kib(model, file))
    # The bound is 16 MiB, and the larger file has five times as much as that, more than the smaller.
    assert sizes[1] - sizes[0] > 70 * 1024
    assert peaks[1] - peaks[0] < 35 * 1024
