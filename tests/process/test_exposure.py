"""What a real server lets in: from where, by which name, with which certificate."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.networks import accumulator
from tests.server import CHECKOUT, ServerProcess, free_port, running_server
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("exposure")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exposure") / "repository"
    accumulator().write(folder, np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    return folder


@pytest.fixture(scope="module")
def guarded(repository: Path) -> Iterator[ServerProcess]:
    with running_server(repository, repository.parent, open=False, allow_host="proxy.example") as server:
        yield server


def ended(command: list[str], **settings: object) -> str:
    """What a server says that does not start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OSTINATO_")}
    environment |= {f"OSTINATO_{name.upper()}": str(value) for name, value in settings.items()}
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("way", ["ostinato", "a variable", "bentoml"])
def test_a_server_without_keys_does_not_listen_where_others_are(way: str, repository: Path) -> None:
    port = str(free_port())
    bentoml = [sys.executable, "-m", "bentoml", "serve", "ostinato.service.app:Ostinato", "--port", port]
    settings = {"repository": repository, "state": "memory://", "bentoml_do_not_track": "true"}
    if way == "ostinato":
        told = ended([sys.executable, "-m", "ostinato.cli", "serve", "--host", "0.0.0.0", "--port", port], **settings)
    elif way == "a variable":
        told = ended([*bentoml, "--host", "0.0.0.0"], host="0.0.0.0", **settings)
    else:
        told = ended([*bentoml, "--host", "0.0.0.0"], **settings)
    assert "others reach this server there, and it has no keys" in " ".join(told.split())
    assert "Traceback" not in told
    with socket.socket() as nobody:
        assert nobody.connect_ex(("127.0.0.1", int(port))) != 0


def test_a_page_of_a_site_that_took_this_machine_s_address_reads_and_does_nothing(guarded: ServerProcess) -> None:
    rebound = {"host": f"evil.example:{guarded.port}"}
    with guarded.client() as client:
        for path in ("/v1/models", "/v1/sessions", "/metrics", "/openapi.json", "/v2", "/readyz", "/docs"):
            answer = client.get(path, headers=rebound)
            assert answer.status_code == 421, path
            assert "accumulator" not in answer.text
        step = {"session_id": "a"}
        assert client.post("/v1/models/accumulator/sessions", json=step, headers=rebound).status_code == 421
        assert client.post("/v1/models/accumulator/sessions", content=b"{}").status_code == 415
        assert client.get("/v1/models", headers={"host": "proxy.example"}).status_code == 200
        assert client.get("/v1/models", headers={"host": f"localhost:{guarded.port}"}).status_code == 200
        assert client.get("/v1/sessions").json()["sessions"] == []
    with socket.create_connection(("127.0.0.1", guarded.port)) as old:  # which sends no Host at all
        old.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
        assert old.recv(100).startswith(b"HTTP/1.1 200")
    url = f"ws://127.0.0.1:{guarded.port}/v1/models/accumulator/stream"
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, additional_headers=headers, proxy=None)
        assert refused.value.response.status_code in (400, 403, 421)


Pairs = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    """Certificates of this machine that vouch for themselves, each with its key, by name."""
    folder = tmp_path_factory.mktemp("pairs")

    def pair(name: str) -> tuple[Path, Path]:
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        if not key.exists():
            words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN={name}"
            more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
            subprocess.run(["openssl", *words.split(), *more], check=True, capture_output=True)
        return certificate, key

    return pair


def test_tls_by_files_whose_replacement_is_served_without_a_restart(
    repository: Path, pairs: Pairs, tmp_path: Path
) -> None:
    certificate, key = tmp_path / "its.crt", tmp_path / "its.key"
    (old, old_key), (new, new_key) = pairs("old"), pairs("new")
    shutil.copy(old, certificate)
    shutil.copy(old_key, key)
    store = f"lmdb://{tmp_path}/state"
    server = ServerProcess(repository, tmp_path, certificate=certificate, certificate_key=key, workers=2, state=store)

    def served() -> str:
        try:
            return ssl.get_server_certificate(("127.0.0.1", server.port), timeout=5).strip()
        except OSError:
            return ""

    try:
        until(lambda: served() == old.read_text().strip(), "TLS")
        context = ssl.create_default_context(cafile=str(old))
        with httpx2.Client(base_url=f"https://127.0.0.1:{server.port}", verify=context, trust_env=False) as client:
            until(lambda: client.get("/readyz").status_code == 200, "the models")
            opened = client.post("/v1/models/accumulator/sessions", json={"session_id": "a"})
            assert opened.status_code == 201
            answer = client.post("/v1/sessions/a/step", json={"inputs": [[2.0], [3.0]]})
            assert answer.json()["outputs"] == [[2.0], [5.0]]
            url = f"wss://127.0.0.1:{server.port}/v1/models/accumulator/stream"
            with connect(url, ssl=context, proxy=None) as stream:
                stream.send('{"session_id": "a", "inputs": [[1.0]]}')
                assert '"outputs":[[6.0]]' in str(stream.recv())
            shutil.copy(new, certificate)  # half of it: its key is not there yet
            assert client.get("/v1/sessions/a").status_code == 200
            shutil.copy(new_key, key)
            until(
                lambda: {served() for _ in range(6)} == {new.read_text().strip()}, "the new certificate of all workers"
            )
            # A connection that was there goes on.
            assert client.get("/v1/sessions/a").json()["steps"] == 3
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"http://127.0.0.1:{server.port}/livez", trust_env=False)
    finally:
        server.terminate()
        assert server.wait() == 0


def test_only_who_is_vouched_for_comes_in_where_authorities_are_named(
    repository: Path, pairs: Pairs, tmp_path: Path
) -> None:
    (certificate, key), (friend, friend_key), (stranger, stranger_key) = map(pairs, ("its", "friend", "stranger"))
    server = ServerProcess(
        repository, tmp_path, certificate=certificate, certificate_key=key, client_authorities=friend
    )

    def status(own: tuple[Path, Path] | None = None) -> int:
        context = ssl.create_default_context(cafile=str(certificate))
        if own is not None:
            context.load_cert_chain(own[0], own[1])
        try:
            with httpx2.Client(verify=context, trust_env=False) as client:
                return client.get(f"https://127.0.0.1:{server.port}/livez").status_code
        except httpx2.TransportError:
            return 0

    try:
        until(lambda: status((friend, friend_key)) == 200, "the server")
        assert status() == 0
        assert status((stranger, stranger_key)) == 0
    finally:
        server.terminate()
        server.wait()
