"""The acceptor: which worker takes a connection of a socket that several share."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import socket
import ssl
from collections.abc import Callable, Iterator

import pytest

from ostinato.service.edge import acceptor
from ostinato.service.edge.acceptor import Acceptor
from ostinato.service.edge.connection_shares import CELL_BYTES, ConnectionShares, shared_memory
from ostinato.service.edge.guarded_connection import MAX_REFUSED
from tests.waiting import until_true

NUM_WORKERS = 3


class Listener(socket.socket):
    """A listening socket; ``failures`` are raised in place of what it would do."""

    failures: Iterator[int] = iter(())

    def accept(self) -> tuple[socket.socket, object]:
        number = next(self.failures, None)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return super().accept()


class House:
    """A worker's acceptor, its clients, and what the other workers tell."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        descriptor = shared_memory(NUM_WORKERS)
        self.cells = memoryview(mmap.mmap(descriptor, NUM_WORKERS * CELL_BYTES)).cast("q")
        self.shares = ConnectionShares(descriptor)
        self.listener = Listener()
        self.listener.bind(("127.0.0.1", 0))
        self.protocols: list[asyncio.Protocol] = []
        self.clients: list[socket.socket] = []
        self.num_used_up = 0
        self.head_seconds, self.max_connections = 0.0, 100
        self.refusals: list[str] = []
        self.acceptor = Acceptor(
            self.listener, self.protocol, context, self.shares, lambda: len(self.protocols), self, self.use_up
        )
        self.acceptor.listen(16)

    def protocol(self) -> asyncio.Protocol:
        house = self

        class Connection(asyncio.Protocol):
            def connection_made(self, _: asyncio.BaseTransport) -> None:
                house.protocols.append(self)

            def connection_lost(self, _: Exception | None) -> None:
                house.protocols.remove(self)

        return Connection()

    def use_up(self) -> None:
        self.num_used_up += 1

    def count_refusal(self, reason: str) -> None:
        self.refusals.append(reason)

    def connect(self) -> None:
        self.clients.append(socket.create_connection(self.listener.getsockname()))

    async def has(self, number: int) -> None:
        await until_true(lambda: len(self.protocols) == number, f"connection {number}")

    async def close(self) -> None:
        self.acceptor.close()
        for each in (*self.clients, self.listener):
            each.close()
        await until_true(lambda: self.acceptor.num_connections == len(self.protocols), "the end of what had begun")


@pytest.fixture
def make_house(at_end: list[Callable[[], object]]) -> Callable[..., House]:
    def make(context: ssl.SSLContext | None = None) -> House:
        house = House(context)
        at_end.append(house.close)
        return house

    return make


async def test_a_worker_takes_connections_and_tells_how_many(make_house: Callable[..., House]) -> None:
    house = make_house()
    assert house.cells.tolist() == [1, 0, 0]
    for number in range(1, 4):
        house.connect()
        await house.has(number)
        assert house.cells.tolist() == [number + 1, 0, 0]


async def test_who_has_more_lets_another_come_first(
    make_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "PATIENCE_SECONDS", 1e6)  # the moment is turned by hand
    house = make_house()
    house.cells[1] = 1 + 1
    for number in (1, 2):
        house.connect()
        await house.has(number)
    house.connect()
    house.connect()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert len(house.protocols) == 2
    taken, _ = house.listener.accept()  # as the other worker
    taken.close()
    # What it has left is taken after all.
    house.acceptor._take_rest()
    await house.has(3)
    assert house.cells.tolist() == [4, 2, 0]


async def test_who_is_busy_is_not_waited_for(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.cells[1:] = memoryview((0 + 1).to_bytes(8, "little") * 2).cast("q")  # and they never come
    for number in range(1, 3 * acceptor.MOST_IN_VAIN):
        house.connect()
        await house.has(number)


def test_only_workers_that_take_connections_are_let_first() -> None:
    descriptor = shared_memory(NUM_WORKERS)
    cells = memoryview(mmap.mmap(descriptor, NUM_WORKERS * CELL_BYTES)).cast("q")
    shares = ConnectionShares(descriptor)
    shares.tell(5)
    assert not shares.is_another_due(5)
    cells[2] = 5 + 1
    assert not shares.is_another_due(5)
    assert shares.is_another_due(6)
    cells[2] = 0 + 1
    assert shares.is_another_due(1)
    assert not shares.is_another_due(0)
    shares.leave()
    assert cells.tolist() == [0, 0, 1]


def test_who_is_alone_waits_for_nobody() -> None:
    shares = ConnectionShares(None)
    shares.tell(5)
    assert not shares.is_another_due(5)


def test_each_process_has_a_cell_of_its_own_and_its_successor_has_it_again() -> None:
    descriptor = shared_memory(2)
    cells = memoryview(mmap.mmap(descriptor, 2 * CELL_BYTES)).cast("q")
    own = ConnectionShares(descriptor)
    own.tell(7)
    for _ in range(2):
        child = os.fork()
        if not child:
            ConnectionShares(descriptor).tell(8)
            os._exit(0)
        os.waitpid(child, 0)
        assert cells.tolist() == [8, 9]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EINVAL])
async def test_what_cannot_be_taken_is_taken_later(make_house: Callable[..., House], number: int) -> None:
    house = make_house()
    house.listener.failures = iter([errno.ECONNABORTED, number, number])
    house.connect()
    await house.has(1)
    assert house.num_used_up == (0 if number == errno.EINVAL else 2)


async def test_a_port_that_was_shut_and_listens_again_is_heard(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.listener.shutdown(socket.SHUT_RD)
    await asyncio.sleep(0)
    house.listener.listen(16)
    house.connect()
    await house.has(1)


async def test_a_client_without_tls_harms_nobody(make_house: Callable[..., House]) -> None:
    house = make_house(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    house.connect()
    await until_true(lambda: house.acceptor.num_connections == 1, "the beginning")
    house.clients[0].sendall(b"GET / HTTP/1.1\r\n\r\n")
    await until_true(lambda: house.acceptor.num_connections == 0, "the end")
    assert house.cells[0] >= 1


async def test_who_says_nothing_has_as_long_for_tls_as_for_a_head(make_house: Callable[..., House]) -> None:
    house = make_house(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    house.head_seconds = 0.05
    house.connect()
    house.clients[0].setblocking(False)
    assert await asyncio.get_running_loop().sock_recv(house.clients[0], 1) == b""
    assert house.acceptor.num_connections == 0


@pytest.mark.parametrize("is_tls", [False, True])
async def test_connections_beyond_the_limit_are_closed_at_once_also_while_tls_is_agreed(
    make_house: Callable[..., House], is_tls: bool
) -> None:
    house = make_house(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if is_tls else None)
    house.listener.listen(64)
    house.max_connections = 1
    most = house.max_connections + MAX_REFUSED
    for _ in range(most + 3):
        house.connect()
    await until_true(lambda: len(house.refusals) == 3, "the refusals")
    assert house.refusals == ["too_many_connections"] * 3
    assert house.acceptor.num_connections == most
    for each in house.clients[most:]:
        each.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(each, 1) == b""


async def test_a_storm_of_connections_leaves_the_loop_to_others(
    make_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "MOST_AT_ONCE", 2)
    house = make_house()
    for _ in range(5):
        house.connect()
    house.acceptor._take_share()
    assert house.acceptor.num_connections == 2
    await house.has(5)


async def test_who_closes_takes_no_more(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.acceptor.close()
    await house.acceptor.wait_closed()
    house.connect()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert house.protocols == []
    assert house.cells.tolist() == [0, 0, 0]
