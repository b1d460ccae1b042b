from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import grpc
import pytest

from ostinato.service.edge.oip.grpc.calls import GrpcCall
from tests.service.edge.oip.grpc.peer import numbers, peer_of, steps
from tests.service.puppet import House, until


async def answers(stream: Any) -> list[Any]:
    """All that is left of a stream."""
    found = []
    while (answer := await stream.read()) is not grpc.aio.EOF:
        found.append(answer)
    return found


async def test_each_sequence_is_the_fold_of_what_was_sent_and_answered_in_order() -> None:
    """Random sequences side by side on one stream. Whole numbers add up exactly, whatever is batched with what."""
    chance = random.Random(18)
    ids: list[int | str] = [*range(1, 41), *(f"s{number}" for number in range(20))]
    sent: dict[int | str, list[list[float]]] = {sequence: [] for sequence in ids}
    requests = []
    for _ in range(600):
        sequence = chance.choice(ids)
        values = [float(chance.randint(-1000, 1000)) for _ in range(chance.randint(1, 4))]
        start = not sent[sequence]
        sent[sequence].append(values)
        number = len(sent[sequence]) - 1
        requests.append(steps(*values, name=f"{sequence!r}/{number}", sequence_id=sequence, sequence_start=start))
    async with peer_of(House()) as peer:
        stream = peer.stream()

        async def send() -> None:
            for request in requests:
                await stream.write(request)
            await stream.done_writing()

        sending = asyncio.create_task(send())
        found = await answers(stream)
        await sending
        assert await stream.code() is grpc.StatusCode.OK
    assert [each.error_message for each in found] == [""] * 600
    assert all(each.infer_response.parameters["triton_final_response"].bool_param for each in found)
    by_sequence: dict[str, list[tuple[str, list[float]]]] = {}
    for each in found:
        sequence_name, number = each.infer_response.id.split("/")
        by_sequence.setdefault(sequence_name, []).append((number, numbers(each.infer_response)))
    for sequence, chunks in sent.items():
        total, expected = 0.0, []
        for number, chunk in enumerate(chunks):
            expected.append((str(number), list(itertools.accumulate(chunk, initial=total))[1:]))
            total += sum(chunk)
        assert by_sequence.get(repr(sequence), []) == expected


async def test_a_request_that_fails_is_told_by_its_id_and_the_stream_goes_on() -> None:
    async with peer_of(House()) as peer:
        stream = peer.stream()
        wrong = steps(1.0, name="kind", sequence_id=5, sequence_start=True)
        wrong.inputs[0].datatype = "INT32"
        requests = [
            steps(1.0, name="model", model="none"),
            steps(1.0, name="start", sequence_id=5),
            wrong,
            b"\xff\xff no message",
            steps(2.0, name="first", sequence_id=5, sequence_start=True),
            steps(3.0, name="again", sequence_id=5, seq=9),
            steps(3.0, name="second", sequence_id=5),
        ]
        for request in requests:
            await stream.write(request)
        await stream.done_writing()
        told = {each.infer_response.id: each for each in await answers(stream)}
        assert await stream.code() is grpc.StatusCode.OK
    assert numbers(told["first"].infer_response) == [2.0]
    assert numbers(told["second"].infer_response) == [5.0]
    errors = {name: each.error_message for name, each in told.items() if each.error_message}
    assert errors.keys() == {"model", "start", "kind", "", "again"}
    assert "START" in errors["start"]
    assert "FP32" in errors["kind"]
    assert "(expected_seq 1)" in errors["again"]
    assert told["again"].infer_response.parameters["expected_seq"].int64_param == 1
    assert told["model"].infer_response.parameters["code"].string_param == "unknown_model"


async def test_no_more_is_read_than_may_be_under_way() -> None:
    house = House(in_thread=True, max_stream_frames=4)
    async with peer_of(house) as peer:
        house.runner.gate.clear()
        stream = peer.stream()
        requests = [steps(1.0, sequence_id=number + 1, sequence_start=True, sequence_end=True) for number in range(50)]

        async def send() -> None:
            for request in requests:
                await stream.write(request)
            await stream.done_writing()

        sending = asyncio.create_task(send())
        await until(lambda: peer.server.num_requests == 4)
        await until(sending.done)  # all of it is on its way
        assert (peer.server.num_requests, len(peer.desk.under_way)) == (4, 4)
        house.runner.gate.set()
        assert len(await answers(stream)) == 50


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    house = House(in_thread=True, deadline_seconds=0.5)
    chunk = [0.0] * 2_000
    little = [("grpc.http2.lookahead_bytes", 16_384), ("grpc.http2.bdp_probe", 0)]  # is taken in before it is read
    async with peer_of(house, options=little) as peer:
        house.runner.gate.clear()
        stream = peer.stream()
        for number in range(60):
            await stream.write(steps(*chunk, sequence_id=1, sequence_start=not number))
        await until(lambda: peer.server.num_requests == 60)
        house.runner.gate.set()
        await until(lambda: house.value('ostinato_rejected_total{reason="answer_unread"}') == 1)
        assert (peer.server.num_requests, len(peer.desk.under_way)) == (0, 0)
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await answers(stream)
        assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_what_has_begun_is_committed_where_a_client_cancels_and_what_has_not_is_dropped() -> None:
    house = House(in_thread=True)
    async with peer_of(house) as peer:
        stream = peer.stream()
        await stream.write(steps(1.0, sequence_id=1, sequence_start=True))
        assert numbers((await stream.read()).infer_response) == [1.0]
        house.runner.gate.clear()
        for _ in range(3):
            await stream.write(steps(1.0, sequence_id=1))
        await until(lambda: peer.server.num_requests == 3 and house.runner.is_held)
        stream.cancel()
        await until(lambda: not peer.server.num_requests)
        assert not peer.desk.under_way
        house.runner.gate.set()
        assert numbers(await peer.call("ModelInfer", steps(1.0, sequence_id=1))) == [3.0]  # one of the three had begun


async def test_a_request_past_its_deadline_is_told_so_and_those_behind_it_keep_their_order() -> None:
    house = House(in_thread=True, deadline_seconds=5)
    async with peer_of(house) as peer:
        stream = peer.stream()
        await stream.write(steps(1.0, name="a", sequence_id=1, sequence_start=True))
        await stream.read()
        house.runner.gate.clear()
        for name in "bc":
            await stream.write(steps(1.0, name=name, sequence_id=1))
        await until(lambda: peer.server.num_requests == 2 and house.runner.is_held)
        newest = max(call.arrived_at for call in peer.desk.under_way)
        peer.desk.sweep_once(newest + 5.1)
        told = [await stream.read() for _ in range(2)]
        assert [each.infer_response.id for each in told] == ["b", "c"]
        assert {each.infer_response.parameters["code"].string_param for each in told} == {"deadline_exceeded"}
        house.runner.gate.set()
        await stream.write(steps(1.0, name="d", sequence_id=1))
        assert numbers((await stream.read()).infer_response) == [3.0]  # b had begun, c had not
        await stream.done_writing()
        assert await answers(stream) == []


async def test_what_waits_behind_a_late_request_is_dropped_where_the_stream_ends_at_the_same_time() -> None:
    async with peer_of(House(in_thread=True)) as peer:
        runner = peer.house.runner
        runner.gate.clear()
        stream = peer.stream()
        await stream.write(steps(1, sequence_id=5, sequence_start=True))
        await until(lambda: runner.is_held)
        await stream.write(steps(2, sequence_id=5, sequence_start=True))
        await until(lambda: len(peer.desk.under_way) == 2)
        late, _ = peer.desk.under_way
        assert isinstance(late, GrpcCall)
        task = late.task
        assert task is not None
        late.expire()
        task.cancel()  # as the end of the stream does
        runner.gate.set()
        await until(task.done)
        assert task.cancelled()
        assert not peer.desk.under_way
        stream.cancel()


async def test_a_drain_answers_what_was_taken_refuses_what_comes_and_ends_the_stream() -> None:
    house = House(in_thread=True)
    async with peer_of(house) as peer:
        stream = peer.stream()
        await stream.write(steps(1.0, sequence_id=1, sequence_start=True))
        await stream.read()
        house.runner.gate.clear()
        await stream.write(steps(1.0, name="taken", sequence_id=1))
        await until(lambda: house.runner.is_held)
        peer.server.drain()
        await stream.write(steps(1.0, name="late", sequence_id=2, sequence_start=True))
        late = await stream.read()
        assert (late.infer_response.id, late.infer_response.parameters["code"].string_param) == ("late", "draining")
        house.runner.gate.set()
        taken = await stream.read()
        assert (taken.infer_response.id, numbers(taken.infer_response)) == ("taken", [2.0])
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stream.read()
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        assert ("retry-after", "1") in tuple(told.value.trailing_metadata())
        assert house.sessions.use("sum:2") is None


async def test_an_idle_stream_ends_with_a_drain() -> None:
    async with peer_of(House()) as peer:
        stream = peer.stream()
        await stream.write(steps(1.0, sequence_id=1, sequence_start=True))
        await stream.read()
        peer.server.drain()
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stream.read()
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
