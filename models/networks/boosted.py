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

Of each output there are as many trees as it needs. Columns are counted in int16, so that a tree of the depth 5 is 314
bytes of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor, nn

from ostinato.models.networks.ensemble import Ensemble
from ostinato.models.networks.features import Features
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.networks.recurrent import States, fill_and_count_on, fill_last_seen

_ROWS = 256
_CHANGES = (1, 3, 6, 12, 24)


class BoostedTrees(nn.Module):
    """Sums of trees over rows of numbers, ``forward(rows [N, C]) -> [N, O]``; the trees of an output are neighbours.

    Args:
        num_trees: of each of the O outputs.
        depth: D.
    """

    feature: Tensor
    threshold: Tensor
    leaf: Tensor
    summed: Tensor

    def __init__(self, num_trees: Sequence[int], depth: int) -> None:
        super().__init__()
        self.num_trees, self.depth = tuple(num_trees), depth
        self.total, num_nodes = sum(num_trees), 2**depth - 1
        self.register_buffer("feature", torch.zeros(self.total, num_nodes, dtype=torch.int16))
        self.register_buffer("threshold", torch.full((self.total, num_nodes), torch.inf))
        self.register_buffer("leaf", torch.zeros(self.total, num_nodes + 1))
        # The trees of each output, and for what it has fewer than others a place behind the last tree, which is 0.
        ends = list(accumulate(num_trees))
        places = [
            [*range(end - number, end), *[self.total] * (max(num_trees) - number)]
            for number, end in zip(num_trees, ends, strict=True)
        ]
        self.register_buffer("summed", torch.tensor(places), persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """As above; what stands in rows is finite."""
        if torch.compiler.is_exporting():
            return self._sums(rows)
        # Each row has a place in every tree: of many rows at once that is more memory than there may be.
        return torch.cat([self._sums(part) for part in torch.split(rows, _ROWS)])

    def _sums(self, rows: Tensor) -> Tensor:
        num_nodes = 2**self.depth - 1
        trees = torch.arange(self.total, device=rows.device)
        node = torch.zeros_like(trees).expand(rows.shape[0], -1)
        for _ in range(self.depth):
            place = node + trees * num_nodes
            is_above = torch.gather(rows, 1, _at(self.feature, place).to(torch.int64)) > _at(self.threshold, place)
            node = 2 * node + 1 + is_above.to(torch.int64)
        reached = _at(self.leaf, node - num_nodes + trees * (num_nodes + 1))
        padded = torch.cat([reached, torch.zeros_like(reached[:, :1])], dim=-1)
        summed = self.summed.flatten().expand(rows.shape[0], -1)
        return padded.gather(1, summed).reshape(-1, *self.summed.shape).sum(dim=-1)


def _at(table: Tensor, places: Tensor) -> Tensor:
    """The numbers of a table at places ``[N, K]``, counted through its rows.

    By ``gather``: onnxruntime's ``GatherElements`` takes a tenth of the time of its ``Gather`` and ``GatherND``.
    """
    return table.flatten().gather(0, places.flatten()).reshape(places.shape)


class TreeForecaster(nn.Module):
    """Boosted trees that keep the recurrent contract: ``forward(x, past) -> (y, past)``.

    Args:
        num_lags: L, at least 1.
        num_trees, depth: see ``BoostedTrees``; outputs are in the order of the forecasts' numbers.
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
        num_trees: Sequence[int],
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
        self.trees = BoostedTrees(num_trees, depth)

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
        if self.has_cycles:
            filled, _ = fill_and_count_on(x, past[:, -1], self.cycle_lengths)
        else:
            filled, _ = fill_last_seen(x, past[:, -1])
        steps = torch.cat([past, filled], dim=1)

        now = torch.arange(x.shape[1], device=x.device).unsqueeze(-1) + self.num_lags

        def before(lags: Sequence[int], places: Sequence[int]) -> Tensor:
            ago = (now - torch.tensor(lags, device=x.device)).flatten()
            return steps[:, :, places].index_select(1, ago).reshape(-1, x.shape[1], len(lags), len(places))

        lags = before(range(self.num_lags + 1), self.places)
        known = [lag for lag in _CHANGES if lag <= self.num_lags]
        changes = filled[..., self.amounts].unsqueeze(2) - before(known, self.amounts)
        parts = [lags, lags[:, :, :1] - lags[:, :, 1:], filled.unsqueeze(2), changes]
        return torch.cat([part.flatten(2) for part in parts], dim=-1), steps


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
    def sizes(self) -> dict[str, Any]:
        """Of the trees: what a run keeps to build them again."""
        trees = cast(TreeForecaster, self.members[1]).trees
        return {"num_trees": list(trees.num_trees), "depth": trees.depth}

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
