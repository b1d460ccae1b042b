"""The store's interface: which sessions there are, and what is committed to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.state.arena import NEVER, NOT_ALL, Arena, Rows, Slots
from ostinato.service.state.commit import Commit
from ostinato.service.state.reaches import NOWHERE, Reach
from ostinato.service.state.roster import Roster


class Address(NamedTuple):
    """Where a session is in memory."""

    arena: Arena
    slot: int


class Facts(NamedTuple):
    """What is known of a session, its numbers apart. Times are seconds since the epoch, ``inf`` = never."""

    session_id: str
    model: str
    version: str
    steps: int
    opened_at: float
    ttl_seconds: float
    expires_at: float
    reach: Reach = NOWHERE


def facts_of(session_id: str, address: Address) -> Facts:
    """What is known of a session in memory."""
    arena, slot = address
    name, version = arena.manifest.name, arena.manifest.version
    opened_at, ttl, expires_at = (
        float(column[slot]) for column in (arena.opened_at, arena.ttl_seconds, arena.expires_at)
    )
    return Facts(session_id, name, version, int(arena.steps[slot]), opened_at, ttl, expires_at, arena.reach(slot))


class SessionPage(NamedTuple):
    """Some of all sessions, and where the next ones begin; None = that was all.

    ``num_unreadable`` is of the records on the way there that could not be read, whose sessions are not among them.
    """

    sessions: list[Facts]
    next_cursor: str | None
    num_unreadable: int = 0


class Snapshot(NamedTuple):
    """All of a session that another may begin from, or that it is set to.

    Attributes:
        states: all that is carried, each of its ``row_shape``.
        steps: steps applied.
        answer: outputs of the chunk applied last ``[n, O]``, or of its last step ``[1, O]``.
        last_seq, digest: of that chunk; ``NEVER`` and 0 where it is not to be taken for one that was sent here.
        reach: how far it has come in its source.
        times: what the arena's ``times`` are of it, int64 ``[2]``, where ``states`` end before; None = not known.
    """

    states: Rows
    steps: int
    answer: NDArray[Any]
    last_seq: int = NEVER
    digest: int = 0
    reach: Reach = NOWHERE
    times: NDArray[np.int64] | None = None

    @classmethod
    def initial(cls, arena: Arena, context: Rows = ()) -> Snapshot:
        """A sequence that has not begun, of this ``context``: arrays, each of its ``row_shape``; none = missing."""
        nothing = np.zeros((1, arena.last_output.shape[1]), arena.last_output.dtype)
        initial, num_states, num_run = arena.initial_rows, arena.num_states, arena.num_run
        known = context or initial[num_states:num_run]
        return cls((*initial[:num_states], *known, *initial[num_run:]), 0, nothing)

    def whole(self, arena: Arena) -> Snapshot:
        """The same, with none of the steps that a session keeps where it does not say: what led to it is not known."""
        states = [*self.states, *arena.initial_rows[len(self.states) :]]
        if arena.kept and len(self.states) <= arena.num_carried:
            states[arena.num_carried + 1] = np.full_like(states[arena.num_carried + 1], NOT_ALL)
        if self.times is not None and arena.times is not None:
            states[arena.place_of_times] = self.times
        return self._replace(states=states)

    @classmethod
    def of(cls, address: Address) -> Snapshot:
        """A copy of a session in memory."""
        arena, slot = address
        last_seq, digest = int(arena.last_seq[slot]), int(arena.last_digest[slot])
        steps, answer = int(arena.steps[slot]), arena.answer(slot).copy()
        return cls(arena.read(slot), steps, answer, last_seq, digest, arena.reach(slot))

    def put(self, address: Address) -> None:
        """Make a session in memory this."""
        arena, slot = address
        arena.write(slot, self.states)
        arena.steps[slot] = self.steps
        arena.last_seq[slot] = self.last_seq
        arena.last_digest[slot] = self.digest
        arena.last_output[slot] = self.answer[-1]
        arena.set_reach(slot, self.reach)
        arena.drop_long_answers([slot])
        if len(self.answer) > 1:
            arena.keep_long_answer(slot, self.answer)


class Store(ABC):
    """Sessions by id. All times are seconds since the epoch, given by the caller.

    A session is live until it is closed, or until ``now`` has reached its ``expires_at``; for ``tombstone_seconds``
    after that its id is answered with ``SessionClosed`` or ``SessionExpired``, then with ``UnknownSession``.
    A live id cannot be opened again; one that is remembered can. A session with a request under way does not expire;
    but where another process has told somebody that it did, or has opened another in its place, that is.

    What begins the time to live again, at the time of the process that does it: a commit, and ``replace``. Nothing
    else.

    Other processes may write to the same store. What is in memory is then a copy that may be old: ``commit`` finds out
    and leaves it alone, and ``refresh`` makes it new. Where that cannot be, since the id is another session's by now or
    nobody's, ``CopyOutdated`` is raised, the copy's slot is given back, and ``find_newest`` tells.

    Every method may raise ``StateStoreUnavailable``: the store cannot be reached, or what became of a change is not
    known; its message says which.

    Attributes:
        is_shared: whether there may be other writers than this process.
        keeps_offsets: whether it can keep how far a session has come in its source.
        on_unreadable: called of each session whose record turns out not to be readable, once.
        on_failure: called when what the store does by itself, without a request, has failed.
    """

    is_shared = True
    keeps_offsets = True
    on_unreadable: Callable[[], object] | None = None
    on_failure: Callable[[], object] | None = None

    @property
    def trouble(self) -> str | None:
        """Why sessions cannot be changed now, as far as is known without asking; None = they can."""
        return None

    @abstractmethod
    def num_slots(self, manifest: Manifest) -> int:
        """The most sessions of a model version that are in memory at once."""

    @abstractmethod
    def attach(self, arena: Arena) -> None:
        """Bring the sessions of the arena's model version there from now on."""

    @abstractmethod
    def detach(self, arena: Arena) -> None:
        """Let go of an arena, in which no session is busy: its sessions leave memory. A store that has no other place
        for them lets go of none that holds one.

        Raises:
            ValueError: there are sessions, and they would be lost.
        """

    @abstractmethod
    async def open(
        self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float, snapshot: Snapshot | None = None
    ) -> Address:
        """Begin a session, in the initial state or as ``snapshot`` has it; ``ttl_seconds`` 0 = it never expires.

        Raises:
            SessionExists: the id is live.
            Overloaded: there are as many sessions as there may be.
        """

    @abstractmethod
    def use(self, session_id: str, now: float) -> Address | None:
        """The place of a live session that is in memory, and is used now; a copy whose time has come, or that is old,
        leaves memory. None says nothing about the session, and ``find`` does.
        """

    @abstractmethod
    def use_all(self, arena: Arena, roster: Roster, now: float) -> Slots:
        """The slots in ``arena`` of live sessions that are in memory, and are used now: int64 ``[R]``, read-only; -1 of
        any other id.
        """

    @abstractmethod
    async def find(self, session_id: str, now: float) -> Address:
        """The session's place in memory, where it is brought to if it is not there.

        Raises:
            UnknownSession, SessionExpired, SessionClosed: it is not live.
            UnknownModel: no arena of its model version is attached.
            RecordUnreadable: its record is damaged, or of a schema that this release does not read.
        """

    @abstractmethod
    async def find_newest(self, session_id: str, now: float) -> Address:
        """``find``, without believing what is in memory."""

    @abstractmethod
    async def find_or_begin(self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float) -> Address:
        """``find_newest``; or where the id is unknown, a slot for a session that its first commit opens.

        Until then nobody but the slot's holder sees it. Who asked has to use it at once, or to ``abandon`` it.

        Raises:
            SessionExpired, SessionClosed, Overloaded, UnknownModel, RecordUnreadable: see ``find`` and ``open``.
        """

    @abstractmethod
    async def begin(
        self, session_id: str, arena: Arena, *, ttl_seconds: float, now: float, snapshot: Snapshot | None = None
    ) -> Address:
        """A slot for a session that its first commit opens, as by ``find_or_begin``; what may be opened may begin so.

        Raises:
            SessionExists, Overloaded, RecordUnreadable: see ``open``. A session that has begun is there for this, too.
        """

    @abstractmethod
    def abandon(self, session_id: str, address: Address) -> None:
        """Give the slot of a session back that was begun so, and nothing was committed to."""

    @abstractmethod
    def refresh(self, session_id: str, address: Address, now: float) -> Awaitable[None] | None:
        """Make a session in memory as the store has it; None = it is. Only who holds the session's turn may call it.

        Raises:
            CopyOutdated: it is not live any more, or another version's; its slot was given back.
        """

    @abstractmethod
    async def look(self, session_id: str, now: float) -> Facts:
        """What the store knows of a live session.

        Raises:
            UnknownSession, SessionExpired, SessionClosed, RecordUnreadable.
        """

    @abstractmethod
    def commit(self, commit: Commit, now: float) -> NDArray[np.bool_] | Awaitable[NDArray[np.bool_]]:
        """Make the iteration's results the sessions' own, each by compare-and-set: one that another writer has changed
        since it was brought to memory is left as it is.

        Returns:
            which were committed, bool ``[R]``, as durably as the store promises: the array, or something that is
            awaited for it; of rows in ``commit.unknown`` it says nothing. A session's time to live begins again at
            ``now``.
        """

    @abstractmethod
    async def replace(
        self, session_id: str, address: Address, snapshot: Snapshot, now: float, keeps_steps: bool = False
    ) -> Facts:
        """Set a session to ``snapshot``, however many steps it has now; what is known of it then. Only who holds its
        turn may call it.

        ``keeps_steps``: whatever the snapshot says, it keeps the steps that it has.

        Raises:
            UnknownSession, SessionExpired: it is not live any more, and its slot was given back.
            CopyOutdated: nor is it, if another was opened in its place.
        """

    @abstractmethod
    async def move(self, session_id: str, address: Address, arena: Arena, snapshot: Snapshot, now: float) -> Facts:
        """Make a session one of another model version, as ``snapshot`` has it: all at once, and it stays the session
        that it was. What is known of it then. Only who holds its turn may call it; its slot is given back.

        ``snapshot`` was made of the session as it is in memory: where it is another by now, nothing is changed.

        Raises:
            UnknownSession, SessionExpired: see ``replace``.
            CopyOutdated: so, too; or the session has been changed since.
            Overloaded: there are as many sessions of that version as there may be.
        """

    @abstractmethod
    async def close(self, session_id: str, address: Address | None, now: float) -> Facts | None:
        """End a session and forget its state, readable or not; what was known of it, None = nothing could be read.

        ``address``: where it is, from who holds its turn; None = from others.

        Raises:
            UnknownSession, SessionExpired, SessionClosed: it is not live; or another was opened in its place.
        """

    @abstractmethod
    def expire(self, now: float) -> list[Arena]:
        """End the sessions in memory whose time has come, except busy ones, and forget old tombstones; returns of
        each one that ended its arena.
        """

    @abstractmethod
    async def page(
        self, model: str | None, limit: int, cursor: str | None, now: float, tenant: str | None = None
    ) -> SessionPage:
        """At most ``limit`` live sessions of a tenant (None = of all) behind ``cursor``, which names no other tenant's.

        Raises:
            InvalidInput: the cursor is not one that this method gave.
        """

    async def start(self) -> None:  # noqa: B027
        """Begin what is done in the background."""

    async def stop(self) -> None:  # noqa: B027
        """End it; everything that was acknowledged is as durable as it can be."""

    @property
    def num_bytes(self) -> dict[str, int]:
        """Bytes of the store's files on this machine, by their part; none of a store that has no files here."""
        return {}

    def num_live(self, arena: Arena) -> int:
        """The live sessions of an arena's model version in the whole store, about, without asking it."""
        return arena.num_sessions

    async def count(self, now: float) -> None:  # noqa: B027
        """Count the live sessions, for ``num_live``, where that is due."""

    async def missing_versions(self) -> dict[tuple[str, str], int]:
        """(model, version) -> number of sessions, of those that no arena is attached for."""
        return {}
