"""Both kinds of client against a real server, whose connections are cut on the way."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato import AsyncClient, Client
from ostinato.errors import SeqConflict, ServiceError
from tests.ostinato.fake_service import KINDS, make_client
from tests.ostinato.fake_stream import CutWire
from tests.server import ServerProcess
from tests.waiting import PATIENCE_SECONDS

# One server for all tests that ask it.
pytestmark = pytest.mark.xdist_group("ostinato_server")

both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
async def test_verbs(kind: str, server: ServerProcess) -> None:
    async with make_client(kind, None, server.url) as client:
        assert sorted(model["model"] for model in await client.models()) == ["gusts", "loads"]
        assert (await client.model("loads"))["manifest"]["name"] == "loads"
        [first, second] = await client.predict("loads", [[[1.0], [2.0]], np.array([[5.0]])])
        np.testing.assert_array_equal(first, np.array([[1], [3]], np.float32), strict=True)
        assert second.tolist() == [[5.0]]
        [last] = await client.predict("loads", [[[1.0], [None]]], return_sequences=False)
        assert last.tolist() == [1.0]
        async with client.session("loads", ttl_seconds=60) as session:
            assert (await session.step([[1.0], [float("nan")]])).tolist() == [[1.0], [1.0]]
            assert (await session.forecast(2)).tolist() == [[1.0], [2.0]]
            assert [info.session_id async for info in client.sessions("loads")] == [session.session_id]
            async with client.resume(session.session_id) as other:
                await other.step([[1.0]])
            with pytest.raises(SeqConflict) as conflict:
                await session.step([[5.0]])
            assert conflict.value.expected_seq == 3
        made = await client.step_many("loads", [f"1-{kind}", f"2-{kind}"], [[2.0], [3.0]], [0, 0], create_missing=True)
        assert made.outputs.tolist() == [[2.0], [3.0]]
        for session_id in made.session_ids:
            await client.close_session(session_id)
        assert 'ostinato_steps_total{model="loads"' in await client.metrics()


@both_kinds
async def test_bad_use_is_told_in_the_server_s_words(kind: str, server: ServerProcess) -> None:
    async with make_client(kind, None, server.url) as client:
        with pytest.raises(ServiceError, match="404 unknown_model"):
            await client.model("nobody")
        with pytest.raises(ServiceError, match="404 unknown_model"):
            async with client.stream("nobody"):
                pass
        async with client.session("loads") as session:
            for wrong, words in (
                ([[float("inf")]], r"infinity are not JSON.* \(at inputs\[0\]\[0\]\) \[422 invalid_input\]"),
                ([[1.0, 2.0]], "422 invalid_input"),
                ([], "422 invalid_input"),
            ):
                with pytest.raises(ServiceError, match=words):
                    await session.step(wrong)
            assert session.steps == 0
        with pytest.raises(ServiceError, match="422 invalid_input"):
            await client.predict("gusts", [[[float("nan"), 1, 1]]])


@both_kinds
async def test_steps_and_frames_whose_connections_are_cut_are_applied_once(kind: str, server: ServerProcess) -> None:
    generator = np.random.default_rng(20_272)
    loads = generator.integers(0, 9, size=(30, 1)).astype(np.float32)
    with CutWire(server.port, iter(generator.random(1000) < 0.3)) as wire:
        async with (
            make_client(kind, None, wire.url, patience_seconds=1e6) as client,
            client.stream("loads", create_missing=True) as stream,
        ):
            outputs = [await stream.step(f"cut-{kind}", loads[at : at + 3]) for at in range(0, 30, 3)]
    assert wire.num_cuts
    np.testing.assert_array_equal(np.concatenate(outputs), loads.cumsum(axis=0), strict=True)
    with Client(server.url) as direct:
        assert direct.resume(f"cut-{kind}").steps == 30
        direct.close_session(f"cut-{kind}")


async def test_many_sessions_over_one_stream_that_is_cut(server: ServerProcess) -> None:
    generator = np.random.default_rng(20_273)
    loads = {f"many-{number}": generator.integers(0, 9, size=(20, 1)).astype(np.float32) for number in range(16)}

    async def play(stream: Any, name: str) -> Any:
        return np.concatenate([await stream.step(name, loads[name][at : at + 2]) for at in range(0, 20, 2)])

    with CutWire(server.port, iter(generator.random(1000) < 0.2)) as wire:
        async with AsyncClient(wire.url) as client, client.stream("loads", create_missing=True) as stream:
            outputs = await asyncio.gather(*(play(stream, name) for name in loads))
    assert wire.num_cuts
    for name, made in zip(loads, outputs, strict=True):
        np.testing.assert_array_equal(made, loads[name].cumsum(axis=0), strict=True)
    async with AsyncClient(server.url) as client:
        for name in loads:
            await client.close_session(name)


def loads_of(number: int) -> NDArray[np.float32]:
    """A sequence ``[n, 1]`` that nobody else sends."""
    return np.random.default_rng([20_281, number]).integers(1, 1000, size=(3 + number % 5, 1)).astype(np.float32)


def predict_and_step(client: Client, number: int) -> None:
    """What each of many callers does at once; the model adds up, so each knows its own numbers."""
    loads = loads_of(number)
    [made] = client.predict("loads", [loads])
    np.testing.assert_array_equal(made, loads.cumsum(axis=0), strict=True)
    with client.session("loads") as session:
        made = np.concatenate([session.step(loads[at : at + 1]) for at in range(len(loads))])
    np.testing.assert_array_equal(made, loads.cumsum(axis=0), strict=True)


inherited: list[Client] = []


def as_worker(number: int) -> int:
    predict_and_step(inherited[0], number)
    return os.getpid()


def test_processes_that_inherit_a_client_each_get_their_own_answers(server: ServerProcess) -> None:
    with Client(server.url) as client:
        client.models()
        inherited[:] = [client]
        with multiprocessing.get_context("fork").Pool(8) as pool:
            working = pool.map_async(as_worker, range(96), chunksize=1)
            for number in range(96, 120):
                predict_and_step(client, number)
            process_ids = set(working.get(PATIENCE_SECONDS))
        predict_and_step(client, 120)
    assert len(process_ids) > 1
    assert os.getpid() not in process_ids


def test_threads_that_share_a_client_each_get_their_own_answers(server: ServerProcess) -> None:
    with Client(server.url) as client, ThreadPoolExecutor(32) as threads:
        for done in [threads.submit(predict_and_step, client, number) for number in range(128)]:
            done.result(PATIENCE_SECONDS)
