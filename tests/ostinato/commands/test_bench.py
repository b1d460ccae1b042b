from __future__ import annotations

from pathlib import Path

import httpx2
import numpy as np
import pytest

from ostinato.service.artifact.tensors import Input, Statistics
from ostinato.tools.drawn_inputs import draw_steps
from tests.networks import lstm
from tests.ostinato.conftest import RunCommand
from tests.server import ServerProcess

# One server for all tests that ask it.
pytestmark = pytest.mark.xdist_group("ostinato_server")


def live_sessions(server: ServerProcess) -> int:
    return len(httpx2.get(f"{server.url}/v1/sessions").json()["sessions"])


def test_it_measures_one_session_and_many_checks_their_answers_and_closes_them(
    server: ServerProcess, models: Path, run_command: RunCommand
) -> None:
    result = run_command(
        "bench", "-m", "gusts", "--url", server.url, "--sessions", 4, "--seconds", 0.3, "--repository", models
    )
    assert result.exit_code == 0, result.output
    rows = [line.strip("│ ").split("│") for line in result.output.splitlines() if line.startswith("│")]
    assert [row[0].strip() for row in rows] == ["1", "4"]
    assert all(int(row[1].replace(",", "")) > 0 for row in rows)
    assert "right: the last answers of 5 sessions equal an offline run, to the bit" in result.output
    assert live_sessions(server) == 0


def test_without_a_repository_it_needs_no_graph(server: ServerProcess, run_command: RunCommand) -> None:
    result = run_command("bench", "-m", "loads", "--url", server.url, "--sessions", 1, "--seconds", 0.2)
    assert result.exit_code == 0, result.output
    assert "onnxruntime alone" not in result.output
    assert "right:" not in result.output


def test_answers_of_another_network_are_a_failure(
    server: ServerProcess, tmp_path: Path, run_command: RunCommand
) -> None:
    lstm(3, num_outputs=2, seed=9).named("gusts").write(tmp_path, np.ones((2, 3, 3), np.float32))
    result = run_command(
        "bench", "-m", "gusts", "--url", server.url, "--sessions", 2, "--seconds", 0.2, "--repository", tmp_path
    )
    assert result.exit_code == 1
    assert "offline it is" in result.stderr
    assert live_sessions(server) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "nobody"), "nobody"),
        (("-m", "loads", "--repository", "nowhere"), "nowhere: there is no loads/1, which the service serves"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], message: str, server: ServerProcess, run_command: RunCommand
) -> None:
    result = run_command("bench", "--url", server.url, *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_service_that_is_not_there_is_told_at_once(run_command: RunCommand) -> None:
    result = run_command("bench", "-m", "loads", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "no service answers at http://127.0.0.1:1" in result.stderr


def test_inputs_are_drawn_within_what_the_manifest_tells() -> None:
    statistics = Statistics(mean=(50.0, 0.0), std=(100.0, 1.0), minimum=(0.0, 0.0), maximum=(60.0, 2.0))
    part = Input(
        name="x",
        dtype="float32",
        shape=("B", "T", 2),
        features=("level", "wind"),
        categories={"wind": ("N", "E", "S")},
        statistics=statistics,
    )
    drawn = np.array(draw_steps(part.model_dump(), 500, np.random.default_rng(0)))
    assert drawn.shape == (500, 2)
    assert (drawn[:, 0].min(), drawn[:, 0].max()) == (0.0, 60.0)
    assert set(drawn[:, 1]) == {0, 1, 2}


def test_tokens_are_drawn_from_their_codes() -> None:
    part = Input(name="tokens", dtype="int64", shape=("B", "T"), features=("token",), num_codes=5)
    drawn = draw_steps(part.model_dump(), 200, np.random.default_rng(0))
    assert {value for [value] in drawn} == {0, 1, 2, 3, 4}
    assert all(isinstance(value, int) for [value] in drawn)
