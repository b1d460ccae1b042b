"""reservoirpy on the series of ``benchmarks.networks.echo_state``; run by a Python that has it, and needs no more.

``PYTHON benchmarks/networks/reservoirpy_figures.py DATA.npz``
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
from reservoirpy.mat_gen import uniform
from reservoirpy.nodes import Input, Reservoir, Ridge


def score(x: Any, y: Any, split: int, settings: dict[str, Any], seed: int) -> float:
    """NRMSE behind the split: root of the mean squared error over the standard deviation of what was true."""
    source = Input()
    reservoir = Reservoir(
        settings["reservoir_size"],
        sr=settings["spectral_radius"],
        lr=settings["leak"],
        input_scaling=settings["input_scaling"],
        rc_connectivity=1 - settings["sparsity"],
        input_connectivity=1.0,
        W=uniform(low=-1.0, high=1.0),
        Win=uniform(low=-1.0, high=1.0),
        bias=uniform(low=-settings["bias_scaling"], high=settings["bias_scaling"]),
        seed=seed,
    )
    readout = Ridge(ridge=settings["ridge"])
    model = [source >> reservoir, source] >> readout
    model.fit(x[:split], y[:split], warmup=settings["washout_steps"])
    model.reset()
    made = model.run(x)[split:]
    true = y[split:]
    return float(np.sqrt(np.mean((made - true) ** 2)) / true.std())


if __name__ == "__main__":
    data = np.load(sys.argv[1])
    num_seeds = int(data["num_seeds"])
    for name, settings in json.loads(str(data["settings"])).items():
        x, y = data[f"{name}_x"].astype(np.float64), data[f"{name}_y"].astype(np.float64)
        made = [score(x, y, int(data[f"{name}_split"]), settings, seed) for seed in range(num_seeds)]
        print(f"{name}: NRMSE {np.mean(made):.5f}, {np.std(made):.5f} over {num_seeds} seeds")
