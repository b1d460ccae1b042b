from __future__ import annotations

import asyncio
import socket
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from ostinato.service.edge.desk import Desk
from ostinato.service.edge.oip.grpc.server import GrpcServer
from ostinato.service.edge.oip.grpc.wire import METHODS, SERVICE
from ostinato.service.edge.routes import Routes
from tests.service.edge.oip.grpc.peer import numbers, peer_of, steps
from tests.service.puppet import House, until


def look_around(address: str) -> dict[str, list[str]]:
    """The calls of each service, as a client finds them that knows none."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        services = {name: pool.FindServiceByName(name).methods for name in database.get_services()}
        return {name: [method.name for method in methods] for name, methods in services.items()}


async def test_reflection_tells_of_all_calls() -> None:
    async with peer_of(House()) as peer:
        found = await asyncio.to_thread(look_around, f"127.0.0.1:{peer.server.port}")
        assert set(found[SERVICE]) == METHODS.keys()
        assert "Watch" in found["grpc.health.v1.Health"]


async def test_reflection_is_found_under_its_newer_name_and_does_not_hold_up_a_drain() -> None:
    async with peer_of(House()) as peer:
        look: Any = peer.channel.stream_stream(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )()
        await look.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = {each.name for each in (await look.read()).list_services_response.service}
        assert SERVICE in names
        peer.server.drain()
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await look.read()
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_an_old_connection_ends_and_the_next_call_makes_another() -> None:
    async with peer_of(House(connection_seconds=0.05)) as peer:
        for _ in range(2):
            await peer.channel.channel_ready()
            await peer.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        found = await asyncio.to_thread(look_around, f"127.0.0.1:{peer.server.port}")
        assert SERVICE in found


async def test_a_message_over_the_limit_is_refused_compressed_or_not() -> None:
    async with peer_of(House(max_body_bytes=100_000)) as peer:
        stub = peer.channel.unary_unary(f"/{SERVICE}/ModelInfer")
        for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await stub(bytes(100_001), compression=compression)
            assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_drain_answers_calls_under_way_and_takes_no_more() -> None:
    house = House(in_thread=True)
    async with peer_of(house) as peer:
        house.runner.gate.clear()
        under_way = asyncio.create_task(peer.call("ModelInfer", steps(1.0, sequence_id=1, sequence_start=True)))
        await until(lambda: house.runner.is_held)
        peer.server.drain()
        seen: set[grpc.StatusCode] = set()
        while grpc.StatusCode.UNAVAILABLE not in seen:  # what crosses the GOAWAY is cancelled by gRPC itself
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await peer.call("ModelInfer", steps(1.0, sequence_id=2, sequence_start=True))
            seen.add(told.value.code())
        assert seen <= {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
        assert house.sessions.use("sum:2") is None
        house.runner.gate.set()
        assert numbers(await under_way) == [1.0]


async def test_a_port_that_cannot_be_had_is_told() -> None:
    house = House()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        desk = Desk(house.metrics, house.settings)
        server = GrpcServer(
            Routes(house.catalogue, house.sessions, house.ledger, desk),
            desk,
            house.settings,
            taken.getsockname()[1],
            lambda: True,
        )
        with pytest.raises(OSError, match="the gRPC port 127"):
            await server.start()


async def test_no_more_connections_are_held_than_may_be() -> None:
    async with peer_of(House(max_connections=1)) as peer:
        assert (await peer.call("ServerLive")).live
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{peer.server.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as other:
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await other.unary_unary(f"/{SERVICE}/ServerLive")(b"")
            assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        assert (await peer.call("ServerLive")).live
