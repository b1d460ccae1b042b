"""The overlays acted out as processes of this machine, one pod of each; ``make rollout`` has three behind nginx."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.acting import ActedPod, ActedRedis, possible_user
from tests.deploy.rendering import render
from tests.networks import accumulator

STEP = {"inputs": [[1.0], [2.0], [4.0]]}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a user without rights may look into, as those of tests may not be."""
    with tempfile.TemporaryDirectory(prefix="ostinato-pod-") as name:
        Path(name).chmod(0o755)
        accumulator().write(Path(name) / "repository", np.arange(6, dtype=np.float32).reshape(2, 3, 1))
        yield Path(name)


def test_a_machine_that_we_rule_can_confine_a_process() -> None:
    assert (possible_user(sys.executable, 1034) is None) == (os.geteuid() != 0)


def test_the_pod_of_files_serves_writes_to_its_volumes_only_and_goes_in_time(folder: Path) -> None:
    rendered = render("single")
    pod = ActedPod(rendered, folder / "pod", folder / "repository")
    try:
        pod.wait_until_ready()
        assert len(pod.workers()) == int(rendered.variables["OSTINATO_WORKERS"])
        pod.post("/v1/models/accumulator/sessions", {"session_id": "a"}).raise_for_status()
        first = pod.post("/v1/sessions/a/step", STEP).raise_for_status().json()
        assert first["outputs"][-1] == [7.0]
        assert pod.delete() == 0
    finally:
        pod.kill()
    assert {path.name for path in folder.iterdir()} == {"pod", "pod.log", "repository"}
    assert {path.name for path in (folder / "pod").iterdir()} == {"tmp", "var"}
    assert list((folder / "pod" / "var" / "lib" / "ostinato" / "state").iterdir())


@pytest.mark.parametrize("lacks", ["/run/secrets/redis/password", "/etc/redis/redis.conf"])
def test_a_redis_without_its_password_or_its_configuration_does_not_start(lacks: str, folder: Path) -> None:
    redis = ActedRedis(render("replicas"), folder / "redis")
    Path(redis.disk.here(lacks)).unlink()
    process = redis.run()
    try:
        assert process.wait(20) != 0
    finally:
        process.kill()


def test_a_replica_serves_over_a_redis_with_tls_that_was_killed_meanwhile(folder: Path) -> None:
    rendered = render("replicas")
    with ActedRedis(rendered, folder / "redis") as redis:
        password = (redis.secrets / "password").read_text().strip()
        assert password not in redis.command_line()
        pod = ActedPod(rendered, folder / "pod", folder / "repository", places=redis.places, words=redis.words)
        try:
            pod.wait_until_ready()
            pod.post("/v1/models/accumulator/sessions", {"session_id": "a"}).raise_for_status()
            assert pod.post("/v1/sessions/a/step", STEP).raise_for_status().json()["outputs"][-1] == [7.0]
            redis.kill()
            refused = pod.post("/v1/sessions/a/step", {**STEP, "seq": 3})
            assert (refused.status_code, refused.json()["code"]) == (503, "state_store_unavailable")
            redis.start()
            pod.wait_until_ready()
            answer = pod.post("/v1/sessions/a/step", {**STEP, "seq": 3}).raise_for_status()
            assert answer.json()["outputs"] == [[8.0], [10.0], [14.0]]
            assert password not in pod.log()
        finally:
            pod.kill()
