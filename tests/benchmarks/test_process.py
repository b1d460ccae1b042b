from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.errors import SubjectFailed
from benchmarks.process import Process
from ostinato.tools.server_process import has_lost_port

LAST_WORDS = "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:58385')"


def command(folder: Path, last_words: str) -> list[str]:
    """A server that ends with ``last_words`` the first time that it is started, and runs the second time."""
    script = f"""
import pathlib, sys, time
tries = pathlib.Path({str(folder)!r}) / "tries"
tries.write_text((tries.read_text() if tries.exists() else "") + "x")
if len(tries.read_text()) < 2:
    sys.exit({last_words!r})
(tries.parent / "ready").touch()
time.sleep(600)
"""
    return [sys.executable, "-c", script]


def test_a_server_that_lost_a_port_of_its_own_is_started_again(tmp_path: Path) -> None:
    server = Process(command(tmp_path, LAST_WORDS), tmp_path / "log", (tmp_path / "ready").exists)
    try:
        assert server.wait_until_ready() > 0
    finally:
        server.kill()
    assert (tmp_path / "tries").read_text() == "xx"


def test_a_server_that_ends_for_another_reason_is_not(tmp_path: Path) -> None:
    server = Process(
        command(tmp_path, "OSError: Address already in use"), tmp_path / "log", (tmp_path / "ready").exists
    )
    with pytest.raises(SubjectFailed, match="OSError: Address already in use"):
        server.wait_until_ready()
    assert (tmp_path / "tries").read_text() == "x"


@pytest.mark.parametrize(
    ("log", "has_lost"),
    [("", False), (f"a\n{LAST_WORDS}\n", True), (f"{LAST_WORDS}\nanother start\n", False)],
)
def test_only_the_last_words_tell_of_a_lost_port(log: str, has_lost: bool, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(log)
    assert has_lost_port(path) is has_lost
