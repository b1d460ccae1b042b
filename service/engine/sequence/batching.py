"""Batching of whole sequences: which of those that wait run next, together. No clock, no asyncio, no arrays touched.

Like lengths run together, so that little padding is computed, and the lengths share the graph's time: what many long
sequences take does not keep a short one waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from ostinato.service.artifact.manifest import ANY, Manifest, Promise

MAX_ROW_STEPS = 4096
"""Rows x padded steps of a run; a sequence that is longer runs by itself. More would keep what comes waiting longer,
and gains nothing.
"""
MAX_PADDING = 0.125
"""Of a run's steps, how many may be padding when sequences of another class join it."""
LEAST_PADDED_STEPS = 16
"""A padded length that follows from a sequence alone is a power of two from this on."""


class SequenceWork:
    """One sequence on its way through the engine.

    Args:
        rows: ``[n, width]`` of the manifest's ``given``.
        context: what is the same in all its steps, an array of each context's ``row_shape``.
        future: has ``cancelled()``: whether nobody waits for it any more.

    Attributes:
        alone: it shared a run that failed, and runs by itself.
        span: of the trace of anyone who waits for it; None = it is not traced.
    """

    __slots__ = ("alone", "context", "future", "num_steps", "rows", "span", "submitted_at")

    def __init__(self, rows: Any, context: Sequence[Any], future: Any) -> None:
        self.rows, self.context, self.future = rows, context, future
        self.num_steps = len(rows)
        self.submitted_at = 0.0
        self.alone = False
        self.span: Any = None

    def __repr__(self) -> str:
        return f"<SequenceWork {self.num_steps} steps>"


class Company(NamedTuple):
    """Which sequences may share a run of a graph, and the length that they are padded to.

    Attributes:
        takes_lengths: whether the graph is told the true lengths; without, only those of one length run together.
    """

    promise: Promise
    takes_lengths: bool

    @classmethod
    def of(cls, manifest: Manifest) -> Company:
        """That of a model version."""
        return cls(manifest.promise or ANY, bool(manifest.lengths))

    @property
    def mixes(self) -> bool:
        """Whether a run may hold sequences of any lengths."""
        return self.takes_lengths and self.promise.holds == "any"

    def padded_steps(self, num_steps: int) -> int:
        """What a sequence by itself is padded to."""
        if self.takes_lengths and self.promise.holds == "fixed":
            return max(LEAST_PADDED_STEPS, 1 << (num_steps - 1).bit_length())
        return num_steps

    def class_of(self, num_steps: int) -> int:
        """The most steps that sequences have which wait in one line with this one: at most a quarter more, where any
        may run together.
        """
        if not self.mixes:
            return self.padded_steps(num_steps)
        shift = max(0, (num_steps - 1).bit_length() - 3)
        return -(-num_steps >> shift) << shift


class SequenceRun(NamedTuple):
    """Sequences that run together, ``num_steps`` each, of which what is beyond a sequence's own is padding."""

    works: list[SequenceWork]
    num_steps: int

    @property
    def padding(self) -> int:
        """Steps of padding."""
        return len(self.works) * self.num_steps - sum(work.num_steps for work in self.works)


class SequenceLine:
    """Sequences that wait, and the next run of them.

    They wait by classes of length, each in the order of arrival. The class runs next that has had the least of the
    graph's time since others wait (fair queueing: each run is charged to its class by rows x steps), so a sequence
    waits for its own class and at most a like share for each other one.

    Args:
        max_batch_size: sequences of a run, inclusive.
    """

    def __init__(self, company: Company, *, max_batch_size: int) -> None:
        self._company = company
        self._max_batch_size = 1 if company.promise.holds == "alone" else max_batch_size
        if company.promise.holds == "fixed":
            self._max_batch_size = company.promise.rows
        self._lines: dict[int, deque[tuple[int, SequenceWork]]] = {}
        # What each class was charged until now, and what the class that ran last had been.
        self._charged: dict[int, int] = {}
        self._now = self._num_arrivals = self._num_waiting = 0
        self._suspects: deque[SequenceWork] = deque()

    def __len__(self) -> int:
        return self._num_waiting + len(self._suspects)

    def append(self, work: SequenceWork) -> None:
        """Put work at the back of its class."""
        length_class = self._company.class_of(work.num_steps)
        line = self._lines.get(length_class)
        if line is None:
            line = self._lines[length_class] = deque()
            self._charged[length_class] = max(self._now, self._charged.get(length_class, 0))
        self._num_arrivals += 1
        self._num_waiting += 1
        line.append((self._num_arrivals, work))

    def put_alone(self, works: Sequence[SequenceWork]) -> None:
        """Put works that shared a failed run before all others; the next run of each is its own."""
        for work in reversed(works):
            work.alone = True
            self._suspects.appendleft(work)

    def clear(self) -> list[SequenceWork]:
        """Take everything out."""
        works = [*self._suspects, *(work for line in self._lines.values() for _, work in line)]
        self._suspects.clear()
        self._lines.clear()
        self._num_waiting = 0
        return works

    def next_run(self) -> tuple[SequenceRun | None, list[SequenceWork]]:
        """Take the next run out.

        Returns:
            the run, None when there is no work; and the work that was dropped, since nobody waits for it.
        """
        dropped: list[SequenceWork] = []
        while self._suspects:
            work = self._suspects.popleft()
            if not work.future.cancelled():
                return self._run_of([work]), dropped
            dropped.append(work)
        while self._lines:
            length_class = min(self._lines, key=lambda each: (self._charged[each], self._lines[each][0][0]))
            self._now = max(self._now, self._charged[length_class])
            works = self._take(length_class, dropped)
            if works:
                run = self._run_of(works)
                self._charged[length_class] += len(works) * run.num_steps
                self._forget()
                return run, dropped
        return None, dropped

    def _take(self, length_class: int, dropped: list[SequenceWork]) -> list[SequenceWork]:
        """The first of a class, and where there is room, of shorter ones whose padding is little."""
        works: list[SequenceWork] = []
        longest = padding = 0
        classes = [length_class]
        if self._company.mixes:
            classes += sorted((each for each in self._lines if each < length_class), reverse=True)
        for each in classes:
            line = self._lines[each]
            while line and len(works) < self._max_batch_size:
                work = line[0][1]
                if work.future.cancelled():
                    dropped.append(work)
                else:
                    # The class's own first ones decide how long the run is.
                    steps = max(longest, self._company.padded_steps(work.num_steps))
                    grown = padding + (steps - longest) * len(works) + steps - work.num_steps
                    if works and (len(works) + 1) * steps > MAX_ROW_STEPS:
                        break
                    if each != length_class and grown > MAX_PADDING * steps * (len(works) + 1):
                        break
                    works.append(work)
                    longest, padding = steps, grown
                line.popleft()
                self._num_waiting -= 1
            if not line:
                del self._lines[each]
            if not works or line:
                break
        return works

    def _run_of(self, works: list[SequenceWork]) -> SequenceRun:
        return SequenceRun(works, max(self._company.padded_steps(work.num_steps) for work in works))

    def _forget(self) -> None:
        """Forget classes of which nothing waits, when they would begin anew with the others anyway."""
        if not self._lines:
            self._charged.clear()
            self._now = 0
        elif len(self._charged) > 4 * len(self._lines) + 64:
            self._charged = {
                each: charged for each, charged in self._charged.items() if each in self._lines or charged > self._now
            }
