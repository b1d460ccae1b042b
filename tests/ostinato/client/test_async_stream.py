"""Streams of both kinds of client, against a small service whose connections fail in every way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ostinato import AsyncClient
from ostinato.errors import CommandError, SeqConflict, ServiceError, ServiceUnreachable
from tests.ostinato.fake_service import KINDS, Clock, FakeService, Network, make_client
from tests.ostinato.fake_stream import FakeStreams, fake_streams

both_kinds = pytest.mark.parametrize("kind", KINDS)


def error(status: int, code: str, **members: object) -> dict[str, Any]:
    return {"status": status, "code": code, "detail": "not so", **members}


@pytest.fixture
def streams() -> Iterator[FakeStreams]:
    with fake_streams(FakeService()) as running:
        yield running


def client_of(kind: str, streams: FakeStreams, **options: Any) -> Any:
    return make_client(kind, Network(streams.service), streams.url, **options)


@both_kinds
async def test_sessions_step_and_their_counts_are_kept(kind: str, streams: FakeStreams) -> None:
    async with client_of(kind, streams) as client:
        async with client.session("half", session_id="old", keep=True) as session:
            await session.step([[8.0], [8.0]])
        async with client.stream("half", create_missing=True) as stream:
            made = await stream.step("new", [[8.0], [None]])
            np.testing.assert_array_equal(made, np.array([[8], [4]], np.float32), strict=True)
            # (8/2 + 8) / 2: its steps were asked for
            assert (await stream.step("old", np.array([[0.0]]))).tolist() == [[6.0]]
            assert stream.steps == {"new": 2, "old": 3}
    assert streams.num_connections == 1


@both_kinds
@pytest.mark.parametrize("fault", ["before", "after", "away", "garbage"])
async def test_a_frame_that_is_lost_with_its_connection_is_sent_again(
    kind: str, fault: str, streams: FakeStreams
) -> None:
    streams.faults = iter(["", fault])
    async with (
        client_of(kind, streams, timeout_seconds=3600) as client,  # which nothing waits for
        client.stream("half", create_missing=True) as stream,
    ):
        assert (await stream.step("a", [[8.0]])).tolist() == [[8.0]]
        assert (await stream.step("a", [[8.0]])).tolist() == [[12.0]]
        assert stream.steps == {"a": 2}
    assert (streams.num_connections, streams.service.num_applied) == (2, 2)


@both_kinds
async def test_a_frame_that_is_not_answered_is_sent_again(kind: str, streams: FakeStreams) -> None:
    streams.faults = iter(["silent"])
    async with (
        client_of(kind, streams, timeout_seconds=0.2) as client,
        client.stream("half", create_missing=True) as stream,
    ):
        assert (await stream.step("a", [[8.0]])).tolist() == [[8.0]]
    assert (streams.num_connections, streams.service.num_applied) == (2, 1)


@both_kinds
async def test_a_refusal_for_now_is_waited_out(kind: str, streams: FakeStreams) -> None:
    streams.faults = iter(
        [
            error(429, "overloaded", retry_after_seconds=3),
            error(503, "draining", retry_after_seconds=1),
            error(503, "starting", retry_after_seconds=1),
            error(503, "state_store_unavailable", retry_after_seconds=2),
            error(504, "deadline_exceeded"),
        ]
    )
    client = client_of(kind, streams)
    async with client, client.stream("half", create_missing=True) as stream:
        assert (await stream.step("a", [[8.0]])).tolist() == [[8.0]]
    # The fifth attempt says nothing of when: 0.75 of 1.6
    assert client.pauses == pytest.approx([3, 1, 1, 2, 1.2])


@both_kinds
async def test_other_errors_are_raised_and_a_session_that_ended_is_forgotten(kind: str, streams: FakeStreams) -> None:
    async with client_of(kind, streams) as client, client.stream("half", create_missing=True) as stream:
        await stream.step("a", [[8.0]])
        async with client.resume("a") as other:
            await other.step([[8.0]])
        with pytest.raises(SeqConflict) as conflict:
            await stream.step("a", [[1.0]])
        assert (conflict.value.expected_seq, stream.steps["a"]) == (2, 1)
        assert await stream.sync("a") == 2
        assert (await stream.step("a", [[0.0]])).tolist() == [[6.0]]
        await client.close_session("a")
        with pytest.raises(ServiceError, match="410 session_closed"):
            await stream.step("a", [[1.0]])
        assert stream.steps == {}
        with pytest.raises(ServiceError, match="422 invalid_input"):
            await stream.step("b", [[float("inf")]])
        streams.faults = iter(["big"])
        with pytest.raises(ServiceError, match="413 too_large"):
            await stream.step("b", [[1.0]])
    async with client_of(kind, streams) as client, client.stream("half") as stream:
        with pytest.raises(ServiceError, match="404 unknown_session"):
            await stream.step("c", [[1.0]])


@both_kinds
async def test_a_handshake_is_refused_for_good_or_for_now(kind: str, streams: FakeStreams) -> None:
    streams.refusals = iter([error(404, "unknown_model")])
    async with client_of(kind, streams) as client:
        with pytest.raises(ServiceError, match="404 unknown_model"):
            async with client.stream("nobody"):
                pass
    streams.refusals = iter([error(503, "starting")] * 2)
    client = client_of(kind, streams)
    async with client, client.stream("half", create_missing=True) as stream:
        await stream.step("a", [[1.0]])
    assert client.pauses == [2, 2]


@both_kinds
async def test_where_nobody_listens_is_told_at_once(kind: str) -> None:
    client = make_client(kind, None, "http://localhost:1", patience_seconds=1.0)
    async with client:
        with pytest.raises(ServiceUnreachable, match=r"no service answers at http://localhost:1"):
            async with client.stream("half"):
                pass
    assert client.pauses == []


@both_kinds
async def test_a_stream_that_was_left_says_so(kind: str, streams: FakeStreams) -> None:
    async with client_of(kind, streams) as client:
        async with client.stream("half", create_missing=True) as stream:
            pass
        with pytest.raises(CommandError, match="the stream is closed"):
            await stream.step("a", [[1.0]])


@pytest.mark.parametrize("seed", range(3))
async def test_many_sessions_at_once_lose_nothing_whatever_is_lost(seed: int, streams: FakeStreams) -> None:
    generator = np.random.default_rng([20_271, seed])
    busy = error(429, "overloaded", retry_after_seconds=0)
    kinds: list[Any] = [*[""] * 12, "before", "after", "away", "silent", busy]
    streams.faults = iter([kinds[choice] for choice in generator.integers(len(kinds), size=400)])
    sequences = {f"s{number}": generator.integers(-8, 8, size=(20, 1)) for number in range(12)}
    clock = Clock()

    async def play(stream: Any, name: str) -> list[float]:
        # All chunks at once: they take turns.
        made = await asyncio.gather(*(stream.step(name, sequences[name][at : at + 2]) for at in range(0, 20, 2)))
        return [float(output) for outputs in made for output in outputs[:, 0]]

    async with (
        AsyncClient(
            streams.url,
            transport=Network(streams.service),
            patience_seconds=1e6,
            timeout_seconds=0.2,
            sleep=clock.sleep_async,
            clock=clock,
        ) as client,
        client.stream("half", create_missing=True) as stream,
    ):
        outputs = dict(zip(sequences, await asyncio.gather(*(play(stream, name) for name in sequences)), strict=True))
        assert set(stream.steps.values()) == {20}
    assert streams.service.num_applied == 12 * 10
    assert streams.num_connections > 1
    for name, sequence in sequences.items():
        total, expected = 0.0, []
        for value in sequence[:, 0].tolist():
            total = total / 2 + value
            expected.append(float(np.float32(total)))
        assert outputs[name] == expected


async def test_a_step_that_is_cancelled_disturbs_nobody(streams: FakeStreams) -> None:
    streams.faults = iter(["", "silent"])
    async with (
        client_of("async", streams, timeout_seconds=30) as client,
        client.stream("half", create_missing=True) as stream,
    ):
        await stream.step("a", [[8.0]])
        waiting = asyncio.create_task(stream.step("a", [[8.0]]))
        while streams.service.num_applied < 2:
            await asyncio.sleep(0.001)
        waiting.cancel()
        assert (await stream.step("b", [[1.0]])).tolist() == [[1.0]]
        # It was applied: the same again is answered, and nothing is applied twice.
        assert (await stream.step("a", [[8.0]])).tolist() == [[12.0]]
    assert (streams.num_connections, streams.service.num_applied) == (1, 3)


async def test_the_late_answer_to_a_step_that_was_cancelled_is_nobody_elses(streams: FakeStreams) -> None:
    late: list[dict[str, Any]] = []
    held = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold(answer: dict[str, Any]) -> list[dict[str, Any]]:
        late.append(answer)
        loop.call_soon_threadsafe(held.set)
        return []

    streams.faults = iter([hold, lambda answer: [*late, answer]])
    async with (
        client_of("async", streams, timeout_seconds=30) as client,
        client.stream("half", create_missing=True) as stream,
    ):
        waiting = asyncio.create_task(stream.step("a", [[8.0]]))
        await held.wait()
        waiting.cancel()
        assert (await stream.step("b", [[1.0]])).tolist() == [[1.0]]
        assert (await stream.step("c", [[3.0]])).tolist() == [[3.0]]
    assert (streams.num_connections, streams.service.num_applied) == (1, 3)
