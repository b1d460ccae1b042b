"""A watch over a server that answers byte by byte: the client's own limits are of the time between two of them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ostinato.service.errors import FetchFailed

HEAD_SECONDS = 120.0
"""From a request to the end of its answer's head, wherever that leads."""
PACE_SECONDS, PACE_BYTES = 60.0, 64 * 1024
"""In each such time of waiting so much comes at least."""


class HeadWatch:
    """Shuts the connections of a request, unless it is stopped in time; they end then as if the server had done it.

    Attributes:
        extensions: of the request.
    """

    def __init__(self) -> None:
        self.extensions = {"trace": self._note}
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(HEAD_SECONDS, self._shut)
        self._timer.daemon = True

    def __enter__(self) -> HeadWatch:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """The head is there."""
        self._timer.cancel()

    def _note(self, _name: str, event: Mapping[str, Any]) -> None:
        """What happens to the connection; a stream is what comes of connecting, and of TLS."""
        made: Any = event.get("return_value")
        if hasattr(made, "get_extra_info"):
            self._sockets.append(made.get_extra_info("socket"))

    def _shut(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(each, socket.SHUT_RDWR)  # TLS' own would touch what the reader uses


def paced(pieces: Iterable[bytes], shown: str, clock: Callable[[], float] = time.monotonic) -> Iterator[bytes]:
    """Pieces as they come.

    Raises:
        FetchFailed: they come too slowly.
    """
    each, waited, num_bytes = iter(pieces), 0.0, 0
    while True:
        began = clock()
        piece = next(each, None)
        waited += clock() - began
        if piece is None:
            return
        num_bytes += len(piece)
        if num_bytes >= PACE_BYTES:
            waited, num_bytes = 0.0, 0
        elif waited > PACE_SECONDS:
            raise FetchFailed(f"{shown}: {num_bytes:,} bytes came in {waited:.0f} s; fetch it from another place")
        yield piece
