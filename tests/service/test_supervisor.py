from __future__ import annotations

import errno
import gc
import logging
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from circus.sockets import CircusSocket
from circus.watcher import Watcher

from ostinato.service import supervisor
from ostinato.service.supervisor import Casualties, Supervisor
from ostinato.service.tether import Release, describe_end
from tests.server import free_port

RELEASE = Release("lstm", "1", "mark")


@pytest.mark.parametrize(
    ("exit_codes", "is_set_aside"),
    [
        ([-signal.SIGSEGV], True),
        ([-signal.SIGABRT], True),
        ([3], True),
        ([-signal.SIGKILL], False),  # perhaps memory was short, perhaps a person did it
        ([-signal.SIGKILL, -signal.SIGKILL], True),
        ([-signal.SIGTERM, -signal.SIGTERM], False),
        ([0, 0], False),
    ],
)
def test_a_release_is_set_aside_by_what_it_did_and_by_two_kills_from_outside(
    exit_codes: list[int], is_set_aside: bool
) -> None:
    casualties = Casualties()
    found = [casualties.judge(RELEASE, time.monotonic(), exit_code) for exit_code in exit_codes]
    assert found[-1] == is_set_aside
    assert [aside.release for aside in casualties.set_aside] == [RELEASE] * is_set_aside


def test_a_release_that_was_loaded_after_a_kill_begins_anew() -> None:
    casualties = Casualties()
    casualties.judge(RELEASE, time.monotonic(), -signal.SIGKILL)
    casualties.acquit(RELEASE)
    assert not casualties.judge(RELEASE, time.monotonic(), -signal.SIGKILL)


def test_a_kill_at_one_release_says_nothing_of_another() -> None:
    casualties = Casualties()
    assert not casualties.judge(RELEASE, time.monotonic(), -signal.SIGKILL)
    assert not casualties.judge(RELEASE._replace(version="2"), time.monotonic(), -signal.SIGKILL)
    assert casualties.judge(RELEASE, time.monotonic(), -signal.SIGKILL)
    assert [aside.release for aside in casualties.set_aside] == [RELEASE]


def test_an_end_is_told_by_signal_or_exit_code() -> None:
    assert describe_end(-signal.SIGSEGV) == "killed by SIGSEGV"
    assert describe_end(7) == "ended with exit code 7"
    assert describe_end(-signal.SIGRTMIN - 1) == f"killed by signal {signal.SIGRTMIN + 1}"


WORKER = """
import json, os, signal, socket, sys, time
orders = json.loads(os.environ["_OSTINATO_TETHER"])
end = socket.socket(fileno=orders["descriptor"])

def tell(event, **more):
    end.send(json.dumps({"pid": os.getpid(), "event": event, **more}).encode())

def listen():
    tell("started")
    socket.socket(fileno=int(sys.argv[1])).listen()
    time.sleep(60)
"""


@contextmanager
def parent_of(script: str, port: int, num_workers: int = 1, circus_port: int | None = None) -> Iterator[Supervisor]:
    """A supervisor of workers that run ``script``, behind ``WORKER``; circus is told a port of its own that is free."""
    arguments = ["-S", "-c", WORKER + textwrap.dedent(script), "$(circus.sockets.api)"]
    worker = Watcher(
        *("service", sys.executable),
        numprocesses=num_workers,
        args=arguments,
        copy_env=True,
        use_sockets=True,
        respawn=False,
        warmup_delay=0,
    )
    ends = [f"tcp://127.0.0.1:{circus_port or free_port()}"] * 2
    api = CircusSocket(name="api", host="127.0.0.1", port=port)
    parent = Supervisor([worker], *ends, sockets=[api], check_delay=0.05)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGTERM)}
    try:
        yield parent
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        end_workers()


def end_workers() -> None:
    """See that no worker is left, and that each ``Popen`` knows so: circus reaps behind its back."""
    for each in gc.get_objects():
        # By its type: what is asked of an object may be answered by whatever stands in for it.
        if type(each) is subprocess.Popen and each.returncode is None and "-S" in str(each.args):
            each.kill()
            each.wait()


def test_workers_that_cannot_start_end_the_server_with_their_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)
    script = """
        tell("failed", reason="the store is damaged")
        os._exit(3)
    """
    with parent_of(script, free_port()) as parent, pytest.raises(SystemExit) as ended:
        parent.start()
    assert ended.value.code == 1
    said = [record.getMessage() for record in caplog.records if record.name == supervisor.__name__]
    assert said[-1] == "no worker could be started, 3 times in a row: the store is damaged"
    assert sum("ended with exit code 3 before it could serve (the store is damaged)" in line for line in said) == 3
    assert caplog.records[-1].levelno == logging.CRITICAL


def test_before_a_worker_listens_nobody_waits_at_the_port_and_nobody_else_takes_it() -> None:
    port = free_port()
    found: list[int | None] = []
    with parent_of("time.sleep(60)", port) as parent:

        def knock(_: object) -> None:
            with socket.socket() as client, socket.socket() as other:
                found.append(client.connect_ex(("127.0.0.1", port)))
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    other.bind(("127.0.0.1", port))
                except OSError as error:
                    found.append(error.errno)
            parent.loop.add_callback(parent.stop)

        parent.start(lambda _: parent.loop.call_later(0.05, knock, None))
    assert found == [errno.ECONNREFUSED, errno.EADDRINUSE]


def test_a_port_of_circus_that_somebody_took_since_is_no_obstacle() -> None:
    begun: list[object] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        parent_of("time.sleep(60)", free_port(), circus_port=other.getsockname()[1]) as parent,
    ):

        def end(arbiter: object) -> None:
            begun.append(arbiter)
            parent.loop.add_callback(parent.stop)

        parent.start(end)
    assert begun


def test_to_be_told_to_end_while_workers_are_looked_after_is_not_for_nothing() -> None:
    with parent_of("listen()", free_port()) as parent:

        def be_told(_: object) -> None:
            parent._exclusive_running_command = "manage_watchers"
            parent.stop()
            parent.loop.add_callback(setattr, parent, "_exclusive_running_command", None)

        parent._on_listening = lambda _: parent.loop.add_callback(be_told, None)
        parent.start()
    assert not any(len(watcher) for watcher in parent.watchers)


def serve_until_listening(parent: Supervisor, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Run a parent until a worker listens; what it said of ends of workers."""
    parent._on_listening = lambda _: parent.loop.add_callback(parent.stop)
    parent.start()
    return [line for line in caplog.messages if line.startswith("worker ")]


def test_what_has_served_is_started_again_for_as_long_as_it_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.001)
    script = f"""
        if sum(orders["restarts"].values()) > {supervisor.MAX_FAILED_STARTS + 1}:
            listen()
        tell(*(["started"] if not orders["restarts"] else ["failed"]), reason="the disk is full")
        os._exit(3)
    """
    with parent_of(script, free_port()) as parent:
        ends = serve_until_listening(parent, caplog)
    assert len(ends) == supervisor.MAX_FAILED_STARTS + 2


@pytest.mark.parametrize(
    ("name", "num_ends"),
    [("SIGKILL", 4), ("SIGABRT", 2)],  # by two workers at once, which count as one
)
def test_workers_that_die_together_at_one_load_count_once_and_the_others_are_loaded(
    name: str, num_ends: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = f"""
        release = ["lstm", "1", "mark"]
        if orders["set_aside"]:
            assert [aside[0] for aside in orders["set_aside"]] == [release]
            listen()
        tell("loading", release=release)
        open(os.path.join({str(tmp_path)!r}, str(os.getpid())), "w").close()
        number = len(os.listdir({str(tmp_path)!r}))
        while len(os.listdir({str(tmp_path)!r})) < number + number % 2:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.{name})
    """
    with parent_of(script, free_port(), num_workers=2) as parent:
        ends = serve_until_listening(parent, caplog)
    assert len(ends) == num_ends
    assert all(f"was killed by {name}" in end and "while it loaded lstm/1: another is started" in end for end in ends)
    assert [end.endswith(", which will not load that version") for end in ends[-2:]] == [True, True]
    assert not any(end.endswith("that version") for end in ends[:-2])
