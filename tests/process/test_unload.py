"""Versions that are unloaded, and canaries, at a running server of two workers, under traffic."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.catalogue.shares import share_of
from tests import networks
from tests.networks import offline
from tests.server import ServerProcess, running_server
from tests.waiting import until

ADMIN = "/v1/admin/models/lstm"
STEPS = np.random.default_rng(3).normal(size=(30, 3)).astype(np.float32)


def write(repository: Path, *versions: str, keep_inputs: int = 50) -> None:
    for version in versions:
        network = networks.lstm(seed=int(version)).named("lstm", version, keep_inputs=keep_inputs)
        network.write(repository, np.random.default_rng(0).normal(size=(2, 10, 3)).astype(np.float32))


def at_all(server: ServerProcess, part: str) -> list[Any]:
    """What all workers say of the model: so many connections at once come to both of two."""
    with ThreadPoolExecutor(32) as threads:
        return [answer.json().get(part) for answer in threads.map(lambda _: server.get(ADMIN), range(64))]


def served_everywhere(server: ServerProcess, *versions: str) -> None:
    """Wait until every worker serves these and no other."""
    until(lambda: at_all(server, "versions") == [list(versions)] * 64, f"{versions} alone")


def opened(server: ServerProcess, session_id: str, **options: Any) -> str:
    answer = server.post("/v1/models/lstm/sessions", {"session_id": session_id, **options})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["version"])


def step(server: ServerProcess, session_id: str, start: int, end: int) -> Any:
    body = {"inputs": STEPS[start:end].tolist(), "seq": start}
    answer = server.post(f"/v1/sessions/{session_id}/step", body)
    return np.array(answer.json()["outputs"], np.float32) if answer.status_code == 200 else answer


def ostinato(server: ServerProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ostinato.cli", "models", *words, "--url", server.url]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_an_unloaded_version_is_served_by_nobody_until_it_is_loaded_again(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    write(repository, "1", "2", "3")
    options: dict[str, Any] = {"workers": 2, "state": f"lmdb://{tmp_path}/state", "watch": True}
    with running_server(repository, tmp_path, **options) as server:
        served_everywhere(server, "1", "2", "3")
        for version in ("1", "2"):
            for number in range(4):
                assert opened(server, f"v{version}-{number}", version=version) == version
                step(server, f"v{version}-{number}", 0, 10)
        refused = ostinato(server, "unload", "lstm", "1")
        assert refused.returncode == 1
        assert "say what to do with them" in refused.stderr
        assert ostinato(server, "default", "lstm", "2").returncode == 0
        assert "the default" in ostinato(server, "unload", "lstm", "2", "--sessions", "close").stderr
        assert ostinato(server, "unload", "lstm", "1", "--sessions", "keep").stdout == "lstm/1 is served no more\n"
        served_everywhere(server, "2", "3")
        gone = step(server, "v1-0", 10, 20)
        assert (gone.status_code, gone.json()["code"]) == (404, "unknown_model")
        server.kill()
        server.start()
        server.wait_until_ready()
        served_everywhere(server, "2", "3")  # nor does the watch bring it back
        assert ostinato(server, "load", "lstm", "1").returncode == 0
        served_everywhere(server, "1", "2", "3")
        expected = offline(repository / "lstm" / "1", STEPS[:20])
        for number in range(4):
            assert step(server, f"v1-{number}", 10, 20).tobytes() == expected[10:].tobytes()
        done = ostinato(server, "unload", "lstm", "1", "--sessions", "migrate", "--to", "3")
        assert done.stdout == "lstm/1 is served no more, 4 sessions migrated\n", done.stderr
        expected = offline(repository / "lstm" / "3", STEPS[:25])
        for number in range(4):
            assert step(server, f"v1-{number}", 20, 25).tobytes() == expected[20:].tobytes()
        assert ostinato(server, "default", "lstm", "3").returncode == 0
        done = ostinato(server, "unload", "lstm", "2", "--sessions", "close")
        assert done.stdout == "lstm/2 is served no more, 4 sessions closed\n", done.stderr
        assert server.get("/v1/sessions/v2-0").status_code == 410
        served_everywhere(server, "3")


async def test_nothing_is_lost_where_versions_come_and_go_under_traffic(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    write(repository, "1", "2")
    state = f"lmdb://{tmp_path}/state"
    stop = asyncio.Event()

    async def play(server: ServerProcess, name: str) -> int:
        taken = 0
        async with server.async_client() as client:
            opening = {"session_id": name, "version": "1"}
            while (await client.post("/v1/models/lstm/sessions", json=opening)).status_code not in (201, 409):
                await asyncio.sleep(0.01)
            while not stop.is_set() or not taken:
                row = STEPS[taken % 30 : taken % 30 + 1]
                answer = await client.post(f"/v1/sessions/{name}/step", json={"inputs": row.tolist(), "seq": taken})
                if answer.status_code != 200:  # it is not served just now, or being let go of
                    assert answer.json()["code"] in ("unknown_model", "draining", "starting"), answer.text
                    await asyncio.sleep(0.01)
                    continue
                taken += 1
                inputs = np.concatenate([STEPS] * (taken // 30 + 1))[:taken]
                expected = offline(repository / "lstm" / "1", inputs)[-1]
                assert np.array(answer.json()["outputs"][0], np.float32).tobytes() == expected.tobytes()
        return taken

    with running_server(repository, tmp_path, workers=2, state=state) as server:
        await asyncio.to_thread(served_everywhere, server, "1", "2")
        playing = [asyncio.create_task(play(server, f"s{number}")) for number in range(6)]
        for _ in range(3):
            await asyncio.sleep(0.3)
            unloaded = await asyncio.to_thread(ostinato, server, "unload", "lstm", "1", "--sessions", "keep")
            assert unloaded.returncode == 0, unloaded.stderr
            loaded = await asyncio.to_thread(ostinato, server, "load", "lstm", "1")
            assert loaded.returncode == 0, loaded.stderr
            await asyncio.to_thread(served_everywhere, server, "1", "2")
        stop.set()
        assert min(await asyncio.gather(*playing)) > 0


@pytest.mark.parametrize(
    "way", ["open", *(pytest.param(way, marks=pytest.mark.long) for way in ("columns", "sequence"))]
)
def test_a_canary_has_its_share_of_new_sessions_whoever_is_asked_and_after_a_restart(tmp_path: Path, way: str) -> None:
    write(tmp_path / "repository", "1", "2")
    state = f"lmdb://{tmp_path}/state"
    with running_server(tmp_path / "repository", tmp_path, workers=2, state=state) as server:
        assert ostinato(server, "default", "lstm", "1").returncode == 0
        said = ostinato(server, "canary", "lstm", "2", "--share", "0.4").stdout
        assert said == "lstm: default 1, canary 2 of 40%\n"
        until(lambda: all(at_all(server, "canary")), "all workers")

        def begin(number: int) -> str:
            name = f"s{number}"
            if way == "open":
                return opened(server, name)
            if way == "columns":
                body = {"session_ids": [name], "inputs": STEPS[:1].tolist(), "create_missing": True}
                assert server.post("/v1/models/lstm/step", body).json()["errors"] == []
            else:
                tensor = {"name": "inputs", "shape": [1, 1, 3], "datatype": "FP32", "data": STEPS[:1].ravel().tolist()}
                parameters = {"sequence_id": name, "sequence_start": True}
                body = {"inputs": [tensor], "parameters": parameters}
                assert server.post("/v2/models/lstm/infer", body).status_code == 200
                name = f"lstm:s:{name}"
            return str(server.get(f"/v1/sessions/{name}").json()["version"])

        name = "lstm:s:s{}" if way == "sequence" else "s{}"
        expected = ["2" if share_of("lstm", name.format(number)) < 0.4 else "1" for number in range(30)]
        assert {"1", "2"} == set(expected)
        assert [begin(number) for number in range(15)] == expected[:15]
        server.kill()
        server.start()
        server.wait_until_ready()
        assert [begin(number) for number in range(15, 30)] == expected[15:]
        assert opened(server, "named", version="1") == "1"
        assert ostinato(server, "rollback", "lstm").stdout == "lstm: default 1\n"
