"""Which work runs in the next iteration. Pure: no clock, no lock, no arrays touched.

Work enters at the back of the line, an iteration takes from the front, and what is not finished goes to the back
again, so a newcomer waits for at most the work that stood there when it came, each for one iteration.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_ROW_STEPS = 2048
"""Rows x steps of one iteration of many steps. What a graph keeps of more leaves the processor's caches (measured:
0.95 us a step at 256 x 8 as at 64 x 32, 1.3 us at 256 x 32), and newcomers would wait longer.
"""

OVERHEAD_STEPS = 40
"""What an iteration costs before its first step, in steps of one row (measured: about 40 us, and 1 us a step)."""


class Work:
    """A block of ``R`` rows on its way through the engine: one row of any number of steps, or many of one step.

    Attributes:
        slots: the rows' slots in the arena; their state is replaced only when all steps have run.
        inputs: an array ``[R x n, F]``, contiguous and of the graph's dtype; or, of one row's one step, its bytes.
        num_rows, num_steps: R, and n, the steps of each row; one of the two is 1.
        num_done: steps that have run.
        scratch: where the state waits between iterations, R slots; None until it is needed. Private work, on slots
            that no session holds, names those same slots.
        outputs: ``[R x n, O]``, or ``[R, O]`` of a graph that answers once a run; set when it finished.
        error: why it failed; None otherwise.
        future: where its caller waits.
        alone: it was in a run that failed, and shares no further one.
        submitted_at: when it entered the line, seconds of a monotonic clock.
    """

    num_done = 0
    scratch: Sequence[int] | None = None
    outputs: Any = None
    error: Exception | None = None
    alone = False
    submitted_at = 0.0

    def __init__(
        self, slots: Sequence[int], inputs: Any, num_rows: int, num_steps: int, future: Any, *, private: bool = False
    ) -> None:
        assert num_rows == 1 or num_steps == 1
        self.slots = slots
        self.inputs = inputs
        self.num_rows = num_rows
        self.num_steps = num_steps
        self.future = future
        if private:
            self.scratch = slots

    @property
    def private(self) -> bool:
        """Whether the work belongs to no session, so that nothing is committed and nobody is owed its end."""
        return self.scratch is self.slots

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.num_rows} rows, {self.num_done}/{self.num_steps} steps>"


class Iteration(NamedTuple):
    """One batched run: every row of every work, for ``num_steps`` steps. ``num_rows`` x ``num_steps`` are computed,
    none of them padding.

    ``is_whole``: every work is a session's, and this run is all of it.
    """

    works: list[Work]
    num_rows: int
    num_steps: int
    is_whole: bool


def next_iteration(
    line: deque[Work], *, max_batch_size: int, max_iteration_steps: int
) -> tuple[Iteration | None, list[Work]]:
    """Take the next iteration from the front of ``line``.

    Work is taken in order until the next would make more than ``max_batch_size`` rows, or must run alone; all run
    the same number of steps: at most ``max_iteration_steps``, at most ``MAX_ROW_STEPS`` over all rows, and no more
    than the first, or any session's, has left.
    Private work with fewer steps left than it pays to run now keeps its place in the line. No work has more than
    ``max_batch_size`` rows.

    Returns:
        the iteration, None when there is no work; and the work that was dropped, since its caller cancelled it before
        it began, or it is private.
    """
    works: list[Work] = []
    dropped: list[Work] = []
    num_rows = num_begun = num_private = longest = 0
    num_steps = max_iteration_steps
    while line:
        work = line[0]
        scratch = work.scratch
        if work.future.cancelled() and (scratch is None or scratch is work.slots):
            dropped.append(line.popleft())
            continue
        if works and (work.alone or works[0].alone or num_rows + work.num_rows > max_batch_size):
            break
        works.append(line.popleft())
        num_rows += work.num_rows
        steps_left = work.num_steps
        if scratch is not None:
            num_begun += 1
            steps_left -= work.num_done
            if scratch is work.slots and len(works) > 1:
                num_private += 1
                continue
        if steps_left > longest:
            longest = steps_left
        if steps_left < num_steps:
            num_steps = steps_left
    if not works:
        return None, dropped
    num_steps = min(num_steps, max(1, MAX_ROW_STEPS // num_rows))
    if num_private:
        works, num_steps = _pick(line, works, num_steps)
        num_rows = sum(work.num_rows for work in works)
    return Iteration(works, num_rows, num_steps, is_whole=not num_begun and longest == num_steps), dropped


def _pick(line: deque[Work], works: list[Work], max_steps: int) -> tuple[list[Work], int]:
    """The works that run, and for how many steps, where some are private and may wait: what computes most a second.

    Those that wait go back to the front of the line in their order, so that the first of them is the next iteration's
    first.
    """
    left = [min(work.num_steps - work.num_done, max_steps) for work in works]
    num_able = len(works)
    best_rate, num_steps = 0.0, 1
    for steps, num_unable in _fewer_than_each(left):
        num_computed = (num_able - num_unable) * steps
        if (rate := num_computed / (num_computed + OVERHEAD_STEPS + 3 * steps)) > best_rate:
            best_rate, num_steps = rate, steps
    waiting = [work for work, steps in zip(works, left, strict=True) if steps < num_steps]
    if waiting:
        works = [work for work, steps in zip(works, left, strict=True) if steps >= num_steps]
        line.extendleft(reversed(waiting))
    return works, num_steps


def _fewer_than_each(values: list[int]) -> list[tuple[int, int]]:
    """Each distinct value, rising, with how many are less."""
    ordered = sorted(values)
    return [(value, index) for index, value in enumerate(ordered) if not index or value != ordered[index - 1]]
