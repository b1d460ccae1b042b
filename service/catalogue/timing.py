"""The timing of a run, by which a version runs on the event loop or in a thread for as long as it is served."""

from __future__ import annotations

import time
from collections.abc import Callable

NUM_TIMED_RUNS = 5


def best_seconds(run: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """How long a run takes, in seconds: the best of several behind one to warm up.

    Of this thread's own time, in which a graph runs from end to end: on a busy machine each run may be interrupted for
    longer than it takes. What else the machine does makes a run slower, never quicker.
    """
    run()
    seconds = []
    for _ in range(NUM_TIMED_RUNS):
        began_at = clock()
        run()
        seconds.append(clock() - began_at)
    return min(seconds)
