"""Clockwork layers: what a step costs by the phase of the clocks.

Next to a layer that computes all groups and keeps what ticks, and to a simple recurrent layer.
``python -m benchmarks.networks.clockwork``
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ostinato.export.exporter import export_module
from ostinato.models.networks.clockwork import Clockwork
from ostinato.models.networks.initialisers import initialise
from ostinato.models.networks.layer import Keep, Layer
from ostinato.models.networks.torch_layers import TorchLayers
from ostinato.service.artifact.graphs import open_graph
from ostinato.service.artifact.tensors import Input

PERIODS = (1, 2, 4, 8)
HIDDEN_SIZES, BATCH_SIZES = (64, 256, 1024), (1, 64)
_ROUNDS, _RUNS = 20, 20
_NUM_FEATURES = 3


class DenseClockwork(Clockwork):
    """The same function with one product for all groups, and what does not tick thrown away."""

    weight: Tensor

    def __init__(self, layer: Clockwork) -> None:
        super().__init__(_NUM_FEATURES, layer.output_size, layer.periods)
        self.load_state_dict(layer.state_dict())
        weight = torch.zeros(layer.output_size, layer.output_size + _NUM_FEATURES)
        for index, part in enumerate(layer.weights):
            first = index * layer.group_size
            weight[first : first + layer.group_size, first:] = part.detach()
        self.register_buffer("weight", weight)

    def step(self, given: Tensor, states: tuple[Tensor, ...], keep: Keep) -> tuple[Tensor, ...]:
        """As ``Clockwork``."""
        h, clock = states
        new = self.activation(functional.linear(torch.cat([keep(h), given], dim=-1), self.weight, self.bias))
        ticks = (clock % self.clock_periods == 0).repeat_interleave(self.group_size, dim=-1)
        h = torch.where(ticks, new, h)
        return h, h, (clock + 1) % self.cycle


def main() -> None:
    """Print a row for each size of layer and batch; clocks are the same in all rows, or one of eight phases in each."""
    torch.manual_seed(0)
    print("| hidden units | rows | clocks | clockwork: all tick, half, fewest | mean | computing all | simple layer |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for hidden_size in HIDDEN_SIZES:
        layer = Clockwork(_NUM_FEATURES, hidden_size, PERIODS)
        initialise(layer, "torch", hidden_size)
        others = DenseClockwork(layer), TorchLayers("rnn", _NUM_FEATURES, hidden_size)
        with tempfile.TemporaryDirectory() as folder:
            sessions = [_session(each, Path(folder), f"layer-{n}") for n, each in enumerate((layer, *others))]
            for batch_size in BATCH_SIZES:
                for clocks in ("equal", "mixed")[: min(batch_size, 2)]:
                    _print_row(sessions, hidden_size, batch_size, clocks)


def _print_row(sessions: list[Any], hidden_size: int, batch_size: int, clocks: str) -> None:
    begin = np.random.default_rng(0).integers(0, max(PERIODS), batch_size) * (clocks == "mixed")
    costs = [[_cost(each, hidden_size, begin + phase) for phase in range(max(PERIODS))] for each in sessions]
    ours, dense, simple = (np.array(each) for each in costs)
    # Of clocks that are equal all groups tick in phase 0, two of four in phase 2, and one in phase 1.
    phases = f"{ours[0]:.0f}, {ours[2]:.0f}, {ours[1]:.0f} us" if clocks == "equal" else ""
    cells = (hidden_size, batch_size, clocks, phases, *(f"{each.mean():.0f} us" for each in (ours, dense, simple)))
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def _session(layer: Layer, folder: Path, name: str) -> Any:
    features = tuple(f"x{index}" for index in range(_NUM_FEATURES))
    inputs = Input(name="inputs", dtype="float32", shape=("B", "T", _NUM_FEATURES), features=features)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        exported = export_module(layer.eval(), inputs, folder, name=name, state_names=layer.state_names)
    return open_graph(exported.directory / "model.onnx")


def _cost(session: Any, hidden_size: int, clocks: NDArray[np.int64]) -> float:
    """Microseconds of processor time of a run of one step on one thread, the best of some rounds."""
    feeds: dict[str, Any] = {
        "inputs": np.ones((len(clocks), 1, _NUM_FEATURES), np.float32),
        "h": np.zeros((1, len(clocks), hidden_size), np.float32),
        "clock": (clocks % max(PERIODS)).reshape(1, -1, 1),
    }
    feeds = {given.name: feeds[given.name] for given in session.get_inputs()}
    best = float("inf")
    for _ in range(_ROUNDS):
        begun = time.thread_time()
        for _ in range(_RUNS):
            session.run(None, feeds)
        best = min(best, (time.thread_time() - begun) / _RUNS)
    return best * 1e6


if __name__ == "__main__":
    main()
