"""Sequences over gRPC at a server of two workers: one is killed under way, the server drains, and nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from ostinato.service.edge.oip.grpc.wire import ModelStreamInferResponse
from tests.server import free_port, running_server
from tests.service.edge.oip.grpc.peer import numbers, steps
from tests.waiting import until_true

NUM_STREAMS, NUM_SEQUENCES = 4, 6


class Sender:
    """A stream of a few sequences, opened again wherever it ends; each step is sent with ``seq`` until it is answered.

    Attributes:
        acknowledged: by sequence: the outputs of its steps, of which the k-th adds k.
        is_over: open no other stream.
        ends: how its streams ended.
    """

    def __init__(self, address: str, number: int) -> None:
        self._address = address
        self.acknowledged: dict[str, list[float]] = {f"{number}-{place}": [] for place in range(NUM_SEQUENCES)}
        self.is_over = False
        self.ends: list[grpc.StatusCode] = []

    async def run(self) -> None:
        while not self.is_over:
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_reconnect_backoff_ms", 200)]
            async with grpc.aio.insecure_channel(self._address, options=options) as channel:
                try:
                    await self._talk(channel)
                except grpc.aio.AioRpcError as error:
                    self.ends.append(error.code())
                    await asyncio.sleep(0.05)  # the port may be nobody's just now

    async def _talk(self, channel: Any) -> None:
        stream = channel.stream_stream(
            "/inference.GRPCInferenceService/ModelStreamInfer",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=ModelStreamInferResponse.FromString,
        )()
        for sequence in self.acknowledged:
            await stream.write(self._next(sequence))
        while (answer := await stream.read()) is not grpc.aio.EOF:
            response = answer.infer_response
            sequence = response.id
            if answer.error_message:
                assert response.parameters["code"].string_param in ("draining", "seq_conflict"), answer
            else:
                self.acknowledged[sequence] += numbers(response)
            await stream.write(self._next(sequence))

    def _next(self, sequence: str) -> Any:
        seq = len(self.acknowledged[sequence])
        flags = {"sequence_start": True} if not seq else {"seq": seq}
        return steps(float(seq), model="accumulator", name=sequence, sequence_id=sequence, **flags)


async def test_what_was_answered_is_the_fold_across_a_kill_and_a_drain(repository: Path, tmp_path: Path) -> None:
    port = free_port()
    settings = {"state": f"lmdb://{tmp_path}/state", "workers": 2, "grpc_port": port}
    with running_server(repository, tmp_path, **settings) as server:
        await until_true(lambda: f"for gRPC on 127.0.0.1:{port}" in server.log(), "the word of where it listens", 0.02)
        senders = [Sender(f"127.0.0.1:{port}", number) for number in range(NUM_STREAMS)]
        tasks = [asyncio.create_task(sender.run()) for sender in senders]

        def grown(by: int) -> Any:
            marks = [{name: len(found) + by for name, found in sender.acknowledged.items()} for sender in senders]
            return lambda: all(
                len(sender.acknowledged[name]) >= mark
                for sender, each in zip(senders, marks, strict=True)
                for name, mark in each.items()
            )

        await until_true(grown(5), "steps", 0.02)
        server.workers()[0].kill()
        await until_true(grown(5), "steps after a worker was killed", 0.02)
        server.terminate()
        await asyncio.to_thread(server.wait)
        for sender in senders:
            sender.is_over = True
        await asyncio.gather(*tasks)
        # gRPC's client leaves a task behind for a call whose server was killed.
        left = [task for task in asyncio.all_tasks() if "_AioCall" in repr(task)]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for sender in senders:
            assert sender.ends  # by the drain at the latest
            for found in sender.acknowledged.values():
                assert found == list(itertools.accumulate(map(float, range(len(found)))))
