from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import pytest

from ostinato.service.edge.oip.grpc.calls import REFUSED
from tests.service.edge.oip.grpc.peer import Peer, numbers, peer_of, steps
from tests.service.puppet import House, until

Code = grpc.StatusCode


async def refusal(peer: Peer, name: str, content: Any = None, **fields: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as told:
        await peer.call(name, content, **fields)
    return told.value


async def test_server_and_models_are_described() -> None:
    async with peer_of(House()) as peer:
        assert (await peer.call("ServerLive")).live
        assert (await peer.call("ServerReady")).ready
        peer.is_ready = False
        assert not (await peer.call("ServerReady")).ready
        assert (await peer.call("ServerMetadata")).name == "ostinato"
        model = await peer.call("ModelMetadata", name="sum")
        assert (model.inputs[0].name, model.inputs[0].datatype, list(model.versions)) == ("inputs", "FP32", ["1"])
        config = (await peer.call("ModelConfig", name="sum", version="1")).config
        assert config.WhichOneof("scheduling_choice") == "sequence_batching"
        assert config.input[0].data_type == 11  # TYPE_FP32
        assert [(each.name, each.state) for each in (await peer.call("RepositoryIndex")).models] == [("sum", "READY")]
        assert [each.name for each in (await peer.call("ModelStatistics")).model_stats] == ["sum"]
        ready = [(await peer.call("ModelReady", name=name)).ready for name in ("sum", "none")]
        assert ready == [True, False]
        peer.house.catalogue.complete = False
        assert (await peer.call("ModelReady", name="none")).ready is False


async def test_a_sequence_is_stepped_and_what_it_refuses_has_a_code() -> None:
    async with peer_of(House()) as peer:
        assert numbers(await peer.call("ModelInfer", steps(1.0, 2.0, sequence_id=7, sequence_start=True))) == [1.0, 3.0]
        answer = await peer.call("ModelInfer", steps(3.0, name="mine", sequence_id=7, sequence_end=True))
        assert (answer.id, numbers(answer), answer.parameters["seq"].int64_param) == ("mine", [6.0], 2)
        assert (await refusal(peer, "ModelInfer", steps(1.0, sequence_id=7))).code() is Code.FAILED_PRECONDITION
        assert (await refusal(peer, "ModelInfer", steps(1.0, model="none"))).code() is Code.NOT_FOUND
        assert (await refusal(peer, "ModelInfer", b"\xff\xff")).code() is Code.INVALID_ARGUMENT
        await peer.call("ModelInfer", steps(1.0, sequence_id=8, sequence_start=True))
        conflict = await refusal(peer, "ModelInfer", steps(1.0, sequence_id=8, seq=5))
        assert conflict.code() is Code.ABORTED
        assert ("ostinato-expected-seq", "1") in tuple(conflict.trailing_metadata())
        assert peer.house.value('ostinato_rejected_total{reason="seq_conflict"}') == 1
        count = 'ostinato_request_seconds_count{code_class="2xx",route="/inference.GRPCInferenceService/ModelInfer"}'
        assert peer.house.value(count) == 3
        assert not peer.desk.under_way


async def test_what_is_not_done_here_says_why() -> None:
    async with peer_of(House()) as peer:
        for name in REFUSED:
            told = await refusal(peer, name)
            assert (told.code(), told.details()) == (Code.UNIMPLEMENTED, REFUSED[name])
        assert (await refusal(peer, "RepositoryIndex", repository_name="r")).code() is Code.UNIMPLEMENTED


async def test_overload_says_when_to_come_back() -> None:
    house = House(in_thread=True, max_queue_rows=1)
    async with peer_of(house) as peer:
        house.runner.gate.clear()
        first = asyncio.create_task(peer.call("ModelInfer", steps(1.0, sequence_id=1, sequence_start=True)))
        await until(lambda: house.runner.is_held)
        told = await refusal(peer, "ModelInfer", steps(1.0, sequence_id=2, sequence_start=True))
        assert told.code() is Code.RESOURCE_EXHAUSTED
        assert "retry-after" in dict(told.trailing_metadata())
        house.runner.gate.set()
        assert numbers(await first) == [1.0]


async def test_a_deadline_of_the_server_or_of_the_client_ends_a_call() -> None:
    house = House(in_thread=True, deadline_seconds=5)
    async with peer_of(house) as peer:
        house.runner.gate.clear()
        late = asyncio.create_task(refusal(peer, "ModelInfer", steps(1.0, sequence_id=1, sequence_start=True)))
        await until(lambda: house.runner.is_held)
        (call,) = peer.desk.under_way
        peer.desk.sweep_once(call.arrived_at + 5.1)
        peer.desk.sweep_once(call.arrived_at + 5.2)
        assert (await late).code() is Code.DEADLINE_EXCEEDED
        stub = peer.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await stub(steps(1.0, sequence_id=2, sequence_start=True).SerializeToString(), timeout=0.05)
        assert told.value.code() is Code.DEADLINE_EXCEEDED
        await until(lambda: not peer.desk.under_way)
        house.runner.gate.set()
        # Both sequences had begun, and are undone when the run is over.
        await until(lambda: not any("_undo" in repr(task) for task in asyncio.all_tasks()))


async def test_an_answer_that_is_too_large_is_refused_in_a_sentence() -> None:
    async with peer_of(House()) as peer:
        peer.desk.max_body_bytes = 5000
        assert len(numbers(await peer.call("ModelInfer", steps(*[1.0] * 1000)))) == 1000
        told = await refusal(peer, "ModelInfer", steps(*[1.0] * 1250, sequence_id=1, sequence_start=True))
        assert told.code() is Code.RESOURCE_EXHAUSTED
        assert np.all([word in told.details() for word in ("5000", "has been applied")])
