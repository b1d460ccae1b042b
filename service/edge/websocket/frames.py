"""Frames of a stream: a message becomes one, and an answer or an error becomes a message. Pure."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from ostinato.service.edge.message import to_json
from ostinato.service.edge.problems import Problem
from ostinato.service.edge.v1.codec import decode_json
from ostinato.service.edge.v1.schemas import FrameId, SessionId, StreamFrame
from ostinato.service.edge.v1.steps import step_content
from ostinato.service.sessions.chunk import StepAnswer

_FRAME = msgspec.json.Decoder(StreamFrame)
_MEMBERS = msgspec.json.Decoder(dict[str, Any])


def read_frame(message: bytes) -> StreamFrame:
    """A text message as a frame.

    Raises:
        InvalidInput: it is not JSON, or not a frame; names the member.
    """
    return decode_json(message, _FRAME, "the frame")


def read_address(message: bytes) -> tuple[str | None, str | int | None]:
    """``session_id`` and ``id`` of a message that is no frame, so that its sender may know which it was; None where
    there is none to be read.
    """
    session_id, frame_id = None, None
    # Whatever was wrong with it has been found and worded already.
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        members = _MEMBERS.decode(message)
        with contextlib.suppress(msgspec.ValidationError):
            session_id = msgspec.convert(members.get("session_id"), SessionId)
        with contextlib.suppress(msgspec.ValidationError):
            frame_id = msgspec.convert(members.get("id"), FrameId)
    return session_id, frame_id


def answer_message(answer: StepAnswer, frame: StreamFrame) -> bytes:
    """A chunk's answer, with the frame's ``id`` where it had one."""
    content = step_content(answer, frame)
    if frame.id is not None:
        content["id"] = frame.id
    return to_json(content)


def error_message(problem: Problem, session_id: str | None, frame_id: str | int | None) -> bytes:
    """An error frame: the members of the problem document, and when to come back where that helps."""
    members = problem.document
    if problem.retry_after_seconds is not None:
        members["retry_after_seconds"] = problem.retry_after_seconds
    return to_json({"session_id": session_id, "id": frame_id, "error": members})
