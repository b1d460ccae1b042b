from __future__ import annotations

import gzip
import socket

import httpx2
import pytest

from ostinato.client.wire import answer_of, lost, options, refused_handshake


@pytest.mark.parametrize(
    ("urls", "verify"),
    [
        (["http://a", "http://b"], False),
        (["https://a"], True),
        (["HTTPS://a"], True),
        (["http://a", "https://b"], True),
    ],
)
def test_certificates_are_checked_wherever_one_address_speaks_tls(urls: list[str], verify: bool) -> None:
    assert options(urls, 20.0)["verify"] is verify


@pytest.mark.parametrize(
    ("error", "nobody_listens"),
    [
        (ConnectionRefusedError(111, "refused"), True),
        (socket.gaierror(-2, "no such name"), True),
        (OSError("Multiple exceptions: [Errno 111] ..., [Errno 111] ..."), True),
        (ConnectionResetError(104, "reset"), False),
        (TimeoutError("no answer to the handshake"), False),
        (EOFError("closed"), False),
    ],
)
def test_a_connection_that_was_refused_is_told_from_one_that_broke_off(error: Exception, nobody_listens: bool) -> None:
    assert getattr(refused_handshake(error, "http://a"), "nobody_listens") is nobody_listens  # noqa: B009


def test_a_certificate_that_nobody_vouches_for_comes_with_what_to_do() -> None:
    told = lost(httpx2.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"), "https://a:1").reason
    assert told.startswith("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate; SSL_CERT_FILE names a file")


def test_a_request_that_found_nobody_is_told_from_one_that_was_too_slow() -> None:
    assert lost(httpx2.ConnectError("refused"), "http://a").nobody_listens
    assert not lost(httpx2.ConnectTimeout("slow"), "http://a").nobody_listens
    assert not lost(httpx2.ReadError("reset"), "http://a").nobody_listens


def test_no_packed_answers_are_asked_for_and_one_that_comes_is_read() -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        assert request.headers["accept-encoding"] == "identity"
        packed = gzip.compress(b'{"models": []}')
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        return httpx2.Response(200, headers=headers, content=packed)

    with httpx2.Client(transport=httpx2.MockTransport(answer), **options(["http://a"], 20.0)) as client:
        assert answer_of(client.get("http://a/v1/models")).members == {"models": []}
