from __future__ import annotations

import socket
import subprocess
import sys

import msgspec

from ostinato.service.tether import (
    MAX_MESSAGE_BYTES,
    VARIABLE,
    Notice,
    Orders,
    Release,
    SetAside,
    Tether,
    keep_port,
)
from tests.server import free_port

RELEASE = Release("lstm", "1", "mark")
NOBODYS = 2**20
"""A descriptor that is not open."""


def test_a_worker_tells_its_parent_and_knows_what_is_set_aside() -> None:
    parent, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    orders = Orders(worker.detach(), restarts={"SIGKILL": 2}, set_aside=[SetAside(RELEASE, "a worker was killed")])
    tether = Tether.of({VARIABLE: orders.encode()})
    tether.tell("loading", RELEASE)
    tether.fail("no disk")
    tether.fail("\0" * 100_000)  # which takes six bytes each
    told = [msgspec.json.decode(parent.recv(MAX_MESSAGE_BYTES), type=Notice) for _ in range(3)]
    assert [(each.event, each.release, each.reason[:10]) for each in told] == [
        ("loading", RELEASE, ""),
        ("failed", None, "no disk"),
        ("failed", None, "\0" * 10),
    ]
    assert tether.restarts == {"SIGKILL": 2}
    assert tether.why_set_aside(RELEASE) == "a worker was killed"
    assert tether.why_set_aside(RELEASE._replace(mark="other")) is None
    parent.close()
    tether.tell_started()  # nobody is there: nothing happens
    vars(tether)["_end"].close()


def test_a_port_that_nobody_else_gets_can_be_had_again_behind_connections_of_who_listened() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as port:
        keep_port(port)
        Tether(Orders(NOBODYS, [port.fileno()])).tell_started()
        client = socket.create_connection(port.getsockname())
        connection, _ = port.accept()
        connection.close()  # first, so it is its end that the kernel remembers
        client.close()
        address = port.getsockname()
    with socket.create_server(address):  # whose socket says that it shares, as that of every server
        pass


def test_a_process_without_a_parent_of_ours_is_tied_to_nobody() -> None:
    tether = Tether.of({})
    tether.hold()
    tether.tell("loading", RELEASE)
    assert tether.why_set_aside(RELEASE) is None


def test_a_worker_ends_when_its_parent_s_end_is_closed_whoever_its_parent_is() -> None:
    # Without the kernel's word, as on other systems.
    script = (
        "import sys, time; sys.platform = 'other'; from ostinato.service.tether import Tether; import os;"
        "Tether.of(os.environ).hold(); print('holds', flush=True); time.sleep(600)"
    )
    parent, worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    variables = {VARIABLE: Orders(worker.fileno()).encode()}
    child = subprocess.Popen(
        [sys.executable, "-c", script], env=variables, pass_fds=[worker.fileno()], stdout=subprocess.PIPE
    )
    with child, worker:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"holds\n"
            parent.close()
            assert child.wait(20) == -9
        finally:
            child.kill()
