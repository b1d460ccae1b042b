"""Calls with one request and one answer: descriptions, health, inference, and what is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.json_format import ParseDict

from ostinato.service.edge.access import ADMIN, LOOK, METRICS, STEP, Caller
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.oip.grpc.conversion import read_request, write_response
from ostinato.service.edge.oip.grpc.statuses import code_of, shortened, trailing_of
from ostinato.service.edge.oip.grpc.wire import METHODS, SERVICE, ModelInferRequest, WireMessage, WireMethod, parse
from ostinato.service.edge.problems import Problem
from ostinato.service.edge.routes import Routes
from ostinato.service.edge.tags import Tag, request_id, trace_parent
from ostinato.service.edge.witness import Witness
from ostinato.service.errors import InvalidInput, MethodNotAllowed, Starting, TooLarge, UnknownModel

CallHandler = Callable[[WireMessage], Awaitable[WireMessage]]
_NOT_LIVE = "models are loaded by POST /v1/admin/models/{model}/versions/{version}/load, and not unloaded by requests"
_NOT_SHARED = "shared memory is not read or written here: send tensors in the message"
_NOT_SET = "traces and the log are not set by requests: the server's settings have what there is"
REFUSED = {
    "RepositoryModelLoad": _NOT_LIVE,
    "RepositoryModelUnload": _NOT_LIVE,
    "SystemSharedMemoryStatus": _NOT_SHARED,
    "SystemSharedMemoryRegister": _NOT_SHARED,
    "SystemSharedMemoryUnregister": _NOT_SHARED,
    "CudaSharedMemoryStatus": _NOT_SHARED,
    "CudaSharedMemoryRegister": _NOT_SHARED,
    "CudaSharedMemoryUnregister": _NOT_SHARED,
    "TraceSetting": _NOT_SET,
    "LogSettings": _NOT_SET,
}
"""Calls that clients know and this service does not do, and why."""


REQUEST_ID, TRACE_PARENT = "x-request-id", "traceparent"
PUBLIC_CALLS = ("ServerLive", "ServerReady")
CALL_RIGHTS = {
    "ModelInfer": STEP,
    "ModelStreamInfer": STEP,
    "RepositoryModelLoad": ADMIN,
    "RepositoryModelUnload": ADMIN,
    "ModelStatistics": METRICS | ADMIN,
}
"""Any of these rights is needed for a call; for all others that are not public, a look's."""


class GrpcCall:
    """A request under way through gRPC, and the task that answers it; None = it waits.

    ``is_late``: its deadline has passed, so that what its task is cancelled for is known. ``caller``: nobody's, since
    no answer is made bit by bit.
    """

    caller: Caller[Any] | None = None

    __slots__ = ("arrived_at", "is_late", "is_read", "is_streaming", "task")

    def __init__(self, task: asyncio.Task[Any] | None = None) -> None:
        self.arrived_at = time.perf_counter()
        self.is_late = False
        self.is_read = True
        self.is_streaming = False
        self.task = task

    def expire(self) -> None:
        """End it, once."""
        if not self.is_late:
            self.is_late = True
            if self.task is not None:
                self.task.cancel()

    def look_after(self) -> None:
        """A client that hangs up is told by gRPC, which cancels the task."""

    def cut_off(self) -> None:
        """See ``expire``."""
        self.expire()


class UnaryCalls:
    """What answers the calls that have one request.

    Args:
        is_ready: whether requests should come here.
    """

    def __init__(self, routes: Routes, desk: Desk, is_ready: Callable[[], bool]) -> None:
        self._routes = routes
        descriptions = routes.descriptions
        self._descriptions = descriptions
        self._desk = desk
        self._is_ready = is_ready
        self._handlers: dict[str, CallHandler] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server,
            "ModelMetadata": self._model,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            **{name: _refusing(reason) for name, reason in REFUSED.items()},
        }

    def behaviours(self) -> dict[str, Callable[[bytes, Any], Awaitable[bytes]]]:
        """Each call by its name, from bytes to bytes."""
        return {name: self._behaviour(name, METHODS[name]) for name in (*self._handlers, "ModelInfer")}

    def _behaviour(self, name: str, method: WireMethod) -> Callable[[bytes, Any], Awaitable[bytes]]:
        desk, path = self._desk, f"/{SERVICE}/{name}"
        handler = self._handlers.get(name)

        async def answer(content: bytes, context: Any) -> bytes:
            call = GrpcCall(asyncio.current_task(desk.loop))
            desk.under_way[call] = None
            tag = tag_of(context, desk)
            witness = Witness(desk, "gRPC", path, path, tag=tag, peer=context.peer())
            span = witness.begin(call.arrived_at)
            try:
                caller = caller_of(context, name, desk)
                witness.caller = caller
                routes = self._routes if caller is None else caller.served
                if handler is None:
                    request = await read_request(parse(ModelInferRequest, content), len(content))
                    message = write_response(await routes.inference.infer(request))
                else:
                    message = await handler(parse(method.request, content))
                answered = serialized(message, desk)
            except asyncio.CancelledError:
                if not call.is_late:
                    raise  # the client is gone, or its own deadline has passed
                assert call.task is not None
                call.task.uncancel()
                error: Exception = desk.too_late()
            except Exception as failure:
                error = failure
            else:
                context.set_trailing_metadata(((REQUEST_ID, tag.request_id.decode()),))
                witness.end(200, call.arrived_at, span, num_bytes=len(answered))
                return answered
            finally:
                desk.under_way.pop(call, None)
            problem = witness.refuse(error, f"gRPC {name}")
            witness.end(problem.status, call.arrived_at, span, code=problem.code)
            await abort(context, problem)
            raise AssertionError("abort raises")

        return answer

    async def _live(self, _: WireMessage) -> WireMessage:
        return METHODS["ServerLive"].response(live=True)

    async def _ready(self, _: WireMessage) -> WireMessage:
        return METHODS["ServerReady"].response(ready=self._is_ready())

    async def _model_ready(self, request: WireMessage) -> WireMessage:
        try:
            is_ready = self._descriptions.is_ready(request.name, request.version or None)
        except (UnknownModel, Starting):
            is_ready = False  # an answer to this question, and no error
        return METHODS["ModelReady"].response(ready=is_ready)

    async def _server(self, _: WireMessage) -> WireMessage:
        return _made("ServerMetadata", self._descriptions.server())

    async def _model(self, request: WireMessage) -> WireMessage:
        return _made("ModelMetadata", self._descriptions.model(request.name, request.version or None))

    async def _config(self, request: WireMessage) -> WireMessage:
        return _made("ModelConfig", {"config": self._descriptions.config(request.name, request.version or None)})

    async def _statistics(self, request: WireMessage) -> WireMessage:
        return _made("ModelStatistics", self._descriptions.statistics(request.name or None, request.version or None))

    async def _index(self, request: WireMessage) -> WireMessage:
        if request.repository_name:
            raise MethodNotAllowed("there is one repository, which has no name: leave repository_name out", ())
        return _made("RepositoryIndex", {"models": self._descriptions.index(request.ready)})


def caller_of(context: Any, name: str, desk: Desk) -> Caller[Routes] | None:
    """Who calls; None = anybody, since there are no keys, or the call needs none.

    Raises:
        Unauthenticated, Forbidden.
    """
    if desk.access is None or name in PUBLIC_CALLS:
        return None
    metadata = (
        (each, value.encode() if isinstance(value, str) else value) for each, value in context.invocation_metadata()
    )
    caller: Caller[Routes] = desk.access.caller((each.encode(), value) for each, value in metadata)
    caller.check(CALL_RIGHTS.get(name, LOOK), f"gRPC {name}")
    return caller


def tag_of(context: Any, desk: Desk) -> Tag:
    """What a call is called, by its metadata."""
    given: dict[str, list[bytes]] = {}
    for name, value in context.invocation_metadata():
        if name in (REQUEST_ID, TRACE_PARENT):
            given.setdefault(name, []).append(value.encode() if isinstance(value, str) else value)
    parent = trace_parent(given[TRACE_PARENT]) if TRACE_PARENT in given else None
    return Tag(request_id(given.get(REQUEST_ID, ())) or desk.ids.make(), parent)


async def abort(context: Any, problem: Problem) -> None:
    """End a call with an error."""
    await context.abort(code_of(problem), shortened(problem.sentence), trailing_of(problem))


async def readable(request: Any, context: Any, desk: Desk, name: str) -> Any:
    """A request that its ``reader`` could read; the call of any other is ended, which raises."""
    if isinstance(request, InvalidInput):
        await abort(context, desk.refuse(request, f"gRPC {name}", tag_of(context, desk)))
    return request


def serialized(message: WireMessage, desk: Desk) -> bytes:
    """The bytes of an answer.

    Raises:
        TooLarge: they are more than a message may have.
    """
    content: bytes = message.SerializeToString()
    if len(content) > desk.max_body_bytes:
        raise TooLarge(
            f"the answer has {len(content)} bytes, over the limit of {desk.max_body_bytes} (max_body_bytes); what was "
            "sent has been applied: send fewer steps at a time, or ask for fewer outputs"
        )
    return content


def _made(name: str, content: dict[str, Any]) -> WireMessage:
    """A description as the answer of a call."""
    return ParseDict(content, METHODS[name].response())


def _refusing(reason: str) -> CallHandler:
    async def refuse(_: WireMessage) -> WireMessage:
        raise MethodNotAllowed(reason, ())

    return refuse
