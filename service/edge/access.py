"""Access: who asks, by the key that a request shows, and whether the key has the right to what is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

from ostinato.service.access.key import NAME, Key, Right, is_mistyped
from ostinato.service.access.key_file import DEFAULT_TENANT
from ostinato.service.access.keys import Keys
from ostinato.service.errors import Forbidden, InvalidInput, Unauthenticated

REFRESH_SECONDS = 1.0
AUTHORIZATION, API_KEY = b"authorization", b"x-api-key"
PROTOCOL = "ostinato-key."
"""What a browser, which cannot set headers of a WebSocket, puts in front of its key among the subprotocols."""

STEP, READ, ADMIN = frozenset({Right.STEP}), frozenset({Right.READ}), frozenset({Right.ADMIN})
METRICS = frozenset({Right.METRICS})
LOOK = frozenset({Right.STEP, Right.READ, Right.ADMIN})
"""What models there are and what they take, and a look at a session: who steps needs them, and so does who reads."""
ANY = frozenset(Right)

RIGHTS: dict[tuple[str, str], frozenset[Right]] = {
    ("GET", "/v1/models"): LOOK,
    ("GET", "/v1/models/{}"): LOOK,
    ("GET", "/v1/models/{}/stream"): STEP,
    ("GET", "/v1/sessions"): READ | ADMIN,
    ("GET", "/v1/sessions/{}"): LOOK,
    ("GET", "/v1/sessions/{}/state"): READ | ADMIN,
    ("DELETE", "/v1/sessions/{}"): STEP | ADMIN,
    ("GET", "/metrics"): METRICS,
    **{("GET", f"/v2/models{of_model}/stats"): METRICS | ADMIN for of_model in ("", "/{}", "/{}/versions/{}")},
}
"""Any of these rights is needed for a route; what is not listed is a step under POST or PUT, and a look under GET."""
PUBLIC = ("/livez", "/readyz", "/healthz", "/v2/health/live", "/v2/health/ready")
"""Paths that need no key, since who probes has none. They tell nothing of models to who shows none."""

TENANT_PARAMETER = b"tenant"
EVERYBODY = "*"
"""In the place of a tenant's name: all of them."""
MAX_OTHERS = 64
"""Tenants whose sessions an administrator's key looks at, for which something is kept."""

Served = TypeVar("Served")


class Caller(Generic[Served]):
    """Who asks: a key, and what serves its tenant within its limits.

    Attributes:
        served: made for the key when it first asks.
    """

    __slots__ = ("_allowed", "_others", "_serve", "key", "served")

    def __init__(self, key: Key, serve: Callable[[Key], Served]) -> None:
        self.key = key
        self.served = serve(key)
        self._serve = serve
        self._allowed: set[tuple[str, str]] = set()
        self._others: dict[str, Served] = {}

    def serving(self, query: bytes, *, may_be_all: bool = False) -> tuple[Served, bytes]:
        """What serves a request with this query, and the query without what was said to this: of another tenant's
        sessions, where an administrator names one; or of all, where that ``may_be_all``.

        Raises:
            Forbidden: anyone else who names another than their own.
            InvalidInput: it is no tenant's name.
        """
        if TENANT_PARAMETER not in query and b"%" not in query:
            return self.served, query
        given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        named = [value for name, value in given if name == "tenant"]
        if not named:  # it is within another's value
            return self.served, query
        tenant = named[-1]
        if tenant == EVERYBODY and may_be_all:  # which the list of sessions reads
            return self.served, query
        rest = urlencode([(name, value) for name, value in given if name != "tenant"]).encode()
        if tenant == (self.key.tenant or DEFAULT_TENANT):
            return self.served, rest
        self.check(ADMIN, "another tenant's name")
        if tenant != DEFAULT_TENANT and not NAME.fullmatch(tenant):
            raise InvalidInput(
                f"a tenant is 1 to 64 characters of A-Z a-z 0-9 . _ -, or {DEFAULT_TENANT}", field="tenant"
            )
        if tenant not in self._others:
            if len(self._others) >= MAX_OTHERS:
                self._others.clear()
            own = replace(self.key, tenant="" if tenant == DEFAULT_TENANT else tenant, sessions=None)
            self._others[tenant] = self._serve(own)
        return self._others[tenant], rest

    def check_route(self, method: str, pattern: str) -> None:
        """Refuse a route that the key has no right to; raises as ``check``."""
        route = method, pattern
        if route not in self._allowed:
            self.check(needed_for(method, pattern), f"{method} {pattern}")
            self._allowed.add(route)

    def check(self, needed: frozenset[Right], what: str) -> None:
        """Refuse what the key has no right to.

        Raises:
            Forbidden: names the right.
        """
        if self.key.rights.isdisjoint(needed):
            names = " or ".join(right.value for right in Right if right in needed)
            raise Forbidden(f"{what} needs the right {names}, and key {self.key.name!r} has {self.key.shown_rights}")


class Access(Generic[Served]):
    """The callers of a server with keys.

    Args:
        serve: makes what serves a key.
    """

    def __init__(self, keys: Keys, serve: Callable[[Key], Served]) -> None:
        self._keys = keys
        self._serve = serve
        self._callers: dict[bytes, Caller[Served]] = {}
        self._generation = keys.generation

    @property
    def trouble(self) -> str | None:
        """Why the newest keys are not in effect; None = they are."""
        return self._keys.trouble

    def caller(self, headers: Iterable[tuple[bytes, bytes]]) -> Caller[Served]:
        """Who sends a request with these headers, whose names are in small letters.

        Raises:
            Unauthenticated: nobody that is known; in words of what to do.
        """
        shown = None
        for name, value in headers:
            if name == AUTHORIZATION:
                if value[:7].lower() == b"bearer ":
                    shown = value[7:].strip()
            elif name == API_KEY:
                shown = value.strip()
        return self.caller_by(shown)

    def caller_by(self, shown: bytes | None) -> Caller[Served]:
        """Who shows this; raises as ``caller``."""
        if not shown:
            raise Unauthenticated("this server needs a key: send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        key = self._keys.find(shown)
        if key is None:
            how = "it is mistyped or cut short" if is_mistyped(shown) else "it was revoked, or is another server's"
            raise Unauthenticated(f"there is no such key: {how}")
        caller = self._callers.get(key.digest)
        if caller is None or caller.key is not key:
            caller = self._callers[key.digest] = Caller(key, self._serve)
        return caller

    def is_valid(self, caller: Caller[Any]) -> bool:
        """Whether a caller's key is one still, and as it was."""
        return self._keys.holds(caller.key)

    async def keep(self) -> None:
        """Follow the file of keys, for ever."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            await asyncio.to_thread(self._keys.refresh)
            self.forget()

    def forget(self) -> None:
        """Let go of what was made for keys that are none any more."""
        if self._keys.generation != self._generation:
            self._generation = self._keys.generation
            self._callers = {digest: each for digest, each in self._callers.items() if self.is_valid(each)}


def needed_for(method: str, pattern: str) -> frozenset[Right]:
    """The rights of which a caller of a route needs one; ``pattern`` as ``Routes`` has it."""
    method = "GET" if method == "HEAD" else method
    found = RIGHTS.get((method, pattern))
    if found is not None:
        return found
    if pattern.startswith("/v1/admin/") or pattern.endswith(("/load", "/unload")):
        return ADMIN
    return LOOK if method in ("GET", "OPTIONS") or pattern == "/v2/repository/index" else STEP


def shown_in(protocols: Iterable[str]) -> bytes | None:
    """The key among the subprotocols of a handshake; None = there is none."""
    for each in protocols:
        if each.startswith(PROTOCOL):
            return each.removeprefix(PROTOCOL).encode()
    return None
