from __future__ import annotations

import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ostinato.service.edge.desk import Desk
from ostinato.service.edge.oip.grpc.health import HealthCalls
from ostinato.service.edge.oip.grpc.wire import SERVICE
from tests.service.edge.oip.grpc.peer import Peer, peer_of
from tests.service.puppet import House, until
from tests.waiting import PATIENCE_SECONDS

SERVING, NOT_SERVING = 1, 2
REFLECTION = "reflection.v1.ServerReflection/ServerReflectionInfo"


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


async def test_a_change_that_comes_while_the_look_begins_is_told() -> None:
    house, ready = House(), [True]
    watch = HealthCalls(lambda: ready[-1], Desk(house.metrics, house.settings)).watch(
        health_pb2.HealthCheckRequest(), None
    )
    assert (await anext(watch)).status == SERVING
    # Behind what the watch itself does at once, and before its task has its first turn.
    asyncio.get_running_loop().call_soon(ready.append, False)
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert (await anext(watch)).status == NOT_SERVING
    await watch.aclose()  # type: ignore[attr-defined]  # an asynchronous generator


def num_looks() -> int:
    return sum("_wait_for_change" in repr(task) for task in asyncio.all_tasks())


async def test_one_look_is_for_all_that_watch() -> None:
    async with peer_of(House()) as peer:
        stub = health_pb2_grpc.HealthStub(peer.channel)
        watches = [stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(50)]
        unknown = stub.Watch(health_pb2.HealthCheckRequest(service="another"))
        for watch in [*watches, unknown]:
            await watch.read()
        await until(lambda: num_looks() == 1)
        watches[0].cancel()
        peer.is_ready = False
        assert {(await watch.read()).status for watch in watches[1:]} == {NOT_SERVING}
        for watch in [*watches, unknown]:
            watch.cancel()
        await until(lambda: not num_looks())


@pytest.mark.parametrize("call", ["health.v1.Health/Check", "health.v1.Health/Watch", REFLECTION])
async def test_what_is_no_message_is_answered_and_counted_and_not_in_the_log(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with peer_of(House()) as peer:
        answers = peer.channel.stream_stream(f"/grpc.{call}")(iter([b"\xff\xff"]))
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await answers.read()
        assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "the message is no" in str(told.value.details())
        assert peer.desk.metrics.rejected.labels(reason="invalid_input").value == 1
    assert caplog.records == []
