"""The client that does not block. It needs nothing of the server: manifests stay plain dictionaries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar, Unpack, overload

import httpx2
import numpy as np
from numpy.typing import NDArray

from ostinato.client import wire
from ostinato.client.addresses import shown
from ostinato.client.answers import ManyStepped, SessionInfo, SessionInfoPage
from ostinato.client.arrays import Array, Context, Outputs, Rows, States
from ostinato.client.async_session import AsyncSession
from ostinato.client.async_stream import AsyncStream
from ostinato.client.connections import LoopConnections, made_again
from ostinato.client.data_frame_client import AsyncDataFrameMethods
from ostinato.client.data_frame_verbs import DataFrameVerbs
from ostinato.client.exchange import Exchanges, Plan, Send, carry_out_async
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
from ostinato.client.generation_stream import stream_async
from ostinato.client.keys import own_key
from ostinato.client.retry import Outcome, RetryPolicy
from ostinato.client.times import Times
from ostinato.client.verbs import Verbs

Result = TypeVar("Result")


class AsyncClient(AsyncDataFrameMethods):
    """Models and sessions of a running service; ``Client`` is the same for code that blocks. Made once, it may be used
    by one ``asyncio.run`` after another: each connects again.

    A request that was refused for now (429, 503) is retried after the server's ``Retry-After``, or after pauses that
    double. A request whose answer was lost is retried where that is safe. Two are not: a ``step_many`` without ``seq``,
    and a stream of outputs that has begun. A step is not applied twice because of its ``seq``, and the client chooses
    the ids of sessions. Generated outputs are kept nowhere, so a sample without a ``seed`` is drawn again.

    Every verb raises:
        ServiceError: the service refused it; in the service's words. UnexpectedAnswer: the answer does not belong to
            the request, which may have been applied. ServiceUnreachable: nobody answered.

    Args:
        url: as ``http://127.0.0.1:3000``, or several URLs of replicas that share a store, which are used in turn.
        key: the output of ``ostinato keys new``, if the service has keys; None = the key in ``OSTINATO_KEY`` or in the
            file ``OSTINATO_KEY_FILE``, if there is one.
        patience_seconds: for how long a request is retried; 0 = not at all. If nothing listens, and no service was
            reached before, each address is tried once.
        timeout_seconds: for how long the network may be silent in one attempt. If it is above ``patience_seconds``, an
            answer that never comes is not retried.
        transport: in place of the network, except for streams.
        choose: picks one of the URLs for an attempt.
        sleep: waits for a number of seconds.
        clock: seconds that only grow.
        chance: a number from [0, 1), which spreads the pauses.
    """

    def __init__(
        self,
        url: str | Sequence[str],
        *,
        key: str | None = None,
        patience_seconds: float = 30.0,
        timeout_seconds: float = 20.0,
        transport: httpx2.AsyncBaseTransport | None = None,
        choose: Callable[[Sequence[str]], str] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
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
        self._connections = LoopConnections(
            lambda: httpx2.AsyncClient(transport=transport, mounts=wire.direct(), **options),
            is_bound=transport is not None,
        )
        times = {"patience_seconds": patience_seconds, "timeout_seconds": timeout_seconds}
        parts = {"transport": transport, "choose": choose, "sleep": sleep, "clock": clock, "chance": chance}
        self._settings = {"key": key, **times, **parts}

    def __repr__(self) -> str:
        return f"<AsyncClient {', '.join(map(shown, self.urls))}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return made_again(type(self), self.urls, self._settings)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; sessions stay as they are."""
        if (http := self._connections.close()) is not None:
            await http.aclose()

    async def models(self) -> list[dict[str, Any]]:
        """All models: ``model``, ``task``, ``versions``, ``status`` and why versions ``failed``."""
        return await self._run(self._verbs.models())

    async def model(self, name: str) -> dict[str, Any]:
        """A model: its versions, its status, and the manifest of the latest version that is served (or None)."""
        return await self._run(self._verbs.model(name))

    @overload
    async def predict(
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
    async def predict(
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

    async def predict(
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

        With ``return_state`` returns two lists: those outputs, and of each sequence the states behind its last step.

        Args:
            initial_state: to start from: one for all sequences, or a list with one (or None) for each.
            context: what is the same in all steps of a sequence, in the same way.
            go_backwards: run each sequence from its last step to its first.
            align: outputs with a delay by the steps that they speak of: ``[n - D, O]``, where D is the longest delay.
        """
        outputs, states = await self._run(
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

    async def generate(
        self, model: str, inputs: Sequence[Source] | None = None, **options: Unpack[GenerateOptions]
    ) -> Generation:
        """Write an output, or several, for each input: a text, codes, or numbers ``[n, F]``; without ``inputs``, a
        model that reads no source writes from nothing. ``ostinato/client/generation.py`` says what ``options`` are.
        """
        return await self._run(self._generation.generate(model, inputs, options))

    def generate_stream(
        self, model: str, inputs: Sequence[Source] | None = None, **options: Unpack[GenerateOptions]
    ) -> AsyncGenerator[GeneratedStep | Generation]:
        """``generate``, told step by step as it is made (except for ``beam``), and at last as a whole.

        Leaving the loop closes the connection, and the service generates no more. If the generator is kept, its
        ``aclose()`` does (``contextlib.aclosing``). A stream that breaks off is not retried: that raises
        ServiceUnreachable.
        """
        begin, reads = self._generation.begin_stream(model, inputs, options)
        return stream_async(self._connections, begin, self._sleep, reads)

    async def score(
        self,
        model: str,
        targets: Sequence[Value],
        inputs: Sequence[Source] | None = None,
        *,
        version: str | None = None,
    ) -> list[Scored]:
        """How likely each target is as the output for its input, its stop included."""
        return await self._run(self._generation.score(model, targets, inputs, version))

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
    ) -> AsyncSession:
        """A new session; ``async with`` opens it and closes it at the end, unless ``keep``. Where there is no block,
        ``await`` its ``open()``.

        Args:
            session_id: 1 to 128 of ``A-Z a-z 0-9 . _ : -``; chosen by the client where it is None.
            ttl_seconds: how long it may be idle; 0 = for ever, None = the server's setting.
            version: of the model; the latest where it is None.
            context: name -> the inputs that are the same in all its steps, for a model that has these.
            checkpoint: the checkpoint to begin from, with its steps, version and context.
        """

        def begin() -> Plan[SessionInfo]:
            return self._verbs.open(
                model,
                session_id=session_id,
                ttl_seconds=ttl_seconds,
                version=version,
                context=context,
                checkpoint=checkpoint,
            )

        return AsyncSession(self._run, self._verbs, begin, closes_at_exit=not keep)

    def resume(self, session_id: str) -> AsyncSession:
        """A session that was opened before; entering takes its step count from the server, leaving never closes it."""
        return AsyncSession(self._run, self._verbs, lambda: self._verbs.look(session_id), closes_at_exit=False)

    async def close_session(self, session_id: str) -> None:
        """End a session, even one that somebody else opened."""
        await self._run(self._verbs.close(session_id))

    async def sessions(self, model: str | None = None) -> AsyncIterator[SessionInfo]:
        """All live sessions, of one model or of all."""
        async for page in self.session_pages(model):
            for info in page.sessions:
                yield info

    async def session_pages(self, model: str | None = None) -> AsyncIterator[SessionInfoPage]:
        """The same page by page; a page also says how many sessions were left out because the service could not read
        them.
        """
        cursor: str | None = None
        while True:
            page = await self._run(self._verbs.page(model, cursor))
            yield page
            if (cursor := page.next_cursor) is None:
                return

    async def step_many(
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
        """One step of each of R sessions in one message: inputs ``[R, F]``, ``seq`` or times ``at`` ``[R]``. Rows fail
        alone; the result's ``errors`` has them.

        It is retried after a lost answer if every row has one of these, or an ``offset`` (``[R]``: where it is in
        ``source``), and no session is in it twice.
        """
        options: dict[str, Any] = {"create_missing": create_missing, "at": at, "source": source, "offset": offset}
        return await self._run(self._verbs.step_many(model, session_ids, inputs, seq, **options))

    async def forecast_many(
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
        return await self._run(self._verbs.forecasts.many(model, session_ids, horizon, known_future, options))

    def stream(self, model: str, create_missing: bool = False) -> AsyncStream:
        """Steps of many sessions over one WebSocket, which ``async with`` connects; ``create_missing`` opens unknown
        ids.
        """
        return AsyncStream(
            self._exchanges,
            self._verbs,
            self._send,
            self._sleep,
            self._timeout_seconds,
            self._key,
            model,
            create_missing,
        )

    async def metrics(self) -> str:
        """The server's series in Prometheus' text format."""
        return await self._run(self._verbs.metrics())

    async def _run(self, plan: Plan[Result], /) -> Result:
        return await carry_out_async(plan, self._send, self._sleep)

    async def _send(self, send: Send) -> Outcome:
        try:
            return wire.answer_of(self._connections.take(await self._connections.http.request(**wire.arguments(send))))
        except wire.NETWORK_ERRORS as error:
            return wire.lost(error, send.url)
