"""Dialing: from an address to a connection that may be used, asking anew for all that may have changed meanwhile."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import hiredis

from ostinato.service.state.redis.address import Login, RedisAddress, ServerAddress
from ostinato.service.state.redis.connection import (
    AnswerLost,
    RedisConnection,
    RedisError,
    TurnedAway,
    Unreachable,
    pack,
)
from ostinato.service.state.redis.replies import TURNED_AWAY, error_word


def guard(address: RedisAddress) -> bytes:
    """A write that changes nothing: who takes it is no replica. What is read behind it is not old."""
    return pack("PERSIST", address.versions_key)


async def dial(address: RedisAddress) -> RedisConnection:
    """Connect to the server that an address leads to now, and introduce this client.

    Names are resolved, passwords and certificates read, and Sentinels asked each time. Of several machines that have
    one name, and of several Sentinels, all are asked at once, and the first that leads to a master will do.

    Raises:
        Unreachable: there is nobody, or it is not who is to be asked, or it does not let this client in.
        AnswerLost: somebody is there, and does not answer.
    """
    if address.service is None:
        return await _enter(address, address.hosts[0])
    return await _first([_enter_by(address, sentinel) for sentinel in address.hosts])


async def leads_to(address: RedisAddress, connection: RedisConnection) -> bool:
    """Whether an address still leads to the server of a connection; True, too, where nobody knows."""
    if address.service is None:
        try:
            machines = await _resolve(address, connection.server)
        except RedisError:
            return True
        return not connection.peer or connection.peer in machines
    asked = [_ask_sentinel(address, sentinel) for sentinel in address.hosts]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    known = [answer for answer in answers if not isinstance(answer, BaseException)]
    return not known or connection.server in known


async def _ask_sentinel(address: RedisAddress, sentinel: ServerAddress) -> ServerAddress:
    """Which server a Sentinel takes for the service's.

    Raises:
        RedisError.
    """
    there = address.at(sentinel)
    assert address.service is not None
    question = pack("SENTINEL", "get-master-addr-by-name", address.service)
    connection, (answer,) = await _open(there, sentinel, sentinel[0], address.sentinel_login, [question])
    connection.abort()
    if isinstance(answer, hiredis.ReplyError):
        raise TurnedAway(f"Sentinel {there}: {answer}")
    if not isinstance(answer, list) or len(answer) != 2:
        raise TurnedAway(f"Sentinel {there}: it knows of no service {address.service!r}")
    host, port = answer
    return host.decode(), int(port)


async def _enter_by(address: RedisAddress, sentinel: ServerAddress) -> RedisConnection:
    server = await _ask_sentinel(address, sentinel)
    connection = await _enter(address.at(server), server)
    # A master that was replaced and is started again takes changes until a Sentinel has it copy the new one. The first
    # answer may be from before that, so what counts is the name that it gives when the connection is there.
    try:
        named = await _ask_sentinel(address, sentinel)
    except BaseException:
        connection.abort()
        raise
    if named != server:
        connection.abort()
        raise TurnedAway(f"Sentinel {address.at(sentinel)}: another server took the lead meanwhile")
    return connection


async def _enter(address: RedisAddress, server: ServerAddress) -> RedisConnection:
    """A connection to a server that is the one to be asked, as far as it says so."""
    machines = await _resolve(address, server)
    return await _first([_enter_machine(address, server, machine) for machine in machines])


async def _enter_machine(address: RedisAddress, server: ServerAddress, machine: str) -> RedisConnection:
    greeting = [pack("SELECT", address.database)] if address.database else []
    greeting += [pack("ROLE"), guard(address)]
    connection, answers = await _open(address, server, machine, address.login, greeting)
    *selected, role, guarded = answers
    refusals = [each for each in selected if isinstance(each, hiredis.ReplyError)]
    refusals += [each for each in (role, guarded) if error_word(each) in TURNED_AWAY or _is_turning_away(each)]
    is_in_cluster = error_word(guarded) in ("MOVED", "CLUSTERDOWN")  # where a replica sends everybody on
    if refusals or (isinstance(role, list) and role[0] != b"master" and not is_in_cluster):
        connection.abort()
        raise TurnedAway(f"{address}: {refusals[0] if refusals else f'it is a {role[0].decode()}, no master'}")
    return connection


async def _first(attempts: list[Coroutine[Any, Any, RedisConnection]]) -> RedisConnection:
    """The first of several connections that is made.

    Raises:
        Unreachable, AnswerLost: none was.
    """
    if len(attempts) == 1:
        return await attempts[0]
    tasks = [asyncio.create_task(attempt) for attempt in attempts]
    errors: list[RedisError] = []
    made: RedisConnection | None = None
    try:
        for attempt in asyncio.as_completed(tasks):
            try:
                made = await attempt
                return made
            except RedisError as error:
                errors.append(error)
    finally:
        for task in tasks:
            task.cancel()
        for others in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(others, RedisConnection) and others is not made:
                others.abort()
    said = "; ".join(dict.fromkeys(map(str, errors)))
    kinds = [kind for kind in (AnswerLost, TurnedAway) if any(isinstance(error, kind) for error in errors)]
    raise (kinds[0] if kinds else Unreachable)(said)


async def _resolve(address: RedisAddress, server: ServerAddress) -> list[str]:
    """The machines that have a server's name; itself, where it is one.

    Raises:
        Unreachable, AnswerLost.
    """
    host, port = server
    with _translated(address):
        async with asyncio.timeout(address.timeout_seconds):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_machine(to) for *_, to in found))


def _machine(to: tuple[Any, ...]) -> str:
    """The address of a socket's address; of a link-local one, with the link."""
    is_of_link = len(to) == 4 and to[3]
    return f"{to[0]}%{to[3]}" if is_of_link else str(to[0])


@contextmanager
def _translated(address: RedisAddress) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise AnswerLost(f"{address} did not answer for {address.timeout_seconds:g} s") from error
    except (OSError, ValueError) as error:  # a name that can be none is a ValueError
        raise Unreachable(f"{address}: {getattr(error, 'strerror', None) or error}") from error


def _is_turning_away(answer: Any) -> bool:
    """Whether somebody who is not a Redis' command loop says no: at the door, or nobody who speaks Redis."""
    return isinstance(answer, hiredis.ReplyError) and "max number of clients" in str(answer)


async def _open(
    address: RedisAddress, server: ServerAddress, machine: str, login: Login, commands: list[bytes]
) -> tuple[RedisConnection, list[Any]]:
    """Connect to a server and log in; what it says to ``commands``.

    Raises:
        Unreachable, AnswerLost.
    """
    try:
        words, context = await _read_files(address, login)
    except OSError as error:
        raise Unreachable(f"{address}: {error.filename}: {error.strerror}") from error
    server_name = None if address.tls is None else address.tls.server_name or server[0]
    with _translated(address):
        async with asyncio.timeout(address.timeout_seconds):
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: RedisConnection(str(address), server, address.timeout_seconds),
                *(machine, server[1]),
                ssl=context,
                server_hostname=server_name,
            )
    try:
        if words:
            commands = [pack("AUTH", *words), *commands]
        answers = await connection.send(b"".join(commands), len(commands))
        if words and isinstance(refusal := answers.pop(0), hiredis.ReplyError):
            raise TurnedAway(f"{address}: {_without_secret(str(refusal), words[-1])}")
    except AnswerLost as error:
        if connection.is_late:
            raise
        raise Unreachable(str(error)) from error
    except BaseException:
        connection.abort()
        raise
    return connection, answers


async def _read_files(address: RedisAddress, login: Login) -> tuple[list[str], ssl.SSLContext | None]:
    """What to log in with, and how to encrypt; from files, which may have been changed."""
    if address.tls is None and login.password_file is None:
        return login.words(), None
    context = None if address.tls is None else await asyncio.to_thread(address.tls.context)
    return await asyncio.to_thread(login.words), context


def _without_secret(said: str, password: str) -> str:
    """A refusal of ``AUTH``: who does not know this command repeats what it was given."""
    said = said.partition(", with args")[0]
    return said.replace(password, "***") if password else said
