"""Answers as the bytes of HTTP/1.1."""

from __future__ import annotations

from http import HTTPStatus

from ostinato.service.edge.message import JSON, OCTETS, EventStream, Response

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_CHUNKED_LINES = b"content-type: %b\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n"
_TYPE_LINES = {kind: f"content-type: {kind}\r\n".encode() for kind in (JSON, OCTETS)}
"""Of the media types that most answers have."""


def whole_answer(response: Response, default_head: bytes, keep_alive: bool, request_id: bytes) -> tuple[bytes, bool]:
    """An answer, and whether the connection continues behind it.

    Args:
        default_head: the lines that every answer has.
        keep_alive: whether it may continue; the answer may say otherwise.
        request_id: what the request is called.
    """
    body, media_type = response.body, response.media_type
    lines = [_STATUS_LINES[response.status], default_head, b"x-request-id: %b\r\n" % request_id]
    if response.status != 204:
        lines.append(_TYPE_LINES.get(media_type) or b"content-type: %b\r\n" % media_type.encode())
        lines.append(b"content-length: %d\r\n" % len(body))
    for name, value in response.headers:
        keep_alive = keep_alive and (name, value) != (b"connection", b"close")
        lines.append(b"%b: %b\r\n" % (name, value))
    if not keep_alive and (b"connection", b"close") not in response.headers:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    lines.append(body)
    return b"".join(lines), keep_alive


def head_of_parts(response: EventStream, default_head: bytes, keep_alive: bool, request_id: bytes) -> bytes:
    """The head of an answer that is made while it is written, in chunks."""
    head = [_STATUS_LINES[response.status], default_head, b"x-request-id: %b\r\n" % request_id]
    head.append(_CHUNKED_LINES % response.media_type.encode())
    head += [b"%b: %b\r\n" % header for header in response.headers]
    head.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    return b"".join(head)
