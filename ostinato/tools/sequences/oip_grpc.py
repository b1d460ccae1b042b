"""The Open Inference Protocol over gRPC: a call for each request, or all requests in one stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc.aio
import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from ostinato.errors import CommandError, ServiceUnreachable, WrongAnswer
from ostinato.service.edge.oip.datatypes import BYTES, DTYPES, datatype_of
from ostinato.service.edge.oip.grpc.wire import METHODS, SERVICE
from ostinato.tools.connection import PlainAnswer, Sender
from ostinato.tools.load import LAST_ANSWERS_SECONDS, Load, Recorder, Script
from ostinato.tools.sequences.oip import Ids, OipProtocol
from ostinato.tools.sequences.protocol import Ask, ReadAnswer

_OK, _REFUSED = 200, 400
_UNREACHABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_Infer, _Inferred, _ = METHODS["ModelInfer"]
_StreamInferred = METHODS["ModelStreamInfer"].response
_ANSWER_SECONDS = 30.0


class GrpcProtocol(OipProtocol):
    """Sequences by gRPC; arguments as for ``OipProtocol``.

    Args:
        is_stream: whether all requests go through one stream.
    """

    def __init__(self, url: str, model: str, *, ids: Ids = "numbers", is_stream: bool = False) -> None:
        self._is_stream = is_stream
        super().__init__(url, model, ids=ids)
        self.title = f"gRPC, {'one stream' if is_stream else 'a call each'}"

    def load(self, scripts: Sequence[Script], seconds: float, rate: float, keep: int) -> Load:
        """See ``SequenceProtocol``; there is no rate to keep."""
        assert not rate
        return asyncio.run(self._load(scripts, seconds, keep))

    @contextmanager
    def asking(self) -> Iterator[Ask]:
        """See ``SequenceProtocol``."""
        with grpc.insecure_channel(self.host) as channel:
            call = channel.unary_unary(f"/{SERVICE}/ModelInfer")

            def ask(request: bytes) -> PlainAnswer:
                try:
                    return PlainAnswer(_OK, call(request, timeout=_ANSWER_SECONDS))
                except grpc.RpcError as error:
                    return _refused(error)

            yield ask

    def read(self, answer: PlainAnswer) -> ReadAnswer:
        """See ``SequenceProtocol``."""
        response = _Inferred.FromString(answer.body)
        if len(response.raw_output_contents) != len(response.outputs):
            raise WrongAnswer("an answer's outputs are not in raw_output_contents")
        outputs = {
            output.name: np.frombuffer(raw, np.uint8 if output.datatype == BYTES else DTYPES[output.datatype])
            for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        }
        steps = response.parameters["steps"].int64_param if "steps" in response.parameters else None
        return ReadAnswer(outputs, steps)

    def refusal(self, answer: PlainAnswer) -> str:
        """See ``SequenceProtocol``."""
        return answer.body.decode()

    def _describe(self, model: str, version: str) -> tuple[Any, Any]:
        described = self._ask_for("ModelMetadata", model, version)
        return described, self._ask_for("ModelConfig", model, version).get("config", {})

    def _ask_for(self, method: str, model: str, version: str) -> Any:
        with grpc.insecure_channel(self.host) as channel:
            request = METHODS[method].request(name=model, version=version)
            try:
                answer = channel.unary_unary(f"/{SERVICE}/{method}")(
                    request.SerializeToString(), timeout=_ANSWER_SECONDS
                )
            except grpc.RpcError as error:
                raise CommandError(
                    f"{self.host} answers to {method}: {error.code().name}: {error.details()}"
                ) from error
        return MessageToDict(METHODS[method].response.FromString(answer), preserving_proto_field_name=True)

    def _encode(self, number: int, parameters: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> bytes:
        request = _Infer(model_name=self.model.name, model_version=self._version, id=str(number))
        for name, value in parameters.items():
            kind = {bool: "bool_param", str: "string_param"}.get(type(value), "int64_param")
            setattr(request.parameters[name], kind, value)
        for name, tensor in tensors.items():
            request.inputs.add(name=name, datatype=datatype_of(tensor.dtype), shape=tensor.shape)
            request.raw_input_contents.append(tensor.tobytes())
        content: bytes = request.SerializeToString()
        return content

    async def _load(self, scripts: Sequence[Script], seconds: float, keep: int) -> Load:
        async with grpc.aio.insecure_channel(self.host) as channel:
            senders = [Sender() for _ in scripts]
            recorder = Recorder(keep)
            until = recorder.began_at + seconds
            follow = (
                _Stream(channel, recorder, until).follow if self._is_stream else _Calls(channel, recorder, until).follow
            )
            try:
                async with asyncio.timeout(seconds + LAST_ANSWERS_SECONDS):
                    await follow(senders, scripts)
            except TimeoutError as error:
                raise ServiceUnreachable(f"requests were not answered in {LAST_ANSWERS_SECONDS:g} s") from error
            return recorder.load(senders, until=until)


class _Calls:
    """Each sender makes a call for each of its requests."""

    def __init__(self, channel: grpc.aio.Channel, recorder: Recorder, until: float) -> None:
        self._call = channel.unary_unary(f"/{SERVICE}/ModelInfer")
        self._recorder, self._until = recorder, until

    async def follow(self, senders: Sequence[Sender], scripts: Sequence[Script]) -> None:
        await asyncio.gather(*map(self._follow, senders, scripts))

    async def _follow(self, sender: Sender, script: Script) -> None:
        for turn in script.turns():
            sender.turn, sender.sent_at = turn, time.perf_counter()
            try:
                answer = PlainAnswer(_OK, await self._call(script.requests[turn]))
            except grpc.RpcError as error:
                answer = _refused(error)
            now = time.perf_counter()
            self._recorder.take(sender, answer, now, script.steps_of(turn))
            if now >= self._until:
                return


class _Stream:
    """All senders' requests go through one stream; answers are told apart by their ids."""

    def __init__(self, channel: grpc.aio.Channel, recorder: Recorder, until: float) -> None:
        self._call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")()
        self._recorder, self._until = recorder, until
        self._unsent: asyncio.Queue[bytes] = asyncio.Queue()

    async def follow(self, senders: Sequence[Sender], scripts: Sequence[Script]) -> None:
        # What is read does not wait for what is written: the server may not read on before its answers are.
        writing = asyncio.create_task(self._write())
        try:
            await self._follow(senders, scripts)
        finally:
            writing.cancel()
        await self._call.done_writing()

    async def _write(self) -> None:
        while True:
            await self._call.write(await self._unsent.get())

    async def _follow(self, senders: Sequence[Sender], scripts: Sequence[Script]) -> None:
        turns = [script.turns() for script in scripts]
        for number in range(len(senders)):
            self._send(senders[number], scripts[number], next(turns[number]))
        waiting = len(senders)
        while waiting:
            content = await self._call.read()
            if content is grpc.aio.EOF:
                raise ServiceUnreachable(f"the server ended the stream: {await self._call.details()}")
            made = _StreamInferred.FromString(content)
            number = int(made.infer_response.id)
            sender, script = senders[number], scripts[number]
            if made.error_message:
                answer = PlainAnswer(_REFUSED, made.error_message.encode())
            else:
                answer = PlainAnswer(_OK, made.infer_response.SerializeToString())
            now = time.perf_counter()
            self._recorder.take(sender, answer, now, script.steps_of(sender.turn))
            if now >= self._until:
                waiting -= 1
            else:
                self._send(sender, script, next(turns[number]))

    def _send(self, sender: Sender, script: Script, turn: int) -> None:
        sender.turn, sender.sent_at = turn, time.perf_counter()
        self._unsent.put_nowait(script.requests[turn])


def _refused(error: Any) -> PlainAnswer:
    """A refusal; raises ServiceUnreachable where nobody has answered."""
    if error.code() in _UNREACHABLE:
        raise ServiceUnreachable(f"no service answers by gRPC: {error.details()}") from error
    return PlainAnswer(_REFUSED, f"{error.code().name}: {error.details()}".encode())
