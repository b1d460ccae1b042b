"""Sessions under ``/v1``: opened, listed, looked at, reset, forked, their state out and in, closed."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import msgspec

from ostinato.service.edge.message import JSON, Request, Response, json_response
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.large import read_body
from ostinato.service.edge.v1.schemas import ForkBody, OpenBody, PageQuery, ResetBody
from ostinato.service.errors import InvalidInput, UnsupportedMediaType
from ostinato.service.sessions.refusals import apply
from ostinato.service.sessions.session import Facts, LiveSession
from ostinato.service.sessions.session_file import read_session, write_session
from ostinato.service.sessions.sessions import Sessions

STATE = "application/octet-stream"
"""The media type of a safetensors file: none is registered for it."""

_OPEN = msgspec.json.Decoder(OpenBody)
_FORK = msgspec.json.Decoder(ForkBody)
_RESET = msgspec.json.Decoder(ResetBody)


class SessionRoutes:
    """Handlers of ``POST /v1/models/{model}/sessions``, and of ``/v1/sessions`` without steps and forecasts."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def open(self, request: Request) -> Response:
        """Begin a session."""
        body = await read_body(request, _OPEN)
        facts = await self._sessions.open_to_answer(
            request.name,
            session_id=body.session_id,
            ttl_seconds=body.ttl_seconds,
            version=body.version,
            context=body.context,
        )
        return _opened(facts)

    async def list(self, request: Request) -> Response:
        """A page of the live sessions."""
        query = codec.decode_query(request.query_string, PageQuery)
        # An empty one is none.
        page = await self._sessions.page(query.model or None, query.limit, query.cursor or None)
        content: dict[str, Any] = {
            "sessions": [_content(facts) for facts in page.sessions],
            "next_cursor": page.next_cursor,
        }
        if page.num_unreadable:
            content["unreadable"] = page.num_unreadable
        return json_response(content)

    async def show(self, request: Request) -> Response:
        """A look at a session."""
        return json_response(_content(await self._sessions.look(request.name)))

    async def close(self, request: Request) -> Response:
        """End a session."""
        await self._sessions.close(request.name)
        return Response(204, b"")

    async def reset(self, request: Request) -> Response:
        """Set a session back to its initial state."""
        await read_body(request, _RESET)
        return json_response(_content(await apply(self._sessions, request.name, self._sessions.reset)))

    async def fork(self, request: Request) -> Response:
        """Begin a session as a copy of another."""
        body = await read_body(request, _FORK)

        def fork(session: LiveSession) -> Awaitable[Facts]:
            return self._sessions.fork_to_answer(session, session_id=body.session_id, ttl_seconds=body.ttl_seconds)

        return _opened(await apply(self._sessions, request.name, fork))

    async def get_state(self, request: Request) -> Response:
        """A session as a safetensors file."""

        async def write(session: LiveSession) -> bytes:
            snapshot, ttl_seconds = await self._sessions.snapshot(session), session.facts.ttl_seconds
            return write_session(request.name, session.engine.manifest, snapshot, ttl_seconds)

        return Response(200, await apply(self._sessions, request.name, write), STATE)

    async def put_state(self, request: Request) -> Response:
        """Set a session to what a safetensors file holds."""
        if request.media_type == JSON or request.media_type.endswith("+json"):
            raise UnsupportedMediaType(f"this route reads a safetensors file, as {STATE}, not {request.media_type}")
        if not request.body:
            raise InvalidInput("there is no body; send a safetensors file")

        async def put(session: LiveSession) -> Facts:
            manifest = session.engine.manifest
            file = read_session(request.body, manifest)
            snapshot = file.snapshot(manifest.made)
            return await self._sessions.put(session, snapshot, keeps_steps=file.steps is None)

        return json_response(_content(await apply(self._sessions, request.name, put)))


def _content(facts: Facts) -> dict[str, Any]:
    """A session as the contract shows it; times are RFC 3339, null for never."""
    return {
        "session_id": facts.session_id,
        "model": facts.model,
        "version": facts.version,
        "steps": facts.steps,
        "opened_at": _time(facts.opened_at),
        "expires_at": _time(facts.expires_at),
    }


def _opened(facts: Facts) -> Response:
    response = json_response(_content(facts), status=201)
    response.headers = ((b"location", f"/v1/sessions/{facts.session_id}".encode()),)
    return response


def _time(seconds: float) -> str | None:
    return None if math.isinf(seconds) else datetime.fromtimestamp(seconds, UTC).isoformat()
