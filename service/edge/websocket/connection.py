"""A WebSocket connection of uvicorn's: messages in and out, pings, limits, and the two ways to close.

uvicorn reads the handshake and hands the socket to the class that its table names for WebSockets; ``install`` names
this one. The framing is that of the ``websockets`` library, without any input or output of its own. There is no task
and no ASGI application between a message and its stream: they cost more than framing and decoding do together,
uvicorn reads no further until each message has been taken, and BentoML lets none of its limits be set.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from http import HTTPStatus
from typing import Any, Protocol, cast

from uvicorn.config import WS_PROTOCOLS
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import SEND_EOF, State
from websockets.server import ServerProtocol

from ostinato.service.edge.access import Caller
from ostinato.service.edge.desk import UNREAD
from ostinato.service.edge.tags import peer_of
from ostinato.service.edge.websocket.channel import (
    INTERNAL_ERROR,
    MESSAGE_TOO_BIG,
    NORMAL_CLOSURE,
    SHUTTING_DOWN,
    Message,
)
from ostinato.service.edge.websocket.handshake import shake_hands
from ostinato.service.edge.websocket.stream import StepStream
from ostinato.service.edge.websocket.streams import STATE_KEY, Streams
from ostinato.service.errors import MalformedRequest
from ostinato.service.inputs.turns import TURN_SECONDS

CLOSE_SECONDS = 5.0
"""How long a client may take to close its side, too, before the connection is cut."""

SLICE_BYTES = 8_192
"""What is looked at in one go: as the smallest frames, which have six bytes, some 5 ms of work."""
MAX_FRAGMENTS = 1_024
MIN_FRAGMENT_BYTES = 1_024
"""A message may come in more fragments than ``MAX_FRAGMENTS`` where they have so many bytes each, on average."""

# Each connection's opening and end is no news.
logging.getLogger("websockets.server").setLevel(logging.WARNING)


class ServerState(Protocol):
    """What uvicorn's connections share: on shutdown it calls each one's ``shutdown`` and waits until all are gone."""

    connections: set[Any]


class WebSocketConnection(asyncio.Protocol):
    """One connection, from its handshake to its end; the arguments are uvicorn's.

    Compression is declined: a step's numbers hardly shrink, and a session-less deflate costs more than the step.
    """

    @classmethod
    def install(cls) -> None:
        """Have uvicorn open WebSockets with this class, in servers that are configured from now on."""
        WS_PROTOCOLS["auto"] = f"{cls.__module__}:{cls.__name__}"

    def __init__(self, config: object, server_state: ServerState, app_state: dict[str, Any]) -> None:  # noqa: ARG002
        self._streams: Streams = app_state[STATE_KEY]
        self._connections = server_state.connections
        settings = self._streams.settings
        self._idle_seconds = settings.stream_idle_seconds
        self._ping_seconds = settings.stream_ping_seconds
        self._protocol = ServerProtocol(max_size=self._streams.desk.max_body_bytes)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._stream: StepStream | None = None
        self._caller: Caller[Any] | None = None
        self._parts = bytearray()
        self._num_fragments = 0
        self._is_text = True
        # What was read and not looked at yet.
        self._unseen = b""
        self._flushing = False
        self._reading = self._wants_more = self._writable = True
        self._cut: asyncio.TimerHandle | None = None
        self._last_message_at = self._last_ping_at = time.perf_counter()
        self._heard = True
        self._stalled_at = math.inf

    def __repr__(self) -> str:
        return f"<WebSocketConnection {self._protocol.state.name.lower()} {self._stream!r}>"

    @property
    def num_frames(self) -> int:
        """Frames accepted and not yet answered."""
        return self._stream.num_frames if self._stream else 0

    @property
    def caller(self) -> Caller[Any] | None:
        """Whose it is; None = anybody's."""
        return self._caller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``; called with the transport on which the handshake came."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``; the first data is the handshake, rebuilt by uvicorn."""
        if self._unseen:
            self._unseen += data
        elif len(data) <= SLICE_BYTES or self._protocol.state is State.CONNECTING:
            self._look_at(data)
        else:
            self._unseen = data
            self._look_at_slice()

    def _look_at_slice(self) -> None:
        """Look at a part of what was read, and at the rest when others have had their turn."""
        ends_at = time.perf_counter() + TURN_SECONDS
        unseen, end = self._unseen, 0
        while end < len(unseen) and time.perf_counter() < ends_at:
            start, end = end, end + SLICE_BYTES
            self._look_at(unseen[start:end])
            if not self._unseen or self._transport is None:  # the connection is at its end
                end = len(unseen)
        self._unseen = unseen[end:]
        if self._unseen:
            self._loop.call_soon(self._look_at_slice)
        self._read_or_pause()

    def _look_at(self, data: bytes) -> None:
        now = time.perf_counter()
        protocol = self._protocol
        if protocol.state is State.CLOSED:
            self._unseen = b""
            return
        self._heard = True
        was_open = protocol.state is State.OPEN
        protocol.receive_data(data)
        if protocol.handshake_exc is not None and self._stream is None:
            self._refuse_handshake(protocol.handshake_exc)
            return
        messages: list[Message] = []
        for event in protocol.events_received():
            if isinstance(event, Request):
                self._shake_hands(event)
            elif isinstance(event, Frame):
                if event.opcode is Opcode.TEXT and event.fin:
                    messages.append(Message(bytes(event.data), True, now))
                else:
                    self._take(event, messages, now)
        if protocol.state is not State.OPEN:
            # It broke the protocol or its limits, or has said good-bye: its frames would be answered to nobody.
            if was_open and isinstance(protocol.parser_exc, PayloadTooBig):
                self._streams.desk.count_refusal("too_large")
            self._end()
        elif messages and self._stream:
            self._last_message_at = now
            self._stream.receive(messages)
        if protocol.writes:
            self._flush_soon()

    def eof_received(self) -> None:
        """See ``asyncio.Protocol``: the transport closes itself."""
        self._protocol.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """See ``asyncio.Protocol``."""
        if self._cut is not None:
            self._cut.cancel()
        self._transport = None
        if self._stream:
            self._stream.end()
        self._streams.remove(self)
        self._connections.discard(self)

    def pause_writing(self) -> None:
        """See ``asyncio.Protocol``: the client does not read as fast as it is answered."""
        self._writable = False
        self._stalled_at = time.perf_counter()
        if self._stream:
            self._stream.set_client_reads(False)

    def resume_writing(self) -> None:
        """See ``asyncio.Protocol``."""
        self._writable = True
        self._stalled_at = math.inf
        if self._stream:
            self._stream.set_client_reads(True)

    def send(self, message: bytes, *, is_text: bool) -> None:
        """See ``Channel.send``; a client that has hung up is sent nothing more, though its stream may not know yet."""
        if self._protocol.state is not State.OPEN:
            return
        if is_text:
            self._protocol.send_text(message)
        else:
            self._protocol.send_binary(message)
        self._flush_soon()

    def read_more(self, wanted: bool) -> None:
        """See ``Channel.read_more``."""
        self._wants_more = wanted
        self._read_or_pause()

    def close(self, code: int, reason: str) -> None:
        """See ``Channel.close``."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush_soon()
            self._end()

    def sweep(self, now: float) -> None:
        """See ``StreamConnection.sweep``."""
        stream = self._stream
        if stream is None or self._protocol.state is not State.OPEN:
            return
        stream.sweep(now)
        patience_seconds = self._streams.desk.patience_seconds
        if patience_seconds and now - self._stalled_at > patience_seconds and self._transport is not None:
            self._streams.desk.count_refusal(UNREAD)
            self._end()
            self._transport.abort()
            return
        if self._idle_seconds and stream.is_idle and now - self._last_message_at > self._idle_seconds:
            self.close(NORMAL_CLOSURE, f"no message for {self._idle_seconds:g} s")
        elif self._ping_seconds and now - self._last_ping_at > self._ping_seconds:
            self._ping(now, stream)

    def drain(self) -> None:
        """See ``StreamConnection.drain``."""
        if self._stream:
            self._stream.drain()

    def shutdown(self) -> None:
        """Close, whatever is under way; uvicorn, too, calls this and then waits for ``connection_lost``."""
        if self._protocol.state is State.CONNECTING and self._transport:
            self._transport.close()
        self.close(*SHUTTING_DOWN)

    def _read_or_pause(self) -> None:
        """Read on where more is wanted and what was read has been looked at."""
        transport, wanted = self._transport, self._wants_more and not self._unseen
        if transport is None or wanted == self._reading or transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _refuse_handshake(self, fault: Exception) -> None:
        """Answer a handshake that the library does not read, and would leave without a word."""
        tag = self._streams.tag_of()
        refusal = self._streams.refuse(MalformedRequest(f"this is no WebSocket handshake: {fault}"), tag)
        phrase = HTTPStatus(refusal.status).phrase
        head = f"HTTP/1.1 {refusal.status} {phrase}\r\ncontent-type: {refusal.media_type}\r\n"
        head += f"content-length: {len(refusal.body)}\r\nconnection: close\r\n"
        head += f"x-request-id: {tag.request_id.decode()}\r\n\r\n"
        self._unseen = b""
        if self._transport is not None:
            self._transport.write(head.encode() + refusal.body)
            self._transport.close()

    def _shake_hands(self, request: Request) -> None:
        peer = peer_of(self._transport and self._transport.get_extra_info("peername"))
        response, self._stream, self._caller = shake_hands(self._protocol, request, self._streams, self, peer)
        if self._stream is not None:
            self._streams.add(self)
        self._protocol.send_response(response)

    def _take(self, frame: Frame, messages: list[Message], now: float) -> None:
        """Take a frame that is not a whole text message."""
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return  # pings and closes are answered by the library
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            self._num_fragments = 0
        self._parts += frame.data
        self._num_fragments += 1
        if self._num_fragments > max(MAX_FRAGMENTS, len(self._parts) // MIN_FRAGMENT_BYTES):
            self._streams.desk.count_refusal("too_large")
            self._parts = bytearray()
            self._protocol.fail(
                MESSAGE_TOO_BIG, f"over {MAX_FRAGMENTS} fragments with less than {MIN_FRAGMENT_BYTES} bytes each"
            )
            return
        if frame.fin:
            messages.append(Message(bytes(self._parts), self._is_text, now))
            self._parts = bytearray()

    def _ping(self, now: float, stream: StepStream) -> None:
        """Ask for a sign of life: a pong, or whatever else comes, since a pong may stand behind a long message."""
        if stream.is_full:
            self._heard = True  # we do not read, having not answered: nothing can be heard, and that is our doing
        elif self._heard:
            self._heard = False
            self._protocol.send_ping(b"")
        else:
            self._protocol.fail(INTERNAL_ERROR, f"no pong within {self._ping_seconds:g} s")
            self._end()
            if not self._writable and self._transport is not None:
                self._transport.abort()  # it reads nothing, and so not this either
        self._last_ping_at = now
        self._flush_soon()

    def _end(self) -> None:
        """The closing handshake has begun: nothing more is answered, and the client gets a while for its part."""
        if self._stream:
            self._stream.end()
        self._streams.remove(self)
        self._parts = bytearray()
        self._unseen = b""
        if self._cut is None and self._transport is not None:
            self.read_more(True)  # or its part would not be seen
            self._cut = self._loop.call_later(CLOSE_SECONDS, self._transport.abort)

    def _flush_soon(self) -> None:
        """Write when the loop has done what is due now: one write for all the answers of an iteration."""
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        writes = self._protocol.data_to_send()
        if not writes:
            return
        transport.write(b"".join(writes))
        if writes[-1] != SEND_EOF:
            return
        if self._protocol.close_rcvd is not None or self._protocol.state is State.CONNECTING:
            transport.close()
        elif transport.can_write_eof():
            # What it still sends must be read, or its system would throw our last words away with the connection.
            transport.write_eof()
        else:
            transport.close()
