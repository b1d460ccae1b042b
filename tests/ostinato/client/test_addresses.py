from __future__ import annotations

import pickle
import traceback

import pytest

from ostinato.client.addresses import part_of_path, shown
from ostinato.client.async_client import AsyncClient
from ostinato.client.client import Client
from ostinato.errors import ServiceUnreachable


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://me:secret@127.0.0.1:3000/a", "http://***@127.0.0.1:3000/a"),
        ("https://:se@cr/et@host", "https://***@host"),
        ("http:/me:secret@host", "http:/***@host"),
        ("secret@host", "***@host"),
    ],
)
def test_an_address_is_shown_without_its_password(address: str, expected: str) -> None:
    assert shown(address) == expected


@pytest.mark.parametrize(
    "address",
    ["http://me:secret@127.0.0.1:1", "ftp://me:secret@host", "http://me:secret@host:port", "http://me:secret/x@host"],
)
def test_no_error_of_a_client_tells_a_password(address: str) -> None:
    with pytest.raises(ServiceUnreachable) as refusal, Client(address, patience_seconds=0) as client:
        client.models()
    assert "secret" not in "".join(traceback.format_exception(refusal.value))
    assert b"secret" not in pickle.dumps(refusal.value)


def test_no_client_shows_its_password() -> None:
    for kind in (Client, AsyncClient):
        assert "secret" not in repr(kind("http://me:secret@127.0.0.1:1"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("m", "m"), (".", "%2E"), ("..", "%2E%2E"), ("1.2", "1.2"), ("a/b c", "a%2Fb%20c"), ("a%41", "a%2541")],
)
def test_a_name_is_one_part_of_a_path(name: str, expected: str) -> None:
    assert part_of_path(name) == expected
