from __future__ import annotations

import json
import socket
import threading

import pytest

from benchmarks.errors import WrongAnswer
from benchmarks.load import events
from benchmarks.rows.generation import compare, generate_request, read_iterations
from benchmarks.spelling import Spelled
from ostinato.service.metrics.generation import GenerationMetrics
from ostinato.service.metrics.series import Metrics

STREAM = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'1c\r\nevent: step\ndata: {"step":1}\n\n\r\n'
    b'1c\r\nevent: step\ndata: {"step":2}\n\n\r\n'
    b'22\r\nevent: done\ndata: {"outputs":["A"]}\n\n\r\n0\r\n\r\n'
)


def test_an_answer_must_be_what_the_graphs_make_to_the_bit() -> None:
    body = json.dumps({"outputs": ["HH AY"], "scores": [-0.25]}).encode()
    compare("hi", body, Spelled("HH AY", -0.25, 3))
    for wrong in (Spelled("HH IY", -0.25, 3), Spelled("HH AY", -0.25000001, 3)):
        with pytest.raises(WrongAnswer, match="'hi' came back"):
            compare("hi", body, wrong)
    with pytest.raises(WrongAnswer, match="cannot be read"):
        compare("hi", b'{"detail": "too busy"}', Spelled("HH AY", -0.25, 3))


def test_iterations_are_read_from_the_service_s_own_metrics() -> None:
    metrics = Metrics()
    own, other = GenerationMetrics(metrics, "g2p", "1"), GenerationMetrics(metrics, "letters", "1")
    for seconds in (0.001, 0.002, 0.2):
        own.run_seconds.observe(seconds)
    other.run_seconds.observe(0.001)
    assert read_iterations(metrics.render().decode()) == 3
    with pytest.raises(WrongAnswer, match="do not tell"):
        read_iterations("ostinato_sessions 3")


def test_steps_and_the_answer_are_read_from_a_stream() -> None:
    assert events.count_steps(STREAM) == 2
    assert events.done_data(STREAM) == b'{"outputs":["A"]}'


@pytest.mark.parametrize(
    "answer",
    [
        STREAM.replace(b"200 OK", b"429 Too Many Requests"),
        STREAM.replace(b"event: done", b"event: error"),
        STREAM.replace(b"event: step", b"event: stop"),
    ],
)
def test_a_refusal_or_half_a_stream_is_a_wrong_answer(answer: bytes) -> None:
    with pytest.raises(WrongAnswer, match="no stream of steps"):
        events.count_steps(answer)


def test_streams_that_come_in_pieces_are_counted_whole() -> None:
    """A server that sends every answer byte by byte, and tells nothing before it was asked."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while request := connection.recv(10_000):
                    asked.append(request)
                    for place in range(0, len(STREAM), 7):
                        connection.sendall(STREAM[place : place + 7])

        threads = [threading.Thread(target=serve) for _ in range(3)]
        for thread in threads:
            thread.start()
        requests = [generate_request(word, stream=True) for word in ("a", "b", "c", "d")]
        load = events.closed_loop(listener.getsockname(), requests, 3, 0.2)
        for thread in threads:
            thread.join()
    assert len(load.first_after) == len(asked) >= 3
    assert load.num_steps == 2 * len(asked)
    assert set(asked) <= set(requests)
    assert all(after > 0 for after in load.first_after)
    assert [body for _, body in load.last] == [b'{"outputs":["A"]}'] * 3
