"""Trees that LightGBM learned, as a network's buffers hold them (models/networks/boosted.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ostinato.models.data.series import Floats
from ostinato.models.networks.boosted import BoostedTrees

# Sums of so many bits are whole in float32.
_SUM_BITS = 23


@dataclass(frozen=True)
class CompleteTree:
    """A complete tree of the depth D: features int64 and thresholds float32 ``[2^D - 1]``, leaves float64 ``[2^D]``."""

    feature: NDArray[np.int64]
    threshold: Floats
    leaf: NDArray[np.float64]

    @classmethod
    def of_dump(cls, structure: Mapping[str, Any], depth: int) -> CompleteTree:
        """A tree as ``Booster.dump_model`` writes it.

        LightGBM compares in float64. A threshold is rounded down to float32 here, so that a float32 lies on the same
        side of it.
        """
        num_nodes = 2**depth - 1
        made = cls(np.zeros(num_nodes, np.int64), np.full(num_nodes, np.inf, np.float32), np.zeros(num_nodes + 1))
        made._plant(structure, 0)
        return made

    def _plant(self, structure: Mapping[str, Any], place: int) -> None:
        num_nodes = len(self.feature)
        if "leaf_value" in structure:
            # A branch that has ended goes on to the left, as the thresholds there are infinite.
            while place < num_nodes:
                place = 2 * place + 1
            self.leaf[place - num_nodes] = structure["leaf_value"]
            return
        assert (structure["decision_type"], structure["missing_type"]) == ("<=", "None"), "amounts, none missing"
        self.feature[place] = structure["split_feature"]
        self.threshold[place] = rounded_down(structure["threshold"])
        self._plant(structure["left_child"], 2 * place + 1)
        self._plant(structure["right_child"], 2 * place + 2)


def rounded_down(value: float) -> np.float32:
    """The greatest float32 that is not above a number."""
    near = np.float32(value)
    return np.nextafter(near, np.float32(-np.inf)) if float(near) > value else near


def boosted(
    settings: Mapping[str, Any],
    training: tuple[Floats, Floats],
    validation: tuple[Floats, Floats],
    seeds: Sequence[int],
    num_rounds: int,
    patience_rounds: int,
) -> list[CompleteTree]:
    """The trees of a booster for each seed, whose sum is the mean of what the boosters predict.

    Args:
        settings: LightGBM's; it has ``max_depth``.
        training, validation: rows ``[n, C]``, finite, and what is to be predicted, ``[n]``.
        num_rounds, patience_rounds: so many trees at most; so many without a better validation error end it.
    """
    import lightgbm

    rows, wanted = training
    learned = lightgbm.Dataset(rows, wanted, params={"verbose": -1}, free_raw_data=False)
    held_out = lightgbm.Dataset(*validation, reference=learned, free_raw_data=False)
    trees = []
    for seed in seeds:
        booster = lightgbm.train(
            {**settings, "seed": seed},
            learned,
            num_rounds,
            valid_sets=[held_out],
            callbacks=[lightgbm.early_stopping(patience_rounds, verbose=False)],
        )
        dump = booster.dump_model(num_iteration=booster.best_iteration)
        trees += [CompleteTree.of_dump(one["tree_structure"], settings["max_depth"]) for one in dump["tree_info"]]
    return [CompleteTree(tree.feature, tree.threshold, tree.leaf / len(seeds)) for tree in trees]


def plant(network: BoostedTrees, groups: Sequence[Sequence[CompleteTree]]) -> None:
    """Put trees in their places: a group for each output.

    Leaves become multiples of a power of two, the least by which float32 holds any sum of a group's leaves.
    """
    firsts = accumulate(map(len, groups), initial=0)
    for first, trees in zip(firsts, groups, strict=False):
        most = sum(float(np.abs(tree.leaf).max()) for tree in trees)
        unit = 2.0 ** (np.ceil(np.log2(most)) - _SUM_BITS) if most else 1.0
        for place, tree in enumerate(trees, start=first):
            network.feature[place] = torch.from_numpy(tree.feature)
            network.threshold[place] = torch.from_numpy(tree.threshold)
            network.leaf[place] = torch.from_numpy((np.round(tree.leaf / unit) * unit).astype(np.float32))
