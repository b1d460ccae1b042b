"""Protocols: what the scheduler asks of a runner of iterations, and of the owner to whom work comes back."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from ostinato.service.engine.recurrent.batching import Iteration, Work
from ostinato.service.engine.recurrent.runner import Result
from ostinato.service.state.arena import Arena, Rows, Slots


class IterationRunner(Protocol):
    """What the scheduler asks of a runner.

    ``answers_every_step`` is False of a graph that gives one output for all the steps of a run: the last run's is a
    chunk's answer.
    """

    max_batch_size: int
    max_iteration_steps: int
    answers_every_step: bool

    def run_iteration(self, iteration: Iteration, arena: Arena) -> Result:
        """Run an iteration without changing the arena; raise ``RunFailed`` where the graph failed."""


class Finished(NamedTuple):
    """Works of sessions that ran to their end in one iteration, and of all their rows, in order, what came of them.

    Attributes:
        slots: int64 ``[R]``.
        states: the new states, arrays ``[R, ...]``; valid until the owner returns.
        last_outputs: the last step's, ``[R, O]``.
        inputs: what went in, ``[R x n, F]``, valid in the same way, where the works are this iteration and nothing
            else; None where one of them took several.
    """

    works: list[Work]
    slots: Slots
    states: Rows
    last_outputs: NDArray[Any]
    inputs: NDArray[Any] | None


class Owner(Protocol):
    """To whom work comes back, once. Neither method may raise."""

    def commit(self, finished: Finished) -> None:
        """Works of sessions that ran to their end."""

    def hand_back(self, works: list[Work]) -> None:
        """Private works that ran to their end, and works of any kind with their ``error`` set."""
