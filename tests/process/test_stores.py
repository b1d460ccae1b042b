"""A real server and its store: versions that come and go, and a store that goes and comes back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests import networks
from tests.networks import offline
from tests.redis_server import RedisServer
from tests.server import running_server
from tests.waiting import until


def step(http: httpx2.Client, session_id: str, inputs: Any, seq: int) -> httpx2.Response:
    return http.post(f"/v1/sessions/{session_id}/step", json={"inputs": inputs.tolist(), "seq": seq})


def test_sessions_keep_their_version_and_outlive_its_absence(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    golden = generator.normal(size=(3, 20, 3)).astype(np.float32)
    folder = tmp_path / "repository"
    old = networks.lstm(seed=1).write(folder, golden)
    new = networks.lstm(seed=2).named("lstm", version="2").write(folder, golden)
    state = f"lmdb://{tmp_path}/state"
    sequence = generator.normal(size=(9, 3)).astype(np.float32)
    made: dict[str, list[Any]] = {"of-1": [], "of-2": []}

    with (
        running_server(folder, tmp_path, state=state) as server,
        server.client() as http,
    ):
        for session_id, version in (("of-1", "1"), ("of-2", None)):  # the latest, where none is named
            body = {"session_id": session_id} | ({"version": version} if version else {})
            assert http.post("/v1/models/lstm/sessions", json=body).status_code == 201
            made[session_id] += step(http, session_id, sequence[:3], 0).json()["outputs"]

    shutil.move(old, tmp_path / "old")
    with (
        running_server(folder, tmp_path, state=state) as server,
        server.client() as http,
    ):
        missing = {"model": "lstm", "version": "1", "status": "missing", "sessions": 1}
        # Sessions are counted behind the loading, while others are served already.
        until(lambda: missing in http.get("/readyz").json()["models"], "the count of sessions without their version")
        assert "lstm/1 is not served, and 1 sessions run it: put it back" in server.log()
        refused = step(http, "of-1", sequence[3:6], 3)
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown_model")
        assert http.get("/v1/sessions/of-1").json()["version"] == "1"
        made["of-2"] += step(http, "of-2", sequence[3:6], 3).json()["outputs"]

    shutil.move(tmp_path / "old", old)
    with (
        running_server(folder, tmp_path, state=state) as server,
        server.client() as http,
    ):
        assert all(model["status"] == "ready" for model in http.get("/readyz").json()["models"])
        made["of-1"] += step(http, "of-1", sequence[3:], 3).json()["outputs"]
        made["of-2"] += step(http, "of-2", sequence[6:], 6).json()["outputs"]

    for session_id, directory in (("of-1", old), ("of-2", new)):
        assert np.array(made[session_id], np.float32).tobytes() == offline(directory, sequence).tobytes()
    assert made["of-1"] != made["of-2"]


def _status(http: httpx2.Client) -> tuple[int, str]:
    readiness = http.get("/readyz")
    return readiness.status_code, readiness.json()["status"]


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


def test_without_its_store_a_server_answers_503_and_goes_on_when_it_is_back(
    redis_server: RedisServer, repository: Path, tmp_path: Path
) -> None:
    sequence = np.random.default_rng(5).normal(size=(6, 3)).astype(np.float32)
    with (
        running_server(repository, tmp_path, state=redis_server.url) as server,
        server.client() as http,
    ):
        http.post("/v1/models/lstm/sessions", json={"session_id": "a"})
        made = step(http, "a", sequence[:2], 0).json()["outputs"]
        redis_server.kill()
        for answer in (
            step(http, "a", sequence[2:4], 2),
            http.post("/v1/models/lstm/sessions", json={}),
            http.get("/v1/sessions/a"),
            http.get("/v1/sessions"),
            http.delete("/v1/sessions/a"),
            http.post("/v1/sessions/a/reset"),
            http.get("/v1/sessions/a/state"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "state_store_unavailable"), answer.request
            assert int(answer.headers["retry-after"]) >= 1
        until(lambda: _status(http) == (503, "store_unavailable"))
        # What needs no session needs no store.
        assert http.post("/v1/models/lstm/predict", json={"sequences": [[[0, 0, 0]]]}).status_code == 200
        redis_server.start()
        # The very request that was refused; nothing of it had been applied.
        again = step(http, "a", sequence[2:4], 2)
        while again.status_code == 503:
            again = step(http, "a", sequence[2:4], 2)
        made += again.json()["outputs"] + step(http, "a", sequence[4:], 4).json()["outputs"]
        until(lambda: _status(http)[0] == 200)
    assert np.array(made, np.float32).tobytes() == offline(repository / "lstm" / "1", sequence).tobytes()
