"""Lives of sessions beyond one version: checkpoints, from which others begin, and migrations to another version."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import msgspec

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.message import Request, Response, json_response
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.large import read_body
from ostinato.service.edge.v1.schemas import CheckpointBody, CheckpointQuery, MigrateBody
from ostinato.service.edge.v1.sessions import session_content, time_content
from ostinato.service.inference.migration import Migration, migrate
from ostinato.service.sessions.checkpoints import CheckpointShelf
from ostinato.service.sessions.refusals import apply
from ostinato.service.sessions.session import Facts, LiveSession
from ostinato.service.sessions.sessions import Sessions

_CHECKPOINT = msgspec.json.Decoder(CheckpointBody)
_MIGRATE = msgspec.json.Decoder(MigrateBody)


class LifeRoutes:
    """Handlers of ``/v1/checkpoints``, and of a session's ``checkpoint`` and ``migrate``."""

    def __init__(self, catalogue: Catalogue, sessions: Sessions, checkpoints: CheckpointShelf) -> None:
        self._catalogue, self._sessions, self._checkpoints = catalogue, sessions, checkpoints

    async def save(self, request: Request) -> Response:
        """Keep a session as it is now, by a name."""
        body = await read_body(request, _CHECKPOINT)

        def save(session: LiveSession) -> Awaitable[Facts]:
            return self._checkpoints.save(session, body.name)

        return json_response(_content(await apply(self._sessions, request.name, save)), status=201)

    async def list(self, request: Request) -> Response:
        """A page of the checkpoints."""
        query = codec.decode_query(request.query_string, CheckpointQuery)
        page = await self._checkpoints.page(query.limit, query.cursor or None)
        content: dict[str, Any] = {
            "checkpoints": [_content(facts) for facts in page.sessions],
            "next_cursor": page.next_cursor,
        }
        if page.num_unreadable:
            content["unreadable"] = page.num_unreadable
        return json_response(content)

    async def show(self, request: Request) -> Response:
        """A look at a checkpoint."""
        return json_response(_content(await self._checkpoints.look(request.name)))

    async def delete(self, request: Request) -> Response:
        """Forget a checkpoint."""
        await self._checkpoints.delete(request.name)
        return Response(204, b"")

    async def migrate(self, request: Request) -> Response:
        """Have a session go on by another version of its model."""
        body = await read_body(request, _MIGRATE)

        async def go_on(session: LiveSession) -> Migration:
            engine = self._catalogue.resolve(session.engine.manifest.name, body.version)
            return await migrate(self._sessions, session, engine)

        migration = await apply(self._sessions, request.name, go_on)
        return json_response(
            {
                **session_content(migration.facts),
                "former_version": migration.former.version,
                "replayed": migration.replayed,
                "difference": migration.difference,
                "output_before": _words(migration.former, migration.before),
                "output_after": _words(migration.manifest, migration.after),
            }
        )


def _content(facts: Facts) -> dict[str, Any]:
    return {
        "name": facts.session_id,
        "model": facts.model,
        "version": facts.version,
        "steps": facts.steps,
        "saved_at": time_content(facts.opened_at),
    }


def _words(manifest: Any, row: Any) -> Any:
    return None if row is None else manifest.made.words(row)
