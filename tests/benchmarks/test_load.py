from __future__ import annotations

import re

import numpy as np
import pytest

from benchmarks.load.websocket import BINARY, decode_frames, encode_frame
from benchmarks.load.wrk import SCRIPT, encode_requests, read_summary
from benchmarks.rows.many_in_one import _FIRST_SESSION, _SESSION
from tests.benchmarks.wrk import read_requests


def test_requests_survive_the_way_through_the_file() -> None:
    requests = [b"POST / HTTP/1.1\r\n\r\n12\n34", b"", b"\n"]
    assert read_requests(encode_requests(requests)) == requests


def test_the_script_s_summary_is_what_is_read() -> None:
    script = SCRIPT.read_text()
    [pattern] = re.findall(r"'(summary \{.*\})\\n'", script)
    line = pattern.replace("%d", "{}").replace("{", "{{").replace("}", "}}").replace("{{}}", "{}")
    load = read_summary(line.format(1000, 2_000_000, 10, 3, 500, 2000, 9000), 0.5)
    assert (load.num_answers, load.rate, load.num_failed) == (1000, 990 / 2, 13)
    assert (load.p50, load.p99, load.longest, load.cpu_fraction) == (0.0005, 0.002, 0.009, 0.5)


@pytest.mark.parametrize("length", [0, 125, 126, 65_535, 65_536])
def test_a_frame_comes_back_whole(length: int) -> None:
    payload = bytes(np.random.default_rng(0).integers(0, 256, length, dtype=np.uint8))
    frame = encode_frame(payload, BINARY)
    assert frame[1] & 0x80, "a client's frame is masked"
    # A server's frame is the same without the mask, which is 0, and its bit.
    head = len(frame) - length
    from_server = frame[:1] + bytes([frame[1] & 0x7F]) + frame[2 : head - 4] + payload
    assert decode_frames(from_server) == ([(BINARY, payload)], b"")
    assert decode_frames(from_server + from_server[:-1]) == ([(BINARY, payload)], from_server[:-1])


def test_frames_are_cut_anywhere() -> None:
    data = b"\x81\x02ab\x81\x01c"
    for cut in range(len(data) + 1):
        first, rest = decode_frames(data[:cut])
        then, left = decode_frames(rest + data[cut:])
        assert [payload for _, payload in first + then] == [b"ab", b"c"]
        assert left == b""


def test_an_answer_names_its_session() -> None:
    text, column = _SESSION.search(b'{"session_id":"s12","seq":3}'), _FIRST_SESSION.search(b"\0s1 inputs\0s7s8s9s10")
    assert text is not None
    assert column is not None
    assert (text[1], column[1]) == (b"12", b"7")
