"""Chunks of many sessions over one WebSocket stream to each replica."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from tests.faults.chunk import Answer, Chunk, NotAnswered, refusal


class _Stream:
    """A connection, the answers that are waited for by their frames' ids, and the task that takes them in."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.waiting: dict[int, asyncio.Future[Answer]] = {}
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self.connection:
                content = json.loads(message)
                waiter = self.waiting.pop(content["id"], None)
                if waiter is None or waiter.done():
                    continue  # nobody waits for it any longer
                if "error" in content:
                    waiter.set_exception(refusal(content["error"]))
                else:
                    waiter.set_result(Answer.read(content))
        except WebSocketException:
            pass
        finally:
            for waiter in self.waiting.values():
                if not waiter.done():
                    waiter.set_exception(NotAnswered("the stream ended"))

    async def close(self) -> None:
        """Cut the connection."""
        self.connection.transport.abort()
        await self.reader
        await self.connection.wait_closed()


class StreamSender:
    """One attempt of each chunk; a context manager, which ends its streams."""

    def __init__(self, model: str) -> None:
        self._path = f"/v1/models/{model}/stream"
        self._streams: dict[str, _Stream] = {}
        self._connecting: dict[str, asyncio.Lock] = {}
        self._num_frames = 0

    async def __aenter__(self) -> StreamSender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in self._streams.values():
            await stream.close()

    async def step(self, url: str, chunk: Chunk) -> Answer:
        """Apply a chunk.

        Raises:
            NotAnswered, Refused.
        """
        stream = await self._stream(url)
        self._num_frames += 1
        frame_id = self._num_frames
        waiter: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        stream.waiting[frame_id] = waiter
        frame = {"session_id": chunk.session_id, "seq": chunk.seq, "inputs": chunk.inputs.tolist(), "id": frame_id}
        try:
            await stream.connection.send(json.dumps(frame))
            return await waiter
        except WebSocketException as error:
            raise NotAnswered(f"the stream ended: {error}") from error
        finally:
            stream.waiting.pop(frame_id, None)
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # it has been seen, or else the connection's own error was

    async def _stream(self, url: str) -> _Stream:
        async with self._connecting.setdefault(url, asyncio.Lock()):
            stream = self._streams.get(url)
            if stream is None or stream.reader.done():
                if stream is not None:
                    await stream.close()
                address = f"ws{url.removeprefix('http')}{self._path}"
                options = {"max_size": None, "ping_interval": None, "compression": None, "proxy": None}
                try:
                    stream = _Stream(await connect(address, **options))  # type: ignore[arg-type]
                except (OSError, EOFError, WebSocketException) as error:
                    raise NotAnswered(f"no stream: {error}") from error
                self._streams[url] = stream
            return stream
