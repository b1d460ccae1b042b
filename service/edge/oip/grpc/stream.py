"""Streams of inference: any number of sequences side by side on one call, each answered in its order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Any

import grpc

from ostinato.service.config import Settings
from ostinato.service.edge.access import Caller
from ostinato.service.edge.desk import UNREAD, Desk
from ostinato.service.edge.oip.grpc.calls import GrpcCall, serialized
from ostinato.service.edge.oip.grpc.conversion import read_request, write_error, write_streamed
from ostinato.service.edge.oip.grpc.wire import SERVICE, ModelInferRequest, WireMessage, parse
from ostinato.service.edge.routes import Routes
from ostinato.service.edge.tags import Tag
from ostinato.service.edge.witness import Witness
from ostinato.service.errors import Draining, InvalidInput, Unauthenticated

NAME = "ModelStreamInfer"
ROUTE = f"/{SERVICE}/{NAME}"
KEY_REVOKED = "the key was revoked, or changed; call again"


class StreamedCall(GrpcCall):
    """One request of a stream.

    Attributes:
        span: of its trace; None = it has none.
        message: None where the bytes were none, or where it is not to be answered but refused with ``failure``.
    """

    __slots__ = ("failure", "message", "num_bytes", "span")

    def __init__(self, num_bytes: int) -> None:
        super().__init__()
        self.num_bytes = num_bytes
        self.span: Any = None
        self.message: WireMessage = None
        self.failure: Exception | None = None


class InferStream:
    """The requests of one stream.

    Those of one sequence are applied in the order sent, one behind the other, and answered in it; all others run side
    by side. While ``max_stream_frames`` of them, or more bytes than ``max_body_bytes``, are not answered, or their
    answers not taken, no further one is read, and HTTP/2 has the client wait. One that fails is answered with its
    error, and the stream continues.

    Where the client is gone or has cancelled, what has not begun is dropped, and what has begun is committed.
    """

    def __init__(
        self, context: Any, routes: Routes, caller: Caller[Routes] | None, desk: Desk, settings: Settings, tag: Tag
    ) -> None:
        self._context = context
        self._caller = caller
        self._inference = (routes if caller is None else caller.served).inference
        self._desk = desk
        self._witness = Witness(desk, "gRPC", ROUTE, ROUTE, tag=tag, peer=context.peer(), caller=caller)
        self._max_requests = settings.max_stream_frames
        self._num_requests = self._num_bytes = 0
        # By sequence: what is asked of it, the first of which is under way.
        self._lines: dict[Hashable, deque[StreamedCall]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: deque[tuple[StreamedCall, bytes]] = deque()
        self._woken = asyncio.Event()
        self._has_room = asyncio.Event()
        self._draining = self._is_revoked = False

    @property
    def num_requests(self) -> int:
        """Read, and not yet answered, or with an answer that is not yet taken."""
        return self._num_requests

    def drain(self) -> None:
        """Refuse what comes from now on, and end when all that came before is answered."""
        self._draining = True
        self._woken.set()

    def sweep(self) -> None:
        """End, where the key is none any more."""
        access = self._desk.access
        if access is not None and self._caller is not None and not access.is_valid(self._caller):
            self._is_revoked = True
            self._woken.set()

    async def run(self) -> None:
        """Answer until the client has sent its last and has all answers."""
        reader = asyncio.ensure_future(self._read())
        reader.add_done_callback(lambda _: self._woken.set())
        try:
            await self._write(reader)
        except TimeoutError:
            await self._end([reader, *self._tasks])
            self._desk.count_refusal(UNREAD)
            # It is told as soon as it reads again.
            await self._context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the answers were not read")
        finally:
            await self._end([reader, *self._tasks])
        if self._is_revoked:
            await self._context.abort(grpc.StatusCode.UNAUTHENTICATED, KEY_REVOKED)
        if self._draining and not (reader.done() and not reader.cancelled()):
            sentence = "the server is shutting down; what is not answered was not applied: connect again and send it"
            await self._context.abort(grpc.StatusCode.UNAVAILABLE, sentence, (("retry-after", "1"),))

    async def _write(self, reader: asyncio.Future[None]) -> None:
        """Send answers as they are made.

        Raises:
            TimeoutError: the client does not read them.
        """
        patience_seconds = self._desk.patience_seconds or None
        while True:
            while self._answers:
                call, content = self._answers.popleft()
                async with asyncio.timeout(patience_seconds):
                    await self._context.write(content)
                self._num_requests -= 1
                self._num_bytes -= call.num_bytes + len(content)
                self._has_room.set()
            if self._is_revoked:
                return
            if not self._lines and (self._draining or reader.done()):
                if reader.done():
                    reader.result()  # raises what it failed of
                return
            self._woken.clear()
            await self._woken.wait()

    async def _read(self) -> None:
        """Take requests until the last."""
        context = self._context
        while True:
            while self._num_requests >= self._max_requests or self._num_bytes > self._desk.max_body_bytes:
                self._has_room.clear()
                await self._has_room.wait()
            content = await context.read()
            if content is grpc.aio.EOF:
                return
            self._take(content)

    def _take(self, content: bytes) -> None:
        call = StreamedCall(len(content))
        self._num_requests += 1
        self._num_bytes += call.num_bytes
        self._desk.under_way[call] = None
        try:
            call.message = parse(ModelInferRequest, content)
        except InvalidInput as error:
            call.failure = error
        if self._draining:
            call.failure = Draining("the server is shutting down; connect again and send it there")
        key = _line_of(call)
        line = self._lines.get(key)
        if line is not None:
            line.append(call)
            return
        self._lines[key] = line = deque((call,))
        task = self._desk.loop.create_task(self._serve(key, line))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, key: Hashable, line: deque[StreamedCall]) -> None:
        """Answer what is asked of one sequence, until nothing more is."""
        try:
            while line:
                call = line[0]
                try:
                    answer = await self._answer(call)
                finally:
                    self._desk.under_way.pop(call, None)
                self._num_bytes += len(answer)
                self._answers.append((call, answer))
                self._woken.set()
                line.popleft()
        finally:
            del self._lines[key]
            for call in line:
                self._desk.under_way.pop(call, None)
            self._woken.set()

    async def _answer(self, call: StreamedCall) -> bytes:
        """The answer to a request, whatever comes of it."""
        desk = self._desk
        call.task = task = asyncio.current_task(desk.loop)
        call.span = self._witness.begin(call.arrived_at)
        try:
            if call.failure is not None:
                raise call.failure
            if call.is_late:
                raise desk.too_late()
            if desk.access is not None and self._caller is not None and not desk.access.is_valid(self._caller):
                raise Unauthenticated(KEY_REVOKED)
            response = await self._inference.infer(await read_request(call.message, call.num_bytes))
            content = serialized(write_streamed(response), desk)
        except asyncio.CancelledError:
            assert task is not None
            if not call.is_late or task.uncancel():  # the stream has ended, late or not
                raise
            error: Exception = desk.too_late()
        except Exception as failure:
            error = failure
        else:
            self._witness.end(200, call.arrived_at, call.span, num_bytes=len(content))
            return content
        finally:
            call.task = None
        problem = self._witness.refuse(error, f"a request of gRPC {NAME}")
        self._witness.end(problem.status, call.arrived_at, call.span, code=problem.code)
        request_id = "" if call.message is None else call.message.id
        failed: bytes = write_error(problem, problem.sentence, request_id).SerializeToString()
        return failed

    async def _end(self, tasks: list[asyncio.Future[None]]) -> None:
        for line in self._lines.values():
            for call in list(line)[1:]:  # the first is under way
                self._desk.under_way.pop(call, None)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._num_requests = 0


def _line_of(call: StreamedCall) -> Hashable:
    """What a request waits in: its sequence's line, or one of its own."""
    message = call.message
    if message is not None and "sequence_id" in message.parameters:
        parameter = message.parameters["sequence_id"]
        kind = parameter.WhichOneof("parameter_choice")
        sequence_id = kind and getattr(parameter, kind)
        if sequence_id:
            return message.model_name, type(sequence_id), sequence_id
    return call
