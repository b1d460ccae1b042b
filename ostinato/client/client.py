"""The client that blocks."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack, overload

import httpx2
import numpy as np
from numpy.typing import NDArray

from ostinato.client import wire
from ostinato.client.addresses import shown
from ostinato.client.answers import ManyStepped, SessionInfo, SessionInfoPage
from ostinato.client.arrays import Array, Context, Outputs, Rows, States
from ostinato.client.connections import Connections, made_again
from ostinato.client.data_frame_client import DataFrameMethods
from ostinato.client.data_frame_verbs import DataFrameVerbs
from ostinato.client.exchange import Exchanges, Plan, Send, carry_out
from ostinato.client.forecasts import ForecastOptions, Known, ManyForecasts
from ostinato.client.generation import (
    GeneratedStep,
    GenerateOptions,
    Generation,
    GenerationVerbs,
    Scored,
    Source,
    Value,
)
from ostinato.client.generation_stream import stream_blocking
from ostinato.client.keys import own_key
from ostinato.client.retry import Outcome, RetryPolicy
from ostinato.client.session import Session
from ostinato.client.stream import Stream
from ostinato.client.times import Times
from ostinato.client.verbs import Verbs

Result = TypeVar("Result")


class Client(DataFrameMethods):
    """Models and sessions of a running service, for code that blocks; ``AsyncClient`` says what is retried, what the
    verbs raise, and what the arguments are. Threads may share a client, and so may processes. A forked process connects
    again, and a pickled client has only the settings.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        key: str | None = None,
        patience_seconds: float = 30.0,
        timeout_seconds: float = 20.0,
        transport: httpx2.BaseTransport | None = None,
        choose: Callable[[Sequence[str]], str] | None = None,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.urls = wire.base_urls(url)
        policy = RetryPolicy(patience_seconds)
        self._exchanges = Exchanges(self.urls, policy, choose=choose, clock=clock, chance=chance)
        self._key = own_key(key)
        self._verbs = Verbs(self._exchanges)
        self._data_frames = DataFrameVerbs(self._exchanges, self._verbs)
        self._generation = GenerationVerbs(self._exchanges)
        self._sleep = sleep
        self._timeout_seconds = timeout_seconds
        options = wire.options(self.urls, timeout_seconds, self._key)
        self._connections = Connections(
            lambda: httpx2.Client(transport=transport, mounts=wire.direct(), **options),
            is_bound=transport is not None,
        )
        self._settings = {
            "key": key,
            "patience_seconds": patience_seconds,
            "timeout_seconds": timeout_seconds,
            "transport": transport,
            "choose": choose,
            "sleep": sleep,
            "clock": clock,
            "chance": chance,
        }

    def __repr__(self) -> str:
        return f"<Client {', '.join(map(shown, self.urls))}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return made_again(type(self), self.urls, self._settings)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; sessions stay as they are."""
        if (http := self._connections.close()) is not None:
            http.close()

    def models(self) -> list[dict[str, Any]]:
        """All models: ``model``, ``task``, ``versions``, ``status`` and why versions ``failed``."""
        return self._run(self._verbs.models())

    def model(self, name: str) -> dict[str, Any]:
        """A model: its versions, its status, and the manifest of the latest version that is served (or None)."""
        return self._run(self._verbs.model(name))

    @overload
    def predict(
        self,
        model: str,
        sequences: Sequence[Rows],
        *,
        return_sequences: bool = True,
        return_state: Literal[False] = False,
        initial_state: States | Sequence[States | None] | None = None,
        context: Context | Sequence[Context | None] | None = None,
        go_backwards: bool = False,
        align: bool = False,
        version: str | None = None,
    ) -> list[Outputs]: ...

    @overload
    def predict(
        self,
        model: str,
        sequences: Sequence[Rows],
        *,
        return_sequences: bool = True,
        return_state: Literal[True],
        initial_state: States | Sequence[States | None] | None = None,
        context: Context | Sequence[Context | None] | None = None,
        go_backwards: bool = False,
        align: bool = False,
        version: str | None = None,
    ) -> tuple[list[Outputs], list[dict[str, Array]]]: ...

    def predict(
        self,
        model: str,
        sequences: Sequence[Rows],
        *,
        return_sequences: bool = True,
        return_state: bool = False,
        initial_state: States | Sequence[States | None] | None = None,
        context: Context | Sequence[Context | None] | None = None,
        go_backwards: bool = False,
        align: bool = False,
        version: str | None = None,
    ) -> list[Outputs] | tuple[list[Outputs], list[dict[str, Array]]]:
        """Run whole sequences, each ``[n, F]`` (None or NaN = missing), in no session; returns the outputs of each,
        float32 ``[n, O]``, or the last one ``[O]`` without ``return_sequences``; integers stay integers.
        ``AsyncClient`` says what the options are.
        """
        outputs, states = self._run(
            self._verbs.predict(
                model,
                sequences,
                return_sequences=return_sequences,
                return_state=return_state,
                initial_state=initial_state,
                context=context,
                go_backwards=go_backwards,
                align=align,
                version=version,
            )
        )
        return (outputs, states) if return_state else outputs

    def generate(
        self, model: str, inputs: Sequence[Source] | None = None, **options: Unpack[GenerateOptions]
    ) -> Generation:
        """Write an output, or several, for each input: a text, codes, or numbers ``[n, F]``; without ``inputs``, a
        model that reads no source writes from nothing. ``ostinato/client/generation.py`` says what ``options`` are.
        """
        return self._run(self._generation.generate(model, inputs, options))

    def generate_stream(
        self, model: str, inputs: Sequence[Source] | None = None, **options: Unpack[GenerateOptions]
    ) -> Generator[GeneratedStep | Generation]:
        """``generate``, told step by step as it is made (except for ``beam``), and at last as a whole.

        Leaving the loop closes the connection, and the service generates no more. If the generator is kept, its
        ``close()`` does (``contextlib.closing``). A stream that breaks off is not retried: that raises
        ServiceUnreachable.
        """
        begin, reads = self._generation.begin_stream(model, inputs, options)
        return stream_blocking(self._connections, begin, self._sleep, reads)

    def score(
        self,
        model: str,
        targets: Sequence[Value],
        inputs: Sequence[Source] | None = None,
        *,
        version: str | None = None,
    ) -> list[Scored]:
        """How likely each target is as the output for its input, its stop included."""
        return self._run(self._generation.score(model, targets, inputs, version))

    def session(
        self,
        model: str,
        *,
        session_id: str | None = None,
        ttl_seconds: float | None = None,
        version: str | None = None,
        context: Context | None = None,
        checkpoint: str | None = None,
        keep: bool = False,
    ) -> Session:
        """Open a session; leaving its ``with`` block closes it, unless ``keep``. Arguments as of ``AsyncClient``."""

        def begin() -> Plan[SessionInfo]:
            return self._verbs.open(
                model,
                session_id=session_id,
                ttl_seconds=ttl_seconds,
                version=version,
                context=context,
                checkpoint=checkpoint,
            )

        return Session(self._run, self._verbs, begin, closes_at_exit=not keep)

    def resume(self, session_id: str) -> Session:
        """A session that was opened before, with the server's step count; leaving its block never closes it."""
        return Session(self._run, self._verbs, lambda: self._verbs.look(session_id), closes_at_exit=False)

    def close_session(self, session_id: str) -> None:
        """End a session, even one that somebody else opened."""
        self._run(self._verbs.close(session_id))

    def sessions(self, model: str | None = None) -> Iterator[SessionInfo]:
        """All live sessions, of one model or of all."""
        return (info for page in self.session_pages(model) for info in page.sessions)

    def session_pages(self, model: str | None = None) -> Iterator[SessionInfoPage]:
        """The same page by page; a page also says how many sessions were left out because the service could not read
        them.
        """
        cursor: str | None = None
        while True:
            page = self._run(self._verbs.page(model, cursor))
            yield page
            if (cursor := page.next_cursor) is None:
                return

    def step_many(
        self,
        model: str,
        session_ids: Sequence[str],
        inputs: Rows,
        seq: Sequence[int | None] | NDArray[np.integer[Any]] | None = None,
        create_missing: bool = False,
        at: Times | None = None,
        *,
        source: str | None = None,
        offset: Sequence[int | None] | NDArray[np.integer[Any]] | None = None,
    ) -> ManyStepped:
        """One step of each of R sessions in one message: inputs ``[R, F]``, ``seq`` or ``at`` ``[R]``. Rows fail alone;
        the result's ``errors`` has them. Retried as ``AsyncClient`` says.
        """
        options: dict[str, Any] = {"create_missing": create_missing, "at": at, "source": source, "offset": offset}
        return self._run(self._verbs.step_many(model, session_ids, inputs, seq, **options))

    def forecast_many(
        self,
        model: str,
        session_ids: Sequence[str],
        horizon: int,
        known_future: Known = None,
        **options: Unpack[ForecastOptions],
    ) -> ManyForecasts:
        """The next ``horizon`` outputs of each of R sessions in one message, as of ``Session.forecast`` with these
        options; ``known_future`` is of all of them. Rows fail alone; the result's ``errors`` has them.
        """
        return self._run(self._verbs.forecasts.many(model, session_ids, horizon, known_future, options))

    def stream(self, model: str, create_missing: bool = False) -> Stream:
        """Steps of many sessions over one WebSocket, connected by ``with``; ``create_missing`` opens unknown ids."""
        return Stream(
            self._exchanges,
            self._verbs,
            self._send,
            self._sleep,
            self._timeout_seconds,
            self._key,
            model,
            create_missing,
        )

    def metrics(self) -> str:
        """The server's series in Prometheus' text format."""
        return self._run(self._verbs.metrics())

    def _run(self, plan: Plan[Result], /) -> Result:
        return carry_out(plan, self._send, self._sleep)

    def _send(self, send: Send) -> Outcome:
        try:
            return wire.answer_of(self._connections.take(self._connections.http.request(**wire.arguments(send))))
        except wire.NETWORK_ERRORS as error:
            return wire.lost(error, send.url)
