"""Both kinds of client against scripted answers and a small service."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import httpx2
import numpy as np
import pytest

import ostinato
from ostinato.errors import CommandError, SeqConflict, ServiceError, ServiceUnreachable
from tests.ostinato.fake_service import KINDS, FakeService, Network, make_client, problem

pytestmark = pytest.mark.parametrize("kind", KINDS)

Fault = str | httpx2.Response


def network_with(*faults: Fault) -> Network:
    return Network(FakeService(), faults)


async def test_a_session_lives_for_a_block(kind: str) -> None:
    network = network_with()
    async with make_client(kind, network) as client:
        async with client.session("half", ttl_seconds=60) as session:
            assert len(session.session_id) == 22  # 128 bits, 6 a character
            assert (session.model, session.version, session.steps) == ("half", "1", 0)
            outputs = await session.step(np.array([[8.0], [4.0]]))
            # 8, 8/2 + 4
            np.testing.assert_array_equal(outputs, np.array([[8], [8]], np.float32), strict=True)
            assert (await session.step([[None]], return_sequences=False)).tolist() == [[4.0]]
            assert session.steps == 3
            shown = repr(session if kind == "async" else session.blocking)
            assert shown.removeprefix("<Async").removeprefix("<") == (
                f"Session '{session.session_id}' of half/1, 3 steps>"
            )
        assert network.service.ended == {session.session_id}
        await session.close()  # a second time nothing happens
        with pytest.raises(ServiceError, match="410 session_closed"):
            await session.step([[1.0]])


async def test_a_session_may_be_kept_and_resumed(kind: str) -> None:
    network = network_with()
    async with make_client(kind, network) as client:
        async with client.session("half", session_id="card-7", keep=True) as session:
            await session.step([[8.0]])
        async with client.resume("card-7") as resumed:
            assert resumed.steps == 1
            assert (await resumed.step([[0.0]])).tolist() == [[4.0]]
        assert network.service.sessions["card-7"].steps == 2
        with pytest.raises(ServiceError, match="404 unknown_session"):
            async with client.resume("card-8"):
                pass
        await client.close_session("card-7")
    assert network.service.ended == {"card-7"}


async def test_a_session_that_ended_or_was_broken_off_leaves_its_block_quietly(kind: str) -> None:
    network = network_with()
    async with make_client(kind, network, patience_seconds=0.0) as client:
        async with client.session("half") as session:
            network.service.answer(httpx2.Request("DELETE", f"http://service/v1/sessions/{session.session_id}"))
        network.faults = iter(["", "before"] * 2)
        with pytest.raises(ZeroDivisionError):
            async with client.session("half"):
                raise ZeroDivisionError
        with pytest.raises(ServiceUnreachable):
            async with client.session("half"):
                pass


async def test_another_writer_is_told_of_and_the_count_stays_until_it_is_taken(kind: str) -> None:
    network = network_with()
    async with make_client(kind, network) as client, client.session("half") as session:
        async with client.resume(session.session_id) as other:
            await other.step([[8.0], [8.0]])
        with pytest.raises(SeqConflict, match=r"not so \[409 seq_conflict\]") as conflict:
            await session.step([[1.0]])
        assert (conflict.value.expected_seq, session.steps) == (2, 0)
        assert (await session.look()).steps == 2
        assert session.steps == 0
        assert (await session.sync(), session.steps) == (2, 2)
        assert (await session.step([[1.0]])).tolist() == [[7.0]]  # (8/2 + 8) / 2 + 1


async def test_reset_fork_and_state(kind: str) -> None:
    network = network_with()
    async with make_client(kind, network) as client, client.session("half") as session:
        await session.step([[8.0]])
        async with await session.fork() as copy, await session.fork("named", ttl_seconds=5) as named:
            assert (copy.steps, named.steps, named.session_id) == (1, 1, "named")
            state = await session.state()
            await session.reset()
            assert session.steps == 0
            assert (await session.step([[1.0]])).tolist() == [[1.0]]
            assert (await copy.step([[1.0]])).tolist() == [[5.0]]
            await session.put_state(state)
            assert session.steps == 1
            assert (await session.step([[1.0]])).tolist() == [[5.0]]
        assert network.service.ended == {copy.session_id, "named"}


async def test_sessions_are_listed_page_by_page_and_an_empty_page_is_not_the_last(kind: str) -> None:
    network = network_with()
    async with make_client(kind, network) as client:
        assert [info async for info in client.sessions()] == []
        for name in "abc":
            async with client.session("half", session_id=name, keep=True):
                pass
        found = [info async for info in client.sessions("half")]
    assert [info.session_id for info in found] == ["a", "b", "c"]
    assert (found[0].expires_at, found[0].opened_at.isoformat()) == (None, "2026-01-01T00:00:00+00:00")


async def test_a_refusal_for_now_is_repeated_when_the_server_says_or_after_pauses_that_double(kind: str) -> None:
    network = network_with("", problem(429, "overloaded", "3"), problem(503, "draining"), problem(503, "draining"))
    client = make_client(kind, network)
    async with client, client.session("half") as session:
        assert (await session.step([[1.0]])).tolist() == [[1.0]]
    assert client.pauses == pytest.approx([3.0, 0.15, 0.3])


async def test_patience_ends(kind: str) -> None:
    client = make_client(kind, Network(FakeService(), repeat("before")), patience_seconds=10.0)
    async with client:
        with pytest.raises(ServiceUnreachable, match=r"at http://service \(the request was lost\); 'ostinato serve'"):
            await client.model("half")
    # The last attempt is made when it ends.
    assert sum(client.pauses) == 10.0
    client = make_client(kind, network_with(problem(429, "overloaded", "11")), patience_seconds=10.0)
    async with client:
        with pytest.raises(ServiceError, match=r"not so \[429 overloaded\]"):
            await client.model("half")
    assert client.pauses == []


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_whatever_is_lost_of_a_session_is_asked_for_again(kind: str, lost: str) -> None:
    # Every second attempt is lost, of: open, step, reset, step, fork, look, close, close.
    network = network_with(*[lost, ""] * 20)
    service = network.service
    async with make_client(kind, network) as client:
        async with client.session("half") as session:
            assert (await session.step([[8.0]])).tolist() == [[8.0]]
            await session.reset()
            assert (await session.step([[2.0]])).tolist() == [[2.0]]
            async with await session.fork() as copy:
                assert (copy.steps, len(service.sessions)) == (1, 2)
                assert (await copy.look()).steps == 1
        assert service.num_applied == 2
    assert service.ended == {session.session_id, copy.session_id}


async def test_a_session_of_that_name_is_taken_only_if_our_own_attempt_may_have_opened_it(kind: str) -> None:
    async with make_client(kind, network_with()) as client, client.session("half", session_id="a"):
        with pytest.raises(ServiceError, match="409 session_exists"):
            async with client.session("half", session_id="a"):
                pass
    # A refusal opened nothing, so it is another's.
    network = network_with("", problem(429, "overloaded"))
    async with make_client(kind, network) as client, client.session("half", session_id="a"):
        with pytest.raises(ServiceError, match="409 session_exists"):
            async with client.session("half", session_id="a"):
                pass
    # One that has steps is another's, too.
    network = network_with("", "", "before")
    async with make_client(kind, network) as client, client.session("half", session_id="a") as session:
        await session.step([[1.0]])
        with pytest.raises(ServiceError, match="409 session_exists"):
            async with client.session("half", session_id="a"):
                pass


async def test_what_was_lost_once_stays_in_doubt_whatever_is_said_in_between(kind: str) -> None:
    refused = problem(429, "overloaded")
    network = network_with("after", refused, "", "", "after", refused)
    async with make_client(kind, network) as client, client.session("half", session_id="a") as session:
        assert (await session.step([[8.0]])).tolist() == [[8.0]]
        await session.close()
    assert network.service.ended == {"a"}


async def test_many_sessions_step_in_one_message_and_rows_fail_alone(kind: str) -> None:
    network = network_with("", "", "after")
    async with (
        make_client(kind, network) as client,
        client.session("half", session_id="a"),
        client.session("half", session_id="b"),
    ):
        made = await client.step_many("half", ["a", "b"], np.array([[2.0], [4.0]]), np.array([0, 0]))
        assert network.service.num_applied == 2  # though the first answer was lost
        assert (made.session_ids, made.seq.tolist(), made.errors) == (("a", "b"), [0, 0], ())
        np.testing.assert_array_equal(made.outputs, np.array([[2], [4]], np.float32), strict=True)
        made = await client.step_many("half", ["a", "nobody", "b"], [[1.0], [1.0], [1.0]], [1, 0, 7])
        assert (made.seq.tolist(), made.outputs[0].tolist()) == ([1, -1, -1], [2.0])
        assert np.isnan(made.outputs[1:]).all()
        assert [(error.row, error.code, error.expected_seq) for error in made.errors] == [
            (1, "unknown_session", None),
            (2, "seq_conflict", 1),
        ]


@pytest.mark.parametrize(
    ("session_ids", "seq"), [(["a", "b"], None), (["a", "b"], [0, None]), (["a", "a"], [0, 1])], ids=str
)
async def test_a_message_that_would_be_applied_twice_is_not_sent_again(
    kind: str, session_ids: list[str], seq: list[int | None] | None
) -> None:
    network = network_with("after", problem(503, "state_store_unavailable"), problem(429, "overloaded"), "before")
    async with make_client(kind, network) as client:
        with pytest.raises(ServiceUnreachable, match="the answer was lost"):
            await client.step_many("half", session_ids, [[1.0], [1.0]], seq)
        with pytest.raises(ServiceError, match="state_store_unavailable"):
            await client.step_many("half", session_ids, [[1.0], [1.0]], seq)
        # Refused, so nothing was applied; then lost.
        with pytest.raises(ServiceUnreachable, match="the request was lost"):
            await client.step_many("half", session_ids, [[1.0], [1.0]], seq)


async def test_replicas_take_turns_attempt_by_attempt_or_are_chosen(kind: str) -> None:
    urls = ["http://one", "http://two:8080/"]
    network = network_with("", "before")
    async with make_client(kind, network, urls) as client, client.session("half") as session:
        await session.step([[1.0]])
    assert network.hosts == ["one", "two", "one", "two"]
    network = network_with()
    async with make_client(kind, network, urls, choose=lambda given: given[1]) as client, client.session("half"):
        pass
    assert network.hosts == ["two", "two"]


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://host", "http://", "", [], ["http://a", "b"], "http://a:x"])
async def test_an_address_that_is_none_is_told_at_once(kind: str, url: str | list[str]) -> None:
    with pytest.raises(ServiceUnreachable, match="address"):
        make_client(kind, None, url)


async def test_where_nobody_listens_is_told_with_the_address(kind: str) -> None:
    async with make_client(kind, None, "http://127.0.0.1:1", patience_seconds=0) as client:
        with pytest.raises(ServiceUnreachable, match=r"no service answers at http://127.0.0.1:1 .*ostinato serve"):
            await client.model("m")


async def test_where_nobody_ever_listened_each_address_is_tried_once(kind: str) -> None:
    network = Network(FakeService(), repeat("refused"))
    client = make_client(kind, network, ["http://a", "http://b", "http://c"])
    async with client:
        with pytest.raises(ServiceUnreachable, match=r"no service answers at http://c \(nobody listens\)"):
            await client.models()
    assert network.hosts == ["a", "b", "c"]
    assert client.pauses == pytest.approx([0.075, 0.15])


async def test_a_service_that_was_reached_once_is_waited_for(kind: str) -> None:
    client = make_client(kind, network_with("", *["refused"] * 4))
    async with client:
        session = client.session("half", keep=True)
        async with session:
            assert (await session.step([[1.0]])).tolist() == [[1.0]]
    assert client.pauses == pytest.approx([0.075, 0.15, 0.3, 0.6])


async def test_an_address_that_answers_late_is_asked_again_though_none_was_reached(kind: str) -> None:
    network = Network(FakeService(), ["before", "refused", ""])
    async with make_client(kind, network) as client:
        assert (await client.model("half"))["model"] == "half"


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx2.Response(200, text="<html>"),
        lambda: httpx2.Response(200, json={"hello": "world"}),
        lambda: httpx2.Response(200, json=["model"]),
        lambda: httpx2.Response(404, text="<html>"),
        lambda: httpx2.Response(302, headers={"location": "/login"}),
    ],
)
async def test_an_answer_of_something_else_is_recognised(kind: str, answer: Callable[[], httpx2.Response]) -> None:
    async with make_client(kind, network_with(answer(), answer())) as client:
        with pytest.raises(ServiceError, match="is this the service"):
            await client.model("m")
        with pytest.raises(ServiceError, match="is this the service"):
            await client.predict("m", [[[1.0]]])


async def test_a_handle_that_was_not_entered_says_so(kind: str) -> None:
    if kind == "async":
        async with ostinato.AsyncClient("http://service", transport=network_with()) as client:
            with pytest.raises(CommandError, match="not open yet"):
                await client.session("half").step([[1.0]])


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_is_lost_nothing_is_applied_twice_or_left_out(kind: str, seed: int) -> None:
    generator = np.random.default_rng([20_270, seed])

    def faults() -> Iterator[Fault]:
        while True:
            yield from generator.choice(["", "", "before", "after"], 100).tolist()
            yield problem(503, "state_store_unavailable")

    network = Network(FakeService(), chain([""], faults()))
    chunks = [generator.normal(size=(int(generator.integers(1, 5)), 1)).astype(np.float32) for _ in range(60)]
    outputs = []
    client = make_client(kind, network, patience_seconds=1e6)
    async with client, client.session("half") as session:
        for chunk in chunks:
            outputs.append(await session.step(chunk))
            if generator.random() < 0.1:
                state = await session.state()
                await session.put_state(state)
    service = network.service
    assert (service.num_applied, session.steps) == (60, sum(len(chunk) for chunk in chunks))
    total, expected = np.float64(0), []
    for value in np.concatenate(chunks)[:, 0].astype(np.float64):
        total = total / 2 + value
        expected.append(total)
    np.testing.assert_array_equal(np.concatenate(outputs)[:, 0], np.array(expected, np.float32), strict=True)
    assert client.pauses, "nothing was lost"


def test_the_package_gives_both_clients_and_the_command_line_starts_without_them(kind: str) -> None:
    name = "AsyncClient" if kind == "async" else "Client"
    assert getattr(ostinato, name).__name__ == name
    assert not hasattr(ostinato, "NoClient")
    code = (
        "import sys\nfrom ostinato.cli import main\nsys.argv = ['ostinato', '--help']\ntry: main()\n"
        "except SystemExit: pass\nfound = {'httpx2', 'websockets', 'numpy', 'service'} & set(sys.modules)\n"
        f"assert not found, found\nfrom ostinato import {name}\nassert 'service' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
