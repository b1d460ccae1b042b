"""A session of a client that does not block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Unpack

from ostinato.client.answers import SessionInfo
from ostinato.client.arrays import Outputs, Rows
from ostinato.client.exchange import CarryOutAsync, Plan
from ostinato.client.forecasts import ForecastOptions, Known
from ostinato.client.offsets import InSource
from ostinato.client.session import SessionHandle
from ostinato.client.times import Times
from ostinato.client.verbs import Verbs


class AsyncSession(SessionHandle):
    """A session of an ``AsyncClient``; entering opens it, and leaving closes it, unless it is kept.

    ``seq`` is sent with every chunk, so a chunk whose answer was lost is retried and not applied twice. One that failed
    for good (``ServiceUnreachable``, ``UnexpectedAnswer``) or was cancelled may have been applied: repeat it with the
    same inputs, or ``sync()``. Tasks may share it; their chunks take turns.

    Every verb raises:
        ServiceError: the service refused it. ServiceUnreachable: nobody answered within the client's patience.
    """

    def __init__(
        self, run: CarryOutAsync, verbs: Verbs, begin: Callable[[], Plan[SessionInfo]], *, closes_at_exit: bool
    ) -> None:
        super().__init__(verbs, begin, closes_at_exit=closes_at_exit)
        self._run = run
        self._lock = asyncio.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin_anew(self) -> None:
        """Forget connections and locks, in a process that was forked."""
        super().begin_anew()
        self._loop = None

    @property
    def _turn(self) -> asyncio.Lock:
        """Of this event loop: a lock for which somebody had to wait belongs to that one's loop."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._lock, self._loop = asyncio.Lock(), loop
        return self._lock

    async def __aenter__(self) -> AsyncSession:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._turn:
            await self._run(self._exit_plan(error))

    async def open(self) -> AsyncSession:
        """Open it (or look at it, where it was resumed), without a block that closes it; returns itself."""
        async with self._turn:
            await self._run(self._open_plan())
        return self

    async def step(
        self, inputs: Rows, *, return_sequences: bool = True, at: Times | None = None, **place: Unpack[InSource]
    ) -> Outputs:
        """Apply a chunk ``[n, F]`` (None or NaN = missing); returns outputs float32 ``[n, O]``, or the last one
        ``[1, O]`` without ``return_sequences``; integers stay integers. Several outputs are a dictionary by name.

        ``at``: the time of its first step, or of each, for a model with a time: missing steps are filled in, and
        calendar features may be left out. ``place``: where the chunk is in its source, in place of ``steps``; see
        ``InSource``.

        Raises:
            SeqConflict: the session has another number of steps, or readings of it; ``steps`` stays as it is.
            TimeConflict: the times do not follow the session's last step.
        """
        async with self._turn:
            return await self._run(self._step_plan(inputs, return_sequences=return_sequences, at=at, place=place))

    async def forecast(self, horizon: int, known_future: Known = None, **options: Unpack[ForecastOptions]) -> Outputs:
        """The next ``horizon`` outputs, float32 ``[horizon, O]``, several by name; the session is not changed. With
        ``options`` a ``Forecast`` (``ostinato/client/forecasts.py``): level, quantiles, num_samples, seed.

        ``known_future``: feature -> values of the steps ahead, or rows of the features that are not forecast.
        """
        return await self._run(self._forecast_plan(horizon, known_future, options))

    async def look(self) -> SessionInfo:
        """The session as the server has it; ``steps`` of this object does not change."""
        return await self._run(self._look_plan())

    async def sync(self) -> int:
        """Take the server's step count for the next chunk's ``seq``; returns it."""
        async with self._turn:
            return (await self._run(self._taken(self._look_plan()))).steps

    async def reset(self) -> None:
        """Go back to the initial state, with no step applied."""
        async with self._turn:
            await self._run(self._reset_plan())

    async def fork(self, session_id: str | None = None, ttl_seconds: float | None = None) -> AsyncSession:
        """An independent copy under a new id; leaving its ``async with`` block closes it."""
        async with self._turn:
            copy = AsyncSession(
                self._run, self._verbs, lambda: self._fork_plan(session_id, ttl_seconds), closes_at_exit=True
            )
            return await copy.open()

    async def save_checkpoint(self, name: str) -> None:
        """Keep it as it is now under a name, for ever: ``client.session(model, checkpoint=name)`` begins from there."""
        async with self._turn:
            await self._run(self._verbs.save_checkpoint(self.session_id, name))

    async def migrate(self, version: str) -> None:
        """Continue with another version of its model, which runs the steps that the session keeps."""
        async with self._turn:
            await self._run(self._taken(self._verbs.migrate(self.session_id, version)))

    async def state(self) -> bytes:
        """The recurrent state, as safetensors."""
        return await self._run(self._state_plan())

    async def put_state(self, state: bytes) -> SessionInfo:
        """Continue from a state that ``state()`` returned; returns the session, which says if the state was made
        elsewhere.
        """
        async with self._turn:
            return await self._run(self._put_state_plan(state))

    async def close(self) -> None:
        """End it; a second time nothing happens."""
        async with self._turn:
            await self._run(self._close_plan())
