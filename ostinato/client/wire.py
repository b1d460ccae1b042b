"""Border where plans meet httpx2 and websockets: addresses and options, and what these libraries say as outcomes."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypedDict

import httpx2
from websockets.exceptions import InvalidStatus, WebSocketException

from ostinato.client.addresses import part_of_path, shown
from ostinato.client.arrays import from_json
from ostinato.client.exchange import Send
from ostinato.client.keys import headers_of
from ostinato.client.retry import Lost, Outcome, ServiceAnswer
from ostinato.errors import ServiceUnreachable

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECT_SECONDS = 10.0
MAX_PORT = 65535
GOODBYE_SECONDS = 2.0
"""For how long a stream that is closed waits for the service to agree."""

NETWORK_ERRORS = (httpx2.RequestError,)
STREAM_ERRORS = (WebSocketException, OSError, TimeoutError, EOFError)


class HttpOptions(TypedDict):
    """What the clients of httpx2 are made with."""

    timeout: httpx2.Timeout
    limits: httpx2.Limits
    headers: dict[str, str]
    verify: bool


class StreamOptions(TypedDict):
    """What the connections of websockets are made with."""

    open_timeout: float
    close_timeout: float
    max_size: None
    compression: None
    additional_headers: dict[str, str]
    proxy: Literal[True] | None


def base_urls(url: str | Sequence[str]) -> tuple[str, ...]:
    """The base URLs of a service, checked.

    Raises:
        ServiceUnreachable: one is no URL of HTTP.
    """
    urls = (url,) if isinstance(url, str) else tuple(url)
    if not urls:
        raise ServiceUnreachable("there is no address; a client needs at least one, as http://127.0.0.1:3000")
    for one in urls:
        try:
            parts = httpx2.URL(one)
        except (httpx2.InvalidURL, TypeError) as error:
            why = "" if "@" in str(one) else f": {error}"  # which may repeat a part of a password
            raise ServiceUnreachable(f"{shown(str(one))!r} is no address of a service{why}") from None
        if parts.scheme not in ("http", "https") or not parts.host or not 0 < (parts.port or 80) <= MAX_PORT:
            raise ServiceUnreachable(f"{shown(one)!r} is no address of a service; one is http://127.0.0.1:3000")
    return tuple(one.rstrip("/") for one in urls)


def options(urls: Sequence[str], timeout_seconds: float, key: str | None = None) -> HttpOptions:
    """For ``httpx2.Client`` and ``httpx2.AsyncClient``; the number of connections is the caller's choice."""
    return HttpOptions(
        timeout=httpx2.Timeout(timeout_seconds, connect=min(timeout_seconds, CONNECT_SECONDS), pool=None),
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
        # Digits hardly shrink, and to pack them takes the service longer than the network in between.
        headers={"accept": "application/json, */*", "accept-encoding": "identity", **headers_of(key)},
        # The system's certificates take longer to read than a service to answer; without TLS nobody looks at them.
        verify=any(httpx2.URL(url).scheme == "https" for url in urls),
    )


def direct() -> Mapping[str, None]:
    """Mounts: a proxy does not reach what listens on this machine only."""
    return {f"all://{f'[{host}]' if ':' in host else host}": None for host in LOOPBACK}


def arguments(send: Send) -> dict[str, Any]:
    """Of a call to httpx2's ``request``."""
    request = send.request
    headers = {"content-type": request.media_type} if request.body else {}
    return {"method": request.method, "url": send.url + request.path, "content": request.body, "headers": headers}


def answer_of(response: httpx2.Response) -> ServiceAnswer:
    """A response whose body was read."""
    stream = response.extensions.get("network_stream")
    hang_up = None if stream is None else partial(_hang_up, stream)
    return _answer(response.status_code, response.content, response.headers, str(response.url), hang_up)


def lost(error: httpx2.RequestError, url: str) -> Lost:
    """A request without a response: where there was no connection, it went nowhere."""
    went_nowhere = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
    return Lost(
        _words_of(error),
        may_have_arrived=not went_nowhere,
        where=url,
        nobody_listens=isinstance(error, httpx2.ConnectError),
    )


def _words_of(error: Exception) -> str:
    """What is told of an error of a library's."""
    words = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in words:
        words += "; SSL_CERT_FILE names a file in PEM with the certificates that are trusted"
    return words


def stream_path(model: str, *, create_missing: bool) -> str:
    """Of the WebSocket of a model."""
    return f"/v1/models/{part_of_path(model)}/stream" + ("?create_missing=true" if create_missing else "")


def stream_address(send: Send) -> str:
    """Where to connect to: ``ws`` for ``http``, ``wss`` for ``https``."""
    return "ws" + send.url.removeprefix("http") + send.request.path


def stream_options(url: str, timeout_seconds: float, key: str | None) -> StreamOptions:
    """For both ``connect`` of websockets; the service does not compress."""
    return StreamOptions(
        open_timeout=min(timeout_seconds, CONNECT_SECONDS),
        close_timeout=GOODBYE_SECONDS,
        max_size=None,
        compression=None,
        additional_headers=headers_of(key),
        proxy=None if httpx2.URL(url).host in LOOPBACK else True,
    )


def refused_handshake(error: Exception, url: str) -> Outcome:
    """A connection that was not made: the service's own words, where it gave any."""
    if isinstance(error, InvalidStatus):
        response = error.response
        return _answer(response.status_code, bytes(response.body or b""), response.headers, url)
    # What asyncio raises for several addresses of a name, none of which listens, is an OSError and no more.
    broken_off = isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError | TimeoutError)
    nobody_listens = isinstance(error, OSError) and not broken_off
    return Lost(_words_of(error), may_have_arrived=False, where=url, nobody_listens=nobody_listens)


def lost_stream(error: Exception, url: str) -> Lost:
    """A frame without an answer."""
    return Lost(_words_of(error), where=url)


def _hang_up(stream: Any) -> None:
    """Shut a connection of httpx2 down, as if the service had: the next that would use it sees that, and does not."""
    # Not by the object that it has, whose methods differ from loop to loop.
    with (
        contextlib.suppress(OSError, AttributeError),
        socket.socket(fileno=os.dup(stream.get_extra_info("socket").fileno())) as line,
    ):
        line.shutdown(socket.SHUT_RDWR)


def _answer(
    status: int, body: bytes, headers: Mapping[str, str], where: str, hang_up: Callable[[], object] | None = None
) -> ServiceAnswer:
    media_type, members = headers.get("content-type", "").partition(";")[0].strip().lower(), None
    if "json" in media_type:
        try:
            members = from_json(body)
        except ValueError:
            members = None
    try:
        # The other form, a date, needs clocks that agree; the service sends none.
        retry_after_seconds = max(0.0, float(headers.get("retry-after", "")))
    except ValueError:
        retry_after_seconds = None
    found = members if isinstance(members, dict) else None
    return ServiceAnswer(status, found, body, retry_after_seconds, where, media_type, hang_up)
