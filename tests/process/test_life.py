"""A server's life: models that fail their checks, readiness, and the drain."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import httpx2
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import networks
from tests.networks import offline
from tests.process.hold import HeldServer
from tests.process.test_load import until
from tests.server import ServerProcess, running, running_server
from tests.waiting import until_true


def golden_inputs() -> networks.Array:
    return np.random.default_rng(0).normal(size=(2, 10, 3)).astype(np.float32)


def test_models_that_fail_a_check_are_not_served_and_the_others_are(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    networks.lstm().write(repository, golden_inputs())
    short = networks.lstm().named("short").write(repository, golden_inputs())
    (short / "model.onnx").write_bytes((short / "model.onnx").read_bytes()[:-50])
    wrong = networks.lstm().named("wrong").write(repository, golden_inputs())
    golden = load_file(wrong / "golden.safetensors")
    save_file({**golden, "0/outputs": golden["0/outputs"] + np.float32(0.1)}, wrong / "golden.safetensors")
    misfit = networks.lstm().named("misfit", states=networks.lstm(hidden_size=9).manifest["states"])
    misfit.write(repository, golden_inputs())

    with running_server(repository, tmp_path) as server:
        readiness = server.get("/readyz").json()
        log = server.log()
        reasons = {"short": "SHA-256", "wrong": "off by 0.1", "misfit": "8 in the graph and 9 in the manifest"}
        states = {each["model"]: each for each in readiness["models"]}
        assert readiness["status"] == "ready"
        assert states["lstm"]["status"] == "ready"
        for model, reason in reasons.items():
            assert states[model]["status"] == "failed"
            assert reason in states[model]["reason"]
            assert f"{model}/1 is not served: " in log
            opened = server.post(f"/v1/models/{model}/sessions")
            assert (opened.status_code, opened.json()["code"]) == (404, "unknown_model")
            assert reason in opened.json()["detail"]
        assert server.post("/v1/models/lstm/sessions").status_code == 201
        assert "ostinato_models_failed 3.0" in server.get("/metrics").text


def test_a_server_with_no_sound_model_is_alive_and_not_ready(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "absent", tmp_path)
    try:
        readiness = server.wait_until_ready(status=503).json()
        assert readiness["status"] == "failed"
        assert "there is no such folder" in readiness["reason"]
        assert server.get("/livez").status_code == 200
    finally:
        server.stop()


def test_several_versions_are_served_side_by_side_and_an_idle_server_stops_at_once(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for version, seed in (("1", 1), ("2", 2), ("10", 10)):
        networks.lstm(seed=seed).named("lstm", version).write(repository, golden_inputs())
    sequence = golden_inputs()[0]
    with (
        running_server(repository, tmp_path, drain_seconds=10_000) as server,
        server.client() as http,
    ):
        assert http.get("/v1/models/lstm").json()["versions"] == ["1", "2", "10"]
        for asked, given in (({"version": "1"}, "1"), ({"version": "2"}, "2"), ({}, "10")):
            opened = http.post("/v1/models/lstm/sessions", json=asked).json()
            assert opened["version"] == given
            answer = http.post(f"/v1/sessions/{opened['session_id']}/step", json={"inputs": sequence.tolist()})
            expected = offline(repository / "lstm" / opened["version"], sequence)
            np.testing.assert_array_equal(np.array(answer.json()["outputs"], np.float32), expected)
        # It would have to be killed if it waited for all of its drain.
        server.terminate()
        assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_drain_answers_what_is_in_flight_and_takes_no_new_work(number: signal.Signals, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    networks.accumulator().write(repository, np.ones((2, 5, 1), np.float32))
    limits = {"max_iteration_steps": 1, "drain_seconds": 100, "deadline_seconds": 0}
    with running(HeldServer(repository, tmp_path, **limits)) as server:
        async with server.async_client() as http:
            session = (await http.post("/v1/models/accumulator/sessions")).json()["session_id"]
            body = {"inputs": [[1]] * 20, "seq": 0, "return_sequences": False}
            with server.held():
                in_flight = asyncio.ensure_future(http.post(f"/v1/sessions/{session}/step", json=body))
                await until(http, "queue_depth", 1)
                server.process.send_signal(number)
                readiness = await until_draining(http)
                refused = await http.post("/v1/models/accumulator/sessions")
            answer = await in_flight
        exit_code = await asyncio.to_thread(server.wait)
    assert readiness.json()["status"] == "draining"
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    assert "retry-after" in refused.headers
    assert answer.status_code == 200
    assert answer.json()["outputs"] == [[20.0]]
    assert exit_code == 0, server.log()
    assert "drained, with 0 requests left" in server.log()


async def until_draining(http: httpx2.AsyncClient) -> httpx2.Response:
    """Wait until readiness is false; that answer."""
    answers: list[httpx2.Response] = []

    async def is_draining() -> bool:
        answers.append(await http.get("/readyz"))
        return answers[-1].status_code == 503

    await until_true(is_draining, "the drain", 0.005)
    return answers[-1]
