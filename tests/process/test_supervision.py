"""A server whose processes die: a version that takes its worker with it, a sole worker, and the parent of all."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from tests import networks
from tests.hostile.dangerous_files import lstm_like, saved
from tests.process.deadly_service import SOUND_FILE
from tests.process.test_metrics import read
from tests.server import ServerProcess, running
from tests.waiting import until

TARGET = "tests.process.deadly_service:Ostinato"
DEADLY = {"killer": "failed"}


def restarts(server: ServerProcess) -> dict[str, float]:
    """How often a worker was started anew, by the signal that ended the one before."""
    return {
        dict(labels)["signal"]: value
        for (name, labels), value in read(server).items()
        if name == "ostinato_worker_restarts_total" and value
    }


@pytest.fixture(scope="module")
def deadly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server of ``lstm``, of ``sigabrt`` at whose load a worker aborts, and of ``killer`` whose graph kills
    whoever opens it, as in a container of BentoML's.
    """
    home = tmp_path_factory.mktemp("deadly")
    inputs = np.zeros((2, 3, 3), np.float32)
    networks.lstm().write(home / "repository", inputs)
    networks.lstm().named("sigabrt").write(home / "repository", inputs)
    killer = networks.lstm().named("killer").write(home / "repository", inputs)
    saved(lstm_like())(killer / "model.onnx")
    networks.relist(killer)
    environment = {"BENTOML_CONTAINERIZED": "true", "OSTINATO_MAX_BATCHSIZE": "7"}
    server = ServerProcess(home / "repository", home, target=TARGET, environment=environment, max_batch_size=16)
    with running(server):
        yield server


def versions(server: ServerProcess) -> dict[str, str]:
    return {each["model"]: each["status"] for each in server.get("/readyz").json()["models"]}


def test_a_version_that_kills_its_worker_is_named_and_set_aside_and_the_others_are_served(
    deadly: ServerProcess,
) -> None:
    until(lambda: versions(deadly) == DEADLY | {"lstm": "ready", "sigabrt": "failed"}, "the second worker's models")
    assert deadly.get("/readyz").status_code == 200
    assert restarts(deadly) == {"SIGABRT": 1}
    detail = deadly.post("/v1/models/sigabrt/sessions").json()["detail"]
    assert "a worker was killed by SIGABRT while loading it" in detail
    assert "until its files change" in detail
    told = [line for line in deadly.log().splitlines() if "was killed by" in line and "worker " in line]
    ends = [line for line in told if "is not served" not in line]
    assert len(ends) == 1
    assert "was killed by SIGABRT while it loaded sigabrt/1: another is started" in ends[0]


def test_a_version_whose_graph_kills_is_named_and_costs_no_worker(deadly: ServerProcess) -> None:
    until(lambda: versions(deadly) == DEADLY | {"lstm": "ready", "sigabrt": "failed"}, "the second worker's models")
    reasons = {each["model"]: each.get("reason", "") for each in deadly.get("/readyz").json()["models"]}
    assert "onnxruntime died while it was loaded in a process of its own: killed by SIGSEGV" in reasons["killer"]
    assert "killed by SIGSEGV" in deadly.post("/v1/models/killer/sessions").json()["detail"]
    assert restarts(deadly) == {"SIGABRT": 1}  # of the other's


def test_it_says_once_with_what_it_starts(deadly: ServerProcess) -> None:
    log = deadly.log()
    for said in (
        "Ostinato 0.",
        "store: memory://",
        "limits: workers 1, ",
        ", max_sessions 100000, ",
        "models: killer/1, lstm/1, sigabrt/1 in ",
        "Ostinato listens on 127.0.0.1:",
    ):
        assert log.count(said) == 1, said
    assert "OSTINATO_MAX_BATCHSIZE is no setting and is not heeded; did you mean OSTINATO_MAX_BATCH_SIZE?" in log


def test_a_version_set_aside_is_tried_again_when_its_files_change(deadly: ServerProcess) -> None:
    until(lambda: "sigabrt" in versions(deadly), "the second worker's models")
    (deadly.log_path.parent / "repository" / "sigabrt" / "1" / SOUND_FILE).touch()
    until(lambda: versions(deadly) == DEADLY | {"lstm": "ready", "sigabrt": "ready"}, "the changed version")
    assert f"ostinato_models_failed {len(DEADLY)}.0" in deadly.get("/metrics").text


def test_while_no_worker_lives_connections_are_refused_and_after_the_parent_nobody_does(deadly: ServerProcess) -> None:
    deadly.wait_until_ready()
    (worker,) = deadly.workers()
    worker.kill()
    until(lambda: f"worker {worker.pid} was killed by SIGKILL" in deadly.log(), "the line of its end")
    # It takes a worker seconds to come up.
    with socket.socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", deadly.port))
    until(lambda: any(other.pid != worker.pid for other in deadly.workers()), "another worker")
    orphans = deadly.workers()
    os.kill(deadly.process.pid, signal.SIGKILL)
    deadly.process.wait()
    psutil.wait_procs(orphans, timeout=60)
    assert not any(orphan.is_running() for orphan in orphans)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", deadly.port))
