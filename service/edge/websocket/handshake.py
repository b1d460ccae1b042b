"""The handshake of a stream: who asks, from which page, for what; and the answer to it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, NamedTuple

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from ostinato.service.edge.access import Caller
from ostinato.service.edge.websocket.channel import Channel
from ostinato.service.edge.websocket.stream import StepStream
from ostinato.service.edge.websocket.streams import Streams
from ostinato.service.errors import UpgradeRequired

SUBPROTOCOL = "ostinato"
"""What is spoken. A browser that shows its key among the subprotocols needs one of them to be chosen."""


class Handshake(NamedTuple):
    """What came of a handshake; ``stream`` None = it is refused, and ``caller`` None = anybody's."""

    response: Response
    stream: StepStream | None
    caller: Caller[Any] | None


def shake_hands(
    protocol: ServerProtocol, request: Request, streams: Streams, channel: Channel, peer: str = ""
) -> Handshake:
    """Open the stream that a handshake of ``peer`` asks for, or say why not."""
    tag = streams.tag_of(request.headers.raw_items())
    offered = [each.strip() for value in request.headers.get_all("Sec-WebSocket-Protocol") for each in value.split(",")]
    stream: StepStream | None = None
    caller: Caller[Any] | None = None
    try:
        streams.check_origin(request.headers.get_all("Origin"), request.headers.get_all("Host"))
        caller = streams.caller(request.headers.raw_items(), offered)
        opened = streams.open(request.path, channel, caller, tag, peer)
        response = protocol.accept(request)
        if response.status_code != 101:
            raise UpgradeRequired((response.body or b"").decode().strip() or "this is no WebSocket handshake")
        stream = opened
        if SUBPROTOCOL in offered:
            response.headers["Sec-WebSocket-Protocol"] = SUBPROTOCOL
    except Exception as error:
        refusal = streams.refuse(error, tag)
        headers = Headers([(name.decode(), value.decode()) for name, value in refusal.headers])
        headers["Content-Type"] = refusal.media_type
        headers["Content-Length"] = str(len(refusal.body))
        headers.setdefault("Connection", "close")
        response = Response(refusal.status, HTTPStatus(refusal.status).phrase, headers, refusal.body)
    response.headers["X-Request-ID"] = tag.request_id.decode()
    streams.tell_handshake(request.path, response.status_code, tag, peer, caller)
    return Handshake(response, stream, caller)
