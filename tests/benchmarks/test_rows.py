"""Every row of the benchmark runs; what cannot be measured says why, and what is our own fault fails the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import typer
from rich.console import Console

from benchmarks import __main__ as benchmark
from benchmarks.bench import Bench, Options
from benchmarks.errors import OwnFault, SubjectFailed
from benchmarks.subjects import ROOT, Ostinato

BOUNDS = (0, 6, 8, len(benchmark.ROWS))
"""Rows between two of these run in one process. From the eighth on they share servers."""


@pytest.mark.long
@pytest.mark.parametrize(("first", "behind"), list(pairwise(BOUNDS)))
def test_every_row_measures_something(first: int, behind: int, tmp_path: Path) -> None:
    wrk = tmp_path / "wrk"
    wrk.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.benchmarks.wrk "$@"\n')
    wrk.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.play_rows", str(first), str(behind), str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["absent"], found["failures"]) == ({}, []), done.stdout + done.stderr
    assert list(found["num_figures"]) == [title for title, *_ in benchmark.ROWS[first:behind]]
    assert min(found["num_figures"].values()) > 0, found["num_figures"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(Options.tiny(), tmp_path, Console())


def test_a_measurement_of_ours_that_breaks_is_told_in_its_own_words(bench: Bench) -> None:
    with pytest.raises(OwnFault, match=r"inside iterations .*: ModelRejected: .*nowhere"):
        bench.inside("iterations", bench.scratch / "nowhere" / "1")


@pytest.mark.parametrize(("error", "num_failures"), [(OwnFault("it broke"), 1), (SubjectFailed("no wrk"), 0)])
def test_only_a_fault_of_our_own_fails_the_run_and_either_is_told(
    bench: Bench, error: Exception, num_failures: int
) -> None:
    def row(_: Bench) -> None:
        raise error

    benchmark.measure(bench, [("a row", (1,), row)])
    assert bench.absent == {"a row": str(error)}
    assert bench.failures == [f"a row: {error}"] * num_failures


def test_a_server_of_ours_that_does_not_start_fails_the_run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ostinato, "command", lambda _: ([sys.executable, "-c", "raise SystemExit('broken')"], {}))
    assert bench.subjects("ostinato") == []
    [failure] = bench.failures
    assert failure == f"ostinato: {bench.absent['ostinato']}"
    assert "it did not become ready; its last words: broken" in failure


def test_a_failure_is_an_exit_status_of_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def row(bench: Bench) -> None:
        bench.inside("iterations", bench.scratch / "nowhere" / "1")

    monkeypatch.setattr(benchmark, "ROWS", (("a row", (10,), row),))
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    with pytest.raises(typer.Exit) as ended:
        benchmark.main("10", 1, 1.0, True, tmp_path, False)
    assert ended.value.exit_code == 1
