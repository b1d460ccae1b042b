from __future__ import annotations

import pickle
from pathlib import Path

import httpx2
import pytest

from ostinato.client.client import Client
from ostinato.client.keys import own_key
from ostinato.errors import CommandError, ServiceError
from ostinato.tools.connection import http_request


def shown_by(**options: str) -> str | None:
    """What a client shows to a service."""
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200, json={"models": []})

    with Client("http://127.0.0.1:1", transport=httpx2.MockTransport(answer), **options) as client:  # type: ignore[arg-type]
        client.models()
        assert options.get("key", "a-secret") not in repr(client)
    return seen[0].headers.get("authorization")


def test_a_client_shows_the_key_that_it_is_given_or_else_the_environment_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("OSTINATO_KEY", raising=False)
    assert shown_by() is None
    (tmp_path / "key").write_text("a-secret-of-a-file\n")
    monkeypatch.setenv("OSTINATO_KEY_FILE", str(tmp_path / "key"))
    assert shown_by() == "Bearer a-secret-of-a-file"
    assert b"\r\nauthorization: Bearer a-secret-of-a-file\r\n" in http_request("GET", "/")
    monkeypatch.setenv("OSTINATO_KEY", "a-secret-of-a-variable")
    assert shown_by() == "Bearer a-secret-of-a-variable"
    assert shown_by(key="a-secret-of-its-own") == "Bearer a-secret-of-its-own"


@pytest.mark.parametrize("key", ["two words", "new\nline: x", "schlüssel"])
def test_what_is_no_key_is_never_sent(key: str) -> None:
    with pytest.raises(CommandError, match="a key is one word") as raised:
        own_key(key)
    assert key not in str(raised.value)


def test_a_file_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OSTINATO_KEY", raising=False)
    monkeypatch.setenv("OSTINATO_KEY_FILE", str(tmp_path / "key"))
    with pytest.raises(CommandError, match=r"OSTINATO_KEY_FILE .*No such file"):
        own_key()


def test_a_pickled_client_has_its_key() -> None:
    again = pickle.loads(pickle.dumps(Client("http://127.0.0.1:1", key="a-secret")))  # noqa: S301
    assert again._key == "a-secret"


def test_a_refusal_is_told_in_the_service_s_words() -> None:
    def refuse(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(401, json={"code": "unauthenticated", "detail": "there is no such key"})

    client = Client("http://127.0.0.1:1", key="a-secret", transport=httpx2.MockTransport(refuse))
    with client, pytest.raises(ServiceError, match="there is no such key") as refused:
        client.models()
    assert refused.value.status == 401
    assert "a-secret" not in str(refused.value)
