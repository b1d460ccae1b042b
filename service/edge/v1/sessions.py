"""Sessions under ``/v1``: opened, listed, looked at, reset, forked, their state out and in, closed."""

from __future__ import annotations

import math
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import msgspec

from ostinato.service.access.key_file import DEFAULT_TENANT
from ostinato.service.edge.access import EVERYBODY
from ostinato.service.edge.message import JSON, Request, Response, json_response
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.large import read_body
from ostinato.service.edge.v1.schemas import ForkBody, OpenBody, PageQuery, ResetBody
from ostinato.service.errors import Forbidden, InvalidInput, UnsupportedMediaType
from ostinato.service.sessions.checkpoints import CheckpointShelf
from ostinato.service.sessions.offsets import NO_OFFSET
from ostinato.service.sessions.opening import Opening
from ostinato.service.sessions.refusals import apply
from ostinato.service.sessions.session import Facts, LiveSession, session_id_of, tenant_of
from ostinato.service.sessions.session_file import read_session, write_session
from ostinato.service.sessions.sessions import Sessions

STATE = "application/octet-stream"
"""The media type of a safetensors file: none is registered for it."""

CPU, MAX_PLACE = "the CPU", 100
"""What a state that names no device was made on; characters of a name that are shown."""

_OPEN = msgspec.json.Decoder(OpenBody)
_FORK = msgspec.json.Decoder(ForkBody)
_RESET = msgspec.json.Decoder(ResetBody)


class SessionRoutes:
    """Handlers of ``POST /v1/models/{model}/sessions``, and of ``/v1/sessions`` without steps and forecasts."""

    def __init__(self, sessions: Sessions, checkpoints: CheckpointShelf, *, sees_all: bool = True) -> None:
        self._sessions, self._checkpoints = sessions, checkpoints
        self._sees_all = sees_all

    async def open(self, request: Request) -> Response:
        """Begin a session."""
        body = await read_body(request, _OPEN)
        options: Opening = {
            "session_id": body.session_id,
            "ttl_seconds": body.ttl_seconds,
            "version": body.version,
            "context": body.context,
        }
        if body.checkpoint is not None:
            return _opened(await self._checkpoints.open(body.checkpoint, request.name, **options))
        return _opened(await self._sessions.open_to_answer(request.name, **options))

    async def list(self, request: Request) -> Response:
        """A page of the live sessions."""
        query = codec.decode_query(request.query_string, PageQuery)
        of_all = query.tenant == EVERYBODY
        if of_all and not self._sees_all:
            raise Forbidden("the sessions of all tenants need the right admin")
        # An empty one is none.
        page = await self._sessions.page(query.model or None, query.limit, query.cursor or None, of_all=of_all)
        content: dict[str, Any] = {
            "sessions": [_of_tenant(facts) if of_all else session_content(facts) for facts in page.sessions],
            "next_cursor": page.next_cursor,
        }
        if page.num_unreadable:
            content["unreadable"] = page.num_unreadable
        return json_response(content)

    async def show(self, request: Request) -> Response:
        """A look at a session."""
        facts, clock, last = await self._sessions.look_closely(request.name)
        content = session_content(facts)
        if clock is not None:
            content["last_at"] = clock.text(last)
        return json_response(content)

    async def close(self, request: Request) -> Response:
        """End a session."""
        await self._sessions.close(request.name)
        return Response(204, b"")

    async def reset(self, request: Request) -> Response:
        """Set a session back to its initial state."""
        await read_body(request, _RESET)
        return json_response(session_content(await apply(self._sessions, request.name, self._sessions.reset)))

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
            engine = session.engine
            return write_session(request.name, engine.manifest, snapshot, ttl_seconds, engine.made_on)

        return Response(200, await apply(self._sessions, request.name, write), STATE)

    async def put_state(self, request: Request) -> Response:
        """Set a session to what a safetensors file holds."""
        if request.media_type == JSON or request.media_type.endswith("+json"):
            raise UnsupportedMediaType(f"this route reads a safetensors file, as {STATE}, not {request.media_type}")
        if not request.body:
            raise InvalidInput("there is no body; send a safetensors file")

        async def put(session: LiveSession) -> dict[str, Any]:
            manifest, made_on = session.engine.manifest, session.engine.made_on
            file = read_session(request.body, manifest)
            snapshot = file.snapshot(manifest.made)
            facts = await self._sessions.put(session, snapshot, keeps_steps=file.steps is None)
            return {**session_content(facts), **_elsewhere(file.made_on, made_on)}

        return json_response(await apply(self._sessions, request.name, put))


def _elsewhere(made_on: str, here: str) -> dict[str, str]:
    """Where a state was made, and that bits may differ from then on; nothing where it was made as it goes on."""
    if made_on == here:
        return {}
    # What another wrote is cut, and all else of it is JSON's to escape.
    places = f"made on {made_on[:MAX_PLACE] or CPU}, and run from here by {here or CPU}"
    return {"bits_may_differ": f"{places}: rounded differently, so answers may differ in their last bits"}


def session_content(facts: Facts) -> dict[str, Any]:
    """A session as the contract shows it; times are RFC 3339, null for never; an offset where there is one."""
    reach = {} if facts.reach.offset == NO_OFFSET else {"source": facts.reach.source, "offset": facts.reach.offset}
    return {
        "session_id": facts.session_id,
        "model": facts.model,
        "version": facts.version,
        "steps": facts.steps,
        "opened_at": time_content(facts.opened_at),
        "expires_at": time_content(facts.expires_at),
        **reach,
    }


def _of_tenant(facts: Facts) -> dict[str, Any]:
    """A session and whose it is; ``session_id`` is as its tenant has it."""
    name = facts.session_id
    tenant = tenant_of(name) or DEFAULT_TENANT
    return {"tenant": tenant, **session_content(facts._replace(session_id=session_id_of(name)))}


def _opened(facts: Facts) -> Response:
    response = json_response(session_content(facts), status=201)
    response.headers = ((b"location", f"/v1/sessions/{facts.session_id}".encode()),)
    return response


def time_content(seconds: float) -> str | None:
    """A time as RFC 3339; null for never."""
    return None if math.isinf(seconds) else datetime.fromtimestamp(seconds, UTC).isoformat()
