from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ostinato.service.edge.oip.grpc.wire import SERVICE
from tests.service.edge.oip.grpc.peer import Peer, peer_of
from tests.service.puppet import House

SERVING, NOT_SERVING = 1, 2


async def check(peer: Peer, service: str) -> int:
    stub = health_pb2_grpc.HealthStub(peer.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_health_follows_readiness(service: str) -> None:
    async with peer_of(House()) as peer:
        peer.is_ready = False
        assert await check(peer, service) == NOT_SERVING
        peer.is_ready = True
        assert await check(peer, service) == SERVING


async def test_another_service_is_not_found() -> None:
    async with peer_of(House()) as peer:
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await check(peer, "another")
        assert told.value.code() is grpc.StatusCode.NOT_FOUND


async def test_who_watches_is_told_of_each_change_and_of_the_drain_at_last() -> None:
    async with peer_of(House()) as peer:
        watch = health_pb2_grpc.HealthStub(peer.channel).Watch(health_pb2.HealthCheckRequest())
        seen = [(await watch.read()).status]
        peer.is_ready = False
        seen.append((await watch.read()).status)
        peer.is_ready = True
        seen.append((await watch.read()).status)
        peer.server.drain()
        seen.append((await watch.read()).status)
        assert await watch.read() is grpc.aio.EOF
        assert seen == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]
