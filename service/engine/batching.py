"""Which work runs in the next iteration. Pure: no clock, no lock, no arrays touched.

Work enters at the back of the line, an iteration takes from the front, and what is not finished goes to the back
again, so a newcomer waits for at most the work that stood there when it came, each for one iteration.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple


class Work:
    """A block of ``R`` rows on its way through the engine: one row of any number of steps, or many of one step.

    Attributes:
        slots: the rows' slots in the arena, int64 ``[R]``; their state is replaced only when all steps have run.
        inputs: ``[R, num_steps, F]``.
        num_rows, num_steps: R and the steps of each row; one of the two is 1.
        num_done: steps that have run.
        scratch: where the state waits between iterations, int64 ``[R]``; None until it is needed. Private work, on
            slots that no session holds, names those same slots.
        outputs: ``[R, num_steps, O]``, or ``[R, 1, O]`` of a graph that answers once a run; set when it finished.
        error: why it failed; None otherwise.
        future: where its caller waits.
        alone: it was in a run that failed, and shares no further one.
        submitted_at: when it entered the line, seconds of a monotonic clock.
    """

    __slots__ = (
        "alone",
        "error",
        "future",
        "inputs",
        "num_done",
        "num_rows",
        "num_steps",
        "outputs",
        "scratch",
        "slots",
        "submitted_at",
    )

    def __init__(
        self, slots: Any, inputs: Any, num_rows: int, num_steps: int, future: Any, scratch: Any = None
    ) -> None:
        assert num_rows == 1 or num_steps == 1
        self.slots = slots
        self.inputs = inputs
        self.num_rows = num_rows
        self.num_steps = num_steps
        self.num_done = 0
        self.future = future
        self.scratch = scratch
        self.outputs: Any = None
        self.error: Exception | None = None
        self.alone = False
        self.submitted_at = 0.0

    @property
    def private(self) -> bool:
        """Whether the work belongs to no session, so that nothing is committed and nobody is owed its end."""
        return self.scratch is self.slots

    def __repr__(self) -> str:
        return f"<Work {self.num_rows} rows, {self.num_done}/{self.num_steps} steps>"


class Iteration(NamedTuple):
    """One batched run: every row of every work, for ``num_steps`` steps. ``num_rows`` x ``num_steps`` are computed,
    none of them padding.
    """

    works: list[Work]
    num_rows: int
    num_steps: int


def next_iteration(
    line: deque[Work], *, max_batch_size: int, max_iteration_steps: int
) -> tuple[Iteration | None, list[Work]]:
    """Take the next iteration from the front of ``line``.

    Work is taken in order until the next would make more than ``max_batch_size`` rows, or must run alone; all run
    the same number of steps: the least that any of them has left, at most ``max_iteration_steps``. No work has more
    than ``max_batch_size`` rows.

    Returns:
        the iteration, None when there is no work; and the work that was dropped, since its caller cancelled it before
        it began, or it is private.
    """
    works: list[Work] = []
    dropped: list[Work] = []
    num_rows = 0
    num_steps = max_iteration_steps
    while line:
        work = line[0]
        if work.future.cancelled() and (work.private or not work.num_done):
            dropped.append(line.popleft())
            continue
        if works and (work.alone or works[0].alone or num_rows + work.num_rows > max_batch_size):
            break
        works.append(line.popleft())
        num_rows += work.num_rows
        num_steps = min(num_steps, work.num_steps - work.num_done)
    return (Iteration(works, num_rows, num_steps) if works else None), dropped
