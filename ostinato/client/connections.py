"""Connections of a client over HTTP: those of this process, made when they are first needed."""

from __future__ import annotations

import asyncio
import inspect
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import httpx2

from ostinato.client.forks import cut_off, leave_alone, watch
from ostinato.errors import CommandError

Http = TypeVar("Http", httpx2.Client, httpx2.AsyncClient)


class Connections(Generic[Http]):
    """The client of httpx2 that this process uses, and only this one: a process that is forked off makes its own.

    Args:
        make: makes one.
        is_bound: it is made of something that was given and stays with this process, and so can be made once only.
    """

    def __init__(self, make: Callable[[], Http], *, is_bound: bool) -> None:
        self._make: Callable[[], Http] = make
        self._is_bound = is_bound
        self._is_closed = False
        self._lock = threading.Lock()
        self._streams: weakref.WeakSet[Any] = weakref.WeakSet()
        self._http: Http | None = make()
        watch(self)

    @property
    def http(self) -> Http:
        """The client of httpx2.

        Raises:
            CommandError: it was closed; or it cannot be made again in a process that was forked off.
        """
        http = self._http
        return self._made_anew() if http is None else http

    def take(self, response: httpx2.Response) -> httpx2.Response:
        """Know the socket from which a response came; returns the response."""
        if (stream := response.extensions.get("network_stream")) is not None:
            self._streams.add(stream)
        return response

    def close(self) -> Http | None:
        """Give no client out any more; returns the one that the caller is to close, if there is one."""
        self._is_closed = True
        http, self._http = self._http, None
        return http

    def begin_anew(self) -> None:
        """Forget connections and locks, in a process that was forked."""
        inherited = list(self._streams)
        leave_alone(self._http, inherited)
        self._lock, self._streams, self._http = threading.Lock(), weakref.WeakSet(), None
        for stream in inherited:
            cut_off(stream.get_extra_info("socket"))

    def _made_anew(self) -> Http:
        self._check_open()
        if self._is_bound:
            raise CommandError(
                "this client was made with a transport, in the process that this one was forked from; make a client "
                "here, for what is behind a transport cannot be connected twice"
            )
        with self._lock:
            if self._http is None:
                self._http = self._make()
            return self._http

    def _check_open(self) -> None:
        if self._is_closed:
            raise CommandError("the client is closed")


class LoopConnections(Connections[httpx2.AsyncClient]):
    """Those of a client that does not block: each event loop has its own, since a connection lives in the loop in which
    it was made. So a client may be used by one ``asyncio.run`` after another.
    """

    def __init__(self, make: Callable[[], httpx2.AsyncClient], *, is_bound: bool) -> None:
        self._of_loops: dict[asyncio.AbstractEventLoop, httpx2.AsyncClient] = {}
        super().__init__(make, is_bound=is_bound)

    @property
    def http(self) -> httpx2.AsyncClient:
        """See ``Connections.http``; what was given as a transport is used in any loop."""
        if self._is_bound:
            return super().http
        loop = asyncio.get_running_loop()
        http = self._of_loops.get(loop)
        return self._begun_in(loop) if http is None else http

    def close(self) -> httpx2.AsyncClient | None:
        """See ``Connections.close``; those of other loops can be closed by nobody here."""
        unused = super().close()
        of_this_loop = self._of_loops.pop(asyncio.get_running_loop(), None)
        self._of_loops.clear()
        return of_this_loop or unused

    def begin_anew(self) -> None:
        """Forget connections and locks, in a process that was forked."""
        leave_alone(self._of_loops)
        self._of_loops = {}
        super().begin_anew()

    def _begun_in(self, loop: asyncio.AbstractEventLoop) -> httpx2.AsyncClient:
        with self._lock:
            self._check_open()
            for ended in [each for each in self._of_loops if each.is_closed()]:
                del self._of_loops[ended]
            http, self._http = self._http or self._make(), None
            self._of_loops[loop] = http
            return http


def made_again(client: Callable[..., Any], urls: Sequence[str], settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """A client as pickle and copy see it: its settings, of which another is made with connections of its own.

    Raises:
        TypeError: it has a transport.
    """
    if settings["transport"] is not None:
        raise TypeError("a client that was made with a transport stays in its process; make one where it is needed")
    usual = inspect.signature(client).parameters
    given = {name: value for name, value in settings.items() if value is not usual[name].default}
    return partial(client, urls, **given), ()
