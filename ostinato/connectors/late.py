"""The late rule: readings that are older than one of their key that was applied are left out, or held so that they are
not.

Everything here follows from the partition's messages alone, in their order, and from what the last commit kept: a
connector that begins again comes to the same readings, let go by the same messages.

With the rule ``replay``, what is held is answered for at once, and again when one comes before it: the gate then tells
what came of each key, too.

A reading is let go when the newest time of its partition is ``window`` past its own; at once where the window is 0. It
is late where its key has had one as new. ``SourcePosition`` has what is needed to continue: messages from ``offset`` to
``done`` are read again, and of those just the ones newer than ``newest - window`` were held.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ostinato.connectors.arrivals import NEVER, Readings, Refusal, Released, SourcePosition, no_inputs


class HeldReading(NamedTuple):
    """A reading that waits for older ones; the oldest is the least."""

    time: int
    offset: int
    key: str
    shown_time: Any
    inputs: Any


class LateRule(NamedTuple):
    """``window``: in microseconds; None = times are not looked at. ``replays``: what is held is answered at once."""

    window: int | None
    replays: bool = False


class KeyArrivals(NamedTuple):
    """What came of one key with a stretch of messages, for the rule ``replay``.

    Attributes:
        new: offsets of its readings in the stretch.
        late_from: the time of the oldest of these, where one is older than what came before the stretch; None = none.
        cause: the offset of the last that is.
        released: those that the stretch lets go, each with its place among all that it does; in the order of times.
        held: all that wait behind it, those that came before it too; in the order of times.
    """

    key: str
    new: frozenset[int]
    late_from: int | None
    cause: int | None
    released: list[tuple[int, HeldReading]]
    held: list[HeldReading]


class LateGate:
    """What a partition's readings go through.

    Args:
        window: in microseconds; None = times are not looked at.
        tells_arrivals: whether ``take_arrivals`` has something to give.

    Attributes:
        position: how far the partition is answered for when all that was let go is.
        changed: key -> time, of the keys whose last time changed since ``take_changed``.
        num_late, num_repeated: readings that were left out.
    """

    def __init__(
        self,
        position: SourcePosition,
        times: dict[str, int],
        window: int | None = None,
        *,
        tells_arrivals: bool = False,
    ) -> None:
        self.position = position
        self.changed: dict[str, int] = {}
        self.num_late = self.num_repeated = 0
        self._begun_at = position.done
        self._times = times
        self._window = window
        self._held: list[HeldReading] = []
        self._waiting: set[tuple[str, int]] = set()
        self._tells_arrivals = tells_arrivals
        self._arrivals: list[KeyArrivals] = []
        self._newest: dict[str, int] = {}

    def pass_on(self, readings: Readings, done: int, refusals: list[Refusal]) -> Released:
        """What is to be applied of the next messages, all below ``done``."""
        if self._window is None:
            self.position = SourcePosition(done, done)
            return Released(
                readings.messages.partition,
                readings.offsets,
                readings.offsets,
                readings.keys,
                list(readings.shown_times),
                readings.inputs,
                refusals,
            )
        newest = self.position.newest
        gone: list[tuple[HeldReading, int]] = []
        new: list[HeldReading] = []
        before: dict[str, int] = {}
        for index, offset in enumerate(readings.offsets):
            reading = HeldReading(
                readings.times[index], offset, readings.keys[index], readings.shown_times[index], readings.inputs[index]
            )
            if offset < self._begun_at:
                if reading.time > newest - self._window and (reading.key, reading.time) not in self._waiting:
                    self._hold(reading)
                    if self._tells_arrivals:
                        self._note(reading)
            elif self._is_new(reading):
                newest = max(newest, reading.time)
                self._hold(reading)
                if self._tells_arrivals:
                    new.append(reading)
                    before.setdefault(reading.key, self._note(reading))
                gone += [(held, offset) for held in self._let_go(newest - self._window)]
        self._move(done, newest)
        if new:
            self._tell(new, before, [held for held, _ in gone])
        fresh = [refusal for refusal in refusals if refusal.offset >= self._begun_at]
        return _released(readings.messages.partition, gone, readings.inputs, fresh)

    def flush(self, partition: str, inputs: Any) -> Released:
        """Everything that is held: no message will come any more. ``inputs``: any, for their width and dtype.

        What lets them go is the end, which has the offset behind the last message's: no message may have that.
        """
        end = self.position.done
        gone = [(held, end) for held in self._let_go(2**63)]
        self._move(end + 1, self.position.newest)
        return _released(partition, gone, inputs, [])

    def take_changed(self) -> dict[str, int]:
        """The times that changed since this was asked last."""
        changed, self.changed = self.changed, {}
        return changed

    def take_arrivals(self) -> list[KeyArrivals]:
        """What came of each key since this was asked last."""
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    @property
    def num_held(self) -> int:
        """Readings that wait for older ones."""
        return len(self._held)

    def _is_new(self, reading: HeldReading) -> bool:
        """Whether a reading is later than all of its key that were let go, and not held already."""
        last = self._times.get(reading.key, NEVER)
        is_repeated = reading.time == last or (reading.key, reading.time) in self._waiting
        self.num_repeated += is_repeated
        self.num_late += reading.time < last
        return reading.time > last and not is_repeated

    def _hold(self, reading: HeldReading) -> None:
        heapq.heappush(self._held, reading)
        self._waiting.add((reading.key, reading.time))

    def _note(self, reading: HeldReading) -> int:
        """Note the newest time of all that came of a key; returns what it was before."""
        last = self._newest.get(reading.key, self._times.get(reading.key, NEVER))
        self._newest[reading.key] = max(last, reading.time)
        return last

    def _tell(self, new: list[HeldReading], before: dict[str, int], gone: list[HeldReading]) -> None:
        """Note what came of each key in a stretch; ``before``: the newest time that each had until then."""
        of_keys: dict[str, list[HeldReading]] = {}
        for reading in new:
            of_keys.setdefault(reading.key, []).append(reading)
        released: dict[str, list[tuple[int, HeldReading]]] = {key: [] for key in of_keys}
        held: dict[str, list[HeldReading]] = {key: [] for key in of_keys}
        for reading in self._held:
            if reading.key in held:
                held[reading.key].append(reading)
        for place, reading in enumerate(gone):
            if reading.key in released:
                released[reading.key].append((place, reading))
        for key, own in of_keys.items():
            late = [reading for reading in own if reading.time < before[key]]
            self._arrivals.append(
                KeyArrivals(
                    key,
                    frozenset(reading.offset for reading in own),
                    min((reading.time for reading in late), default=None),
                    max((reading.offset for reading in late), default=None),
                    sorted(released[key]),
                    sorted(held[key]),
                )
            )

    def _let_go(self, until: int) -> Iterator[HeldReading]:
        """The readings up to a time, which are held no longer, the oldest first."""
        while self._held and self._held[0].time <= until:
            held = heapq.heappop(self._held)
            self._waiting.discard((held.key, held.time))
            self._times[held.key] = self.changed[held.key] = held.time
            yield held

    def _move(self, done: int, newest: int) -> None:
        offset = min((held.offset for held in self._held), default=done)
        self.position = SourcePosition(offset, max(done, self.position.done), newest)


def _released(partition: str, gone: list[tuple[HeldReading, int]], inputs: Any, refusals: list[Refusal]) -> Released:
    return Released(
        partition,
        [held.offset for held, _ in gone],
        [trigger for _, trigger in gone],
        [held.key for held, _ in gone],
        [held.shown_time for held, _ in gone],
        np.stack([held.inputs for held, _ in gone]) if gone else no_inputs(inputs.shape[1], inputs.dtype.name),
        refusals,
    )
