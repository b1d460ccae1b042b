"""Health by gRPC's own service, which follows the worker's readiness."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from ostinato.service.edge.oip.grpc.wire import SERVICE

HEALTH_SERVICE = "grpc.health.v1.Health"
NAMES = ("", SERVICE)
"""What is asked for: the server as a whole, or its one service."""
LOOK_SECONDS = 0.2

Status = health_pb2.HealthCheckResponse.ServingStatus


class HealthCalls:
    """What answers probes.

    Args:
        is_ready: whether requests should come here.
    """

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready
        self._over = False

    def handlers(self) -> grpc.GenericRpcHandler:
        """As gRPC takes them."""
        request, response = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        check = grpc.unary_unary_rpc_method_handler(self.check, request.FromString, response.SerializeToString)
        watch = grpc.unary_stream_rpc_method_handler(self.watch, request.FromString, response.SerializeToString)
        return grpc.method_handlers_generic_handler(HEALTH_SERVICE, {"Check": check, "Watch": watch})

    async def check(self, request: Any, context: Any) -> Any:
        """The status now."""
        if request.service not in NAMES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service[:200]!r} here")
        return health_pb2.HealthCheckResponse(status=self._status())

    async def watch(self, request: Any, _: Any) -> AsyncIterator[Any]:
        """The status, and each other one that follows."""
        told = None
        while True:
            is_known, is_over = request.service in NAMES, self._over
            status = self._status() if is_known else Status.Value("SERVICE_UNKNOWN")
            if status != told:
                told = status
                yield health_pb2.HealthCheckResponse(status=status)
            if is_over:
                return
            await asyncio.sleep(LOOK_SECONDS)

    def end(self) -> None:
        """Tell those that watch for the last time."""
        self._over = True

    def _status(self) -> Any:
        return Status.Value("SERVING" if self._is_ready() and not self._over else "NOT_SERVING")
