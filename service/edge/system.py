"""Routes for who runs the service: liveness, readiness and metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from ostinato.service.edge.message import Response, json_response, options
from ostinato.service.errors import MethodNotAllowed
from ostinato.service.metrics.series import Metrics

METHODS = ("GET", "HEAD", "OPTIONS")


class SystemRoutes:
    """``/livez``, ``/healthz``, ``/readyz`` and ``/metrics``; probes and scrapes are not counted as requests.

    Args:
        readiness: tells whether the service is ready, and what readiness answers.
    """

    paths = ("/livez", "/healthz", "/readyz", "/metrics")

    def __init__(self, metrics: Metrics, readiness: Callable[[], tuple[bool, dict[str, Any]]]) -> None:
        self._metrics = metrics
        self._readiness = readiness

    def answer(self, method: str, path: str) -> Response:
        """Answer a request for one of ``paths``.

        Raises:
            MethodNotAllowed.
        """
        if method == "OPTIONS":
            return options(METHODS)
        if method not in METHODS:
            raise MethodNotAllowed(f"{path} takes GET, not {method}", METHODS)
        if path == "/metrics":
            return Response(200, self._metrics.render(), "text/plain; version=0.0.4; charset=utf-8")
        if path == "/readyz":
            ready, content = self._readiness()
            return Response(200 if ready else 503, orjson.dumps(content, option=orjson.OPT_INDENT_2))
        return json_response({"status": "alive"})
