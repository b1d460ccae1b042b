from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.config import Settings
from ostinato.service.edge.local_guard import LocalGuard, check_exposure, is_loopback
from ostinato.service.errors import HostRefused, UnsupportedMediaType
from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.puppet import House

OWN = ("localhost", "127.0.0.1", "127.1.2.3", "[::1]", "LOCALHOST", "localhost.", "app.localhost", "[::ffff:127.0.0.1]")
OTHERS = (
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "localhost@evil.example",
    "0.0.0.0",
    "[::]",
    "10.0.0.5",
    "127.0.0.1:3000:80",
    "0177.0.0.1",
    "2130706433",
    "evil.example#localhost",
    "",
)


@pytest.mark.parametrize("host", [*OWN, *(f"{own}:3000" for own in OWN)])
def test_the_machine_s_own_names_are_answered_to(host: str) -> None:
    LocalGuard().check_host(host.encode())


@pytest.mark.parametrize("host", [*OTHERS, *(f"{other}:3000" for other in OTHERS)])
def test_other_names_are_not(host: str) -> None:
    with pytest.raises(HostRefused):
        LocalGuard("proxy.example").check_host(host.encode("latin-1"))


def test_a_name_that_is_allowed_is_answered_to_whatever_the_port() -> None:
    guard = LocalGuard(" Proxy.example , other.example:8443")
    for host in (b"proxy.example", b"PROXY.example:443", b"other.example:8443"):
        guard.check_host(host)
    with pytest.raises(HostRefused):
        guard.check_host(b"other.example")


def test_many_names_are_not_kept_for_ever() -> None:
    guard = LocalGuard()
    for number in range(1000):
        guard.check_host(b"%d.localhost" % number)
    assert len(guard.passed) < 100


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "fd00::1"])
def test_a_server_that_others_reach_has_keys_or_is_open(host: str, tmp_path: Path) -> None:
    assert not is_loopback(host)
    with pytest.raises(ValueError, match=r"--keys FILE.*--open"):
        check_exposure(Settings(host=host))
    check_exposure(Settings(host=host, open=True))
    check_exposure(Settings(host=host, keys=tmp_path / "keys.txt"))
    check_exposure(Settings())
    with pytest.raises(ValueError, match=f"--host {host}"):
        check_exposure(Settings(), host)


def test_a_body_says_what_it_is() -> None:
    guard = LocalGuard()
    guard.check_body("application/json", True)
    guard.check_body("", False)
    with pytest.raises(UnsupportedMediaType, match="Content-Type: application/json"):
        guard.check_body("", True)


@pytest.mark.parametrize("is_open", [True, False])
async def test_every_path_is_guarded(is_open: bool) -> None:
    async with edge_over(House(open=is_open)) as edge:
        for method, path in (
            ("GET", "/v1/models"),
            ("POST", "/v1/models/sum/predict"),
            ("GET", "/v2"),
            ("GET", "/metrics"),
            ("GET", "/readyz"),
            ("POST", "/predict"),
            ("GET", "/of-bentoml"),
        ):
            connection = Connection(method, path, host="evil.example", content_type="application/json")
            status, content = await connection.through(edge)
            assert (status == 421) != is_open, path
            if not is_open:
                assert "evil.example" in str(content)
            own = Connection(method, path, host="127.0.0.1:3000", content_type="application/json")
            assert (await own.through(edge))[0] != 421
        untyped = Connection("POST", "/v1/models/sum/sessions", b"{}", host="localhost", content_length="2")
        assert (await untyped.through(edge))[0] == (201 if is_open else 415)
