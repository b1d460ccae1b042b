"""Live models under ``/v1/admin``: versions loaded while the service runs, and which is meant by which name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from ostinato.service.catalogue.canaries import why_unfit
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.catalogue.decisions import Decisions, Leaving, ModelDecisions
from ostinato.service.catalogue.reload import LiveModels
from ostinato.service.edge.message import Request, Response, json_response
from ostinato.service.edge.methods import other_handler
from ostinato.service.edge.v1.large import read_body
from ostinato.service.edge.v1.schemas import CanaryBody, DecisionBody, ShadowBody, UnloadBody
from ostinato.service.errors import DeadlineExceeded, InvalidInput, UnknownModel, UnknownRoute
from ostinato.service.inference.departures import Departures
from ostinato.service.inference.migration import check_takes_the_same
from ostinato.service.inference.shadows import check_shadow

AdminHandler = Callable[[Request], Awaitable[Response]]

_CANARY = msgspec.json.Decoder(CanaryBody)
_UNLOAD = msgspec.json.Decoder(UnloadBody)
_DECISION = msgspec.json.Decoder(DecisionBody)
_SHADOW = msgspec.json.Decoder(ShadowBody)
ROOT = "/v1/admin/models/{}"
SHARE_OF_DEADLINE = 0.8
"""How much of it a request waits for a load or an unload, which goes on afterwards."""


class AdminRoutes:
    """Handlers of ``/v1/admin``.

    Args:
        deadline_seconds: of a request; 0 = none.
    """

    def __init__(
        self, catalogue: Catalogue, live: LiveModels, departures: Departures, deadline_seconds: float = 0
    ) -> None:
        self._catalogue = catalogue
        self._live = live
        self._departures = departures
        self._patience_seconds = SHARE_OF_DEADLINE * deadline_seconds or None
        self.table: dict[str, dict[str, AdminHandler]] = {
            ROOT: {"GET": self.show},
            f"{ROOT}/default": {"PUT": self.set_default, "DELETE": self.unset_default},
            f"{ROOT}/aliases/{{}}": {"PUT": self.set_alias, "DELETE": self.unset_alias},
            f"{ROOT}/canary": {"PUT": self.set_canary, "DELETE": self.unset_canary},
            f"{ROOT}/shadow": {"PUT": self.set_shadow, "DELETE": self.unset_shadow},
            f"{ROOT}/rollback": {"POST": self.roll_back},
            f"{ROOT}/versions/{{}}/load": {"POST": self.load},
            f"{ROOT}/versions/{{}}/unload": {"POST": self.unload},
        }

    def route(self, method: str, path: str, parts: Sequence[str]) -> tuple[str, str, AdminHandler]:
        """The route that serves a path, whose ``parts`` are these: its pattern, ``model`` or ``model/name``, and the
        handler.

        Raises:
            UnknownRoute, MethodNotAllowed.
        """
        names = [part for place, part in enumerate(parts) if place in (4, 6)]
        pattern = "/".join("{}" if place in (4, 6) else part for place, part in enumerate(parts))
        handlers = self.table.get(pattern)
        if handlers is None or not all(names):
            raise UnknownRoute(f"there is no {path}; /docs has the routes")
        handler = handlers.get(method)
        if handler is None:
            handler = other_handler(method, pattern, handlers)
        return pattern, "/".join(names), handler

    async def show(self, request: Request) -> Response:
        """What was decided about a model, and which versions are served."""
        self._catalogue.versions(request.name)
        return json_response(self._content(request.name, self._catalogue.decisions))

    async def load(self, request: Request) -> Response:
        """Serve a version of the repository; or say that it is still being loaded, and for whoever asks again."""
        model, _, version = request.name.partition("/")
        load = self._live.load(model, version)
        await asyncio.wait([load], timeout=self._patience_seconds)
        if not load.done():
            return json_response({"model": model, "version": version, "status": "loading"}, 202)
        load.result()
        return json_response({"model": model, "version": version, "status": "ready"})

    async def set_default(self, request: Request) -> Response:
        """Say which version is meant where none is named."""
        version = await self._served(request.name, (await read_body(request, _DECISION)).version)
        return await self._decided(request.name, lambda decisions: decisions.with_default(request.name, version))

    async def unset_default(self, request: Request) -> Response:
        """Have the latest version meant again."""
        self._catalogue.versions(request.name)
        return await self._decided(request.name, lambda decisions: decisions.with_default(request.name, ""))

    async def set_alias(self, request: Request) -> Response:
        """Give a version another name."""
        model, _, alias = request.name.partition("/")
        is_known = alias in self._catalogue.decisions.of(model).aliases
        if not is_known and await self._live.is_version(model, alias):
            raise InvalidInput(f"model {model!r} has a version {alias!r}, so that can be no alias", field="alias")
        version = await self._served(model, (await read_body(request, _DECISION)).version)
        return await self._decided(model, lambda decisions: decisions.with_alias(model, alias, version))

    async def unset_alias(self, request: Request) -> Response:
        """Take a name away."""
        model, _, alias = request.name.partition("/")
        self._catalogue.versions(model)
        return await self._decided(model, lambda decisions: decisions.with_alias(model, alias, None))

    async def set_canary(self, request: Request) -> Response:
        """Have a share of new sessions run another version than is meant where none is named."""
        body = await read_body(request, _CANARY)
        version = await self._served(request.name, body.version)
        meant, canary = self._catalogue.resolve(request.name), self._catalogue.resolve(request.name, version)
        check_takes_the_same(meant.manifest, canary.manifest)
        if why := why_unfit(meant.manifest, canary.manifest):
            raise InvalidInput(why, field="version")
        return await self._decided(
            request.name, lambda decisions: decisions.with_canary(request.name, version, body.share)
        )

    async def unset_canary(self, request: Request) -> Response:
        """Have all new sessions run the version that is meant where none is named."""
        self._catalogue.versions(request.name)
        return await self._decided(request.name, lambda decisions: decisions.with_canary(request.name, "", 0.0))

    async def unload(self, request: Request) -> Response:
        """Serve a version no more; what becomes of its sessions the body says."""
        model, _, version = request.name.partition("/")
        body = await read_body(request, _UNLOAD) if request.body else UnloadBody()
        target = ""
        if body.sessions == "migrate":
            if body.version is None or body.version == version:
                raise InvalidInput("say with which other version they continue", field="version")
            target = await self._served(model, body.version)
        unload = self._departures.begin(model, version, Leaving(body.sessions, target))
        await asyncio.wait([unload], timeout=self._patience_seconds)
        if not unload.done():
            raise DeadlineExceeded(
                f"{model}/{version} is being unloaded, and that continues: no session of it begins any more; repeat "
                "the request"
            )
        self._departures.forget(model, version)
        content = {"model": model, "version": version, "status": "unloaded", "sessions": unload.result()}
        return json_response(content)

    async def set_shadow(self, request: Request) -> Response:
        """Have a version run a copy of the traffic."""
        body = await read_body(request, _SHADOW)
        version = await self._served(request.name, body.version)

        def decide(decisions: Decisions) -> Decisions:
            # By what is decided by now, of which this worker need not have heard yet.
            check_shadow(self._catalogue, request.name, version, decisions.of(request.name).default)
            return decisions.with_shadow(request.name, version, body.share)

        return await self._decided(request.name, decide)

    async def unset_shadow(self, request: Request) -> Response:
        """Have no version run a copy of the traffic."""
        self._catalogue.versions(request.name)
        return await self._decided(request.name, lambda decisions: decisions.with_shadow(request.name, "", 0.0))

    async def roll_back(self, request: Request) -> Response:
        """Take the last decision back."""
        self._catalogue.versions(request.name)
        return await self._decided(request.name, lambda decisions: decisions.rolled_back(request.name))

    async def _served(self, model: str, version: str) -> str:
        """A version that is served, by its own name or an alias; one that another worker was told to load is loaded."""
        try:
            return self._catalogue.resolve_any(model, version).manifest.version
        except UnknownModel:
            await self._live.catch_up(model, self._patience_seconds)
            return self._catalogue.resolve_any(model, version).manifest.version

    async def _decided(self, model: str, decide: Callable[[Decisions], Decisions]) -> Response:
        """Decide, unless a name would mean a version that is not served and that it did not mean before."""

        def decide_soundly(decisions: Decisions) -> Decisions:
            decided = decide(decisions)
            for version in sorted(decided.of(model).newly_meant(decisions.of(model))):
                self._catalogue.resolve_own(model, version)
            return decided

        try:
            decided = await self._live.change(decide_soundly)
        except UnknownModel:
            await self._live.catch_up(model, self._patience_seconds)
            decided = await self._live.change(decide_soundly)
        return json_response(self._content(model, decided))

    def _content(self, model: str, decisions: Decisions) -> dict[str, Any]:
        decided = decisions.of(model)
        return {
            "model": model,
            "default": decided.default or None,
            "aliases": decided.aliases,
            "canary": self._canary(model, decided),
            "shadow": {"version": decided.shadow, "share": decided.shadow_share} if decided.shadow else None,
            "versions": list(self._catalogue.versions(model)),
            "unloading": sorted({*decided.leaving} - {*decided.unloaded}),
            "failed": [{"version": each.version, "reason": each.reason} for each in self._catalogue.rejected(model)],
        }

    def _canary(self, model: str, decided: ModelDecisions) -> dict[str, Any] | None:
        """The canary, and why no session begins with it, where none does at this worker."""
        if not decided.canary:
            return None
        content: dict[str, Any] = {"version": decided.canary, "share": decided.canary_share}
        canary, meant = self._catalogue.engine_named(model, decided.canary), self._catalogue.engine_meant(model)
        if canary is None or meant is None:
            content["not_drawn"] = f"version {decided.canary if canary is None else decided.default!r} is not served"
        elif why := self._catalogue.why_not_drawn(canary, meant):
            content["not_drawn"] = why
        return content
