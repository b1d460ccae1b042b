"""Models that come to a server: fetched before it starts, put where it watches, or mounted as KServe does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ostinato.service.catalogue.repository import find_versions
from ostinato.service.fetching.fetching import fetch_all
from ostinato.service.fetching.sources import read_source
from tests.server import CHECKOUT, ServerProcess, free_port, running, running_server
from tests.service.fetching.conftest import packed, tree_of, write_version
from tests.service.fetching.web_server import Reply, files_of, running_web
from tests.waiting import until


def serves(server: ServerProcess, *versions: str) -> None:
    """That it serves just these, and that sums are sums."""
    models = server.get("/readyz").json()["models"]
    assert sorted(f"{each['model']}/{each['version']} {each['status']}" for each in models) == [
        f"{version} ready" for version in versions
    ]
    for version in versions:
        name, _, number = version.partition("/")
        opened = server.post(f"/v1/models/{name}/sessions", {"version": number}).raise_for_status().json()
        answer = server.post(f"/v1/sessions/{opened['session_id']}/step", {"inputs": [[1.0], [2.0]], "seq": 0})
        assert answer.json()["outputs"] == [[1.0], [3.0]]


def test_what_models_names_is_fetched_before_workers_start(tmp_path: Path) -> None:
    """As an image starts it, and BentoML: there is no repository, and what is fetched once is there for both."""
    write_version(tmp_path / "web" / "origin")
    write_version(tmp_path / "local", "2")
    (tmp_path / "web" / "published").mkdir()
    packed(tmp_path / "web" / "origin", tmp_path / "web" / "published" / "sums.tar.gz")
    options: dict[str, Any] = {"workers": 2, "state": f"lmdb://{tmp_path}/state"}
    with running_web(files_of(tmp_path / "web")) as web:
        sources = f"http://me:secret@{web.address}/published/sums.tar.gz?sig=secret, {tmp_path / 'local'}"
        with running_server(tmp_path / "repository", tmp_path, models=sources, **options) as server:
            serves(server, "sums/1", "sums/2")
            assert f"sums/1: fetched, from http://{web.address}/published/sums.tar.gz" in server.log()
            assert "secret" not in server.log()
        assert len(web.asked) == 1


def test_a_source_that_fails_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    write_version(tmp_path / "repository")
    server = ServerProcess(tmp_path / "repository", tmp_path, models=f"{tmp_path}/none")
    assert server.wait() == 1
    assert server.log().endswith(f"error: {tmp_path}/none: there is no such folder\n")


class ServeCommand(ServerProcess):
    """``ostinato serve``, with further flags and variables."""

    def __init__(self, home: Path, *flags: str, **variables: str) -> None:
        self.port = free_port()
        self.url, self.log_path = f"http://127.0.0.1:{self.port}", home / "log"
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = {**kept, "PYTHONPATH": str(CHECKOUT), "HOME": str(home), **variables}
        options = ["--repository", str(home / "repository"), "--state", "memory://", "--port", str(self.port)]
        self._command = [sys.executable, "-m", "ostinato.cli", "serve", *options, *flags]
        self.start()


@pytest.mark.parametrize("as_flag", [True, False])
def test_ostinato_serve_fetches_what_its_repository_lacks(as_flag: bool, tmp_path: Path) -> None:
    origin = str(write_version(tmp_path / "origin", "7"))
    flags = ("--models", origin) if as_flag else ()
    with running(ServeCommand(tmp_path, *flags, **({} if as_flag else {"OSTINATO_MODELS": origin}))) as server:
        serves(server, "sums/7")
        assert server.log().startswith(f"sums/7: fetched, from {origin}\n")
        assert server.log().count("sums/7: ") == 1, "once, by the command"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_fetch_that_is_ended_half_way_leaves_no_version_and_can_be_repeated(
    how: signal.Signals, tmp_path: Path
) -> None:
    write_version(tmp_path / "origin")
    repository, asked, ended = tmp_path / "repository", threading.Event(), threading.Event()

    def answer(path: str, headers: dict[str, str]) -> Reply:
        if path.endswith("model.onnx") and not ended.is_set():
            asked.set()
            ended.wait(60)
        return files_of(tmp_path / "origin")(path, headers)

    with running_web(answer) as web:
        source = f"http://{web.address}/sums/1"
        command = [sys.executable, "-m", "ostinato.cli", "models", "fetch", source, "--repository", str(repository)]
        with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            assert asked.wait(60)
            process.send_signal(how)
            assert process.wait(60) != 0
        assert find_versions(repository) == []
        left = list(repository.iterdir())
        assert len(left) == (1 if how is signal.SIGKILL else 0), "what was killed cannot clear away"
        ended.set()
        list(fetch_all([read_source(source)], repository))
    assert [path.name for path in repository.iterdir()] == ["sums"]
    assert tree_of(repository) == tree_of(tmp_path / "origin")


def test_a_server_that_watches_serves_what_is_fetched_beside_it(tmp_path: Path) -> None:
    write_version(tmp_path / "repository")
    write_version(tmp_path / "origin", "2")
    with running_server(tmp_path / "repository", tmp_path, watch=True) as server:
        list(fetch_all([read_source(str(tmp_path / "origin"))], tmp_path / "repository"))
        until(lambda: len(server.get("/readyz").json()["models"]) == 2, "the second version")
        serves(server, "sums/1", "sums/2")


@pytest.mark.parametrize("layout", ["one version", "versions"])
def test_a_mount_that_is_one_model_is_served_under_its_manifest_s_names(layout: str, tmp_path: Path) -> None:
    """KServe's: the content of ``storageUri`` right at the mount. It is read only, and two workers read it."""
    mount = tmp_path / "mnt" / "models"
    mount.parent.mkdir()
    version = write_version(tmp_path / "origin", "3")
    if layout == "one version":
        version.rename(mount)
    else:
        write_version(tmp_path / "origin", "12")
        version.parent.rename(mount)
    before = tree_of(mount)
    expected = ("sums/3",) if layout == "one version" else ("sums/12", "sums/3")
    with running_server(mount, tmp_path, workers=2, state=f"lmdb://{tmp_path}/state", watch=True) as server:
        serves(server, *expected)
        assert f"models: {', '.join(expected)} in {mount}" in server.log()
        path = "/v1/admin/models/sums/versions/3/load"
        assert server.post(path).status_code == 200, "it is found by its own name"
    assert tree_of(mount) == before
