"""Connections as a worker's uvicorn makes them, for tests that accept them in their own event loop."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import uvicorn

from ostinato.service.edge.websocket.connection import WebSocketConnection


def uvicorn_config(edge: object, **options: Any) -> uvicorn.Config:
    """What uvicorn's connections over an edge are made with; loaded."""
    config = uvicorn.Config(
        cast(Any, edge),
        ws=cast(Any, WebSocketConnection),
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        **options,
    )
    config.load()
    return config


def abort(connection: Any) -> None:
    """End a connection as if the client had, be it one of HTTP or a stream."""
    is_stream = isinstance(connection, WebSocketConnection)
    transport = connection._transport if is_stream else connection.transport
    cast(asyncio.Transport, transport).abort()
