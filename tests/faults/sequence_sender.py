"""Chunks as steps of sequences, in the words of NVIDIA's client of the Open Inference Protocol: over HTTP and gRPC."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import grpc
import httpx2
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http

from tests.faults.chunk import Answer, Chunk, NotAnswered, Refused
from tests.triton_client.clients import Answer as TritonAnswer
from tests.triton_client.clients import InferenceServerException, tensors

NOT_NOW = ("429", "503", "504", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE")
"""Statuses of what was not answered, or not yet."""
OF_A_PROXY = (502, 504)
CONFLICTS = ("409", "ABORTED")
EXPECTED = re.compile(r"expected_seq (\d+)")
CHANNEL = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 500)]
"""A replica that was killed is tried again as soon as it may be back."""


def sequence_name(model: str, sequence_id: str) -> str:
    """The session that holds a sequence."""
    return f"{model}:s:{sequence_id}"


class SequenceSender:
    """One attempt of each chunk; a context manager, which ends its connections.

    Args:
        grpc_addresses: where the replicas speak gRPC, by their URLs; HTTP goes to a URL itself.

    Raises, all of its methods:
        NotAnswered, Refused.
    """

    def __init__(self, model: str, generator: random.Random, grpc_addresses: Mapping[str, str]) -> None:
        self._model, self._random, self._grpc_addresses = model, generator, grpc_addresses
        self._http = httpx2.AsyncClient(timeout=None, trust_env=False)
        self._clients: dict[str, Any] = {}

    async def __aenter__(self) -> SequenceSender:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()
        for client in self._clients.values():
            await client.close()

    async def step(self, url: str, chunk: Chunk) -> Answer:
        """Apply a chunk over HTTP, in binary or in JSON."""
        in_binary = self._random.random() < 0.5
        body, json_size = triton_http.InferenceServerClient.generate_request_body(
            tensors(triton_http, {"inputs": chunk.inputs[None]}, binary_data=in_binary), **self._options(chunk)
        )
        headers = {} if json_size is None else {"Inference-Header-Content-Length": str(json_size)}
        try:
            response = await self._http.post(f"{url}/v2/models/{self._model}/infer", content=body, headers=headers)
        except httpx2.TransportError as error:
            raise NotAnswered(str(error) or type(error).__name__) from error
        if response.status_code != 200:
            raise _refusal(str(response.status_code), sentence_of(response))
        length = int(response.headers["inference-header-content-length"])
        result = triton_http.InferenceServerClient.parse_response_body(response.content, header_length=length)
        return _answer(chunk, TritonAnswer.of_http(result))

    async def step_by_grpc(self, url: str, chunk: Chunk) -> Answer:
        """Apply a chunk over gRPC."""
        if url not in self._clients:
            address = self._grpc_addresses[url]
            self._clients[url] = triton_grpc_aio.InferenceServerClient(address, channel_args=CHANNEL)
        given = tensors(triton_grpc, {"inputs": chunk.inputs[None]})
        try:
            result = await self._clients[url].infer(self._model, given, **self._options(chunk))
        except InferenceServerException as error:
            raise _refusal(str(error.status()).removeprefix("StatusCode."), str(error.message())) from error
        except grpc.aio.UsageError as error:
            raise NotAnswered(str(error)) from error
        return _answer(chunk, TritonAnswer.of_grpc(result))

    def _options(self, chunk: Chunk) -> dict[str, Any]:
        sequence_id = chunk.session_id.removeprefix(sequence_name(self._model, ""))
        return {"sequence_id": sequence_id, "parameters": {"seq": chunk.seq}}


def sentence_of(response: httpx2.Response) -> str:
    """What a refusal says.

    Raises:
        NotAnswered: a proxy says, in its own words, that nobody answered it.
        Refused: it is no refusal of the service's.
    """
    try:
        return str(response.json()["error"])
    except ValueError:
        if response.status_code in OF_A_PROXY:
            raise NotAnswered(f"a proxy says {response.status_code}") from None
        raise Refused(str(response.status_code), response.text) from None


def _answer(chunk: Chunk, answer: TritonAnswer) -> Answer:
    outputs = answer.outputs["outputs"][0].astype(np.float32)
    return Answer(chunk.session_id, answer.parameters["seq"], answer.parameters["steps"], outputs)


def _refusal(status: str, sentence: str) -> NotAnswered | Refused:
    if status in NOT_NOW:
        return NotAnswered(f"{status}: {sentence}")
    if status in CONFLICTS:
        found = EXPECTED.search(sentence)
        return Refused("seq_conflict", sentence, int(found[1]) if found else None)
    # What the protocol says of a sequence that is not there.
    return Refused("unknown_session" if "must specify the START flag" in sentence else status, sentence)
