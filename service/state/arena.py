"""The arena: the sessions of one model version that are in memory, a row (slot) a session, a column a fact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.state.reaches import NO_OFFSET, NOWHERE, Reach, Reaches

Slots = NDArray[np.int64]
Rows = Sequence[NDArray[Any]]

NEVER = -1
"""``last_seq`` of a session to which nothing was applied yet."""

NOT_ALL = -1
"""The count of steps kept by a session whose state was put there: less one for each step since, until as many are kept
as may be. The graph cannot be brought to its state by running what is kept.
"""

STALE = 0
"""``stamp`` of a session that another writer has changed since it was brought to memory."""

UNUSED = np.iinfo(np.int64).max
"""``used_at`` of a slot that holds no session."""

_FACTS_BYTES = 400
"""About what a session takes in addition to its numbers: its columns, its id, its entry among those in memory."""


class Arena:
    """Slots for recurrent state and for what is known of the session that holds each.

    The columns are allocated once, for ``capacity`` slots, and never move; the operating system gives memory to a
    slot when it is first written, and slots freed last are handed out first, so memory follows the most that was
    ever live.

    Attributes:
        states: one array ``[slot, ...]`` for each tensor of what the manifest says that a session is: the states, the
            context, and behind them what the graph does not see.
        steps: steps applied, ``[slot]`` int64.
        last_seq: ``steps`` before the chunk applied last, ``[slot]`` int64; ``NEVER`` before the first.
        last_digest: checksum of the chunk applied last, ``[slot]`` int64.
        offset, offset_steps: the session's ``Reach`` without its source, ``[slot]`` int64 each.
        sources: its source, ``[slot]`` texts; None in a slot that never had one.
        has_offsets: whether any session ever had an offset: else ``sources`` need not be looked at.
        last_output: the output of the step applied last, a row of the manifest's ``made`` each, ``[slot, width]``.
        long_answers: slot -> outputs ``[n, width]`` of the chunk applied last, where it had more than one.
        ttl_seconds, expires_at: ``[slot]`` float64; ``inf`` = never.
        opened_at: ``[slot]`` float64, seconds since the epoch.
        busy: whether a request of the session is under way, ``[slot]`` bool.
        stamp: which of the session's changes this is, in the store's own count, ``[slot]`` int64; or ``STALE``.
        used_at: when the session was last asked for, in the store's own count, ``[slot]`` int64; or ``UNUSED``.
        initial_rows: what a sequence carries that has not begun, each of its ``row_shape``; its context is not known.
        num_states: how many of them are states.
        num_carried: how many of ``states`` continue from step to step: all but what is kept.
        num_run: how many of all that is carried the graph takes: all but what is left over of an incomplete frame.
        run_states, left_over: these of ``states``, and behind them those, arrays ``[slot, size - 1, ...]``.
        kept: behind these the steps that are kept, ``[slot, K, width]`` and how many of them there are, ``[slot, 1]``
            (``NOT_ALL`` and below: see there); none where the model asks for none.
        watched: behind these what sessions keep count of, now and before the chunk applied last, ``[slot, width]``;
            none without a calibration, by which ``watch`` does it.
        times: behind these, where the model has a time: of each session the number of its last step and of the one
            before the chunk applied last, ``[slot, 2]``; else None. ``place_of_times``: where among ``states``.
        made_on: where the states are made, the device and the shape of its runs; empty = on the CPU, at any.
        session_ids: slot -> id, None where the slot holds no session.
        num_sessions: slots that hold one.
        unborn: slots of sessions that their first commit opens.
        on_open: called when one of these is; None = not.
        on_load, on_evict: called when a session is brought from its store, or left to it for want of room; None = not.
    """

    made_on = ""

    def __init__(self, manifest: Manifest, capacity: int) -> None:
        states = manifest.of_session
        self.manifest = manifest
        self.num_states = len(manifest.states)
        self.num_run = self.num_states + len(manifest.context)
        self.capacity = capacity
        self.states = tuple(np.zeros((capacity, *state.row_shape), state.dtype) for state in states)
        self.num_carried = len(manifest.carried)
        self.run_states, self.left_over = self.states[: self.num_run], self.states[self.num_run : self.num_carried]
        end_of_kept = self.num_carried + 2 * (manifest.keep_inputs > 0)
        self.kept = self.states[self.num_carried : end_of_kept]
        self.watch = manifest.watch
        self.place_of_times = end_of_kept + 2 * (self.watch is not None)
        self.watched = self.states[end_of_kept : self.place_of_times]
        self.times = None if manifest.time is None else self.states[self.place_of_times]
        self._items = tuple(_as_items(rows, _item(rows)) for rows in self.states)
        self.steps = np.zeros(capacity, np.int64)
        self.last_seq = np.zeros(capacity, np.int64)
        self.last_digest = np.zeros(capacity, np.int64)
        self.offset = np.zeros(capacity, np.int64)
        self.offset_steps = np.zeros(capacity, np.int64)
        self.sources = np.empty(capacity, object)
        self.has_offsets = False
        self.last_output = manifest.made.zeros(capacity)
        self._last_outputs = _as_items(self.last_output, _item(self.last_output))
        self.long_answers: dict[int, NDArray[Any]] = {}
        self._answer_bytes = 0
        self.ttl_seconds = np.zeros(capacity, np.float64)
        self.expires_at = np.zeros(capacity, np.float64)
        self.opened_at = np.zeros(capacity, np.float64)
        self.busy = np.zeros(capacity, np.bool_)
        self.stamp = np.zeros(capacity, np.int64)
        self.used_at = np.full(capacity, UNUSED)
        self.session_ids: list[str | None] = []
        self.num_sessions = 0
        self.initial_rows = tuple(state.initial_row() for state in states)
        self._initial = tuple(_as_items(row[None], _item(row[None]))[0] for row in self.initial_rows)
        self._freed: list[int] = []
        self.unborn: set[int] = set()
        self.on_open: Callable[[], object] | None = None
        self.on_load: Callable[[], object] | None = None
        self.on_evict: Callable[[], object] | None = None

    def __repr__(self) -> str:
        return f"<Arena {self.num_sessions} sessions, {self.num_used}/{self.capacity} slots of {self.row_bytes} bytes>"

    @property
    def num_used(self) -> int:
        """Slots that are taken, by sessions and by work under way."""
        return len(self.session_ids) - len(self._freed)

    @property
    def high_water(self) -> int:
        """One past the highest slot ever taken: columns are worth reading up to here."""
        return len(self.session_ids)

    @property
    def session_bytes(self) -> int:
        """Bytes of state of all sessions, and of the answers kept for them."""
        return self.num_sessions * (self.row_bytes + int(self.last_output[0].nbytes)) + self._answer_bytes

    @property
    def memory_bytes(self) -> int:
        """About what all sessions take in memory."""
        return self.session_bytes + self.num_sessions * _FACTS_BYTES

    @property
    def row_bytes(self) -> int:
        """Bytes of state of one session."""
        return sum(rows[0].nbytes for rows in self.states)

    def allocate(self, session_id: str | None = None) -> int:
        """Take a slot, for a session or for work under way, and put the initial state there.

        Raises:
            MemoryError: all are taken; the caller admits no more than there are.
        """
        if self._freed:
            slot = self._freed.pop()
        elif (slot := len(self.session_ids)) < self.capacity:
            self.session_ids.append(None)
            self.expires_at[slot] = np.inf
        else:
            raise MemoryError(f"all {self.capacity} slots are taken")
        for items, initial in zip(self._items, self._initial, strict=True):
            items[slot] = initial
        if session_id is not None:
            self.session_ids[slot] = session_id
            self.num_sessions += 1
            self.steps[slot] = 0
            self.last_seq[slot] = NEVER
            self.last_digest[slot] = 0
            self.offset[slot] = NO_OFFSET
            self.set_reach(slot, NOWHERE)
            self.last_output[slot] = 0
            self.stamp[slot] = STALE
            self.used_at[slot] = 0
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back; its row may be handed to another session at once."""
        if self.session_ids[slot] is not None:
            self.session_ids[slot] = None
            self.num_sessions -= 1
            self.expires_at[slot] = np.inf
            self.busy[slot] = False
            self.used_at[slot] = UNUSED
            self.unborn.discard(slot)
            self.drop_long_answers([slot])
        self._freed.append(slot)

    def reach(self, slot: int) -> Reach:
        """How far the session in a slot has come in its source."""
        if self.offset[slot] == NO_OFFSET:
            return NOWHERE
        return Reach(str(self.sources[slot]), int(self.offset[slot]), int(self.offset_steps[slot]))

    def set_reach(self, slot: int, reach: Reach) -> None:
        """Have the session in a slot have come so far."""
        if self.has_offsets or reach is not NOWHERE:
            self.sources[slot], self.offset[slot], self.offset_steps[slot] = reach
            self.has_offsets = self.has_offsets or reach.offset != NO_OFFSET

    def reaches(self, slots: Slots) -> Reaches:
        """The same of many slots, copies."""
        return Reaches(self.sources[slots], self.offset[slots], self.offset_steps[slots])

    def set_reaches(self, slots: Slots, reaches: Reaches) -> None:
        """``set_reach`` of many slots."""
        self.has_offsets = True
        self.sources[slots], self.offset[slots], self.offset_steps[slots] = reaches

    def bear(self, slots: Iterable[int]) -> None:
        """The sessions in ``slots`` are there: those of them that were not, are from now on."""
        for slot in self.unborn.intersection(slots):
            self.unborn.discard(slot)
            if self.on_open is not None:
                self.on_open()

    def ids_of(self, slots: Slots) -> Sequence[str]:
        """The ids of the sessions that hold ``slots``, at least one."""
        if len(slots) == 1:
            only = self.session_ids[slots[0]]
            assert only is not None
            return (only,)
        return itemgetter(*slots.tolist())(self.session_ids)  # type: ignore[no-any-return]

    def gather(self, slots: Slots, out: Rows) -> None:
        """Copy what the graph takes of ``slots`` [B] into ``out``, arrays ``[B, ...]``. Undone by ``scatter``."""
        for rows, taken in zip(self.run_states, out, strict=True):
            # "clip" spares the copy that numpy makes to survive a bad index; the slots are our own.
            rows.take(slots, 0, taken, "clip")

    def scatter(self, slots: Slots, states: Rows) -> None:
        """Put ``states``, arrays ``[B, ...]``, into the rows ``slots`` [B], which must differ from each other: all that
        is carried, or what the graph gives of it.
        """
        for items, given in zip(self._items, states, strict=False):
            given_items = _as_items(given, items.dtype)
            assert len(given_items) == len(given), "states of another dtype than the arena's"
            items[slots] = given_items

    def read(self, slot: int) -> tuple[NDArray[Any], ...]:
        """Copies of one slot's states, each of its ``row_shape``."""
        return tuple(rows[slot].copy() for rows in self.states)

    def write(self, slot: int, states: Rows) -> None:
        """Put one slot's states there, each of its ``row_shape``: all that is carried, or what the graph takes."""
        for rows, given in zip(self.states, states, strict=False):
            rows[slot] = given

    def answer(self, slot: int) -> NDArray[Any]:
        """The outputs of the chunk applied last, ``[n, O]``."""
        long_answer = self.long_answers.get(slot)
        return self.last_output[slot : slot + 1].copy() if long_answer is None else long_answer

    def keep_long_answer(self, slot: int, outputs: NDArray[Any]) -> None:
        """Put ``outputs`` [n, O] where ``answer`` finds them."""
        self.long_answers[slot] = outputs
        self._answer_bytes += outputs.nbytes

    def drop_long_answers(self, slots: Iterable[int]) -> None:
        """Forget all but the last output of what was applied last."""
        if self.long_answers:
            for slot in slots:
                answer = self.long_answers.pop(slot, None)
                if answer is not None:
                    self._answer_bytes -= answer.nbytes

    def keep_last_outputs(self, slots: Slots, outputs: NDArray[Any]) -> None:
        """Put ``outputs`` [R, O] into ``last_output``."""
        self._last_outputs[slots] = _as_items(outputs, self._last_outputs.dtype)


def row_bytes(manifest: Manifest) -> int:
    """Bytes of state of one session of a model."""
    return sum(state.initial_row().nbytes for state in manifest.of_session)


def session_bytes(manifest: Manifest) -> int:
    """About what one session of a model takes in memory."""
    return row_bytes(manifest) + manifest.made.zeros(1).nbytes + _FACTS_BYTES


def _item(states: NDArray[Any]) -> np.dtype[np.void]:
    """One row of ``states`` as an item of bytes: numpy moves these in a fraction of the time of its numbers."""
    return np.dtype(f"V{states[0].nbytes}")


def _as_items(rows: NDArray[Any], item: np.dtype[np.void]) -> NDArray[np.void]:
    """Rows ``[R, ...]`` as ``[R]`` items."""
    return np.ascontiguousarray(rows).reshape(-1).view(item)
