from __future__ import annotations

import json
import re
from pathlib import Path

import httpx2
import numpy as np
import pytest

from ostinato.service.artifact.tensors import Input, Statistics
from ostinato.tools.drawn_inputs import draw_steps
from tests.networks import lstm
from tests.ostinato.conftest import RunCommand
from tests.ostinato.fake_triton import FakeTriton
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
    rows = [line.split() for line in result.output.splitlines() if re.match(r" +\d", line)]
    assert [row[0] for row in rows] == ["1", "4"]
    assert all(float(row[1].replace(",", "")) > 0 for row in rows)  # 70.0 where the machine is busy
    assert re.search(r"right: [\d,]+ answers of 5 sequences equal an offline run, to the bit", result.output)
    assert live_sessions(server) == 0


def test_without_a_repository_it_needs_no_graph(server: ServerProcess, run_command: RunCommand) -> None:
    result = run_command("bench", "-m", "loads", "--url", server.url, "--sessions", 1, "--seconds", 0.2)
    assert result.exit_code == 0, result.output
    assert "onnxruntime" not in result.output
    assert "equal those to the same steps repeated alone, to the bit" in result.output
    assert live_sessions(server) == 0


def test_sessions_of_some_length_end_and_begin_again_several_steps_a_request(
    server: ServerProcess, models: Path, run_command: RunCommand
) -> None:
    sizes = ("--sessions", 3, "--seconds", 0.3, "--steps", 4, "--length", 10)
    result = run_command("bench", "-m", "gusts", "--url", server.url, *sizes, "--repository", models / "gusts" / "1")
    assert result.exit_code == 0, result.output
    assert "4 steps a request" in result.output
    assert re.search(r"right: [\d,]+ answers of 4 sequences equal an offline run, to the bit", result.output)
    assert live_sessions(server) == 0


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


@pytest.mark.parametrize(
    ("tensors", "ids", "kind"), [("binary", "numbers", int), ("json", "strings", str)], ids=["binary", "json"]
)
def test_it_measures_any_server_of_the_protocol_and_ends_its_sequences(
    tensors: str, ids: str, kind: type, run_command: RunCommand
) -> None:
    with FakeTriton().running() as fake:
        sizes = ("--sequences", 4, "--seconds", 0.2, "--tensors", tensors, "--ids", ids)
        result = run_command("bench", "--protocol", "oip", "--url", fake.url, "-m", "totals", *sizes)
    assert result.exit_code == 0, result.output
    assert re.search(r"right: [\d,]+ answers of 5 sequences equal those", result.output)
    assert "totals/3 at" in result.output
    assert fake.totals == {}
    assert {type(each) for each in fake.ids} == {kind}
    assert fake.is_binary == {tensors == "binary"}
    # One alone and four at once, and each of them again.
    assert fake.num_started == 2 * 5


@pytest.mark.parametrize("transport", ["http", "grpc", "grpc-stream"])
def test_it_steps_the_service_by_the_protocol_over_each_transport(
    transport: str, server: ServerProcess, grpc_port: int, models: Path, run_command: RunCommand
) -> None:
    url = server.url if transport == "http" else f"127.0.0.1:{grpc_port}"
    sizes = ("--sequences", 3, "--seconds", 0.2, "--length", 9, "--transport", transport, "--repository", models)
    result = run_command("bench", "--protocol", "oip", "--url", url, "-m", "gusts", *sizes)
    assert result.exit_code == 0, result.output
    assert re.search(r"right: [\d,]+ answers of 4 sequences equal an offline run, to the bit", result.output)
    assert live_sessions(server) == 0


def test_what_is_refused_by_grpc_is_told_in_its_words(
    grpc_port: int, server: ServerProcess, run_command: RunCommand
) -> None:
    del server  # it listens there
    url = ("--protocol", "oip", "--url", f"127.0.0.1:{grpc_port}")
    unknown = run_command("bench", *url, "-m", "nobody", "--transport", "grpc")
    with_rate = run_command("bench", *url, "-m", "gusts", "--transport", "grpc", "--rate", 5)
    absent = run_command("bench", "--protocol", "oip", "--url", "127.0.0.1:1", "-m", "gusts", "--transport", "grpc")
    assert (unknown.exit_code, with_rate.exit_code, absent.exit_code) == (1, 2, 1)
    assert "NOT_FOUND: no model 'nobody'" in unknown.stderr
    assert "there is no --rate" in with_rate.stderr
    assert "UNAVAILABLE" in absent.stderr


def test_sequences_of_some_length_end_and_begin_again(run_command: RunCommand) -> None:
    with FakeTriton(has_steps=True).running() as fake:
        sizes = ("--sequences", 3, "--seconds", 0.2, "--steps", 3, "--length", 7, "--json")
        result = run_command("bench", "--protocol", "oip", "--url", fake.url, "-m", "totals", *sizes)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["sequences"] for row in rows] == [1, 3]
    assert all(0 < row["p50"] <= row["p90"] <= row["p99"] <= row["p99.9"] for row in rows)
    assert fake.num_started == fake.num_ended > 8
    assert fake.totals == {}


def test_a_rate_is_kept_whatever_is_answered(run_command: RunCommand) -> None:
    with FakeTriton().running() as fake:
        sizes = ("--sequences", 4, "--seconds", 0.5, "--rate", 100, "--json")
        result = run_command("bench", "--protocol", "oip", "--url", fake.url, "-m", "totals", *sizes)
    [row] = [json.loads(line) for line in result.stdout.splitlines()]
    # 50 are due on average; seven deviations of a Poisson process are 49.
    assert 0 < row["steps_per_second"] < 200
    assert "right:" in result.stderr


def test_a_server_that_swaps_the_states_of_its_sequences_is_caught(run_command: RunCommand) -> None:
    with FakeTriton(swaps=True).running() as fake:
        sizes = ("--protocol", "oip", "--url", fake.url, "-m", "totals", "--sequences", 4, "--seconds", 0.2)
        result = run_command("bench", *sizes)
        unchecked = run_command("bench", *sizes, "--no-check")
    assert result.exit_code == 1
    assert re.search(r"after \d+ steps a sequence answered .*; the same steps, repeated alone, gave", result.stderr)
    assert unchecked.exit_code == 0


def test_what_is_off_in_company_is_told_and_may_be_allowed(run_command: RunCommand) -> None:
    with FakeTriton(rounds=2**-10).running() as fake:
        sizes = ("--protocol", "oip", "--url", fake.url, "-m", "totals", "--sequences", 4, "--seconds", 0.2)
        exact, near = run_command("bench", *sizes), run_command("bench", *sizes, "--tolerance", 0.01)
    assert exact.exit_code == 1
    assert "(off by 0.000977)" in exact.stderr
    assert near.exit_code == 0, near.output
    assert "within 0.01" in near.output


def test_refusals_are_counted_by_their_words(run_command: RunCommand) -> None:
    with FakeTriton(forgets=5).running() as fake:
        result = run_command(
            "bench", "--protocol", "oip", "--url", fake.url, "-m", "totals", "--sequences", 2, "--seconds", 0.2
        )
    assert result.exit_code == 1
    assert re.search(r"\d x 400 must specify the START flag on the first request", result.stderr)
    assert "right:" not in result.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("-m", "nobody", "--protocol", "oip"), 1, "404 to GET /v2/models/nobody: unknown: /v2/models/nobody"),
        (("-m", "words", "--protocol", "oip"), 1, "input 'W' is of BYTES"),
        (("-m", "totals", "--protocol", "oip", "--steps", 2), 2, "a request to totals holds one step"),
        (("-m", "totals", "--tensors", "binary"), 2, "/v1 is stepped in JSON over HTTP"),
    ],
)
def test_what_it_cannot_measure_is_a_sentence(
    arguments: tuple[object, ...], code: int, message: str, run_command: RunCommand
) -> None:
    with FakeTriton().running() as fake:
        result = run_command("bench", "--url", fake.url, *arguments)
    assert (result.exit_code, message in result.stderr) == (code, True), result.stderr


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
