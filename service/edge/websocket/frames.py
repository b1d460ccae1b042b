"""Frames of a stream: a message becomes one, and an answer or an error becomes a message. Pure."""

from __future__ import annotations

import codecs
import contextlib

import msgspec

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.message import to_json
from ostinato.service.edge.problems import Problem
from ostinato.service.edge.v1.bodies import BodyForms, first
from ostinato.service.edge.v1.codec import decode_json
from ostinato.service.edge.v1.large import LARGE_BYTES, Check, read_large, read_outline
from ostinato.service.edge.v1.schemas import FrameId, NestedFrame, SessionId, StreamFrame
from ostinato.service.edge.v1.steps import check_chunk, prepare_inputs, step_content
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs.turns import Pace
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.sessions import Sessions

FRAME = BodyForms(StreamFrame, NestedFrame, of_any_version=True)


Addressee = tuple[str | None, str | int | None]
"""``session_id`` and ``id``, None where there is none to be read."""


class _Address(msgspec.Struct):
    """What of a message tells whose it is: the rest is passed over."""

    session_id: msgspec.Raw = msgspec.Raw(b"null")
    id: msgspec.Raw = msgspec.Raw(b"null")


_ADDRESS = msgspec.json.Decoder(_Address)
_SESSION_ID, _FRAME_ID = msgspec.json.Decoder(SessionId), msgspec.json.Decoder(FrameId)


def read_frame(message: bytes, given: RowLayout[Input]) -> StreamFrame:
    """A text message as a frame with steps of these inputs.

    Raises:
        InvalidInput: it is not JSON, or not a frame; names the member.
    """
    try:
        return decode_json(message, FRAME.of(given), "the frame")
    except InvalidInput as error:
        if not FRAME.may_be_nested(error, given):
            raise
        with first(error):
            return decode_json(message, FRAME.nested, "the frame")


async def read_large_frame(
    message: bytes, engine: Engine, sessions: Sessions
) -> tuple[StreamFrame, None] | tuple[StreamFrame | None, OstinatoError]:
    """``read_frame`` for a message that ``is_large``; or why it cannot be used, with a frame where it is known whose
    it is. ``engine`` runs a session that begins with its frame.
    """
    known: list[StreamFrame] = []

    def begin(frame: StreamFrame) -> Check:
        known.append(frame)
        return check_chunk(sessions.use(frame.session_id))

    try:
        try:
            frame = await read_large(message, FRAME.of(engine.given), begin, "the frame", {})
        except InvalidInput as error:
            if not FRAME.may_be_nested(error, engine.given):
                raise
            with first(error):
                frame = await read_large(message, FRAME.nested, begin, "the frame", {})
        await prepare_inputs(frame, sessions, frame.session_id, engine)
    except OstinatoError as error:
        return known[0] if known else None, error
    return frame, None


def read_address(message: bytes) -> Addressee:
    """``session_id`` and ``id`` of a message that is no frame, so that its sender may know which it was; None where
    there is none to be read.
    """
    session_id, frame_id = None, None
    # Whatever was wrong with it has been found and worded already.
    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        members = _ADDRESS.decode(message)
        with contextlib.suppress(msgspec.ValidationError):
            session_id = _SESSION_ID.decode(members.session_id)
        with contextlib.suppress(msgspec.ValidationError):
            frame_id = _FRAME_ID.decode(members.id)
    return session_id, frame_id


def address_of(message: bytes) -> Addressee | None:
    """``read_address`` of a message that may not even be text: None then."""
    try:
        message.decode()
    except UnicodeDecodeError:
        return None
    return read_address(message)


async def address_of_large(message: bytes) -> Addressee | None:
    """``address_of`` for a message that ``is_large``."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    pace = Pace()
    try:
        for start in range(0, len(message), LARGE_BYTES):
            decoder.decode(message[start : start + LARGE_BYTES])
            await pace.rest()
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return None
    try:
        return read_address(await read_outline(message, "the frame"))
    except OstinatoError:
        return None, None


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
