"""Rows of the comparison: which network, of whom, on what, next to which rival."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.networks.echo_state import SETTINGS, fitted, tasks
from benchmarks.networks.series import Task, bouncing, filtered, gaps, interpolated, mackey_glass
from benchmarks.networks.training import Headed, HeadedWithConstants, PictureHead, train_streamed, train_whole
from ostinato.models.networks.bidirectional import Bidirectional, BidirectionalRecipe
from ostinato.models.networks.context import ContextLayers
from ostinato.models.networks.conv_lstm import CNNLSTM, ConvLSTM2D, FrameEncoder
from ostinato.models.networks.layers import LayersRecipe, build_layers

HIDDEN_SIZE = 32
CONSTANTS = np.array([1.0, -0.5], np.float32)

_FEEDBACK = {"cell": "gated_feedback", "num_layers": 2}


@dataclass(frozen=True)
class NetworkRow:
    """A network of the comparison.

    ``build``: the network, trained. ``rival``: what it is called, and what it scores.
    """

    network: str
    source: str
    task: Task
    rival: str
    build: Callable[[], nn.Module]
    options: dict[str, Any] = field(default_factory=dict)
    constants: Tensor | None = None


CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "simple (Elman), tanh": ("Elman 1990", {"cell": "rnn"}),
    "simple, ReLU": ("Le et al. 2015", {"cell": "rnn", "activation": "relu", "initialiser": "orthogonal"}),
    "output fed back": ("Jordan 1986", {"cell": "jordan"}),
    "LSTM": ("Hochreiter and Schmidhuber 1997, Gers et al. 2000", {"cell": "lstm"}),
    "LSTM, peepholes": ("Gers and Schmidhuber 2000", {"cell": "lstm", "peepholes": True}),
    "LSTM, Keras `hard_sigmoid`": (
        "Keras",
        {"cell": "lstm", "gate_activation": "hard_sigmoid", "initialiser": "keras"},
    ),
    "GRU": ("Cho et al. 2014", {"cell": "gru"}),
    "GRU, `reset_after` false": ("Cho et al. 2014", {"cell": "gru", "reset_after": False, "initialiser": "keras"}),
    "stack of GRU and LSTM": ("none: any cells may be stacked", {"cell": ["gru", "lstm"]}),
    "gated feedback, simple": ("Chung et al. 2015", {**_FEEDBACK, "feedback_cell": "rnn"}),
    "gated feedback, LSTM": ("Chung et al. 2015", {**_FEEDBACK, "feedback_cell": "lstm"}),
    "gated feedback, GRU": ("Chung et al. 2015", {**_FEEDBACK, "feedback_cell": "gru"}),
    "clockwork, periods 1 2 4 8": ("Koutník et al. 2014", {"cell": "clockwork"}),
    "time delay, two layers": ("Waibel et al. 1989", {"cell": "time_delay", "taps": 5, "delay": 3, "num_layers": 2}),
    "NARX": ("Lin et al. 1996", {"cell": "narx", "taps": 8, "output_taps": 4, "fed_back_size": 4}),
    "convolution over steps, then LSTM": ("Waibel et al. 1989", {"cell": ["time_delay", "lstm"], "taps": 5}),
    "minimal with a gate": ("Chen 2017", {"cell": "minimal_gated"}),
    "minGRU": ("Feng et al. 2024", {"cell": "min_gru"}),
    "minGRU, two layers": ("Feng et al. 2024", {"cell": "min_gru", "num_layers": 2}),
    "minLSTM": ("Feng et al. 2024", {"cell": "min_lstm"}),
    "sLSTM": ("Beck et al. 2024", {"cell": "slstm"}),
    "mLSTM": ("Beck et al. 2024", {"cell": "mlstm"}),
    "RG-LRU": ("De et al. 2024", {"cell": "rg_lru"}),
    "convolution over steps, then RG-LRU": (
        "De et al. 2024",
        {"cell": ["time_delay", "rg_lru"], "taps": 4, "activation": "linear"},
    ),
    "LRU": ("Orvieto et al. 2023", {"cell": "lru"}),
    "S5": ("Smith et al. 2023", {"cell": "s5"}),
    "Mamba": ("Gu and Dao 2023", {"cell": "mamba"}),
    "RWKV-7": ("Peng et al. 2025", {"cell": "rwkv7"}),
    "CfC, even steps": ("Hasani et al. 2022", {"cell": "cfc"}),
}


@cache
def chaotic() -> Task:
    """The series that most are compared on."""
    return mackey_glass()


def all_rows() -> Iterator[NetworkRow]:
    """One after the other."""
    task = chaotic()
    linear = f"linear over 30 steps: {task.linear_rival():.3f}"
    for name, (source, recipe) in CELLS.items():
        yield NetworkRow(name, source, task, linear, lambda recipe=recipe: _of_cells(recipe, chaotic()))  # type: ignore[misc]
    for name, series in tasks().items():
        yield NetworkRow(
            "echo state, 300 units",
            "Jaeger 2001",
            series,
            f"linear over 30 steps: {series.linear_rival():.3f}",
            lambda name=name, series=series: fitted(series, SETTINGS[name], 0),  # type: ignore[misc]
        )
    yield from _both_ways()
    yield _with_constants()
    yield from _frames()


def _of_cells(recipe: dict[str, Any], task: Task) -> nn.Module:
    layers = build_layers(LayersRecipe.model_validate({"hidden_size": HIDDEN_SIZE, **recipe}), task.x.shape[1])
    network = Headed(layers, task.y.shape[1])
    train_streamed(network, task)
    return network


class Smoother(nn.Module):
    """Layers both ways and a linear head."""

    def __init__(self, recipe: BidirectionalRecipe) -> None:
        super().__init__()
        self.layers = Bidirectional(recipe, 2)
        self.head = nn.Linear(self.layers.output_size, 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """``[B, T, 2]`` to ``[B, T, 1]``."""
        hidden, _ = self.layers(x, lengths)
        made: Tensor = self.head(hidden)
        return made


def _both_ways() -> Iterator[NetworkRow]:
    task = gaps()
    rival = f"straight lines between: {task.nrmse(interpolated(task)):.3f}"

    def build(cell: str) -> nn.Module:
        network = Smoother(BidirectionalRecipe.model_validate({"cell": cell, "hidden_size": HIDDEN_SIZE}))
        train_whole(network, task)
        return network

    for cell, name in (("rnn", "simple"), ("gru", "GRU"), ("lstm", "LSTM")):
        yield NetworkRow(
            f"both ways, {name}",
            "Schuster and Paliwal 1997",
            task,
            rival,
            lambda cell=cell: build(cell),  # type: ignore[misc]
        )


def _with_constants() -> NetworkRow:
    task, constants = filtered(CONSTANTS), torch.from_numpy(CONSTANTS)

    def build() -> nn.Module:
        recipe = LayersRecipe(cell="minimal", hidden_size=HIDDEN_SIZE)
        network = HeadedWithConstants(ContextLayers(build_layers(recipe, 1 + len(CONSTANTS))), 1)
        train_streamed(network, task, constants)
        return network

    rival = f"linear over 30 steps, and a constant: {task.linear_rival():.3f}"
    return NetworkRow("minimal, with constants", "Keras", task, rival, build, constants=constants)


def _frames() -> Iterator[NetworkRow]:
    task = bouncing()
    rival = f"the last frame: {task.nrmse(task.x):.3f}"
    size = (task.x.shape[-2], task.x.shape[-1])

    def pictures() -> nn.Module:
        network = PictureHead(ConvLSTM2D(1, 8, size))
        train_streamed(network, task, learning_rate=2e-2)  # most of a frame is empty, and its gradients small
        return network

    yield NetworkRow("ConvLSTM2D, 8 channels", "Shi et al. 2015", task, rival, pictures)
    flat = Task(task.name, task.x, task.y.reshape(len(task.y), -1), task.split)

    def rows() -> nn.Module:
        encoder = FrameEncoder(1, 8, size)
        layers = build_layers(LayersRecipe(cell="lstm", hidden_size=2 * HIDDEN_SIZE), encoder.output_size)
        network = Headed(CNNLSTM(encoder, layers), flat.y.shape[1])
        train_streamed(network, flat)
        return network

    yield NetworkRow("CNN of each frame, then LSTM", "Donahue et al. 2015", flat, rival, rows)
