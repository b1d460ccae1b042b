"""The load client against a server of a few lines, which answers as a test tells it."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing

import numpy as np
import pytest

from ostinato.errors import ServiceUnreachable
from ostinato.tools.connection import HostPort, PlainAnswer, PlainConnection, http_request, parse_answer
from ostinato.tools.load import Load, Script, closed_loop, open_loop

Reply = Callable[[bytes], bytes]


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d Word\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


@pytest.fixture
def serve() -> Iterator[Callable[[Reply], HostPort]]:
    """Starts a server whose reply to a body is a function of it."""
    listeners: list[socket.socket] = []

    def talk(connection: socket.socket, reply: Reply) -> None:
        with closing(connection), connection.makefile("rb") as lines:
            while head := lines.readline():
                length = 0
                while (head := lines.readline()) not in (b"\r\n", b""):
                    name, _, value = head.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                try:
                    connection.sendall(reply(lines.read(length)))
                except OSError:
                    return

    def accept(listener: socket.socket, reply: Reply) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection, reply), daemon=True).start()

    def start(reply: Reply) -> HostPort:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=accept, args=(listener, reply), daemon=True).start()
        return ("127.0.0.1", listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def load(
    answered_at: list[float],
    sent_at: list[float],
    seconds: float,
    ok: list[bool] | None = None,
    steps: list[int] | None = None,
) -> Load:
    taken = np.array([True] * len(answered_at) if ok is None else ok)
    return Load(
        seconds=seconds,
        statuses=Counter(),
        sent_at=np.array(sent_at),
        answered_at=np.array(answered_at),
        ok=taken,
        steps=np.array([1] * len(answered_at) if steps is None else steps),
        num_steps=[],
        last=[],
        turns=[],
        cpu_fraction=0.0,
    )


def test_rate_pause_and_percentiles_are_of_what_was_answered() -> None:
    took = load([1.0, 2.0, 2.5, 8.0], [0.5, 1.0, 2.0, 2.0], 10.0)
    assert took.rate == 4 / 10
    assert took.longest_pause == 8.0 - 2.5
    # They took 0.5, 1, 0.5 and 6 seconds.
    assert took.percentile(50) == (0.5 + 1.0) / 2
    assert took.percentile(100) == 6.0


def test_a_rate_is_of_steps_and_what_only_opens_something_counts_in_no_percentile() -> None:
    took = load([5.0, 2.0, 4.0], [0.0, 1.0, 3.5], 10.0, steps=[0, 8, 2])
    assert took.rate == 10 / 10
    assert took.percentile(100) == 1.0


def test_the_end_counts_as_a_pause_and_refusals_have_percentiles_of_their_own() -> None:
    took = load([1.0, 2.0], [0.0, 1.5], 9.0, [True, False])
    assert took.longest_pause == 9.0 - 2.0
    assert (took.num_ok, took.num_failed) == (1, 1)
    assert (took.percentile(99), took.percentile(99, ok=False)) == (1.0, 0.5)


@pytest.mark.parametrize("cut", [0, 10, 40, 44])
def test_an_answer_that_is_not_whole_is_none(cut: int) -> None:
    assert parse_answer(answer(200, b"12345")[:cut]) is None


def test_an_answer_ends_where_its_length_says() -> None:
    whole = answer(404, b"12345")
    assert parse_answer(whole + b"HTTP/1.1 2") == (PlainAnswer(404, b"12345"), len(whole))
    assert parse_answer(b"HTTP/1.1 204 No Content\r\n\r\n") == (PlainAnswer(204, b""), 27)


@pytest.mark.parametrize("data", [b"SSH-2.0-x_y\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_what_is_no_http_with_a_length_is_refused(data: bytes) -> None:
    with pytest.raises(ServiceUnreachable):
        parse_answer(data)


def test_each_connection_sends_its_own_requests_in_turn(serve: Callable[[Reply], HostPort]) -> None:
    seen: list[bytes] = []

    def echo(body: bytes) -> bytes:
        seen.append(body)
        time.sleep(0.001)
        return answer(200, body)

    address = serve(echo)
    requests = [[http_request("POST", "/", b"%d%d" % (session, turn)) for turn in range(3)] for session in range(2)]
    took = closed_loop(address, [Script(each) for each in requests], 0.1)
    for session in range(2):
        mine = [int(body[1:]) for body in seen if body[:1] == b"%d" % session]
        assert mine == [turn % 3 for turn in range(len(mine))]
        assert took.num_steps[session] == len(mine)
        assert took.last[session].body == b"%d%d" % (session, mine[-1])
    assert took.statuses[200] == took.num_ok <= len(seen)
    assert took.num_failed == 0


def test_what_a_script_has_in_front_is_sent_once_and_first_answers_are_kept(
    serve: Callable[[Reply], HostPort],
) -> None:
    def echo(body: bytes) -> bytes:
        time.sleep(0.001)
        return answer(200, body)

    script = Script([http_request("POST", "/", b"%d" % turn) for turn in range(3)], steps=[0, 2, 5], again_from=1)
    took = closed_loop(serve(echo), [script], 0.1, keep=6)
    assert [kept.body for kept in took.first[0]] == [b"0", b"1", b"2", b"1", b"2", b"1"]
    steps_sent, turns = 0, script.turns()
    for _ in range(len(took.ok)):
        steps_sent += script.steps_of(next(turns))
    assert int(took.steps.sum()) == steps_sent


def test_a_large_request_goes_in_parts(serve: Callable[[Reply], HostPort]) -> None:
    address = serve(lambda body: answer(200, b"%d" % len(body)))
    took = closed_loop(address, [Script([http_request("POST", "/", bytes(3_000_000))])], 0.05)
    assert took.last[0] == PlainAnswer(200, b"3000000")


def test_an_open_loop_sends_as_many_as_it_should_and_counts_what_it_could_not(
    serve: Callable[[Reply], HostPort],
) -> None:
    address = serve(lambda body: answer(429 if body == b"1" else 200, body))
    requests = [http_request("POST", "/", body) for body in (b"0", b"1")]
    took = open_loop(address, [Script(requests, start=number % 2) for number in range(8)], 400, 0.5)
    # 200 are due on average, and the deviation of a Poisson process is the root of that: 14. Six of them is certain.
    assert 115 < len(took.ok) + took.num_unsent < 285
    assert abs(took.statuses[200] - took.statuses[429]) <= 8
    assert took.refusals == {PlainAnswer(429, b"1"): took.statuses[429]}

    def slow(body: bytes) -> bytes:
        time.sleep(0.2)
        return answer(200, body)

    took = open_loop(serve(slow), [Script(requests)], 400, 0.3)
    assert took.num_unsent > 0
    assert sum(took.num_steps) <= 3


def test_a_service_that_hangs_up_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = PlainConnection(("127.0.0.1", listener.getsockname()[1]))
        listener.accept()[0].close()
        with pytest.raises(ServiceUnreachable, match="closed a connection"):
            connection.receive()
        connection.socket.close()
    with pytest.raises(ServiceUnreachable, match="no service answers"):
        PlainConnection(("127.0.0.1", 1))
