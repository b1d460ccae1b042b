"""Streams of outputs, carried out by httpx2: for clients that block, and for those that do not.

Until a stream has begun, its request is sent again as any other. After that it is not: its steps were told already.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from typing import Any

import httpx2

from ostinato.client import wire
from ostinato.client.exchange import Plan, Send, carry_out, carry_out_async
from ostinato.client.generation import GeneratedStep, Generation, StreamReader, no_stream
from ostinato.client.retry import Outcome, ServiceAnswer

EVENTS = "text/event-stream"


def stream_blocking(
    http: httpx2.Client, begin: Plan[ServiceAnswer], sleep: Callable[[float], object], options: Mapping[str, Any]
) -> Generator[GeneratedStep | Generation]:
    """Carry out ``begin``, and read what comes; closing this hangs up."""
    responses: list[httpx2.Response] = []

    def send(send: Send) -> Outcome:
        try:
            response = http.send(http.build_request(**wire.arguments(send)), stream=True)
            if _is_stream(response):
                responses.append(response)
                return ServiceAnswer(response.status_code, where=str(response.url))
            response.read()
        except wire.NETWORK_ERRORS as error:
            return wire.lost(error, send.url)
        return wire.answer_of(response)

    begun = carry_out(begin, send, sleep)
    if not responses:
        raise no_stream(begun.where)
    [response] = responses
    reader = StreamReader(begun.where, options)
    try:
        for piece in response.iter_bytes():
            yield from reader.feed(piece)
    except wire.NETWORK_ERRORS as error:
        if not reader.is_done:
            raise reader.broken_off(error) from error
    finally:
        response.close()
    if not reader.is_done:
        raise reader.broken_off()


async def stream_async(
    http: httpx2.AsyncClient,
    begin: Plan[ServiceAnswer],
    sleep: Callable[[float], Awaitable[object]],
    options: Mapping[str, Any],
) -> AsyncGenerator[GeneratedStep | Generation]:
    """Carry out ``begin``, and read what comes; closing this hangs up."""
    responses: list[httpx2.Response] = []

    async def send(send: Send) -> Outcome:
        try:
            response = await http.send(http.build_request(**wire.arguments(send)), stream=True)
            if _is_stream(response):
                responses.append(response)
                return ServiceAnswer(response.status_code, where=str(response.url))
            await response.aread()
        except wire.NETWORK_ERRORS as error:
            return wire.lost(error, send.url)
        return wire.answer_of(response)

    begun = await carry_out_async(begin, send, sleep)
    if not responses:
        raise no_stream(begun.where)
    [response] = responses
    reader = StreamReader(begun.where, options)
    try:
        async for piece in response.aiter_bytes():
            for item in reader.feed(piece):
                yield item
    except wire.NETWORK_ERRORS as error:
        if not reader.is_done:
            raise reader.broken_off(error) from error
    finally:
        await response.aclose()
    if not reader.is_done:
        raise reader.broken_off()


def _is_stream(response: httpx2.Response) -> bool:
    return response.is_success and response.headers.get("content-type", "").startswith(EVENTS)
