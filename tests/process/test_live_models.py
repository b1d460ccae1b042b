"""Models of a running server of two workers: loaded by request or as they come, under traffic, and decided about."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.networks import accumulator, lstm
from tests.server import ServerProcess, running_server
from tests.waiting import until, until_true

pytestmark = pytest.mark.xdist_group("live_models")

ADMIN = "/v1/admin/models/accumulator"


def write(repository: Path, version: str) -> Path:
    return (
        accumulator().named("accumulator", version).write(repository, np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    write(tmp_path / "repository", "1")
    options: dict[str, Any] = {"workers": 2, "state": f"lmdb://{tmp_path}/state"}
    with running_server(tmp_path / "repository", tmp_path, **options) as server:
        yield server


def wait_for_both(server: ServerProcess) -> None:
    """Until the worker that is not needed for the server to be ready serves, too."""
    until(lambda: server.log().count("1 model versions are served") == 2, "both workers")


def at_all_workers(server: ServerProcess, path: str, part: str) -> list[Any]:
    """What different workers say of something, in several connections."""
    return [server.get(path).json()[part] for _ in range(8)]


async def step_on(server: ServerProcess, name: str, stop: asyncio.Event) -> int:
    """Step a session until it is told to stop, each step once and right; how many were acknowledged."""
    total, seq = 0.0, 0
    async with server.async_client() as client:
        opened = await client.post("/v1/models/accumulator/sessions", json={"session_id": name})
        version = opened.raise_for_status().json()["version"]
        while not stop.is_set():
            answer = await client.post(f"/v1/sessions/{name}/step", json={"inputs": [[1.0]], "seq": seq})
            if answer.status_code in (503, 429):
                continue
            total, seq = total + 1, seq + 1
            assert answer.json()["outputs"] == [[total]], answer.text
        shown = (await client.get(f"/v1/sessions/{name}")).json()
        assert (shown["version"], shown["steps"]) == (version, seq)
    return seq


async def test_a_version_is_loaded_under_traffic_decided_about_and_all_of_it_outlives_a_restart(
    server: ServerProcess, tmp_path: Path
) -> None:
    stop = asyncio.Event()
    stepping = [asyncio.create_task(step_on(server, f"s{number}", stop)) for number in range(4)]
    write(tmp_path / "repository", "2")

    def ask(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = server.request(method, path, json=body)
        return answer.status_code, answer.json()

    try:
        assert (await asyncio.to_thread(ask, "PUT", f"{ADMIN}/default", {"version": "2"}))[0] == 404
        loaded = await asyncio.to_thread(ask, "POST", f"{ADMIN}/versions/2/load")
        assert loaded == (200, {"model": "accumulator", "version": "2", "status": "ready"})
        assert (await asyncio.to_thread(ask, "POST", f"{ADMIN}/versions/2/load"))[0] == 200
        assert (await asyncio.to_thread(ask, "PUT", f"{ADMIN}/default", {"version": "1"}))[1]["default"] == "1"
        alias = await asyncio.to_thread(ask, "PUT", f"{ADMIN}/aliases/champion", {"version": "2"})
        assert alias[1]["aliases"] == {"champion": "2"}

        async def all_follow() -> bool:
            said = await asyncio.to_thread(at_all_workers, server, ADMIN, "versions")
            aliases = await asyncio.to_thread(at_all_workers, server, ADMIN, "aliases")
            return said == [["1", "2"]] * 8 and aliases == [{"champion": "2"}] * 8

        await until_true(all_follow, "all workers")
    finally:
        stop.set()
        counts = await asyncio.gather(*stepping)
    assert min(counts) > 0

    def opens(body: dict[str, str], version: str) -> bool:
        answers = [server.post("/v1/models/accumulator/sessions", body).json() for _ in range(6)]
        return all(answer.get("version") == version for answer in answers)

    for body, version in (({}, "1"), ({"version": "champion"}, "2"), ({"version": "2"}, "2")):
        # Whichever worker is asked: one that was not among those above may follow a moment later.
        await until_true(partial(asyncio.to_thread, opens, body, version), f"version {version}")
    predicted = server.post("/v1/models/accumulator/predict", {"version": "2", "sequences": [[[1.0]]]})
    assert predicted.json()["version"] == "2"
    server.kill()
    server.start()
    await asyncio.to_thread(server.wait_until_ready)

    def decided_again() -> bool:
        return at_all_workers(server, ADMIN, "default") == ["1"] * 8

    until(decided_again, "what was decided")
    assert ask("POST", f"{ADMIN}/rollback")[1]["aliases"] == {}
    assert ask("POST", f"{ADMIN}/rollback")[1]["default"] is None
    assert ask("POST", f"{ADMIN}/rollback")[0] == 422


def test_what_cannot_be_loaded_is_said_and_nothing_else_is_touched(server: ServerProcess, tmp_path: Path) -> None:
    broken = write(tmp_path / "repository", "3")
    (broken / "model.onnx").write_bytes(b"no graph")
    answer = server.post(f"{ADMIN}/versions/3/load")
    assert answer.status_code == 422
    assert "3" in answer.json()["detail"]
    for name in ("4", "..", "%2e%2e", "1%2f..%2f1"):
        assert server.post(f"{ADMIN}/versions/{name}/load").status_code == 404, name
    assert server.post("/v1/admin/models/nobody/versions/1/load").status_code == 404
    assert server.request("PUT", f"{ADMIN}/aliases/7", json={"version": "1"}).status_code == 422
    assert server.get("/v1/models/accumulator").json()["versions"] == ["1"]
    # Mended, it is loaded by the next request.
    shutil.rmtree(broken)
    write(tmp_path / "repository", "3")
    assert server.post(f"{ADMIN}/versions/3/load").status_code == 200


def test_a_worker_that_is_killed_while_it_loads_is_replaced_and_serves_what_the_others_do(
    server: ServerProcess, tmp_path: Path
) -> None:
    wait_for_both(server)
    write(tmp_path / "repository", "2")
    victim = server.workers()[0].pid
    assert server.post(f"{ADMIN}/versions/2/load").status_code == 200
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(victim).kill()

    def all_serve() -> bool:
        return len(server.workers()) == 2 and at_all_workers(server, ADMIN, "versions") == [["1", "2"]] * 8

    until(all_serve, "the worker in its place")


def test_a_version_that_comes_is_loaded_when_it_is_whole(tmp_path: Path) -> None:
    whole = write(tmp_path / "elsewhere", "2")
    write(tmp_path / "repository", "1")
    options: dict[str, Any] = {"workers": 2, "state": f"lmdb://{tmp_path}/state", "watch": True}
    with running_server(tmp_path / "repository", tmp_path, **options) as server:
        there = tmp_path / "repository" / "accumulator" / "2"
        there.mkdir()
        shutil.copy(whole / "model.json", there)  # the manifest first, as a copy under way may have it
        seen = {tuple(versions) for versions in at_all_workers(server, ADMIN, "versions")}
        for file in whole.iterdir():
            shutil.copy(file, there)
        assert seen == {("1",)}
        until(lambda: at_all_workers(server, ADMIN, "versions") == [["1", "2"]] * 8, "the version")
        assert server.get(ADMIN).json()["failed"] == []
        assert server.post("/v1/models/accumulator/sessions", {}).json()["version"] == "2"


def test_the_command_does_all_of_it(server: ServerProcess, tmp_path: Path) -> None:
    write(tmp_path / "repository", "2")

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "ostinato.cli", "models", *words, "--url", server.url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "accumulator/2 is served" in run("load", "accumulator", "2")
    assert "default 1" in run("default", "accumulator", "1")
    assert "champion is 2" in run("alias", "accumulator", "champion", "2")
    until(lambda: '"champion": "2"' in run("list", "--json"), "the worker that is asked")
    until(lambda: "champion = 2" in run("list"), "either worker")
    assert "champion" not in run("rollback", "accumulator")
    assert "default the latest" in run("default", "accumulator")
    assert "champion" not in run("alias", "accumulator", "champion")


def test_a_worker_in_the_place_of_another_serves_no_other_files_under_the_same_name(
    server: ServerProcess, tmp_path: Path
) -> None:
    wait_for_both(server)
    session = server.post("/v1/models/accumulator/sessions", {}).json()["session_id"]
    shutil.rmtree(tmp_path / "repository" / "accumulator" / "1")
    inputs = np.zeros((1, 3, 1), np.float32)
    lstm(1, 4, seed=7).named("accumulator", "1").write(tmp_path / "repository", inputs)
    refused = server.post(f"{ADMIN}/versions/1/load")
    assert refused.status_code == 422
    assert "served from the files that were there before" in refused.json()["detail"]
    victim = server.workers()[0]
    victim.kill()
    victim.wait()

    def is_told() -> bool:
        told = "other workers serve this version"
        return len(server.workers()) == 2 and any(told in str(each) for each in at_all_workers(server, ADMIN, "failed"))

    until(is_told, "the worker in its place")
    total = 0.0
    for _ in range(20):
        answer = server.post(f"/v1/sessions/{session}/step", {"inputs": [[1.0]]})
        if answer.status_code == 200:
            total += 1
            assert answer.json()["outputs"] == [[total]]
        else:
            assert answer.json()["code"] == "unknown_model", answer.text
    server.kill()
    server.start()
    server.wait_until_ready()
    assert server.post("/v1/models/accumulator/sessions", {}).status_code == 201


def test_a_restart_answers_by_what_was_decided_from_its_first_answer_on(server: ServerProcess, tmp_path: Path) -> None:
    write(tmp_path / "repository", "2")
    assert server.post(f"{ADMIN}/versions/2/load").status_code == 200
    assert server.request("PUT", f"{ADMIN}/default", json={"version": "1"}).status_code == 200
    assert server.request("PUT", f"{ADMIN}/aliases/champion", json={"version": "1"}).status_code == 200
    server.kill()
    server.start()
    server.wait_until_ready()
    for body in ({}, {"version": "champion"}) * 4:
        assert server.post("/v1/models/accumulator/sessions", body).json().get("version") == "1"


def test_a_folder_whose_name_is_no_text_troubles_nobody(tmp_path: Path) -> None:
    write(tmp_path / "repository", "1")
    options: dict[str, Any] = {"state": f"lmdb://{tmp_path}/state", "watch": True}
    with running_server(tmp_path / "repository", tmp_path, **options) as server:
        (tmp_path / "repository" / "accumulator" / os.fsdecode(b"\xff")).mkdir()
        until(lambda: "is not UTF-8" in server.log(), "the log")
        write(tmp_path / "repository", "2")
        until(lambda: server.get(ADMIN).json()["versions"] == ["1", "2"], "what comes after it")
        for path in ("/readyz", "/v1/models", "/v1/models/accumulator", ADMIN):
            assert server.get(path).status_code == 200, path
        assert server.log().count("is not UTF-8") == 1
