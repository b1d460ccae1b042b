"""Clients, sessions and streams in a process that was forked off while they were open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import httpx2
import pytest

from ostinato import AsyncClient, Client
from ostinato.errors import CommandError, SeqConflict, ServiceUnreachable
from tests.ostinato.fake_generation import FakeWriter
from tests.ostinato.fake_http import FakeServer, fake_server
from tests.ostinato.fake_service import FakeService, Network
from tests.ostinato.fake_stream import FakeStreams, fake_streams
from tests.waiting import PATIENCE_SECONDS, until

Result = TypeVar("Result")
FORK = multiprocessing.get_context("fork")


class Child:
    """A process that was forked off, and does one thing. A context manager, which ends it."""

    def __init__(self, work: Callable[[Connection], object]) -> None:
        self.pipe, theirs = FORK.Pipe()
        self.process_id = os.fork()
        if self.process_id:
            theirs.close()
            return
        try:
            self.pipe.close()
            signal.alarm(int(PATIENCE_SECONDS))
            made: tuple[str, Any] = ("made", work(theirs))
        except BaseException as error:
            made = ("failed", error)
        try:
            theirs.send(made)
        finally:
            os._exit(0)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.pipe.close()
        os.waitpid(self.process_id, 0)

    def result(self) -> Any:
        """What it returned; raises what it raised."""
        outcome, content = self.pipe.recv()
        if outcome == "failed":
            raise content
        return content


def in_child(work: Callable[[], Result]) -> Result:
    """What comes of it in a process that is forked off for it."""
    with Child(lambda _: work()) as child:
        result: Result = child.result()
        return result


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with fake_server(FakeService()) as running:
        yield running


@pytest.fixture
def streams(fake: FakeServer) -> Iterator[FakeStreams]:
    with fake_streams(fake.service) as running:
        yield running


def test_a_session_from_before_is_stepped_by_both_in_turn_and_a_conflict_is_told(fake: FakeServer) -> None:
    with Client(fake.url) as client, client.session("half") as session:
        session.step([[8.0]])

        def step_in_child() -> tuple[float, int]:
            with session:
                return float(session.step([[4.0]])[0, 0]), session.steps

        # 8/2 + 4
        assert in_child(step_in_child) == (8.0, 2)
        # The child left the session's block: the session is its parent's to close.
        with pytest.raises(SeqConflict) as conflict:
            session.step([[1.0]])
        assert conflict.value.expected_seq == 2
        assert session.sync() == 2
        assert session.step([[0.0]]).tolist() == [[4.0]]
        # A second connection, the child's.
        assert fake.num_connections == 2
    assert fake.service.ended == {session.session_id}


def test_a_session_that_a_child_opens_is_closed_at_the_end_of_its_block(fake: FakeServer) -> None:
    with Client(fake.url) as client:

        def open_in_child() -> str:
            with client.session("half") as session:
                return session.session_id

        assert fake.service.ended == {in_child(open_in_child)}


def test_a_stream_from_before_connects_anew_and_its_parents_stays(streams: FakeStreams) -> None:
    with Client(streams.url) as client, client.stream("half", create_missing=True) as stream:
        stream.steps["a"] = 0
        stream.step("a", [[8.0]])

        def step_in_child() -> tuple[float, dict[str, int]]:
            with stream:
                return float(stream.step("a", [[4.0]])[0, 0]), dict(stream.steps)

        # 8/2 + 4
        assert in_child(step_in_child) == (8.0, {"a": 2})
        with pytest.raises(SeqConflict):
            stream.step("a", [[1.0]])
        stream.steps["a"] = 2
        assert stream.step("a", [[0.0]]).tolist() == [[4.0]]
    assert streams.num_connections == 2


def test_what_a_child_throws_away_ends_no_connection_of_its_parent(
    fake: FakeServer, streams: FakeStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else the client makes a new connection where it has waited for the child for five seconds.
    monkeypatch.setattr(httpx2, "Limits", partial(httpx2.Limits, keepalive_expiry=None))
    held: list[Any] = [Client(fake.url), Client(streams.url)]
    held.append(held[1].stream("half", create_missing=True))
    held.append(held[0].session("half", session_id="a"))
    held[2].__enter__()
    held[2].steps["a"] = 0

    def throw_away() -> None:
        held.pop(2).__exit__(None, None, None)
        for _ in range(3):
            held.pop()
        gc.collect()

    in_child(throw_away)
    assert held[2].step("a", [[8.0]]).tolist() == [[8.0]]
    assert held[3].look().steps == 1
    assert (fake.num_connections, fake.num_ended, streams.num_connections) == (1, 0, 1)
    held[2].__exit__(None, None, None)
    held[0].close()
    held[1].close()


def test_a_parent_that_hangs_up_is_heard_though_its_child_lives(fake: FakeServer) -> None:
    client = Client(fake.url)
    client.session("half")
    with Child(lambda pipe: pipe.recv()) as child:
        client.close()
        until(lambda: fake.num_ended == 1, "the end of the parent's connection")
        child.pipe.send("enough")
        assert child.result() == "enough"


class Gate:
    """Holds the first answer that it is given, of either server."""

    def __init__(self) -> None:
        self.arrived, self.let_go = threading.Event(), threading.Event()

    def hold(self) -> None:
        if not self.arrived.is_set():
            self.arrived.set()
            assert self.let_go.wait(PATIENCE_SECONDS)

    def of_request(self, request: httpx2.Request, answer: httpx2.Response) -> httpx2.Response:
        if request.url.path.endswith("/step"):
            self.hold()
        return answer

    def of_frame(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        self.hold()
        return [answer]


def test_a_session_that_another_thread_is_stepping_can_be_used_by_a_child(fake: FakeServer) -> None:
    gate = Gate()
    fake.change = gate.of_request
    with Client(fake.url) as client, client.session("half") as session, ThreadPoolExecutor(1) as threads:
        stepping = threads.submit(session.step, [[8.0]])
        assert gate.arrived.wait(PATIENCE_SECONDS)
        assert in_child(session.sync) == 1
        gate.let_go.set()
        assert stepping.result(PATIENCE_SECONDS).tolist() == [[8.0]]


def test_a_stream_on_which_another_thread_waits_can_be_used_by_a_child(streams: FakeStreams) -> None:
    gate = Gate()
    streams.faults = iter([gate.of_frame])
    with (
        Client(streams.url) as client,
        client.stream("half", create_missing=True) as stream,
        ThreadPoolExecutor(1) as threads,
    ):
        stream.steps |= {"a": 0, "b": 0}
        stepping = threads.submit(stream.step, "a", [[8.0]])
        assert gate.arrived.wait(PATIENCE_SECONDS)
        with Child(lambda _: stream.step("b", [[4.0]]).tolist()) as child:
            gate.let_go.set()
            assert child.result() == [[4.0]]
        assert stepping.result(PATIENCE_SECONDS).tolist() == [[8.0]]
    assert streams.num_connections == 2


def test_forks_at_any_moment_of_a_busy_client(fake: FakeServer) -> None:
    stop = threading.Event()
    with Client(fake.url) as client, ThreadPoolExecutor(4) as threads:

        def keep_stepping() -> int:
            with client.session("half") as session:
                while not stop.is_set():
                    session.step([[1.0]])
                return session.steps

        def step_once() -> float:
            with client.session("half") as session:
                return float(session.step([[4.0]])[0, 0])

        busy = [threads.submit(keep_stepping) for _ in range(4)]
        try:
            assert [in_child(step_once) for _ in range(6)] == [4.0] * 6
        finally:
            stop.set()
        assert all(each.result(PATIENCE_SECONDS) for each in busy)


async def test_an_asynchronous_client_goes_on_in_a_childs_own_loop(fake: FakeServer, streams: FakeStreams) -> None:
    gates = Gate(), Gate()
    async with (
        AsyncClient(fake.url) as client,
        AsyncClient(streams.url) as other,
        client.session("half", session_id="a") as session,
        other.stream("half", create_missing=True) as stream,
    ):
        stream.steps |= {"b": 0, "c": 0}
        fake.change, streams.faults = gates[0].of_request, iter([gates[1].of_frame])
        waiting = [asyncio.ensure_future(each) for each in (session.step([[8.0]]), stream.step("b", [[8.0]]))]
        for gate in gates:
            assert await asyncio.to_thread(gate.arrived.wait, PATIENCE_SECONDS)
        # The turns are held by tasks that are not there in the child.
        child = Child(lambda _: asyncio.run(go_on(session, stream)))
        for gate in gates:
            gate.let_go.set()
        with child:
            assert await asyncio.to_thread(child.result) == (8.0, 4.0)
        assert [made.tolist() for made in await asyncio.gather(*waiting)] == [[[8.0]], [[8.0]]]
        assert await session.sync() == 2
        assert (await stream.step("b", [[0.0]])).tolist() == [[4.0]]
    assert (streams.num_connections, fake.num_connections) == (2, 2)
    assert fake.service.ended == {"a"}


async def go_on(session: Any, stream: Any) -> tuple[float, float]:
    async with session, stream:
        await session.sync()
        # 8/2 + 4
        return float((await session.step([[4.0]]))[0, 0]), float((await stream.step("c", [[4.0]]))[0, 0])


def test_a_stream_of_outputs_stays_with_the_process_that_began_it() -> None:
    with (
        fake_server(FakeWriter()) as fake,
        Client(fake.url) as client,
        contextlib.closing(client.generate_stream("capitals", ["abc"])) as items,
    ):
        first = next(items)
        with pytest.raises(ServiceUnreachable, match="begun by the process that this one was forked from"):
            in_child(lambda: list(items))
        in_child(items.close)
        assert [getattr(item, "value", None) for item in (first, *items)] == ["A", "B", "C", "", None]


def test_a_client_with_a_transport_stays_in_its_process() -> None:
    with Client("http://service", transport=Network(FakeService())) as client:
        session = client.session("half")
        with pytest.raises(CommandError, match="made with a transport, in the process that this one was forked from"):
            in_child(session.look)
        assert session.look().steps == 0
