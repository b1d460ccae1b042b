"""The gRPC server of a worker, in the event loop of all else: what it serves, its limits, its drain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ostinato.service.config import Settings
from ostinato.service.edge.access import REFRESH_SECONDS
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.oip.grpc.calls import REQUEST_ID, UnaryCalls, abort, caller_of, readable, tag_of
from ostinato.service.edge.oip.grpc.credentials import credentials_of
from ostinato.service.edge.oip.grpc.health import HEALTH_SERVICE, HealthCalls
from ostinato.service.edge.oip.grpc.port import address_of
from ostinato.service.edge.oip.grpc.stream import NAME, ROUTE, InferStream
from ostinato.service.edge.oip.grpc.wire import POOL, SERVICE, reader
from ostinato.service.edge.routes import Routes
from ostinato.service.edge.witness import Witness
from ostinato.service.errors import OstinatoError

LEAVE_SECONDS = 5.0
"""How long clients may take to read their last answers when the drain is over."""
MAX_CALLS = 1024
"""Under way on one connection, inclusive; a client has further ones wait."""
MIN_PING_SECONDS = 5
"""A client that pings more often than that, and has nothing under way, is sent away."""
REFLECTION_VERSIONS = ("v1", "v1alpha")
"""Of the same messages; clients ask for the one or the other."""


class GrpcServer:
    """Serves the Open Inference Protocol, health and reflection.

    Args:
        port: that the parent holds, or 0 = any free one.
        is_ready: whether requests should come here.
    """

    def __init__(
        self,
        routes: Routes,
        desk: Desk,
        settings: Settings,
        port: int,
        is_ready: Callable[[], bool],
    ) -> None:
        self._routes = routes
        self._desk = desk
        self._settings = settings
        self.port = port
        self._unary = UnaryCalls(routes, desk, is_ready)
        self._health = HealthCalls(is_ready, desk)
        self._streams: set[InferStream] = set()
        self._lookers: set[asyncio.Task[Any]] = set()
        self._draining = False
        self._server: Any = None
        self._stopping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        state = ", draining" if self._draining else ""
        return f"<GrpcServer :{self.port}, {len(self._streams)} streams, {self.num_requests} requests in them{state}>"

    @property
    def num_requests(self) -> int:
        """Requests of streams whose answers have not been taken; all others are the desk's."""
        return sum(stream.num_requests for stream in self._streams)

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port cannot be had, or a file of the credentials not be read.
        """
        server = grpc.aio.server(options=options_of(self._settings, self._desk))
        server.add_generic_rpc_handlers((self._handlers(), self._health.handlers(), *self._reflection()))
        address = address_of(self._settings.host, self.port)
        credentials = credentials_of(self._settings)
        try:
            if credentials is None:
                self.port = server.add_insecure_port(address)
            else:
                self.port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise OSError(f"the gRPC port {address} cannot be had: {error}") from error
        await server.start()
        self._server = server
        if self._desk.access is not None:
            self._lookers.add(self._desk.loop.create_task(self._sweep()))

    async def _sweep(self) -> None:
        """See that no stream outlives its key, until the drain."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            for stream in self._streams:
                stream.sweep()

    def drain(self) -> None:
        """Take no new calls, have clients told so, and streams end when they have answered what they took."""
        if self._server is None or self._draining:
            return
        self._draining = True
        grace_seconds = self._settings.drain_seconds + LEAVE_SECONDS
        self._stopping = self._desk.loop.create_task(self._server.stop(grace_seconds))
        self._health.end()
        for task in self._lookers:
            task.cancel()
        for stream in self._streams:
            stream.drain()

    async def stop(self) -> None:
        """End, when clients have read what they were answered or ``LEAVE_SECONDS`` have passed."""
        if self._server is None:
            return
        self.drain()
        await self._server.stop(LEAVE_SECONDS)
        if self._stopping is not None:
            await self._stopping
        self._server = None

    def _handlers(self) -> grpc.GenericRpcHandler:
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(behaviour) for name, behaviour in self._unary.behaviours().items()
        }
        handlers[NAME] = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def _stream(self, _: object, context: Any) -> None:
        tag = tag_of(context, self._desk)
        try:
            caller = caller_of(context, NAME, self._desk)
        except OstinatoError as error:
            problem = self._desk.refuse(error, f"gRPC {NAME}", tag)
            Witness(self._desk, "gRPC", ROUTE, ROUTE, tag=tag, peer=context.peer()).end(
                problem.status, time.perf_counter(), code=problem.code
            )
            await abort(context, problem)
            return
        context.set_trailing_metadata(((REQUEST_ID, tag.request_id.decode()),))
        stream = InferStream(context, self._routes, caller, self._desk, self._settings, tag)
        self._streams.add(stream)
        if self._draining:
            stream.drain()
        try:
            await stream.run()
        finally:
            self._streams.discard(stream)

    def _reflection(self) -> list[grpc.GenericRpcHandler]:
        """What tells clients of messages and calls that they do not know."""
        for file in (health_pb2, reflection_pb2):
            POOL.AddSerializedFile(file.DESCRIPTOR.serialized_pb)
        services = [SERVICE, HEALTH_SERVICE, reflection.SERVICE_NAME]
        servicer = reflection.aio.ReflectionServicer(services, POOL)

        async def answer(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            task = asyncio.current_task()
            assert task is not None
            self._lookers.add(task)
            read = (await readable(request, context, self._desk, "ServerReflectionInfo") async for request in requests)
            try:
                async for response in servicer.ServerReflectionInfo(read, context):
                    yield response
            except asyncio.CancelledError:
                if not self._draining:
                    raise  # the client is gone
                task.uncancel()
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down; connect again")
            finally:
                self._lookers.discard(task)

        handler = grpc.stream_stream_rpc_method_handler(
            answer,
            reader(reflection_pb2.ServerReflectionRequest),
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return [
            grpc.method_handlers_generic_handler(
                f"grpc.reflection.{version}.ServerReflection", {"ServerReflectionInfo": handler}
            )
            for version in REFLECTION_VERSIONS
        ]


def options_of(settings: Settings, desk: Desk) -> list[tuple[str, int]]:
    """GRPC's own limits. It knows no setting for how long a message may take to come: a stream's may take for ever."""
    options = {
        "grpc.so_reuseport": 1,
        "grpc.max_receive_message_length": settings.max_body_bytes,
        # An answer that is larger is refused in our own words.
        "grpc.max_send_message_length": -1,
        "grpc.max_concurrent_streams": MAX_CALLS,
        "grpc.max_allowed_incoming_connections": desk.max_connections,
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.http2.min_recv_ping_interval_without_data_ms": MIN_PING_SECONDS * 1000,
        "grpc.http2.max_pings_without_data": 0,
    }
    if settings.stream_ping_seconds:
        options["grpc.keepalive_time_ms"] = max(1, int(settings.stream_ping_seconds * 1000))
        options["grpc.keepalive_timeout_ms"] = options["grpc.keepalive_time_ms"]
    if settings.head_seconds:
        options["grpc.server_handshake_timeout_ms"] = max(1, int(settings.head_seconds * 1000))
    if settings.connection_seconds:
        options["grpc.max_connection_age_ms"] = max(1, int(settings.connection_seconds * 1000))
    return list(options.items())
