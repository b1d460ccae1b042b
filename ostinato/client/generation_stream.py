"""Streams of outputs, carried out by httpx2: for clients that block, and for those that do not.

Until a stream has begun, its request is retried as any other. After that it is not: its steps were told already.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

import httpx2

from ostinato.client import wire
from ostinato.client.connections import Connections
from ostinato.client.exchange import Plan, Send, carry_out, carry_out_async
from ostinato.client.forks import leave_alone
from ostinato.client.generation import GeneratedStep, Generation, WrittenReader
from ostinato.client.generation_events import StreamReader, no_stream
from ostinato.client.retry import Outcome, ServiceAnswer

EVENTS = "text/event-stream"
FORKED = "it was begun by the process that this one was forked from, which reads it"


def stream_blocking(
    connections: Connections[httpx2.Client],
    begin: Plan[ServiceAnswer],
    sleep: Callable[[float], object],
    reads: WrittenReader,
) -> Generator[GeneratedStep | Generation]:
    """Carry out ``begin``, and read what comes; closing this hangs up."""
    responses: list[httpx2.Response] = []

    def send(send: Send) -> Outcome:
        http = connections.http
        try:
            response = http.send(http.build_request(**wire.arguments(send)), stream=True)
            connections.take(response)
            if _is_stream(response):
                responses.append(response)
                return ServiceAnswer(response.status_code, where=str(response.url))
            response.read()
        except wire.NETWORK_ERRORS as error:
            return wire.lost(error, send.url)
        return wire.answer_of(response)

    begun = carry_out(begin, send, sleep)
    if not responses:
        raise no_stream(begun)
    [response] = responses
    reader, pieces, process_id = StreamReader(begun.where, reads), response.iter_bytes(), os.getpid()
    try:
        for piece in pieces:
            for item in reader.feed(piece):
                if reader.whole is not None:
                    carry_out(reads.hold_version(reader.whole), send, sleep)
                yield item
            if os.getpid() != process_id:
                raise reader.broken_off(FORKED)
    except wire.NETWORK_ERRORS as error:
        if reader.whole is None:
            raise reader.broken_off(error) from error
    finally:
        if os.getpid() == process_id:
            response.close()
        else:
            leave_alone(response, pieces)
    if reader.whole is None:
        raise reader.broken_off()


async def stream_async(
    connections: Connections[httpx2.AsyncClient],
    begin: Plan[ServiceAnswer],
    sleep: Callable[[float], Awaitable[object]],
    reads: WrittenReader,
) -> AsyncGenerator[GeneratedStep | Generation]:
    """Carry out ``begin``, and read what comes; closing this hangs up."""
    responses: list[httpx2.Response] = []

    async def send(send: Send) -> Outcome:
        http = connections.http
        try:
            response = await http.send(http.build_request(**wire.arguments(send)), stream=True)
            connections.take(response)
            if _is_stream(response):
                responses.append(response)
                return ServiceAnswer(response.status_code, where=str(response.url))
            await response.aread()
        except wire.NETWORK_ERRORS as error:
            return wire.lost(error, send.url)
        return wire.answer_of(response)

    begun = await carry_out_async(begin, send, sleep)
    if not responses:
        raise no_stream(begun)
    [response] = responses
    reader, pieces, process_id = StreamReader(begun.where, reads), response.aiter_bytes(), os.getpid()
    try:
        async for piece in pieces:
            for item in reader.feed(piece):
                if reader.whole is not None:
                    await carry_out_async(reads.hold_version(reader.whole), send, sleep)
                yield item
            if os.getpid() != process_id:
                raise reader.broken_off(FORKED)
    except wire.NETWORK_ERRORS as error:
        if reader.whole is None:
            raise reader.broken_off(error) from error
    finally:
        if os.getpid() == process_id:
            await response.aclose()
        else:
            leave_alone(response, pieces)
    if reader.whole is None:
        raise reader.broken_off()


def _is_stream(response: httpx2.Response) -> bool:
    return response.is_success and response.headers.get("content-type", "").startswith(EVENTS)
