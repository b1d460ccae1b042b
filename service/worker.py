"""The worker: the objects of one worker process, each built once, and their life from start to drain."""

from __future__ import annotations

import asyncio
import gc
import logging
import platform
import re
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

import ostinato
from ostinato.service import logs
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.catalogue.loading import Loader
from ostinato.service.catalogue.reload import LiveModels
from ostinato.service.catalogue.verdicts import Verdicts
from ostinato.service.config import Settings
from ostinato.service.edge.acceptor import SharingServer
from ostinato.service.edge.asgi import App, Edge
from ostinato.service.edge.certificates import context_of_server, follow_files
from ostinato.service.edge.console.pages import Console
from ostinato.service.edge.descriptors import DescriptorWatch, connections_within, raise_limit
from ostinato.service.edge.desk import OUT_OF_DESCRIPTORS, Desk
from ostinato.service.edge.http_connection import HttpConnection
from ostinato.service.edge.key_routes import access_of
from ostinato.service.edge.openapi.documents import Documents
from ostinato.service.edge.routes import Routes
from ostinato.service.edge.site.pages import Site
from ostinato.service.edge.system import SystemRoutes
from ostinato.service.edge.websocket.connection import WebSocketConnection
from ostinato.service.edge.websocket.streams import Streams
from ostinato.service.inference.shadows import Shadows
from ostinato.service.metrics.process import ProcessWatch
from ostinato.service.metrics.series import Metrics
from ostinato.service.metrics.workers import WorkerMetrics, worker_metrics
from ostinato.service.sessions.ledger import Ledger
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.sessions.turns import Turns
from ostinato.service.state.address import most_sessions, open_document, open_store
from ostinato.service.tether import FAULTS, NO_SIGNAL, Tether
from ostinato.service.tracing import Tracer

if TYPE_CHECKING:
    from ostinato.service.edge.oip.grpc.server import GrpcServer

logger = logging.getLogger(__name__)

EXPIRE_SECONDS = 1.0
COUNT_SECONDS = 1.0
"""How often it is asked whether a count of the sessions is due; most often it is not."""
DRAIN_POLL_SECONDS = 0.02
ASK_STORE_SECONDS = 1.0
END_SECONDS = 1.0
"""How long what is done beside the requests may take to end; it is waited for so that nothing of it is left behind."""
LEAVE_SECONDS = 5
"""How long clients may take to read their last answers when the drain is over."""

GC_THRESHOLDS = (20_000, 20, 20)
"""Requests leave few cycles behind, so the collector may look more seldom than after each 700 new objects."""

SignalHandler = Callable[[int, FrameType | None], Any] | int | None


class Worker:
    """Models, sessions, and the edge in front of them."""

    def __init__(self, settings: Settings, tether: Tether | None = None) -> None:
        self.settings = settings
        self._tether = tether or Tether()
        self.metrics = Metrics()
        for name in (NO_SIGNAL, "SIGKILL", "SIGTERM", *sorted(FAULTS), *self._tether.restarts):
            self.metrics.worker_restarts.labels(signal=name).value = float(self._tether.restarts.get(name, 0))
        self._tracer = Tracer(settings.traces) if settings.traces else None
        self.catalogue = Catalogue()
        self._store, turns = open_store(settings), Turns()
        self._store.on_failure = self.metrics.store_errors.labels().inc
        self._store.on_unreadable = self.metrics.records_unreadable.labels().inc
        self.sessions = Sessions(
            self._store,
            self.catalogue,
            turns,
            default_ttl_seconds=settings.ttl_seconds,
            look_ups=self.metrics.look_up_seconds.labels(),
        )
        self.ledger = Ledger(self._store, turns, tracer=self._tracer)
        self._shadows = Shadows(self.catalogue, self.ledger, self.metrics)
        self._verdicts = Verdicts(settings, self._tether.verdicts)
        seen_by = self.metrics, self._tether, self._verdicts, self._tracer
        self._loader = Loader(settings, self.catalogue, self._store, self.ledger, *seen_by)
        self.desk = Desk(self.metrics, settings, tracer=self._tracer)
        document, watches = open_document(settings), settings.watch
        self._live = LiveModels(document, self.catalogue, self._loader, settings.repository, watches=watches)
        self.routes = Routes(self.catalogue, self.sessions, self.ledger, self.desk, live=self._live)
        self.desk.access = access_of(settings.keys, self._tether.meters, self.routes)
        self.streams = Streams(self.catalogue, self.routes, self.desk, self.metrics, settings)
        self.grpc = None if settings.grpc_port is None else self._grpc_server(settings.grpc_port)
        self._worker_metrics: WorkerMetrics | None = None
        self._descriptors = DescriptorWatch(lambda: self.desk.count_refusal(OUT_OF_DESCRIPTORS))
        self._draining = False
        self._has_store_answered = False
        self._loaded = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._process = ProcessWatch(self.metrics)
        self._follow()

    def _grpc_server(self, port: int) -> GrpcServer:
        from ostinato.service.edge.oip.grpc.server import GrpcServer  # its libraries are an extra

        listens_on = self._tether.grpc_port or port
        return GrpcServer(self.routes, self.desk, self.settings, listens_on, lambda: self.readiness()[0])

    def edge(self, inner: App) -> Edge:
        """The ASGI application over BentoML's."""
        WebSocketConnection.install()
        HttpConnection.install()
        SharingServer.install(self._tether.shares, self.desk, self._descriptors.take)
        pages = {**Console().answers, **Site().answers} if self.settings.console else {}
        system = SystemRoutes(self.metrics, self.readiness, Documents(self.catalogue).answers, pages)
        return Edge(inner, self.desk, self.routes, system, self.streams, start=self.start, stop=self.stop)

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether requests should come here: models are checked, at least one is served (or with ``require_models``
        all are), the store answers, what is decided about models is known, and it is not draining.
        """
        catalogue = self.catalogue
        are_served = bool(catalogue.served) and not (self.settings.require_models and catalogue.rejections)
        trouble = self._store.trouble or ("" if catalogue.are_decisions_known else self._live.trouble)
        if self._draining:
            status = "draining"
        elif not catalogue.complete:
            status = "starting"
        elif not are_served:
            status = "failed"
        elif not (self._has_store_answered and catalogue.are_decisions_known) or trouble:
            status = "store_unavailable" if trouble or self._loader.trouble else "starting"
        else:
            status = "ready"
        content: dict[str, Any] = {"status": status, "models": self._loader.states()}
        if reason := self._loader.failure or trouble or ("" if self._has_store_answered else self._loader.trouble):
            content["reason"] = self.desk.words.of(reason)
        elif status == "failed" and self.settings.require_models:
            content["reason"] = "a version failed a check, and every one is required (require_models)"
        return status == "ready", content

    async def start(self) -> None:
        """Begin to load the models, and to look after sessions, slow requests and signals. A store that cannot begin
        is tried again, and until it has the service is not ready.
        """
        logs.configure(self.settings)
        loop = asyncio.get_running_loop()
        self.desk.max_connections = connections_within(raise_limit(), self.settings.max_connections)
        self._descriptors.install(loop)
        self._tasks = [
            loop.create_task(self._load()),
            loop.create_task(self._look_after()),
            loop.create_task(self._ask_store()),
            loop.create_task(self._expire()),
            loop.create_task(self._count_sessions()),
            loop.create_task(self._process.keep()),
            loop.create_task(self.desk.sweep()),
            loop.create_task(self.streams.sweep()),
        ]
        if self.desk.access is not None:
            self._tasks.append(loop.create_task(self.desk.access.keep()))
        if (context := context_of_server()) is not None:
            self._tasks.append(loop.create_task(follow_files(self.settings, context)))
        for number in (signal.SIGTERM, signal.SIGINT):
            self._drain_on(number, loop)
        if self.settings.workers > 1:
            self._worker_metrics = shared = worker_metrics(self.metrics, Path(tempfile.gettempdir()))
            self.metrics.gather = shared.gather
            self._tasks.append(loop.create_task(shared.keep()))
            # The port is the others', too: before its models are there, a worker would refuse its share of requests.
            await self._loaded.wait()
        if self.grpc is not None:
            await self.grpc.start()
        self._tether.tell_started()

    async def stop(self) -> None:
        """Hand back whatever is still under way."""
        for task in self._tasks:
            task.cancel()
        if ending := [task for task in self._tasks if task is not asyncio.current_task()]:
            await asyncio.wait(ending, timeout=END_SECONDS)
        self.streams.close()
        if self.grpc is not None:
            await self.grpc.stop()
        self.catalogue.close()
        self._verdicts.close()
        if self._worker_metrics is not None:
            self._worker_metrics.leave()
        await self._store.stop()
        await self._live.stop()
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close)

    async def drain(self) -> None:
        """Take no new work, and wait until what was taken is answered, or ``drain_seconds`` have passed."""
        self._draining = True
        self.catalogue.drain()
        self.streams.drain()
        if self.grpc is not None:
            self.grpc.drain()
        give_up_at = time.monotonic() + self.settings.drain_seconds
        while self._num_under_way() and time.monotonic() < give_up_at:
            await asyncio.sleep(DRAIN_POLL_SECONDS)  # once in a life, so no request pays for an event
        left = self._num_under_way()
        logger.log(logging.WARNING if left else logging.INFO, "drained, with %d requests left", left)
        # What is left is refused now: the server waits for its answer, however long that takes.
        if left:
            self.catalogue.close()

    def _num_under_way(self) -> int:
        of_grpc = 0 if self.grpc is None else self.grpc.num_requests
        return len(self.desk.under_way) + self.streams.num_frames + of_grpc + self.catalogue.num_rows

    def _drain_on(self, number: signal.Signals, loop: asyncio.AbstractEventLoop) -> None:
        """Put the drain before what the server itself does on a signal."""
        before: SignalHandler = signal.getsignal(number)
        server = getattr(before, "__self__", None)
        if isinstance(server, uvicorn.Server):
            # Counted from the end of the drain. Without it a client that does not read its answer holds the worker, and
            # BentoML, which would wait for a day, holds the server.
            server.config.timeout_graceful_shutdown = LEAVE_SECONDS

        async def drain_then_exit() -> None:
            await self.drain()
            if callable(before):
                before(number, None)

        def begin(_number: int, _frame: FrameType | None) -> None:
            if not self._draining:
                self._draining = True
                logger.info("received %s: draining", number.name)
                loop.call_soon_threadsafe(lambda: self._tasks.append(loop.create_task(drain_then_exit())))

        signal.signal(number, begin)

    async def _load(self) -> None:
        try:
            await self._load_all()
        except Exception as error:
            logger.exception("the models could not be loaded")
            self._loader.failure = f"the models could not be loaded: {type(error).__name__}; the log has it"
            self.catalogue.complete = True  # requests are answered, whatever with
        finally:
            self._loaded.set()

    async def _look_after(self) -> None:
        """Follow what is decided about models, and try again what is not served."""
        await self._loaded.wait()
        try:
            await self._live.keep()
        except Exception:
            logger.exception("what is not served is not tried again, nor what is decided followed")

    async def _ask_store(self) -> None:
        """Have the store begin, and ask it, which may be on its way, until it has answered once."""
        while not await self._start_store():
            await asyncio.sleep(ASK_STORE_SECONDS)
        await self._loaded.wait()
        while not await self._loader.find_missing():
            await asyncio.sleep(ASK_STORE_SECONDS)
        self._has_store_answered = True

    async def _start_store(self) -> bool:
        try:
            await self._store.start()
        except Exception as error:
            self._loader.note_trouble(error)
            return False
        return True

    async def _load_all(self) -> None:
        beginning = asyncio.create_task(self._live.begin())
        try:
            await self._loader.load()
        finally:
            await beginning
        self._live.let_go_of_unloaded()
        # What was built until now lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        await asyncio.to_thread(self._verdicts.end_child)
        self.catalogue.complete = True
        served, failed = len(self.catalogue.served), len(self.catalogue.rejections)
        logger.info("%d model versions are served, %d failed", served, failed)

    def _follow(self) -> None:
        """Have the series tell of what is known here when they are asked for."""
        metrics, settings, store = self.metrics, self.settings, self._store
        metrics.ready.labels().follow(lambda: float(self.readiness()[0]))
        metrics.draining.labels().follow(lambda: float(self._draining))
        metrics.store_up.labels().follow(lambda: float(self._has_store_answered and not store.trouble))
        for part in store.num_bytes:
            metrics.store_bytes.labels(part=part).follow(partial(lambda part: store.num_bytes[part], part))
        for name, most in limits(settings).items():
            metrics.limit.labels(setting=name).set(most)
        metrics.build_info.labels(
            release=ostinato.__version__,
            python=platform.python_version(),
            onnxruntime=metadata.version("onnxruntime"),
            store=re.split("[+:]", settings.state)[0],
        ).set(1)

    async def _count_sessions(self) -> None:
        """Have the store count the sessions, now and then."""
        while True:
            if self._has_store_answered:
                try:
                    await self._store.count(time.time())
                except Exception:
                    logger.exception("the sessions could not be counted")
            await asyncio.sleep(COUNT_SECONDS)

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            self._descriptors.probe()
            try:
                self.sessions.expire()
                self._shadows.sweep()
            except Exception:
                logger.exception("an expiry failed")


def limits(settings: Settings) -> dict[str, float]:
    """What settings allow, in their units, by their names; those that are not set are left out."""
    named = {
        name: getattr(settings, name)
        for name in type(settings).model_fields
        if name.startswith("max_") or name.endswith(("_seconds", "_budget", "_memory")) or name == "workers"
    }
    named["max_sessions"] = most_sessions(settings)
    return {name: float(value) for name, value in named.items() if value is not None}
