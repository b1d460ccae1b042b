"""Boosted trees in the graph of a forecaster: a table of lags as the state, trees that read it, a mean with a network.

Trees know no recurrence. What they read of the past, the last ``L`` steps, is a state ``[B, L, F]``, so that they are
served step by step as a network is. Of each step they are given, all filled with what was last seen::

    each target        its value, those of the L steps before, and how much each of these differs from now
    each feature       its value, or code
    each amount        its change since 1, 3, 6, 12 and 24 steps before, as far as L reaches

Every tree is a complete one of the depth D: a branch that ends early is followed to its leftmost leaf. The children of
node ``i`` are ``2 i + 1`` and ``2 i + 2``, the second where the number that is looked at is above the threshold. Leaves
are multiples of one power of two, so small that float32 holds every sum of them: the sum is the same number in any
order, and so alone and in any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ostinato.models.networks.ensemble import Ensemble
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.recurrent import States, count_on, fill_last_seen

_ROWS = 256
_CHANGES = (1, 3, 6, 12, 24)


class BoostedTrees(nn.Module):
    """Sums of trees over rows of numbers, ``forward(rows [N, C]) -> [N, O]``.

    Args:
        num_outputs, num_trees, depth: O; K trees for each of them; D.
    """

    feature: Tensor
    threshold: Tensor
    leaf: Tensor

    def __init__(self, num_outputs: int, num_trees: int, depth: int) -> None:
        super().__init__()
        self.num_outputs, self.num_trees, self.depth = num_outputs, num_trees, depth
        shape, num_nodes = (num_outputs * num_trees,), 2**depth - 1
        self.register_buffer("feature", torch.zeros(*shape, num_nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.full((*shape, num_nodes), torch.inf))
        self.register_buffer("leaf", torch.zeros(*shape, num_nodes + 1))

    def forward(self, rows: Tensor) -> Tensor:
        """As above; what stands in rows is finite."""
        if torch.compiler.is_exporting():
            return self._sums(rows)
        # Each row has a place in every tree: of many rows at once that is more memory than there may be.
        return torch.cat([self._sums(part) for part in torch.split(rows, _ROWS)])

    def _sums(self, rows: Tensor) -> Tensor:
        num_nodes = 2**self.depth - 1
        trees = torch.arange(self.num_outputs * self.num_trees, device=rows.device)
        node = torch.zeros_like(trees).expand(rows.shape[0], -1)
        feature, threshold, leaf = self.feature.flatten(), self.threshold.flatten(), self.leaf.flatten()
        for _ in range(self.depth):
            place = node + trees * num_nodes
            is_above = torch.gather(rows, 1, feature[place]) > threshold[place]
            node = 2 * node + 1 + is_above.to(torch.int64)
        reached = leaf[node - num_nodes + trees * (num_nodes + 1)]
        return reached.reshape(-1, self.num_outputs, self.num_trees).sum(dim=-1)


class TreeForecaster(nn.Module):
    """Boosted trees that keep the recurrent contract: ``forward(x, past) -> (y, past)``.

    Args:
        num_lags: L, at least 1.
        num_trees, depth: see ``BoostedTrees``.
        cycles: features whose codes count on by one at each step, as those of a ``Forecaster``.
    """

    # None of a cell's: Mamba has a `past` of its own.
    state_names = ("tree_past",)
    initial_values: Tensor
    cycle_lengths: Tensor

    def __init__(
        self,
        features: Features,
        forecasts: Forecasts,
        num_lags: int,
        num_trees: int,
        depth: int,
        cycles: tuple[str, ...] = (),
    ) -> None:
        super().__init__()
        self.has_cycles = bool(cycles)
        self.register_buffer("cycle_lengths", features.cycle_lengths(cycles), persistent=False)
        self.forecasts, self.num_lags = forecasts, num_lags
        self.places = [target.place for target in features.targets if target.place is not None]
        self.amounts = [place for place, num in enumerate(features.num_codes) if not num]
        self.register_buffer("initial_values", torch.tensor(features.initial_values()))
        self.trees = BoostedTrees(forecasts.num_steps * len(self.places) * len(forecasts.parts), num_trees, depth)

    def initial_state(self, batch_size: int) -> States:
        """Past ``[B, L, F]`` of sequences that have not begun."""
        return (self.initial_values.expand(batch_size, self.num_lags, -1).clone(),)

    def forward(self, x: Tensor, past: Tensor) -> States:
        """``x [B, T, F]`` in raw units, NaN where missing, to forecasts ``[B, T, H, K, P]``, not yet in order."""
        rows, steps = self.rows(x, past)
        changes = self.trees(rows.flatten(0, 1)).unflatten(0, rows.shape[:2])
        now = steps[:, self.num_lags :, self.places].unsqueeze(2).unsqueeze(-1)
        return now + self.forecasts.apart(changes, len(self.places)), steps[:, steps.shape[1] - self.num_lags :]

    def rows(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """What the trees are given of each step, ``[B, T, C]``, and the filled steps with those before them."""
        filled, seen = fill_last_seen(x, past[:, -1])
        if self.has_cycles:
            filled = count_on(filled, seen, self.cycle_lengths)
        steps = torch.cat([past, filled], dim=1)

        def before(lag: int, places: Sequence[int]) -> Tensor:
            start = self.num_lags - lag
            return steps[:, start : start + x.shape[1], places]

        lags = [before(lag, self.places) for lag in range(self.num_lags + 1)]
        changes = [filled[..., self.amounts] - before(lag, self.amounts) for lag in _CHANGES if lag <= self.num_lags]
        return torch.cat([*lags, *(lags[0] - lag for lag in lags[1:]), filled, *changes], dim=-1), steps


class BoostedForecaster(Ensemble):
    """A forecaster, or an ensemble of them, and trees, as one network: ``w`` times its answer, ``1 - w`` times theirs.

    ``weight [H, K, 1]`` is ``w``. Quantiles are put in order: each is beyond the one before it, seen from the median.
    """

    weight: Tensor

    def __init__(self, network: nn.Module, trees: TreeForecaster) -> None:
        super().__init__([network, trees])
        self.forecasts, self.num_targets = trees.forecasts, len(trees.places)
        self.state_names = (*network.state_names, *trees.state_names)  # type: ignore[misc]
        self.register_buffer("weight", torch.full((trees.forecasts.num_steps, self.num_targets, 1), 0.5))

    @property
    def sizes(self) -> dict[str, int]:
        """Of the trees: what a run keeps to build them again."""
        trees = cast(TreeForecaster, self.members[1]).trees
        return {"num_trees": trees.num_trees, "depth": trees.depth}

    def initial_state(self, batch_size: int) -> States:
        """The network's, and the past that the trees read."""
        return tuple(state for member in self.members for state in member.initial_state(batch_size))  # type: ignore[operator]

    def forward(self, x: Tensor, *given: Tensor) -> States:
        """As the network's; ``given``: what is known of a series as a whole, if anything is, and the states."""
        network, trees = self.members
        answers, *after = network(x, *given[:-1])
        boosted, past = trees(x, given[-1])
        mixed = self.weight * self.forecasts.apart(answers, self.num_targets) + (1.0 - self.weight) * boosted
        return self._in_order(mixed).flatten(-3), *after, past

    def _in_order(self, values: Tensor) -> Tensor:
        parts = list(values.unbind(-1))
        for place in range(self.forecasts.point - 1, -1, -1):
            parts[place] = torch.minimum(parts[place], parts[place + 1])
        for place in range(self.forecasts.point + 1, len(parts)):
            parts[place] = torch.maximum(parts[place], parts[place - 1])
        ordered = torch.stack(parts, dim=-1)
        return ordered if self.forecasts.least is None else ordered.clamp(min=self.forecasts.least)
