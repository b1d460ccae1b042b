"""The image's health check, run as the recipe says, against servers of this machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.deploy.recipe import CHECKOUT, health_check, stages
from tests.deploy.rendering import render
from tests.networks import accumulator
from tests.server import ServerProcess, free_port
from tests.waiting import until


def check(port: int, **variables: str) -> subprocess.CompletedProcess[str]:
    """What the image's check says in a container with these variables, and a proxy that it must not ask."""
    python, file = health_check()[1]
    assert python == "python"
    (copied,) = [rest for word, rest in stages()["runtime"] if word == "COPY" and rest.endswith(f" {file}")]
    environment = {"OSTINATO_PORT": str(port), "http_proxy": "http://127.0.0.1:9", **variables}
    command = [sys.executable, str(CHECKOUT / copied.split()[0])]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def write_model(repository: Path) -> None:
    accumulator().write(repository, np.arange(6, dtype=np.float32).reshape(2, 3, 1))


def test_it_waits_as_long_for_the_models_as_a_pod_does() -> None:
    options, _ = health_check()
    startup, live = (render("single").container[f"{kind}Probe"] for kind in ("startup", "liveness"))
    assert options == {
        "interval": f"{live['periodSeconds']}s",
        "timeout": f"{live['timeoutSeconds']}s",
        "retries": str(live["failureThreshold"]),
        "start-period": f"{startup['periodSeconds'] * startup['failureThreshold']}s",
    }


def test_every_builder_keeps_it() -> None:
    assert 'BUILDAH_FORMAT=docker "$$builder" build ' in (CHECKOUT / "Makefile").read_text()


def test_who_does_not_answer_is_not_healthy() -> None:
    checked = check(port := free_port())
    assert checked.returncode == 1
    assert checked.stderr.startswith(f"no answer at port {port}: ")


def test_a_server_is_healthy_when_it_is_ready_and_not_when_it_answers(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "repository", tmp_path)
    try:
        server.wait_until_ready(503)
        checked = check(server.port)
        assert checked.returncode == 1
        assert "there is no such folder" in checked.stderr
        server.stop()
        write_model(tmp_path / "repository")
        server.start()
        server.wait_until_ready()
        assert check(server.port).returncode == 0
    finally:
        server.stop()


def test_a_server_with_tls_is_asked_by_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "its.crt", tmp_path / "its.key"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=models.example.com"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    write_model(tmp_path / "repository")
    server = ServerProcess(tmp_path / "repository", tmp_path, certificate=certificate, certificate_key=key)
    try:
        until(lambda: check(server.port, OSTINATO_CERTIFICATE=str(certificate)).returncode == 0, "health")
        assert check(server.port).returncode == 1
    finally:
        server.terminate()
        assert server.wait() == 0
