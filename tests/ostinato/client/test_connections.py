"""Connections of both kinds of client: whose they are, and when they are given up."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx2
import pytest

from ostinato import AsyncClient, Client
from ostinato.errors import CommandError, SeqConflict, ServiceUnreachable, UnexpectedAnswer
from tests.ostinato.fake_http import fake_server
from tests.ostinato.fake_service import KINDS, Awaited, FakeService, Network, make_client
from tests.ostinato.fake_stream import fake_streams
from tests.waiting import PATIENCE_SECONDS

both_kinds = pytest.mark.parametrize("kind", [Client, AsyncClient])


def choose_last(urls: Any) -> str:
    last: str = urls[-1]
    return last


@both_kinds
def test_a_client_is_pickled_and_copied_as_its_settings(kind: type[Any]) -> None:
    urls = ["http://one", "http://two/"]
    client = kind(urls, patience_seconds=1.5, timeout_seconds=2.5, choose=choose_last)
    for again in (pickle.loads(pickle.dumps(client)), copy.copy(client), copy.deepcopy(client)):  # noqa: S301
        assert type(again) is kind
        assert repr(again) == repr(client) == f"<{kind.__name__} http://one, http://two>"
        for name in ("_settings", "_timeout_seconds"):
            assert getattr(again, name) == getattr(client, name)


@both_kinds
def test_a_client_with_a_transport_is_not_pickled(kind: type[Any]) -> None:
    with pytest.raises(TypeError, match="stays in its process; make one where it is needed"):
        pickle.dumps(kind("http://service", transport=Network(FakeService())))


def test_sessions_and_streams_are_not_pickled() -> None:
    blocking, other = Client("http://service", transport=Network(FakeService())), AsyncClient("http://service")
    for session in (blocking.session("half"), other.session("half")):
        with pytest.raises(TypeError, match=r"a session stays in its process; resume\(\) its session_id"):
            pickle.dumps(session)
    for stream in (blocking.stream("half"), other.stream("half")):
        with pytest.raises(TypeError, match="a stream stays in its process"):
            pickle.dumps(stream)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_was_closed_stays_closed(kind: str) -> None:
    async with make_client(kind, None, "http://127.0.0.1:1") as client:
        pass
    with pytest.raises(CommandError, match="the client is closed"):
        await client.models()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_gave_anothers_answer_is_not_asked_again(kind: str) -> None:
    with fake_server(FakeService()) as fake:
        async with make_client(kind, None, fake.url) as client, client.session("half", keep=True) as session:
            await session.step([[8.0]])
            assert fake.num_connections == 1
            fake.change = lambda _, answer: httpx2.Response(200, json={**answer.json(), "session_id": "another"})
            with pytest.raises(UnexpectedAnswer, match="session_id 'another'"):
                await session.step([[8.0]])
            fake.change = lambda _, answer: answer
            # It was applied: the same again is answered, and nothing is applied twice.
            assert (await session.step([[8.0]])).tolist() == [[12.0]]
            assert (fake.num_connections, fake.service.num_applied) == (2, 2)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Python says of a loop that ended what nobody closed in it
def test_a_client_and_its_session_go_on_in_another_event_loop() -> None:
    async def step(session: Any, *values: float) -> list[Any]:
        made = await asyncio.gather(*(session.step([[value]]) for value in values))
        return [each.tolist() for each in made]

    with fake_server(FakeService()) as fake:
        client = AsyncClient(fake.url)
        session = client.session("half", keep=True)
        asyncio.run(session.open())
        # Each waits for its turn: 8; 8/2 + 4; then, in another loop, 8/2 + 2 and 6/2 + 1.
        assert asyncio.run(step(session, 8.0, 4.0)) == [[[8.0]], [[8.0]]]
        assert asyncio.run(step(session, 2.0, 1.0)) == [[[6.0]], [[4.0]]]
        assert (fake.num_connections, fake.service.num_applied) == (3, 4)
        asyncio.run(client.aclose())
        with pytest.raises(CommandError, match="the client is closed"):
            asyncio.run(session.step([[1.0]]))
        del client, session
        gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_loop_that_goes_on_keeps_its_connection_while_another_uses_the_client() -> None:
    async def both() -> None:
        async with AsyncClient(fake.url) as client, client.session("half") as session:
            await session.step([[8.0]])
            ids = await asyncio.to_thread(asyncio.run, ids_of(client))
            assert ids == [session.session_id]
            await session.step([[8.0]])
            assert fake.num_connections == 2
        gc.collect()

    async def ids_of(client: AsyncClient) -> list[str]:
        return [info.session_id async for info in client.sessions()]

    with fake_server(FakeService()) as fake:
        asyncio.run(both())


class Late:
    """Holds the answer to a chunk of 8.0, and says when it has come so far."""

    def __init__(self) -> None:
        self.arrived: Callable[[], object] = lambda: None
        self.release = threading.Event()

    def of_request(self, request: httpx2.Request, answer: httpx2.Response) -> httpx2.Response:
        if b"[[8.0]]" in request.content:
            self.hold()
        return answer

    def of_frame(self, answer: dict[str, Any]) -> list[dict[str, Any]]:
        self.hold()
        return [answer]

    def hold(self) -> None:
        self.arrived()
        assert self.release.wait(PATIENCE_SECONDS)


async def go_on_after(late: Late, session: Any) -> None:
    """The chunk of 8.0 was applied, and its answer comes now."""
    with pytest.raises(SeqConflict) as conflict:
        await session.step([[4.0]])
    assert conflict.value.expected_seq == 1
    late.release.set()
    assert await session.sync() == 1
    # 8/2 + 4
    assert (await session.step([[4.0]])).tolist() == [[8.0]]


@pytest.mark.parametrize("kind", KINDS)
async def test_the_late_answer_to_a_request_that_was_given_up_reaches_nobody(kind: str) -> None:
    late = Late()
    with fake_server(FakeService()) as fake:
        client = make_client(kind, None, fake.url, timeout_seconds=0.3, patience_seconds=0)
        async with client, client.session("half", keep=True) as session:
            fake.change = late.of_request
            with pytest.raises(ServiceUnreachable):
                await session.step([[8.0]])
            await go_on_after(late, session)


async def test_the_late_answer_to_a_step_that_was_cancelled_reaches_nobody() -> None:
    late, arrived = Late(), asyncio.Event()
    late.arrived = partial(asyncio.get_running_loop().call_soon_threadsafe, arrived.set)
    with fake_server(FakeService()) as fake:
        async with AsyncClient(fake.url) as client, client.session("half", keep=True) as session:
            fake.change = late.of_request
            stepping = asyncio.create_task(session.step([[8.0]]))
            await arrived.wait()
            stepping.cancel()
            await asyncio.wait({stepping})
            await go_on_after(late, session)


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """SIGINT interrupts, though who started the tests may have it ignored, as a shell does for what runs behind it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


def interrupt() -> None:
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


@pytest.mark.usefixtures("_interruptible")
def test_the_late_answer_to_a_step_that_was_interrupted_reaches_nobody() -> None:
    late = Late()
    late.arrived = interrupt
    with fake_server(FakeService()) as fake, Client(fake.url) as client, client.session("half") as session:
        fake.change = late.of_request
        with pytest.raises(KeyboardInterrupt):
            session.step([[8.0]])
        asyncio.run(go_on_after(late, Awaited(session)))


@pytest.mark.usefixtures("_interruptible")
def test_the_late_answer_to_a_frame_that_was_interrupted_reaches_nobody() -> None:
    late = Late()
    late.arrived = interrupt
    with (
        fake_streams(FakeService()) as streams,
        Client(streams.url) as client,
        client.stream("half", create_missing=True) as stream,
    ):
        stream.steps |= {"a": 0, "b": 0}
        streams.faults = iter([late.of_frame])
        with pytest.raises(KeyboardInterrupt):
            stream.step("a", [[8.0]])
        late.release.set()
        assert stream.step("b", [[4.0]]).tolist() == [[4.0]]
        assert stream.step("a", [[8.0]]).tolist() == [[8.0]]
    assert (streams.num_connections, streams.service.num_applied) == (2, 2)
