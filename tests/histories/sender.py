"""The sender: requests as they travel, over HTTP and WebSocket streams, each once, and what came back."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

ATTEMPT_SECONDS = 5.0


class NotSent(Exception):
    """There was no connection: nobody has heard of the request."""


class Reply(NamedTuple):
    """What came back over HTTP, or in a frame."""

    status: int
    media_type: str
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})

    @property
    def content(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)


class Sender:
    """Connections of one client to the replicas. A context manager.

    Args:
        urls: the replicas.
        attempt_seconds: how long an answer is waited for.
    """

    def __init__(self, urls: Sequence[str], *, attempt_seconds: float = ATTEMPT_SECONDS) -> None:
        self._urls = urls
        self._attempt_seconds = attempt_seconds
        self._clients = [httpx2.AsyncClient(base_url=url, timeout=None, trust_env=False) for url in urls]
        self._streams: dict[tuple[int, str], ClientConnection] = {}
        self._frame_ids = itertools.count()

    async def __aenter__(self) -> Sender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._streams.values():
            stream.transport.abort()
            await stream.wait_closed()
        for client in self._clients:
            await client.aclose()

    async def ask(
        self,
        replica: int,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        json: object = None,
        media_type: str = "application/json",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Reply | None:
        """The answer to one request; None = it did not come, so the request may have been done, or may be yet.

        Raises:
            NotSent.
        """
        typed = {} if content is None else {"content-type": media_type}
        try:
            async with asyncio.timeout(self._attempt_seconds):
                response = await self._clients[replica].request(
                    method, path, content=content, json=json, headers={**typed, **headers}
                )
        except httpx2.ConnectError as error:
            raise NotSent(str(error)) from error
        except (httpx2.TransportError, TimeoutError):
            return None
        return Reply(response.status_code, response.headers.get("content-type", ""), response.content, response.headers)

    async def frames(
        self, replica: int, path: str, frames: Sequence[Mapping[str, Any] | bytes]
    ) -> list[Mapping[str, Any] | bytes | None]:
        """The answers to frames that are sent one right behind the other; of a binary frame the bytes.

        Raises:
            NotSent.
        """
        stream = await self._stream(replica, path)
        answers: list[Mapping[str, Any] | bytes | None] = [None] * len(frames)
        places: dict[int, int] = {}
        binary = next((place for place, frame in enumerate(frames) if isinstance(frame, bytes)), 0)
        try:
            async with asyncio.timeout(self._attempt_seconds):
                for place, frame in enumerate(frames):
                    if isinstance(frame, bytes):
                        await stream.send(frame)
                        continue
                    places[frame_id := next(self._frame_ids)] = place
                    await stream.send(json.dumps({**frame, "id": frame_id}))
                for _ in frames:
                    message = await stream.recv()
                    answer = message if isinstance(message, bytes) else json.loads(message)
                    # Binary frames have no id; of those, one is under way at most.
                    given = None if isinstance(answer, bytes) else answer["id"]
                    answers[binary if given is None else places[given]] = answer
        except (OSError, TimeoutError, WebSocketException):
            # What comes later on this connection would be taken for the answer to something else.
            stream.transport.abort()
            self._streams.pop((replica, path), None)
        return answers

    async def _stream(self, replica: int, path: str) -> ClientConnection:
        stream = self._streams.get((replica, path))
        if stream is None or stream.close_code is not None:
            address = f"ws{self._urls[replica].removeprefix('http')}{path}"
            options: dict[str, Any] = {"max_size": None, "ping_interval": None, "compression": None, "proxy": None}
            try:
                stream = await connect(address, open_timeout=self._attempt_seconds, **options)
            except (OSError, EOFError, TimeoutError, WebSocketException) as error:
                raise NotSent(str(error)) from error
            self._streams[replica, path] = stream
        return stream
