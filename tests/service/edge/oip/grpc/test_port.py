from __future__ import annotations

import socket

import pytest

from ostinato.service.edge.oip.grpc.port import ANY_PORT, address_of, hold_port


def listener(port: int, *options: int) -> socket.socket:
    made = socket.socket()
    try:
        for option in options:
            made.setsockopt(socket.SOL_SOCKET, option, 1)
        made.bind(("127.0.0.1", port))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


def worker_s(port: int) -> socket.socket:
    """As gRPC listens."""
    return listener(port, socket.SO_REUSEADDR, socket.SO_REUSEPORT)


def test_workers_listen_at_a_port_that_is_held_and_nobody_else_does() -> None:
    with hold_port("127.0.0.1", ANY_PORT) as held:
        port = held.getsockname()[1]
        with worker_s(port), worker_s(port):
            pass
        for options in ((), (socket.SO_REUSEADDR,)):
            with pytest.raises(OSError, match="in use"):
                listener(port, *options)
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", port))


def test_a_port_at_which_others_listen_is_not_held() -> None:
    with worker_s(ANY_PORT) as other, pytest.raises(OSError, match="in use"):
        hold_port("127.0.0.1", other.getsockname()[1])


def test_a_port_is_held_again_while_its_connections_are_remembered() -> None:
    with hold_port("127.0.0.1", ANY_PORT) as held:
        port = held.getsockname()[1]
        with worker_s(port) as worker, socket.create_connection(("127.0.0.1", port)):
            accepted, _ = worker.accept()
            accepted.close()  # the server first: the kernel remembers it
    with hold_port("127.0.0.1", port):
        pass


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1:5"), ("::1", "[::1]:5")])
def test_an_address_is_written_as_clients_read_it(host: str, address: str) -> None:
    assert address_of(host, 5) == address
