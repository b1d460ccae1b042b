from __future__ import annotations

import logging
import signal
import socket
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from circus.sockets import CircusSocket
from circus.watcher import Watcher

from ostinato.service import supervisor
from ostinato.service.supervisor import Casualties, Supervisor, describe_end
from ostinato.service.tether import Release
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
    found = [casualties.judge(RELEASE, exit_code) for exit_code in exit_codes]
    assert found[-1] == is_set_aside
    assert [aside.release for aside in casualties.set_aside] == [RELEASE] * is_set_aside


def test_a_release_that_was_loaded_after_a_kill_begins_anew() -> None:
    casualties = Casualties()
    casualties.judge(RELEASE, -signal.SIGKILL)
    casualties.acquit(RELEASE)
    assert not casualties.judge(RELEASE, -signal.SIGKILL)


def test_a_kill_at_one_release_says_nothing_of_another() -> None:
    casualties = Casualties()
    assert not casualties.judge(RELEASE, -signal.SIGKILL)
    assert not casualties.judge(RELEASE._replace(version="2"), -signal.SIGKILL)
    assert casualties.judge(RELEASE, -signal.SIGKILL)
    assert [aside.release for aside in casualties.set_aside] == [RELEASE]


def test_an_end_is_told_by_signal_or_exit_code() -> None:
    assert describe_end(-signal.SIGSEGV) == "killed by SIGSEGV"
    assert describe_end(7) == "ended with exit code 7"
    assert describe_end(-signal.SIGRTMIN - 1) == f"killed by signal {signal.SIGRTMIN + 1}"


@contextmanager
def parent_of(script: str, port: int) -> Iterator[Supervisor]:
    """A supervisor of one worker that runs ``script``; ``argv[1]`` is the descriptor of the port's socket."""
    arguments = ["-S", "-c", textwrap.dedent(script), "$(circus.sockets.api)"]
    worker = Watcher("service", sys.executable, args=arguments, copy_env=True, use_sockets=True, respawn=False)
    ends = (f"tcp://127.0.0.1:{free_port()}", f"tcp://127.0.0.1:{free_port()}")
    api = CircusSocket(name="api", host="127.0.0.1", port=port)
    parent = Supervisor([worker], *ends, sockets=[api], check_delay=0.05)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGCHLD, signal.SIGTERM)}
    try:
        yield parent
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_workers_that_cannot_start_end_the_server_with_their_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)
    script = """
        import json, os, socket
        orders = json.loads(os.environ["_OSTINATO_TETHER"])
        words = {"pid": os.getpid(), "event": "failed", "reason": "the store is damaged"}
        socket.socket(fileno=orders["descriptor"]).send(json.dumps(words).encode())
        os._exit(3)
    """
    with parent_of(script, free_port()) as parent, pytest.raises(SystemExit) as ended:
        parent.start()
    assert ended.value.code == 1
    said = [record.getMessage() for record in caplog.records if record.name == supervisor.__name__]
    assert said[-1] == "no worker could be started, 3 times in a row: the store is damaged"
    assert sum("ended with exit code 3 before it could serve (the store is damaged)" in line for line in said) == 3
    assert caplog.records[-1].levelno == logging.CRITICAL


def test_a_worker_that_served_is_no_failed_start_and_ends_the_count_of_those(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE_SECONDS", 0.01)
    # The second worker loads a version, serves and ends; all others fail.
    script = """
        import json, os, socket
        orders = json.loads(os.environ["_OSTINATO_TETHER"])
        events = ["loading", "loaded", "started"] if orders["restarts"] == 1 else ["failed"]
        end = socket.socket(fileno=orders["descriptor"])
        for event in events:
            words = {"pid": os.getpid(), "event": event, "release": ["lstm", "1", "mark"]}
            end.send(json.dumps(words).encode())
        os._exit(3)
    """
    with parent_of(script, free_port()) as parent, pytest.raises(SystemExit):
        parent.start()
    said = [record.getMessage() for record in caplog.records if record.name == supervisor.__name__]
    ends = [line.partition(" ended with exit code 3 ")[2] for line in said if line.startswith("worker")]
    assert ends == [
        "before it could serve: another is started in 0.01 s",
        "while it served: another is started",
        "before it could serve: another is started in 0.01 s",
        "before it could serve: another is started in 0.02 s",
        "before it could serve: no other is started",
    ]


def test_nobody_waits_at_the_port_before_a_worker_listens() -> None:
    port = free_port()
    refused: list[bool] = []
    with parent_of("import time; time.sleep(60)", port) as parent:

        def knock(_: object) -> None:
            with socket.socket() as client:
                refused.append(client.connect_ex(("127.0.0.1", port)) != 0)
            parent.loop.add_callback(parent.stop)

        parent.start(lambda _: parent.loop.call_later(0.05, knock, None))
    assert refused == [True]
