"""KServe's own client, unchanged, in an environment of its own: what it asks a server, and what must come back.

``python asking.py http://HOST:PORT HOST:GRPC_PORT FILE.npz``; the file has the inputs ``[B, T, F]`` and the offline
runs' outputs ``[B, T, O]`` of ``lstm``.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse
from kserve.inference_client import RESTConfig

CHUNK_STEPS = 3

Ask = Callable[[InferRequest], Awaitable[InferResponse]]


def request(inputs: Any, *, binary: bool, **parameters: Any) -> InferRequest:
    """A request to ``lstm``."""
    tensor = InferInput("inputs", list(inputs.shape), "FP32")
    tensor.set_data_from_numpy(inputs, binary_data=binary)
    return InferRequest("lstm", [tensor], request_id="asked", parameters=parameters)


async def failure(asked: Awaitable[Any], kind: type[Exception]) -> Any:
    """The error with which something ends."""
    try:
        await asked
    except kind as error:
        return error
    raise AssertionError("it was answered")


async def check_whole(ask: Ask, inputs: Any, golden: Any) -> None:
    """Whole sequences at once, in both encodings."""
    for binary in (True, False):
        response = await ask(request(inputs, binary=binary))
        assert (response.model_name, response.id) == ("lstm", "asked")
        made = {output.name: output.as_numpy() for output in response.outputs}
        assert made["outputs"].tobytes() == golden.tobytes()


async def check_sequences(ask: Ask, inputs: Any, golden: Any) -> None:
    """Each of many sequences at once, chunk by chunk."""

    async def play(row: int) -> None:
        made: list[Any] = []
        for seq in range(0, inputs.shape[1], CHUNK_STEPS):
            chunk = inputs[row : row + 1, seq : seq + CHUNK_STEPS]
            flags = {"sequence_start": not seq, "sequence_end": seq + CHUNK_STEPS >= inputs.shape[1]}
            name: Any = f"kserve {row}" if row % 2 else 1 + row
            asked = request(chunk, binary=bool(row % 3), sequence_id=name, seq=seq, **flags)
            made.append((await ask(asked)).outputs[0].as_numpy())
        assert np.concatenate(made, axis=1).tobytes() == golden[row].tobytes()

    await asyncio.gather(*(play(row) for row in range(len(inputs))))


async def check_rest(url: str, inputs: Any, golden: Any) -> None:
    """All that the client asks over HTTP."""
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=60)) as client:
        assert await client.is_server_live(url) is True
        assert await client.is_server_ready(url) is True
        assert await client.is_model_ready(url, "lstm") is True
        assert await client.is_model_ready(url, "nobody") is False

        async def ask(asked: InferRequest, model: str = "lstm") -> InferResponse:
            return await client.infer(url, asked, model_name=model)

        await check_whole(ask, inputs, golden)
        await check_sequences(ask, inputs, golden)
        for status, asked, model in (
            (404, request(inputs, binary=True), "nobody"),
            (400, request(inputs, binary=True, sequence_id=5), "lstm"),
        ):
            refused = await failure(ask(asked, model), httpx.HTTPStatusError)
            assert refused.response.status_code == status
            assert isinstance(refused.response.json()["error"], str)


async def check_grpc(address: str, inputs: Any, golden: Any) -> None:
    """The same over gRPC."""
    async with InferenceGRPCClient(address, timeout=60) as client:
        assert await client.is_server_live() is True
        assert await client.is_server_ready() is True
        assert await client.is_model_ready("lstm") is True
        await check_whole(client.infer, inputs, golden)
        await check_sequences(client.infer, inputs, golden)
        refused = await failure(client.infer(request(inputs, binary=True, sequence_id=5)), grpc.RpcError)
        assert refused.code() is grpc.StatusCode.FAILED_PRECONDITION


def main() -> None:
    """Ask."""
    logging.disable(logging.ERROR)  # the client logs each refusal
    url, address, file = sys.argv[1:]
    with np.load(file) as arrays:
        inputs, golden = arrays["inputs"], arrays["golden"]
    asyncio.run(check_rest(url, inputs, golden))
    asyncio.run(check_grpc(address, inputs, golden))


if __name__ == "__main__":
    main()
