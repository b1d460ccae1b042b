"""NVIDIA's client, unchanged, by each of its ways: HTTP in binary or JSON, gRPC, and a stream of gRPC.

What differs between the ways is hidden here, so that a test can say once what must hold for all of them.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import tritonclient.grpc as grpc_client
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.server import ServerProcess
from tests.waiting import PATIENCE_SECONDS

Array = NDArray[Any]
Arrays = Mapping[str, Array]

__all__ = ["WAYS", "Answer", "InferenceServerException", "TritonGrpc", "TritonHttp", "TritonJson", "TritonStream"]


class Address(NamedTuple):
    """Where a server listens."""

    http: str
    grpc: str


def address_of(server: ServerProcess) -> Address:
    """Where a server of the tests that was given a ``grpc_port`` listens."""
    return Address(f"127.0.0.1:{server.port}", f"127.0.0.1:{server.environment['OSTINATO_GRPC_PORT']}")


class Answer(NamedTuple):
    """What came back: outputs by name, and the rest as the protocol has it."""

    outputs: dict[str, Array]
    parameters: dict[str, Any]
    model: str
    version: str
    id: str

    @classmethod
    def of_http(cls, result: Any) -> Answer:
        """An answer over HTTP."""
        told = result.get_response()
        names = [output["name"] for output in told["outputs"]]
        outputs = {name: result.as_numpy(name) for name in names}
        parameters = told.get("parameters", {})
        return cls(outputs, parameters, told["model_name"], told["model_version"], told.get("id", ""))

    @classmethod
    def of_grpc(cls, result: Any) -> Answer:
        """An answer over gRPC."""
        told = result.get_response()
        outputs = {output.name: result.as_numpy(output.name) for output in told.outputs}
        parameters = {}
        for name, parameter in told.parameters.items():
            (value,) = MessageToDict(parameter).values()
            # The JSON of protobuf writes integers of 64 bits as text.
            parameters[name] = int(value) if parameter.WhichOneof("parameter_choice").endswith("64_param") else value
        return cls(outputs, parameters, told.model_name, told.model_version, told.id)


def tensors(module: Any, inputs: Arrays, **options: Any) -> list[Any]:
    """Inputs as the client wants them."""
    made = []
    for name, array in inputs.items():
        tensor = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, **options)
        made.append(tensor)
    return made


def sequence_options(sequence_id: int | str, start: bool, end: bool, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a request of a sequence."""
    given: dict[str, Any] = {"sequence_id": sequence_id, "sequence_start": start, "sequence_end": end}
    return given | ({"parameters": dict(parameters)} if parameters else {})


class TritonHttp:
    """HTTP, tensors in binary. A context manager, of the thread that makes it."""

    binary = True

    def __init__(self, address: Address) -> None:
        self.client = http_client.InferenceServerClient(
            address.http, connection_timeout=PATIENCE_SECONDS, network_timeout=PATIENCE_SECONDS
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def infer(
        self,
        model: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        sequence_id: int | str = 0,
        start: bool = False,
        end: bool = False,
        version: str = "",
        request_id: str = "",
        **parameters: Any,
    ) -> Answer:
        """The answer to one request.

        Raises:
            InferenceServerException.
        """
        result = self.client.infer(
            model,
            tensors(http_client, inputs, binary_data=self.binary),
            model_version=version,
            request_id=request_id,
            outputs=self._wanted(model, outputs),
            **sequence_options(sequence_id, start, end, parameters),
        )
        return Answer.of_http(result)

    def _wanted(self, _model: str, outputs: Sequence[str]) -> list[Any] | None:
        return [http_client.InferRequestedOutput(name) for name in outputs] or None


class TritonJson(TritonHttp):
    """The same in JSON, both ways."""

    binary = False

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._outputs: dict[str, list[str]] = {}

    def _wanted(self, model: str, outputs: Sequence[str]) -> list[Any]:
        # Outputs that are not named come in binary.
        if not outputs and model not in self._outputs:
            self._outputs[model] = [each["name"] for each in self.client.get_model_metadata(model)["outputs"]]
        names = outputs or self._outputs[model]
        return [http_client.InferRequestedOutput(name, binary_data=False) for name in names]


class TritonGrpc:
    """gRPC, a call for each request. A context manager."""

    def __init__(self, address: Address) -> None:
        self.client = grpc_client.InferenceServerClient(address.grpc)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def infer(
        self,
        model: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        sequence_id: int | str = 0,
        start: bool = False,
        end: bool = False,
        version: str = "",
        request_id: str = "",
        **parameters: Any,
    ) -> Answer:
        """See ``TritonHttp.infer``."""
        result = self.client.infer(
            model,
            tensors(grpc_client, inputs),
            model_version=version,
            request_id=request_id,
            outputs=[grpc_client.InferRequestedOutput(name) for name in outputs] or None,
            client_timeout=PATIENCE_SECONDS,
            **sequence_options(sequence_id, start, end, parameters),
        )
        return Answer.of_grpc(result)


class TritonStream(TritonGrpc):
    """A stream of gRPC, whose answers come whenever they come.

    The client gives errors of a stream no id, so a request waits for those before it unless ``send`` is used for
    sequences that make none.
    """

    def __init__(self, address: Address) -> None:
        super().__init__(address)
        self._waiting: dict[str, Future[Answer]] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self.client.start_stream(callback=self._take)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.stop_stream(cancel_requests=error is not None)
        super().__exit__(kind, error, trace)

    def infer(self, model: str, inputs: Arrays, *, request_id: str = "", **options: Any) -> Answer:
        """See ``TritonHttp.infer``."""
        answer = self.send(model, inputs, **options).result(PATIENCE_SECONDS)
        return answer._replace(id=request_id)

    def send(
        self,
        model: str,
        inputs: Arrays,
        *,
        outputs: Sequence[str] = (),
        sequence_id: int | str = 0,
        start: bool = False,
        end: bool = False,
        version: str = "",
        **parameters: Any,
    ) -> Future[Answer]:
        """Put a request into the stream; its answer is awaited by the future."""
        waiter: Future[Answer] = Future()
        with self._lock:
            request_id = str(next(self._numbers))
            self._waiting[request_id] = waiter
            self.client.async_stream_infer(
                model,
                tensors(grpc_client, inputs),
                model_version=version,
                request_id=request_id,
                outputs=[grpc_client.InferRequestedOutput(name) for name in outputs] or None,
                **sequence_options(sequence_id, start, end, parameters),
            )
        return waiter

    def _take(self, result: Any, error: InferenceServerException | None) -> None:
        with self._lock:
            if error is None:
                answer = Answer.of_grpc(result)
                self._waiting.pop(answer.id).set_result(answer)
                return
            # With a status it is the stream that ended, and nothing that waits is answered any more.
            for request_id in list(self._waiting)[: None if error.status() else 1]:
                self._waiting.pop(request_id).set_exception(error)


WAYS: dict[str, Callable[[Address], TritonGrpc | TritonHttp]] = {
    "binary": TritonHttp,
    "json": TritonJson,
    "grpc": TritonGrpc,
    "stream": TritonStream,
}


class TritonAsync:
    """The clients for an event loop. A context manager.

    Args:
        over: ``http`` or ``grpc``.
    """

    def __init__(self, address: Address, over: str) -> None:
        self._is_http = over == "http"
        self._module: Any = http_client if self._is_http else grpc_client
        self.client: Any = (
            http_aio.InferenceServerClient(address.http, conn_limit=100, conn_timeout=PATIENCE_SECONDS)
            if self._is_http
            else grpc_aio.InferenceServerClient(address.grpc)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.client.close()

    async def infer(
        self,
        model: str,
        inputs: Arrays,
        *,
        sequence_id: int | str = 0,
        start: bool = False,
        end: bool = False,
        **parameters: Any,
    ) -> Answer:
        """See ``TritonHttp.infer``."""
        given = sequence_options(sequence_id, start, end, parameters)
        result = await self.client.infer(model, tensors(self._module, inputs), **given)
        return Answer.of_http(result) if self._is_http else Answer.of_grpc(result)


def refusal(ask: Callable[[], object]) -> tuple[str, str]:
    """The status and the sentence with which the client says that a request was refused; in a stream there is no
    status.
    """
    try:
        answer = ask()
    except InferenceServerException as error:
        return str(error.status() or "").removeprefix("StatusCode."), str(error.message())
    raise AssertionError(f"it was not refused: {json.dumps(answer, default=str)[:500]}")


def texts(*words: str | bytes) -> Array:
    """A tensor of BYTES ``[n]``."""
    return np.array([word.encode() if isinstance(word, str) else word for word in words], np.object_)
