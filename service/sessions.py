"""Sessions: their life cycle, the order of their requests, and sequence numbers."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import secrets
import time
import zlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from service.catalogue import Catalogue
from service.engine.batching import Work
from service.engine.engine import Engine
from service.errors import (
    InvalidInput,
    OstinatoError,
    Overloaded,
    SeqConflict,
    SessionClosed,
    SessionExists,
    StateStoreUnavailable,
)
from service.state.arena import Arena, Rows
from service.state.base import Commit, Store
from service.turns import Turn, Turns

logger = logging.getLogger(__name__)

_POSITION = re.compile("[0-9]{1,9}")


class Session(NamedTuple):
    """A live session, found."""

    session_id: str
    engine: Engine
    slot: int

    @property
    def steps(self) -> int:
        """Steps applied so far."""
        return int(self.engine.arena.steps[self.slot])

    @property
    def opened_at(self) -> float:
        """Seconds since the epoch."""
        return float(self.engine.arena.opened_at[self.slot])

    @property
    def expires_at(self) -> float:
        """Seconds since the epoch; ``inf`` = never."""
        return float(self.engine.arena.expires_at[self.slot])


class Answer(NamedTuple):
    """A chunk's answer: ``seq`` steps were applied before it, ``steps`` with it; outputs ``[n, O]``."""

    session_id: str
    seq: int
    steps: int
    outputs: NDArray[Any]


class Chunk(Work):
    """A session's chunk on its way through the engine."""

    __slots__ = ("digest", "session")

    future: asyncio.Future[Answer]

    def __init__(self, session: Session, inputs: NDArray[Any], future: asyncio.Future[Answer]) -> None:
        slots = np.array([session.slot], np.int64)
        super().__init__(slots, inputs[None], num_rows=1, num_steps=len(inputs), future=future)
        self.session = session
        self.digest = 0


class Sessions:
    """The live sessions of this process.

    Args:
        clock: seconds since the epoch.
        default_ttl_seconds: for sessions that do not say; 0 = they never expire.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        *,
        default_ttl_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._default_ttl_seconds = default_ttl_seconds
        self._clock = clock
        self._engines: dict[Arena, Engine] = {}
        self._turns = Turns()

    def __repr__(self) -> str:
        return f"<Sessions {self._store!r}, {self._turns!r}>"

    async def open(
        self,
        model: str,
        *,
        session_id: str | None = None,
        ttl_seconds: float | None = None,
        version: str | None = None,
    ) -> Session:
        """Begin a session of a model, in the initial state; ``ttl_seconds`` 0 = it never expires.

        Raises:
            UnknownModel, SessionExists, Overloaded (as many sessions as there may be), Draining.
        """
        engine = self._catalogue.resolve(model, version)
        self._engines[engine.arena] = engine
        engine.scheduler.admit(0)
        if session_id is not None and self.resident(session_id) is not None:
            raise SessionExists(f"session {session_id!r} is live; close it first, or use it as it is")
        if engine.arena.num_sessions >= engine.max_sessions:
            raise Overloaded(f"{engine.max_sessions} sessions of this model are live, and that is the most allowed")
        session_id = session_id or secrets.token_urlsafe(16)
        ttl = self._default_ttl_seconds if ttl_seconds is None else ttl_seconds
        _, slot = await self._store.open(session_id, engine.arena, ttl_seconds=ttl, now=self._clock())
        engine.metrics.opened.inc()
        return Session(session_id, engine, slot)

    def resident(self, session_id: str) -> Session | None:
        """A live session that is in memory; None says nothing about it, and ``find`` does."""
        address = self._store.resident(session_id, self._clock())
        return address and Session(session_id, self._engines[address.arena], address.slot)

    async def find(self, session_id: str) -> Session:
        """A live session.

        Raises:
            UnknownSession, SessionExpired, SessionClosed.
        """
        address = await self._store.find(session_id, self._clock())
        return Session(session_id, self._engines[address.arena], address.slot)

    def step(self, session: Session, inputs: NDArray[Any], seq: int | None = None) -> asyncio.Future[Answer]:
        """Apply a chunk when the session's earlier requests are done; its answer, to be awaited, is committed.

        A caller that cancels the future before the chunk's turn has come takes the chunk back.

        Args:
            inputs: ``[n, F]``, in the dtype of the model's input, n at most the engine's ``max_chunk_steps``.
            seq: steps that the caller believes were applied before; None applies the chunk as it comes.

        Raises:
            Overloaded, Draining: refused before anything was queued.
            SessionClosed: it ended before, or (by the future) before the chunk's turn came.
            SeqConflict: by the future: ``seq`` is neither the session's step count nor that of the chunk applied last.
            RunFailed: by the future: the graph failed; the session is as it was.
        """
        engine, slot = session.engine, session.slot
        self._check_live(session)
        engine.scheduler.admit(1)
        chunk = Chunk(session, inputs, asyncio.get_running_loop().create_future())
        if engine.arena.busy[slot]:
            self._turns.wait(engine.arena, slot, Turn(chunk.future, partial(self._begin, chunk, seq)))
        else:
            engine.arena.busy[slot] = self._begin(chunk, seq)
        return chunk.future

    def alone(self, session: Session) -> AbstractAsyncContextManager[None]:
        """Hold a session, in its turn, with nothing of it under way.

        Raises:
            SessionClosed: it has ended already; entering raises it where it ended before the turn came.
        """
        self._check_live(session)
        return self._turns.alone(session.engine.arena, session.slot)

    async def close(self, session: Session) -> None:
        """End a session when its earlier requests are done; requests behind this one fail with ``SessionClosed``.

        Raises:
            SessionClosed: another request closed it first.
        """
        async with self.alone(session):
            await self._store.close(session.session_id, self._clock())
            session.engine.metrics.closed.inc()
            self._turns.refuse_rest(
                session.engine.arena,
                session.slot,
                SessionClosed(f"session {session.session_id!r} was closed before this request's turn came"),
            )

    def expire(self) -> int:
        """End the sessions whose time has come; returns how many."""
        expired = self._store.expire(self._clock())
        for _, arena in expired:
            self._engines[arena].metrics.expired.inc()
        return len(expired)

    def page(self, model: str | None, limit: int, cursor: str | None) -> tuple[list[Session], str | None]:
        """Up to ``limit`` live sessions behind ``cursor``, and the cursor of the next page (None = that was all).

        Raises:
            InvalidInput: the cursor is not one that this method gave.
            UnknownModel: no such model.
        """
        engines = list(self._catalogue.versions(model).values()) if model else self._catalogue.engines
        at, start = _parse_cursor(cursor)
        sessions: list[Session] = []
        for index, engine in enumerate(engines[at:], at):
            for slot, session_id in self._store.scan(engine.arena, start, self._clock()):
                if len(sessions) == limit:
                    return sessions, f"{index}.{slot}"
                sessions.append(Session(session_id, engine, slot))
            start = 0
        return sessions, None

    def commit(self, works: list[Work], states: Rows, last_outputs: NDArray[Any]) -> None:
        """See ``Owner.commit``: an answer leaves after its commit."""
        chunks = cast(list[Chunk], works)
        engine = chunks[0].session.engine
        began_at = time.perf_counter()
        try:
            commit = _commit(engine.arena, chunks, states, last_outputs)
            committed = self._store.commit(commit, self._clock())
        except Exception as error:
            self._commit_failed(chunks, error)
            return
        if inspect.isawaitable(committed):
            waiting = asyncio.ensure_future(committed)
            waiting.add_done_callback(lambda done: self._committed(engine, chunks, commit, done, began_at))
        else:
            engine.metrics.commit_seconds.observe(time.perf_counter() - began_at)
            self._answer(chunks, commit, committed)

    def hand_back(self, works: list[Work]) -> None:
        """See ``Owner.hand_back``: the sessions are as they were."""
        for chunk in cast(list[Chunk], works):
            assert chunk.error is not None
            self._fail(chunk, chunk.error)

    def _committed(
        self, engine: Engine, chunks: list[Chunk], commit: Commit, done: asyncio.Future[Any], began_at: float
    ) -> None:
        engine.metrics.commit_seconds.observe(time.perf_counter() - began_at)
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        if error is None:
            self._answer(chunks, commit, done.result())
        else:
            self._commit_failed(chunks, error)

    def _commit_failed(self, chunks: list[Chunk], error: BaseException) -> None:
        logger.error("a commit failed", exc_info=error)
        for chunk in chunks:
            self._fail(chunk, StateStoreUnavailable("the store did not commit; nothing was applied"))

    def _answer(self, chunks: list[Chunk], commit: Commit, won: NDArray[np.bool_]) -> None:
        scheduler = chunks[0].session.engine.scheduler
        before, after = commit.steps_before.tolist(), (commit.steps_before + commit.num_steps).tolist()
        for row, (chunk, committed) in enumerate(zip(chunks, won.tolist(), strict=True)):
            session, future = chunk.session, chunk.future
            if not committed:
                self._fail(chunk, _conflict(session))
                continue
            if not future.done():
                future.set_result(Answer(session.session_id, before[row], after[row], chunk.outputs[0]))
            self._turns.end(commit.arena, session.slot)
            scheduler.leave(1)

    def _fail(self, chunk: Chunk, error: Exception) -> None:
        if not chunk.future.done():
            chunk.future.set_exception(error)
        self._turns.end(chunk.session.engine.arena, chunk.session.slot)
        chunk.session.engine.scheduler.leave(1)

    def _check_live(self, session: Session) -> None:
        """Refuse a session that ended after it was found: its slot may be another's by now."""
        if session.engine.arena.session_ids[session.slot] != session.session_id:
            raise SessionClosed(f"session {session.session_id!r} ended; open a new one")

    def _begin(self, chunk: Chunk, seq: int | None) -> bool:
        """Judge a chunk by its ``seq`` now that its turn has come; True when it went to the engine."""
        engine, slot = chunk.session.engine, chunk.session.slot
        if chunk.future.done():
            engine.metrics.cancelled.inc(chunk.future.cancelled())
            engine.scheduler.leave(1)
            return False
        arena = engine.arena
        chunk.digest = zlib.crc32(chunk.inputs)
        steps = int(arena.steps[slot])
        if seq is None or seq == steps:
            engine.scheduler.submit(chunk)
            return True
        engine.scheduler.leave(1)
        again = steps > 0 and seq == arena.last_seq[slot] and chunk.num_steps == steps - seq
        if again and chunk.digest == arena.last_digest[slot]:
            engine.metrics.duplicates.inc()
            chunk.future.set_result(Answer(chunk.session.session_id, seq, steps, arena.answer(slot)))
        else:
            engine.metrics.seq_conflicts.inc()
            chunk.future.set_exception(_conflict(chunk.session))
        return False


def _conflict(session: Session) -> OstinatoError:
    return SeqConflict(
        f"session {session.session_id!r} has applied {session.steps} steps, and seq is neither that nor the chunk "
        "applied last, sent again unchanged",
        expected_seq=session.steps,
    )


def _commit(arena: Arena, chunks: list[Chunk], states: Rows, last_outputs: NDArray[Any]) -> Commit:
    slots = np.concatenate([chunk.slots for chunk in chunks])
    return Commit(
        arena=arena,
        slots=slots,
        states=states,
        steps_before=arena.steps[slots],
        num_steps=np.array([chunk.num_steps for chunk in chunks], np.int64),
        digests=np.array([chunk.digest for chunk in chunks], np.int64),
        outputs=last_outputs,
        # Copied, since the answer of one chunk must not keep the outputs of its whole batch alive.
        long_answers={
            row: chunk.outputs[0].copy()
            for row, chunk in enumerate(chunks)
            if chunk.num_steps > 1 and chunk.outputs.shape[1] > 1
        },
    )


def _parse_cursor(cursor: str | None) -> tuple[int, int]:
    if cursor is None:
        return 0, 0
    index, _, slot = cursor.partition(".")
    if not (_POSITION.fullmatch(index) and _POSITION.fullmatch(slot)):
        raise InvalidInput("the cursor is not one that this server gave", field="cursor")
    return int(index), int(slot)
