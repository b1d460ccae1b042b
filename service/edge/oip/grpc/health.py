"""Health by gRPC's own service, which follows the worker's readiness."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from ostinato.service.edge.desk import Desk
from ostinato.service.edge.oip.grpc.calls import readable
from ostinato.service.edge.oip.grpc.wire import SERVICE, reader

HEALTH_SERVICE = "grpc.health.v1.Health"
NAMES = ("", SERVICE)
"""What is asked for: the server as a whole, or its one service."""
LOOK_SECONDS = 0.2

Status = health_pb2.HealthCheckResponse.ServingStatus


class HealthCalls:
    """What answers probes.

    However many watch, one task looks whether there is something to tell them.

    Args:
        is_ready: whether requests should come here.
    """

    def __init__(self, is_ready: Callable[[], bool], desk: Desk) -> None:
        self._is_ready = is_ready
        self._desk = desk
        self._over = False
        self._num_watching = 0
        self._change: asyncio.Task[None] | None = None

    def handlers(self) -> grpc.GenericRpcHandler:
        """As gRPC takes them."""
        read, write = reader(health_pb2.HealthCheckRequest), health_pb2.HealthCheckResponse.SerializeToString
        check = grpc.unary_unary_rpc_method_handler(self.check, read, write)
        watch = grpc.unary_stream_rpc_method_handler(self.watch, read, write)
        return grpc.method_handlers_generic_handler(HEALTH_SERVICE, {"Check": check, "Watch": watch})

    async def check(self, request: Any, context: Any) -> Any:
        """The status now."""
        await readable(request, context, self._desk, "Check")
        if request.service not in NAMES:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no service {request.service[:200]!r} here")
        return health_pb2.HealthCheckResponse(status=self._status())

    async def watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """The status, and each other one that follows."""
        await readable(request, context, self._desk, "Watch")
        is_known = request.service in NAMES
        told = None
        self._num_watching += 1
        try:
            while True:
                is_over = self._over
                status = self._status() if is_known else Status.Value("SERVICE_UNKNOWN")
                if status != told:
                    told = status
                    yield health_pb2.HealthCheckResponse(status=status)
                elif is_over:  # and there may have been a change while that was sent
                    return
                else:
                    if self._change is None or self._change.done():
                        self._change = asyncio.create_task(self._wait_for_change(self._status()))
                    await asyncio.wait([self._change])
        finally:
            self._num_watching -= 1
            if not self._num_watching and self._change is not None:
                self._change.cancel()

    def end(self) -> None:
        """Tell those that watch for the last time."""
        self._over = True

    async def _wait_for_change(self, status: Any) -> None:
        # From what was told, and not from what is when this task has its first turn.
        while not self._over and self._status() == status:
            await asyncio.sleep(LOOK_SECONDS)

    def _status(self) -> Any:
        return Status.Value("SERVING" if self._is_ready() and not self._over else "NOT_SERVING")
