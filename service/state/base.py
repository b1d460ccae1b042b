"""The interface of the stores: who has which session, and what is committed to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.state.arena import Arena, Rows, Slots


class Address(NamedTuple):
    """Where a session is in memory."""

    arena: Arena
    slot: int


class Roster:
    """The ids of sessions that come in one message, perhaps again and again.

    Attributes:
        session_ids: R ids.
        repeated: the rows whose id stood in a row before.
        found: where a store last found them all, and as of when in the store's own count; the store's to use.
    """

    def __init__(self, session_ids: Sequence[str]) -> None:
        self.session_ids = session_ids
        self.repeated: list[int] = []
        self.found: tuple[Arena, int, Slots] | None = None
        if len(set(session_ids)) < len(session_ids):
            seen: set[str] = set()
            for row, session_id in enumerate(session_ids):
                if session_id in seen:
                    self.repeated.append(row)
                seen.add(session_id)


@dataclass(slots=True)
class Commit:
    """What an iteration made of ``R`` sessions of one arena.

    Attributes:
        slots: int64 ``[R]``.
        states: their new states, arrays ``[R, ...]``; valid until ``Store.commit`` returns, or gives what is awaited.
        steps_before: the step counts that the chunks were applied to, int64 ``[R]``; a session whose count is another
            is not committed.
        steps_after: the step counts with the chunks, int64 ``[R]``.
        digests: checksum of each chunk, int64 ``[R]``.
        outputs: the last step's output of each chunk, ``[R, O]``.
        long_answers: index in ``slots`` -> all outputs ``[n, O]`` of a chunk with more than one.
    """

    arena: Arena
    slots: Slots
    states: Rows
    steps_before: Slots
    steps_after: Slots
    digests: Slots
    outputs: NDArray[Any]
    long_answers: dict[int, NDArray[Any]]

    def of(self, rows: NDArray[np.bool_]) -> Commit:
        """The part of it that is about ``rows``, bool ``[R]``."""
        new_index = np.cumsum(rows) - 1
        return Commit(
            arena=self.arena,
            slots=self.slots[rows],
            states=[states[rows] for states in self.states],
            steps_before=self.steps_before[rows],
            steps_after=self.steps_after[rows],
            digests=self.digests[rows],
            outputs=self.outputs[rows],
            long_answers={int(new_index[row]): made for row, made in self.long_answers.items() if rows[row]},
        )


class Store(ABC):
    """Sessions by id. All times are seconds since the epoch, given by the caller.

    A session is live until it is closed, or until ``now`` has reached its ``expires_at``; for ``tombstone_seconds``
    after that its id is answered with ``SessionClosed`` or ``SessionExpired``, then with ``UnknownSession``.
    A live id cannot be opened again; one that is remembered can.
    """

    @abstractmethod
    async def open(self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float) -> Address:
        """Begin a session in the initial state; ``ttl_seconds`` 0 = it never expires.

        Raises:
            SessionExists: the id is live.
        """

    @abstractmethod
    def resident(self, session_id: str, now: float) -> Address | None:
        """The place of a live session that is in memory; None says nothing about it."""

    @abstractmethod
    def resident_slots(self, arena: Arena, roster: Roster, now: float) -> Slots:
        """The slots in ``arena`` of live sessions that are in memory, int64 ``[R]``, read-only; -1 of any other id."""

    @abstractmethod
    async def find(self, session_id: str, now: float) -> Address:
        """The session's place in memory, where it is brought to if it is not there.

        Raises:
            UnknownSession, SessionExpired, SessionClosed: it is not live.
        """

    @abstractmethod
    def commit(self, commit: Commit, now: float) -> NDArray[np.bool_] | Awaitable[NDArray[np.bool_]]:
        """Make the iteration's results the sessions' own, each by compare-and-set on ``steps``.

        Returns:
            which were committed, bool ``[R]``, as durably as the store promises: the array, or something that is
            awaited for it. A session's time to live begins anew at ``now``.
        """

    @abstractmethod
    async def close(self, session_id: str, now: float) -> None:
        """End a session and forget its state.

        Raises:
            UnknownSession, SessionExpired, SessionClosed: it is not live.
        """

    @abstractmethod
    def expire(self, now: float) -> list[tuple[str, Arena]]:
        """End the sessions whose time has come, but for busy ones, and forget old tombstones; returns which ended."""

    @abstractmethod
    def scan(self, arena: Arena, start: int, now: float) -> Iterator[tuple[int, str]]:
        """Live sessions of ``arena`` as (position, id), positions rising from ``start``."""
