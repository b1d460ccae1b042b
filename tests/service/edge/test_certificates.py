from __future__ import annotations

import asyncio
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from ostinato.service.config import Settings
from ostinato.service.edge.certificates import check_files
from ostinato.service.edge.oip.grpc.wire import METHODS, SERVICE
from tests.service.edge.oip.grpc.peer import peer_of
from tests.service.puppet import House

KeyPair = tuple[Path, Path]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], KeyPair]:
    """Certificates that vouch for themselves, each with its key, by the name in them."""
    folder = tmp_path_factory.mktemp("pairs")

    def pair(name: str) -> KeyPair:
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        if not key.exists():
            words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN={name}"
            more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
            subprocess.run(["openssl", *words.split(), *more], check=True, capture_output=True)
        return certificate, key

    return pair


def settings(**files: Path) -> Settings:
    return Settings.model_validate({"grpc_port": 0, **files})


def test_files_that_are_good_are_let_pass(pairs: Callable[[str], KeyPair]) -> None:
    certificate, key = pairs("a")
    check_files(Settings())
    check_files(settings())
    check_files(settings(certificate=certificate, certificate_key=key, client_authorities=pairs("b")[0]))


def test_files_that_are_not_are_told_by_their_setting(pairs: Callable[[str], KeyPair], tmp_path: Path) -> None:
    certificate, key = pairs("a")
    absent, text = tmp_path / "absent", tmp_path / "text"
    text.write_text("no PEM")
    locked = tmp_path / "locked.key"
    words = ["openssl", "pkcs8", "-topk8", "-passout", "pass:word", "-in", str(key), "-out", str(locked)]
    subprocess.run(words, check=True, capture_output=True)
    for wrong, sentence in (
        (settings(certificate=certificate), "belong together"),
        (settings(certificate_key=key), "belong together"),
        (settings(client_authorities=certificate), "belong together"),
        (settings(certificate=absent, certificate_key=key), f"--certificate {absent}: no such file"),
        (settings(certificate=certificate, certificate_key=tmp_path), f"--certificate-key {tmp_path}: is a directory"),
        (settings(certificate=text, certificate_key=key), "no certificate with its own key"),
        (settings(certificate=certificate, certificate_key=text), "no certificate with its own key"),
        (settings(certificate=certificate, certificate_key=pairs("b")[1]), "no certificate with its own key"),
        (settings(certificate=certificate, certificate_key=locked), "has a password"),
        (settings(certificate=certificate, certificate_key=key, client_authorities=text), "no certificates in PEM"),
    ):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            check_files(wrong)


async def is_live(port: int, credentials: grpc.ChannelCredentials) -> bool:
    """Whether a client of its own is answered."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options) as channel:
        try:
            answer = await channel.unary_unary(f"/{SERVICE}/ServerLive")(b"")
        except grpc.aio.AioRpcError:
            return False
        return bool(METHODS["ServerLive"].response.FromString(answer).live)


def trusting(certificate: Path) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(certificate.read_bytes())


async def test_a_certificate_that_takes_the_place_of_another_is_served_from_then_on(
    pairs: Callable[[str], KeyPair], tmp_path: Path
) -> None:
    certificate, key = tmp_path / "its.crt", tmp_path / "its.key"
    (old, old_key), (new, new_key) = pairs("old"), pairs("new")
    shutil.copy(old, certificate)
    shutil.copy(old_key, key)
    async with peer_of(House(grpc_port=0, certificate=certificate, certificate_key=key)) as peer:
        port = peer.server.port
        assert await is_live(port, trusting(old))
        shutil.copy(new, certificate)  # half of it: the certificate is there, its key is not
        assert await is_live(port, trusting(old))
        shutil.copy(new_key, key)
        assert await is_live(port, trusting(new))
        assert not await is_live(port, trusting(old))
        served = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        assert served.strip() == new.read_text().strip()


async def test_only_who_is_vouched_for_comes_in_where_authorities_are_named(pairs: Callable[[str], KeyPair]) -> None:
    (certificate, key), (friend, friend_key), (stranger, stranger_key) = map(pairs, ("a", "friend", "stranger"))
    house = House(grpc_port=0, certificate=certificate, certificate_key=key, client_authorities=friend)
    async with peer_of(house) as peer:
        trusted = certificate.read_bytes()
        known = grpc.ssl_channel_credentials(trusted, friend_key.read_bytes(), friend.read_bytes())
        unknown = grpc.ssl_channel_credentials(trusted, stranger_key.read_bytes(), stranger.read_bytes())
        assert await is_live(peer.server.port, known)
        assert not await is_live(peer.server.port, unknown)
        assert not await is_live(peer.server.port, trusting(certificate))


NO_TLS = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import ostinato.service.edge.oip.grpc.server
import grpc

certificate, key = (Path(name).read_bytes() for name in sys.argv[1:])
server = grpc.server(ThreadPoolExecutor(1))
port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
server.start()
with socket.create_connection(("127.0.0.1", port)) as connection:
    connection.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
    while connection.recv(1000):
        pass
server.stop(None).wait()
"""


def test_connections_that_are_no_tls_fill_no_log(pairs: Callable[[str], KeyPair]) -> None:
    """In a process of its own: the library reads what it is to log as it is imported."""
    command = [sys.executable, "-c", NO_TLS, *map(str, pairs("a"))]
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert done.stderr == ""
