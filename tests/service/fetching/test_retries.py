from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import httpx2
import pytest

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching import retries
from ostinato.service.fetching.retries import MAX_WAIT_SECONDS, Interrupted, Retries, interrupted

NOW = 1_000_000.0


def waits_of(monkeypatch: pytest.MonkeyPatch, *errors: Interrupted) -> list[float]:
    """How long is waited before each attempt."""
    monkeypatch.setattr(retries, "WAITS_SECONDS", (0.5, 1.0, 2.0, 4.0))
    slept: list[float] = []
    attempts = Retries(slept.append, lambda: NOW)
    for error in errors:
        attempts.wait(error)
    return slept


def test_waits_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Interrupted("https://h/a: the connection was reset")
    assert waits_of(monkeypatch, *[lost] * 4) == [0.5, 1.0, 2.0, 4.0]
    with pytest.raises(FetchFailed, match=r"^https://h/a: the connection was reset, 5 times; fetch it again later$"):
        waits_of(monkeypatch, *[lost] * 5)


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("0", 0.5),
        ("7", 7.0),
        (str(int(MAX_WAIT_SECONDS)), MAX_WAIT_SECONDS),
        (format_datetime(datetime.fromtimestamp(NOW + 9, UTC), usegmt=True), 9.0),
        (format_datetime(datetime.fromtimestamp(NOW - 9, UTC), usegmt=True), 0.5),
        *((words, 0.5) for words in ("", "soon", "-5", "1.5", "nan", "٣", "Mon, 99 Foo 2020", "\x1b[31m")),
    ],
)
def test_a_server_may_ask_for_more(told: str, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert waits_of(monkeypatch, Interrupted("busy", told)) == [seconds]


@pytest.mark.parametrize("told", ["61", "9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_server_that_asks_for_too_much_is_not_waited_for(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchFailed, match=r"^busy, and asks to be left alone for [\d,]+ s; fetch it again then$"):
        waits_of(monkeypatch, Interrupted("busy", told))


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("refused"),
        httpx2.ReadError("reset"),
        httpx2.ReadTimeout("timed out"),
        httpx2.RemoteProtocolError("Server disconnected"),
        Interrupted("a: refused"),
    ],
)
def test_what_may_go_better_is_an_interruption(error: Exception) -> None:
    assert str(interrupted(error, "a")) == f"a: {str(error).removeprefix('a: ')}"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (httpx2.TooManyRedirects("Exceeded maximum"), "a: Exceeded maximum; name the right address"),
        (httpx2.UnsupportedProtocol("file://"), "a: file://; name the right address"),
        (httpx2.InvalidURL("Invalid port: 's3cret'"), "a: the server leads to what is no address; name the right one"),
    ],
)
def test_what_would_come_again_is_not_tried_again(error: Exception, sentence: str) -> None:
    with pytest.raises(FetchFailed) as caught:
        interrupted(error, "a")
    assert str(caught.value) == sentence
