"""Routes for who runs the service: liveness, readiness and metrics; and the documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ostinato.service.edge.message import Response, json_response
from ostinato.service.edge.methods import READING, options
from ostinato.service.errors import MethodNotAllowed, UnknownRoute
from ostinato.service.metrics.series import Metrics, media_type

HEALTH = (LIVE, READY) = ("/v2/health/live", "/v2/health/ready")
"""Of the Open Inference Protocol."""

HIDDEN = "/static_content"
"""What BentoML's page is made of, which loads scripts from elsewhere."""
_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


class SystemRoutes:
    """Liveness and readiness, under ``/v2/health``, too, and metrics; probes and scrapes are not counted as requests.

    Args:
        readiness: tells whether the service is ready, and what readiness answers.
        documents: further paths, and what answers each.
        public: those of them that need no key, since they hold nothing of this server's.
    """

    paths = ("/livez", "/healthz", "/readyz", "/metrics", *HEALTH)

    def __init__(
        self,
        metrics: Metrics,
        readiness: Callable[[], tuple[bool, dict[str, Any]]],
        documents: Mapping[str, Callable[[], Response]] | None = None,
        public: Mapping[str, Callable[[], Response]] | None = None,
    ) -> None:
        self._metrics = metrics
        self._readiness = readiness
        self._public = public or {}
        self._documents = {**(documents or {}), **self._public}

    def serve(self, path: str) -> bool:
        """Whether a path is answered here, be it with a refusal."""
        return path in self.paths or path in self._documents or path.startswith(HIDDEN)

    def is_public(self, path: str) -> bool:
        """Whether a path is answered to who shows no key."""
        return path in self._public

    def answer(self, method: str, path: str, accept: str = "", *, tells_models: bool = True, has: str = "") -> Response:
        """Answer a request for a path that is served here.

        Args:
            accept: the media types that its client takes.
            has: the marks of what its client has kept (``If-None-Match``): it is not sent again.
            tells_models: whether the client may know what models there are, and why one is not served.

        Raises:
            UnknownRoute, MethodNotAllowed.
        """
        if path.startswith(HIDDEN):
            raise UnknownRoute(f"there is no {path}; /docs has the routes")
        if method == "OPTIONS":
            return options(READING)
        if method not in READING:
            raise MethodNotAllowed(f"{path} takes GET, not {method}", READING)
        if (document := self._documents.get(path)) is not None:
            return _unless_kept(document(), has)
        if path == "/metrics":
            return Response(200, self._metrics.render(accept), media_type(accept))
        if path == "/readyz":
            ready, content = self._readiness()
            content = content if tells_models else {"status": content.get("status", "")}
            return Response(200 if ready else 503, orjson.dumps(content, option=_PRETTY))
        if path == READY:
            ready, _ = self._readiness()
            return json_response({"ready": ready}, 200 if ready else 503)
        if path == LIVE:
            return json_response({"live": True})
        return json_response({"status": "alive"})


def _unless_kept(document: Response, has: str) -> Response:
    """A document, or that the client has it already."""
    mark = next((value.decode() for name, value in document.headers if name == b"etag"), "")
    kept = {each.strip().removeprefix("W/") for each in has.split(",")}
    if mark.removeprefix("W/") not in kept - {""}:
        return document
    return Response(304, b"", document.media_type, document.headers)
