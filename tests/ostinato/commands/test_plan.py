from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from benchmarks.redis_server import redis_executable
from ostinato.service.artifact.manifest import Manifest
from ostinato.tools.sizing import GIB, KEY_BYTES
from tests.ostinato.conftest import RunCommand
from tests.stores import stores

pytestmark = pytest.mark.xdist_group("ostinato_server")


def test_it_plans_by_what_a_bench_has_printed(models: Path, tmp_path: Path, run_command: RunCommand) -> None:
    bench = tmp_path / "bench.jsonl"
    bench.write_text('{"sequences": 1, "steps_per_second": 900.0}\n{"sequences": 256, "steps_per_second": 20000.0}\n')
    asked = ("--sessions", "10M", "--rate", "1/s", "-m", "gusts", "--repository", models, "--bench", bench, "--json")
    result = run_command("plan", *asked)
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["worker_steps_per_second"] == 20_000
    assert plan["replicas"] == 1001  # ten million a second over half of 20,000, and a spare one
    states = sum(state.initial_row().nbytes for state in Manifest.read(models / "gusts" / "1").states)
    # A record holds the states, what is known of the session, and names; twice each.
    assert 10**7 * 2 * (states + KEY_BYTES + 64) < plan["redis_bytes"] < 10**7 * 2 * (states + KEY_BYTES + 400)


@pytest.mark.parametrize("store", stores("lmdb"))
def test_it_measures_a_server_of_its_own(
    models: Path, store: str, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(redis_executable()).parent}{os.pathsep}{os.environ['PATH']}")
    asked = ("--sessions", "5k", "--rate", "1/h", "-m", "gusts", "--repository", models, "--store", store)
    result = run_command("plan", *asked, "--seconds", 0.5, "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["worker_steps_per_second"] > 0
    assert plan["replicas"] == (2 if store == "redis" else 1)
    assert (plan["disk_bytes"] > 0) == (store == "lmdb")
    assert plan["memory_bytes"] < 2 * GIB
    assert plan["cost_per_million_steps"] is None


def test_a_table_tells_the_cost(models: Path, tmp_path: Path, run_command: RunCommand) -> None:
    bench = tmp_path / "bench.jsonl"
    bench.write_text('{"steps_per_second": 100.0}\n')
    asked = ("--sessions", "100", "--rate", "1/s", "-m", "gusts", "--repository", models, "--bench", bench)
    result = run_command("plan", *asked, "--store", "lmdb", "--busy", 1, "--core-hour", 3.6)
    assert result.exit_code == 0, result.output
    assert "10,000.0 core-s" in result.output  # one core for a million steps at 100 a second
    assert "10.0000" in result.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--sessions", "many"), "no number of sessions"),
        (("--rate", "often"), "no rate"),
        (("--model", "nobody"), "there are: "),
        (("--bench", "no-such-file"), "is not what 'ostinato bench --json' prints"),
        (("--state", "lmdb://somewhere"), "no store of --store redis"),
    ],
)
def test_what_cannot_be_planned_is_said(
    options: tuple[str, str], told: str, models: Path, run_command: RunCommand
) -> None:
    asked = {"--sessions": "1k", "--rate": "1/s", "--model": "gusts", "--repository": models} | dict([options])
    result = run_command("plan", *(word for pair in asked.items() for word in pair))
    assert result.exit_code != 0
    assert told in " ".join(result.output.split())
