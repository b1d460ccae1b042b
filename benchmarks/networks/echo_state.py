"""Echo state networks on two standard series: ours, or reservoirpy's with the same settings, data and seeds.

``python -m benchmarks.networks.echo_state DATA.npz`` writes the series and scores ours;
``PYTHON benchmarks/networks/reservoirpy_figures.py DATA.npz``, with a Python that has reservoirpy, scores theirs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.networks.series import Task, mackey_glass, narma10
from ostinato.models.networks.echo_state import EchoStateNetwork, EchoStateRecipe

NUM_SEEDS = 10
SHARED = {"reservoir_size": 300, "sparsity": 0.9, "bias_scaling": 0.1, "washout_steps": 100}
SETTINGS: dict[str, dict[str, Any]] = {
    "mackey_glass": {"spectral_radius": 1.2, "leak": 0.6, "input_scaling": 1.0, "ridge": 1e-8, **SHARED},
    # With less of either, the read-out differs large numbers, and float32 has no digits left for what remains.
    "narma10": {"spectral_radius": 0.9, "leak": 1.0, "input_scaling": 0.3, "ridge": 1e-6, **SHARED},
}


def tasks() -> dict[str, Task]:
    """Both series."""
    return {"mackey_glass": mackey_glass(), "narma10": narma10()}


def fitted(task: Task, settings: dict[str, Any], seed: int) -> EchoStateNetwork:
    """A network of this seed, its read-out learned from what is before the split."""
    torch.manual_seed(seed)
    network = EchoStateNetwork(EchoStateRecipe(**settings), task.x.shape[1], task.y.shape[1])
    network.fit(torch.from_numpy(task.x[None, : task.split]), torch.from_numpy(task.y[None, : task.split]))
    return network


def error(task: Task, network: EchoStateNetwork) -> float:
    """NRMSE behind the split, the states carried on from before it."""
    with torch.no_grad():
        made, *_ = network(torch.from_numpy(task.x[None]), *network.initial_state(1))
    return task.nrmse(made[0].numpy())


def scores(name: str) -> list[float]:
    """NRMSE of each seed."""
    task = tasks()[name]
    return [error(task, fitted(task, SETTINGS[name], seed)) for seed in range(NUM_SEEDS)]


def write(path: Path) -> None:
    """Both series as ``<name>_x``, ``_y`` and ``_split``, and what is asked of a reservoir."""
    arrays: dict[str, Any] = {"settings": json.dumps(SETTINGS), "num_seeds": NUM_SEEDS}
    for name, task in tasks().items():
        arrays |= {f"{name}_x": task.x, f"{name}_y": task.y, f"{name}_split": task.split}
    np.savez(path, **arrays)


def main() -> None:
    """Write the data, and print our figures."""
    if len(sys.argv) > 1:
        write(Path(sys.argv[1]))
    for name, task in tasks().items():
        made = scores(name)
        linear = task.linear_rival()
        print(f"{name}: NRMSE {np.mean(made):.5f}, {np.std(made):.5f} over {NUM_SEEDS} seeds; linear {linear:.3f}")


if __name__ == "__main__":
    main()
