"""Read-outs found in closed form: what forecasters learn whose recurrent layers never do (echo state networks).

Nothing but the head is learned, and what it hears of each step is fixed, so the least squares over all steps at once
are its weights: no epochs, no gradient, nothing to resume.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ostinato.models.errors import DataError, Diverged
from ostinato.models.networks.echo_state import ridge_regression
from ostinato.models.networks.layers_recipe import LayersRecipe
from ostinato.models.networks.recurrent import Forecaster, StaticForecaster
from ostinato.models.training.fitting import Fitted, Validate
from ostinato.models.training.job import Job
from ostinato.models.training.streams import SeriesStretch

# How many series go side by side, and how many steps at once.
_ROWS, _STEPS = 64, 1000


def fit_readout(
    network: Forecaster,
    recipe: LayersRecipe,
    stretches: Sequence[SeriesStretch],
    validate: Validate,
    job: Job,
    label: str,
) -> Fitted:
    """Find the head's weights by ridge regression over the training part; steps whose target is missing are left out.

    Args:
        label: what the validation error is called where it is shown.

    Raises:
        DataError: no series of the training part is longer than ``washout_steps``.
        Diverged: the validation error is no finite number.
        RunError: there is the checkpoint of another training to resume.
    """
    job.checkpoints.read()
    job.tell(
        "echo_state: its read-out is found by ridge regression, in one step; max_epochs, learning_rate and whatever "
        "else is of a gradient do not apply"
    )
    begun = time.perf_counter()
    network.eval()
    heard, wanted = (torch.cat(parts) for parts in zip(*_heard(network, stretches, recipe.washout_steps), strict=True))
    known = ~torch.isnan(wanted)
    if not known.any(dim=0).all():
        raise DataError(
            f"no series of the training part has targets behind its first {recipe.washout_steps} steps: lower "
            "network.washout_steps"
        )
    # Targets and steps ahead that are known at the same steps share a solution.
    patterns, group = torch.unique(known, dim=1, return_inverse=True)
    with torch.no_grad():
        for place, rows in enumerate(patterns.T):
            columns = group == place
            weight, bias = ridge_regression(heard[rows], wanted[rows][:, columns], recipe.ridge)
            network.head.weight[columns] = weight.to(network.head.weight)
            network.head.bias[columns] = bias.to(network.head.bias)
    validation = validate()
    if not math.isfinite(validation):
        raise Diverged(f"the validation error is {validation}: raise network.ridge")
    job.report(1, 1, f"{label} {validation:.4f}")
    return Fitted(0, 0, validation, time.perf_counter() - begun, label=label)


@torch.no_grad()
def _heard(
    network: Forecaster, stretches: Sequence[SeriesStretch], washout_steps: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the head hears, ``[n, H]``, and should say, ``[n, O]``, NaN where that is not known; in parts."""
    order = sorted(stretches, key=lambda one: len(one.inputs))
    for first in range(0, len(order), _ROWS):
        rows = order[first : first + _ROWS]
        x, targets = (
            pad_sequence(part, True, math.nan) for part in ([one[0] for one in rows], [one[1] for one in rows])
        )
        static = [torch.stack([one.static for one in rows])] if isinstance(network, StaticForecaster) else []
        states = network.initial_state(len(rows))
        for start in range(0, x.shape[1], _STEPS):
            hidden, filled, *after = network.heard(x[:, start : start + _STEPS], *static, *states)
            states, base = tuple(after), network.base(filled)
            truth = targets[:, start : start + _STEPS].reshape(*hidden.shape[:2], -1, base.shape[-2])
            learned = (truth - base.squeeze(-1)) / network.units.squeeze(-1)
            skipped = max(0, washout_steps - start)
            # In float64, which not every device has.
            yield hidden[:, skipped:].flatten(0, 1).cpu(), learned[:, skipped:].flatten(2).flatten(0, 1).cpu()
