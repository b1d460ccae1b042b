from __future__ import annotations

import pytest

from ostinato.service.edge.cross_origin import Origins
from ostinato.service.edge.tags import RequestIds, Tag, peer_of, printable, request_id, trace_parent
from ostinato.service.edge.terms import Terms
from ostinato.service.tracing import TraceParent

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("values", "trace"),
    [
        ([TRACE], TraceParent("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)),
        ([f" {TRACE} "], TraceParent("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)),
        ([f"cc{TRACE[2:]}-later"], TraceParent("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1)),
        ([f"{TRACE}-later"], None),
        ([f"ff{TRACE[2:]}"], None),
        ([TRACE.upper()], None),
        ([TRACE[:-1]], None),
        ([f"00-{'0' * 32}-00f067aa0ba902b7-01"], None),
        ([f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01"], None),
        ([TRACE, TRACE], None),
        ([""], None),
    ],
)
def test_a_trace_is_taken_as_the_standard_has_it(values: list[str], trace: TraceParent | None) -> None:
    assert trace_parent([value.encode() for value in values]) == trace
    headers = [(b"traceparent", value.encode()) for value in values]
    assert Terms(headers, Origins("")).tag == Tag(trace=trace)


def test_ids_that_are_made_are_told_again_and_no_two_are_the_same() -> None:
    first, second = RequestIds(), RequestIds()
    made = [maker.make() for maker in (first, second) for _ in range(100)]
    assert len(set(made)) == 200
    assert all(request_id([each]) == each for each in made)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v1/sessions/a/step", "/v1/sessions/a/step"),
        ("/v1/ü", "/v1/%C3%BC"),
        ("/v1/a\nERROR all is lost", "/v1/a%0AERROR%20all%20is%20lost"),
        ("/v1/\x1b[2J", "/v1/%1B%5B2J"),
        ("/v1/sessions/a/step 200 in 1 ms by key admin", "/v1/sessions/a/step%20200%20in%201%20ms%20by%20key%20admin"),
        ("/" + "a" * 60_000, "/" + "a" * 511 + "..."),
    ],
)
def test_a_path_is_one_word_of_the_log(path: str, shown: str) -> None:
    assert printable(path) == shown


@pytest.mark.parametrize(
    ("address", "peer"),
    [(("10.0.0.1", 80), "10.0.0.1:80"), (("::1", 80, 0, 0), "[::1]:80"), ("", ""), (None, ""), ("/a.sock", "")],
)
def test_a_peer_is_named_as_addresses_are_written(address: object, peer: str) -> None:
    assert peer_of(address) == peer
