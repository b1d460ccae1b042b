"""The line, and which work of it runs in the next iteration. Pure: no clock, no lock, no arrays touched.

Work enters at the back of a line, an iteration takes from the front, and what is not finished goes to the back again,
so a newcomer waits for at most the work that was there when it came, each for one iteration. Sessions' work and
private work are in lines of their own, and where there is both they take turns.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_ROW_STEPS = 1024
"""Rows x steps of one iteration of many steps. What a graph keeps of more leaves the processor's caches (measured:
0.88 us a step at 16 x 64, 32 x 32 and 64 x 16, and 1.0 to 1.2 us at twice as many), and newcomers would wait longer.
"""


class Work:
    """A block of ``R`` rows on its way through the engine: one row of any number of steps, or many of one step.

    Attributes:
        slots: the rows' slots in the arena; their state is replaced only when all steps have run.
        inputs: an array ``[R x n, F]``, contiguous and of the graph's dtype; or, of one row's one step, its bytes.
        num_rows, num_steps: R, and n, the steps of each row; one of the two is 1, or n is 0 of what is not run.
        num_done: steps that have run.
        private: whether the work belongs to no session, so that nothing is committed and nobody is owed its end.
        scratch: where the state waits between iterations, R slots; None until it is needed. Private work has its own
            slots there, which no session holds.
        outputs: ``[R x n, O]``, or ``[R, O]`` of a graph that answers once a run; set when it finished.
        error: why it failed; None otherwise.
        future: where its caller waits.
        alone: it was in a run that failed; its next run is its own.
        submitted_at: when it entered the line, seconds of a monotonic clock.
        span: of the trace of anyone who waits for it; None = it is not traced.
    """

    private = False
    num_done = 0
    scratch: Sequence[int] | None = None
    outputs: Any = None
    error: Exception | None = None
    alone = False
    submitted_at = 0.0
    span: Any = None

    def __init__(
        self, slots: Sequence[int], inputs: Any, num_rows: int, num_steps: int, future: Any, *, private: bool = False
    ) -> None:
        assert num_rows == 1 or num_steps <= 1
        self.slots = slots
        self.inputs = inputs
        self.num_rows = num_rows
        self.num_steps = num_steps
        self.future = future
        if private:
            self.private = True
            self.scratch = slots

    def begin_anew(self) -> None:
        """It has run and was not committed: forget what came of it."""
        self.num_done = 0
        self.outputs = self.scratch = self.error = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.num_rows} rows, {self.num_done}/{self.num_steps} steps>"


class Iteration(NamedTuple):
    """One batched run: every row of every work, for ``num_steps`` steps. ``num_rows`` x ``num_steps`` are computed,
    none of them padding.

    ``is_whole``: every work is a session's, and this run is all of it. ``is_private``: every work is private; there
    is no other mixture of the two.
    """

    works: list[Work]
    num_rows: int
    num_steps: int
    is_whole: bool = False
    is_private: bool = False


class Line:
    """Work that waits, and the next iteration of it.

    Sessions' chunks of any lengths run together, for as many steps as the least of them has left. Private work, whose
    sequences are long and many, runs in strides: 64 steps, 32, 16, ..., the largest power of two that it has left. One
    iteration takes rows of one stride, so that none is cut short for another's sake and each is visited seldom.

    Args:
        max_batch_size: rows of an iteration, inclusive; no work has more.
        max_iteration_steps: steps of an iteration, inclusive.
    """

    def __init__(self, *, max_batch_size: int, max_iteration_steps: int) -> None:
        self._max_batch_size = max_batch_size
        self._max_iteration_steps = max_iteration_steps
        self._sessions: deque[Work] = deque()
        # By stride; with each, its number in the order of arrival.
        self._private: dict[int, deque[tuple[int, Work]]] = {}
        self._suspects: deque[Work] = deque()
        self._num_private = self._num_arrivals = 0
        self._private_is_next = False

    def __len__(self) -> int:
        return len(self._suspects) + len(self._sessions) + self._num_private

    def append(self, work: Work) -> None:
        """Put work at the back."""
        if not work.private:
            self._sessions.append(work)
            return
        stride = 1 << ((work.num_steps - work.num_done).bit_length() - 1)
        if stride > self._max_iteration_steps:
            stride = self._max_iteration_steps
        self._num_private += 1
        self._num_arrivals += 1
        line = self._private.get(stride)
        if line is None:
            line = self._private[stride] = deque()
        line.append((self._num_arrivals, work))

    def put_alone(self, works: Sequence[Work]) -> None:
        """Put works that shared a failed run before all others; the next run of each is its own."""
        for work in reversed(works):
            work.alone = True
            self._suspects.appendleft(work)

    def clear(self) -> list[Work]:
        """Take everything out."""
        works = [*self._suspects, *self._sessions, *(work for line in self._private.values() for _, work in line)]
        self._suspects.clear()
        self._sessions.clear()
        self._private.clear()
        self._num_private = 0
        return works

    def next_iteration(self) -> tuple[Iteration | None, list[Work]]:
        """Take the next iteration out.

        Returns:
            the iteration, None when there is no work; and the work that was dropped, since its caller cancelled it
            before it began, or it is private.
        """
        dropped: list[Work] = []
        iteration = None
        if self._suspects:
            iteration = self._take_suspect(dropped)
        if iteration is None and self._num_private and (self._private_is_next or not self._sessions):
            iteration = self._take_private(dropped)
            self._private_is_next = False
        if iteration is None and self._sessions:
            iteration = self._take_sessions(dropped)
            self._private_is_next = True
        if iteration is None and self._num_private:
            iteration = self._take_private(dropped)
        return iteration, dropped

    def _take_suspect(self, dropped: list[Work]) -> Iteration | None:
        while self._suspects:
            work = self._suspects.popleft()
            if _is_dropped(work):
                dropped.append(work)
                continue
            num_steps = min(work.num_steps - work.num_done, self._max_iteration_steps)
            return Iteration([work], work.num_rows, num_steps, is_private=work.private)
        return None

    def _take_sessions(self, dropped: list[Work]) -> Iteration | None:
        """Works in order until the next would make too many rows; all run the least steps that one has left."""
        line, max_batch_size = self._sessions, self._max_batch_size
        works: list[Work] = []
        num_rows = num_begun = longest = 0
        num_steps = self._max_iteration_steps
        while line:
            work = line[0]
            steps_left = work.num_steps
            if work.scratch is not None:
                num_begun += 1
                steps_left -= work.num_done
            elif work.future.cancelled():
                dropped.append(line.popleft())
                continue
            if num_rows + work.num_rows > max_batch_size:
                break
            works.append(line.popleft())
            num_rows += work.num_rows
            if steps_left > longest:
                longest = steps_left
            if steps_left < num_steps:
                num_steps = steps_left
        if not works:
            return None
        num_steps = min(num_steps, max(1, MAX_ROW_STEPS // num_rows))
        return Iteration(works, num_rows, num_steps, is_whole=not num_begun and longest == num_steps)

    def _take_private(self, dropped: list[Work]) -> Iteration | None:
        """Works of the stride whose first has waited the longest, in order, as many as one iteration may have."""
        while self._num_private:
            stride = min((line[0][0], stride) for stride, line in self._private.items() if line)[1]
            line = self._private[stride]
            max_rows = self._max_batch_size  # of one step, as sessions' iterations have: all that a device's run has
            if stride > 1:
                max_rows = max(1, min(max_rows, MAX_ROW_STEPS // stride))
            works: list[Work] = []
            while line and len(works) < max_rows:
                _, work = line.popleft()
                self._num_private -= 1
                if work.future.cancelled():
                    dropped.append(work)
                else:
                    works.append(work)
            if works:
                return Iteration(works, len(works), stride, is_private=True)
        return None


def _is_dropped(work: Work) -> bool:
    """Whether nobody waits for work that may still be dropped: it has not begun, or is private."""
    return bool(work.future.cancelled()) and (work.scratch is None or work.private)
