"""The observer of a recurrent model's iterations: what sessions are sent, next to the training and next to what was
forecast of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.engine.observer import InputObserver
from ostinato.service.engine.recurrent.batching import Iteration
from ostinato.service.engine.recurrent.runner import Result
from ostinato.service.metrics.drift import MAX_ROWS, ForecastError
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.state.arena import Arena

NOBODY = -1


class IterationObserver(InputObserver):
    """Looks at an iteration now and then. An output that predicts an input's next value (the manifest's ``feedback``)
    is compared with that value when it comes, and so is the value before it: persistence, the forecast of who knows
    nothing. Both are of the same moments.

    A session does not keep its last input; it is kept here, of sessions in the iterations that were looked at. Of the
    last one, the next step of a session that ran alone is looked at, too: with many small iterations two that follow
    each other would hardly ever be met.

    Attributes:
        followed: the slot of that session.
    """

    def __init__(
        self, manifest: Manifest, arena: Arena, metrics: ModelMetrics, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(manifest, metrics, clock)
        self._arena = arena
        self._made = manifest.made
        self.followed = NOBODY
        fed = _feedback(manifest)
        self._targets, self._sources = [target for target, _ in fed], [source for _, source in fed]
        self._errors: ForecastError | None = None
        if fed:
            self._errors = ForecastError(metrics, [_name(manifest.inputs, target) for target in self._targets])
            self.due_at = -np.inf
            # The system gives memory to those only that are written.
            self._values = np.zeros((arena.capacity, len(fed)))
            self._steps = np.zeros(arena.capacity, np.int64)
            self._opened_at = np.zeros(arena.capacity)

    def see_iteration(self, iteration: Iteration, result: Result, began_at: float) -> None:
        """Take in an iteration that is not committed yet."""
        if iteration.is_private:  # a forecast feeds the model's own outputs
            return

        def compare() -> None:
            self._compare_inputs(result.inputs)
            if self._errors is not None and iteration.is_whole:
                self._compare_forecasts(self._errors, iteration, result)

        self._look(compare, began_at)

    def stop(self) -> None:
        """See ``InputObserver.stop``."""
        super().stop()
        self.followed = NOBODY

    def _compare_forecasts(self, errors: ForecastError, iteration: Iteration, result: Result) -> None:
        arena, num_rows, num_steps = self._arena, iteration.num_rows, iteration.num_steps
        slots = result.slots[:MAX_ROWS]
        values = _columns(self._given, result.inputs.reshape(num_rows, num_steps, -1)[:MAX_ROWS], self._targets)
        made = _columns(self._made, result.outputs[:MAX_ROWS], self._sources)
        width = len(self._targets)
        if num_steps > 1 and made.shape[1] == num_steps:
            parts = (made[:, :-1], values[:, :-1], values[:, 1:])
            errors.see(*(part.reshape(-1, width) for part in parts))
        steps, opened_at = arena.steps[slots], arena.opened_at[slots]
        is_next = (steps > 0) & (self._steps[slots] == steps) & (self._opened_at[slots] == opened_at)
        if is_next.any():
            rows = slots[is_next]
            forecasts = _columns(self._made, arena.last_output[rows], self._sources)
            errors.see(forecasts, self._values[rows], values[is_next, 0])
        self._values[slots] = values[:, -1]
        self._steps[slots], self._opened_at[slots] = steps + num_steps, opened_at
        is_followed = self.followed == slots[0]
        self.followed = NOBODY if is_followed else int(slots[0])


def _feedback(manifest: Manifest) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Of each input feature that an output predicts: which tensor has it and where, and the same of that output."""
    given = {name: (tensor, at) for tensor, part in enumerate(manifest.inputs) for at, name in enumerate(part.features)}
    made = {name: (tensor, at) for tensor, part in enumerate(manifest.outputs) for at, name in enumerate(part.features)}
    fed = [
        (given[target], made[source])
        for source, target in manifest.feedback.items()
        if target in given and source in made
    ]
    return [(target, source) for target, source in fed if _is_measured(manifest.inputs[target[0]], target[1])]


def _is_measured(part: Input, at: int) -> bool:
    """Whether a feature is a number, of which differences tell, and no code."""
    return part.dtype.startswith("float") and part.features[at] not in part.categories


def _name(parts: tuple[Input, ...], place: tuple[int, int]) -> str:
    return parts[place[0]].features[place[1]]


def _columns(
    layout: RowLayout[Input] | RowLayout[Output], rows: NDArray[Any], places: list[tuple[int, int]]
) -> NDArray[np.float64]:
    """Of rows ``[..., width]`` the features at ``places``, ``[..., K]``."""
    tensors = layout.flat(rows)
    return np.stack([tensors[tensor][..., at].astype(np.float64) for tensor, at in places], axis=-1)
