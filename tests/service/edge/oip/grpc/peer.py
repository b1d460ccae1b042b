"""A gRPC server over a house of puppets, and a client of it that knows the messages and nothing else of ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import numpy as np

from ostinato.service.edge.desk import Desk
from ostinato.service.edge.oip.grpc.server import GrpcServer
from ostinato.service.edge.oip.grpc.wire import METHODS, SERVICE, ModelInferRequest, ModelStreamInferResponse
from ostinato.service.edge.routes import Routes
from tests.service.puppet import House
from tests.waiting import until_true


class Peer:
    """The server with a channel to it."""

    def __init__(self, house: House, server: GrpcServer, desk: Desk, channel: Any) -> None:
        self.house, self.server, self.desk, self.channel = house, server, desk, channel
        self.is_ready = True

    async def call(self, call: str, content: Any = None, **fields: Any) -> Any:
        """The answer to a call; raises ``grpc.aio.AioRpcError``."""
        method = METHODS[call]
        stub = self.channel.unary_unary(f"/{SERVICE}/{call}", response_deserializer=method.response.FromString)
        message = method.request(**fields) if content is None else content
        return await stub(message if isinstance(message, bytes) else message.SerializeToString())

    def stream(self, **options: Any) -> Any:
        """An open stream."""
        return self.channel.stream_stream(
            f"/{SERVICE}/ModelStreamInfer",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=ModelStreamInferResponse.FromString,
        )(**options)


@asynccontextmanager
async def peer_of(house: House, **options: Any) -> AsyncIterator[Peer]:
    """A server over a house, and a channel to it."""
    before = asyncio.all_tasks()
    desk = Desk(house.metrics, house.settings)
    routes = Routes(house.catalogue, house.sessions, house.ledger, desk)
    server = GrpcServer(routes, desk, house.settings, 0, lambda: peer.is_ready)
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", **options) as channel:
        peer = Peer(house, server, desk, channel)
        try:
            yield peer
        finally:
            await server.stop()
    # gRPC's own last turns of calls that have ended, and sequences that are closed behind runs in a thread.
    await until_true(lambda: asyncio.all_tasks() <= before, "the end of all tasks")


def steps(*values: float, model: str = "sum", name: str = "", **parameters: bool | int | str) -> Any:
    """A request with steps ``[1, T, 1]`` of the model that adds up; ``name``: its id."""
    message = ModelInferRequest(model_name=model, id=name, raw_input_contents=[np.array(values, np.float32).tobytes()])
    message.inputs.add(name="inputs", datatype="FP32", shape=[1, len(values), 1])
    put(message.parameters, parameters)
    return message


def put(parameters: Any, values: Mapping[str, bool | int | float | str]) -> None:
    """Set parameters, each in the field of its kind."""
    fields = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}
    for name, value in values.items():
        setattr(parameters[name], fields[type(value)], value)


def numbers(response: Any) -> list[float]:
    """The first output of an answer of 32-bit floats."""
    return list(np.frombuffer(response.raw_output_contents[0], np.float32).tolist())
