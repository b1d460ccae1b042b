from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching import watch
from ostinato.service.fetching.watch import PACE_BYTES, PACE_SECONDS, paced
from tests.service.fetching.test_fetching import bring


class Drip:
    """Pieces, each of which takes some seconds of a clock that is turned by hand."""

    def __init__(self, num_bytes: int, seconds: float) -> None:
        self._num_bytes, self._seconds, self.now = num_bytes, seconds, 0.0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(100):
            self.now += self._seconds
            yield bytes(self._num_bytes)


def test_what_comes_slowly_is_taken_and_what_hardly_comes_is_not() -> None:
    steady = Drip(PACE_BYTES, PACE_SECONDS)
    assert sum(map(len, paced(steady, "a", lambda: steady.now))) == 100 * PACE_BYTES
    slow = Drip(1, 1.0)
    came: list[bytes] = []
    with pytest.raises(FetchFailed, match=r"^a: 61 bytes came in 61 s; fetch it from another place$"):
        came.extend(paced(slow, "a", lambda: slow.now))
    assert len(came) == 60


def test_the_time_of_who_takes_it_does_not_count() -> None:
    source = Drip(1, 0.1)
    num_bytes = 0
    for piece in paced(source, "a", lambda: source.now):
        num_bytes += len(piece)
        source.now += 1000.0
    assert num_bytes == 100


def test_a_head_that_never_ends_is_given_up(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server sends a byte of it again and again, as long as anybody listens."""
    monkeypatch.setattr(watch, "HEAD_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def drip() -> None:
            while not done.is_set():
                connection, _ = server.accept()
                with connection:
                    try:
                        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                        while not done.wait(0.02):
                            connection.sendall(b"x")
                    except OSError:
                        continue

        thread = threading.Thread(target=drip)
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(FetchFailed, match="5 times; fetch it again later"):
            bring(f"http://127.0.0.1:{port}/a", repository)
        done.set()
        socket.create_connection(("127.0.0.1", port)).close()
        thread.join()
