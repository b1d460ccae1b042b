"""Stages for histories: replicas in the event loop of whoever plays, which costs no start of a process, or servers."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from uvicorn.server import ServerState

from ostinato.service.config import Settings
from ostinato.service.edge.asgi import STATE_KEY, Scope, Send
from ostinato.service.edge.exchange import Receive
from ostinato.service.edge.http_connection import HttpConnection
from ostinato.service.edge.websocket.streams import STATE_KEY as STREAMS_KEY
from ostinato.service.worker import Worker
from tests.connections import abort, uvicorn_config
from tests.faults.stage import Stage
from tests.histories.network import write_repository
from tests.waiting import until_true


class ServerStage(Stage):
    """Replicas that are processes, and can be paused and killed."""

    def write_models(self, repository: Path) -> None:
        """See ``Stage.write_models``."""
        write_repository(repository)


class LocalStage(ServerStage):
    """Replicas in one process, each with its own memory and connections."""

    async def start_replicas(self, states: Sequence[str]) -> AsyncIterator[int]:
        """See ``Stage.start_replicas``."""
        for state in states:
            replica = _Replica(Settings(repository=self.folder / "repository", **{"state": state, **self.settings}))
            self.at_end(replica.stop)
            await replica.start()
            yield replica.port

    def logs(self) -> str:
        """Nothing: the log is the test's own."""
        return ""


class _Replica:
    """A worker as a server has it, without BentoML around it."""

    def __init__(self, settings: Settings) -> None:
        self._worker = Worker(settings)
        edge = self._worker.edge(_elsewhere)
        self._state = ServerState()
        self._app_state = {STATE_KEY: edge, STREAMS_KEY: self._worker.streams}
        self._config = uvicorn_config(edge)
        self._listener: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._listener is not None
        return int(self._listener.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Load the models, and listen."""
        # A worker makes the process its own: what it sets there is set back.
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        thresholds = gc.get_threshold()
        await self._worker.start()
        await until_true(lambda: self._worker.readiness()[0], "the models")
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        self._listener = await asyncio.get_running_loop().create_server(self._connect, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Cut all connections, and end."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._state.connections):
            abort(connection)
        await until_true(lambda: not self._state.connections and not self._worker.desk.under_way, "the last connection")
        await self._worker.stop()

    def _connect(self) -> HttpConnection:
        return HttpConnection(config=self._config, server_state=self._state, app_state=self._app_state)


async def _elsewhere(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError(f"nothing is asked of BentoML here, and {scope['path']} was")
