"""The next number of a series (``kind = "next_number"``); a file of numbers, one a line."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ostinato.models.data.files import read_text_lines
from ostinato.models.data.series_recipe import StreamTraining
from ostinato.models.draft import Draft
from ostinato.models.networks.recurrent import States
from ostinato.models.recipe import FileRecipe, RunRecipe
from ostinato.models.report import ScoreTable
from ostinato.models.run_files import Trained, read_run
from ostinato.models.training.job import Job
from ostinato.models.training.streams import check_streams, fit_streams
from tests.toy_kind.network import NextNumber, NextNumberNetwork


class NextNumberRecipe(RunRecipe):
    """All that one training run depends on."""

    kind: Literal["next_number"]
    data: FileRecipe
    network: NextNumberNetwork = NextNumberNetwork()
    training: StreamTraining = StreamTraining()


@dataclass(frozen=True)
class NextNumberRun:
    """A trained network, ready to export, with the content of ``run.json``."""

    network: NextNumber
    content: dict[str, Any]


RECIPE = NextNumberRecipe


def train(recipe: NextNumberRecipe, job: Job) -> Trained:
    series = torch.tensor([[float(line)] for line in read_text_lines(recipe.data.file)])
    num_training, num_validation = len(series) * 6 // 10, len(series) * 8 // 10
    training = series[:num_training]
    check_streams(len(training), len(training) - 1, recipe.training)
    network = NextNumber(recipe.network)

    def loss(x: Tensor, target: Tensor, states: States) -> tuple[Tensor, States]:
        y, *after = network(x, *states)
        return (y - target).abs().mean(), tuple(after)

    fitted = fit_streams(
        network,
        network.initial_state,
        training[:-1],
        training[1:],
        recipe.training,
        loss,
        lambda: error(network, series[num_training:num_validation]),
        job,
        "validation loss",
    )
    test = series[num_validation:]
    scores = {"mae": error(network, test), "persistence_mae": (test[1:] - test[:-1]).abs().mean().item()}
    data = {"sha256": hashlib.sha256(recipe.data.file.read_bytes()).hexdigest(), "num_steps": len(series)}
    rows = tuple((name, f"{mae:.3f}") for name, mae in scores.items())
    table = ScoreTable("the next number", ("forecast", "MAE"), rows, fitted.sentence())
    return Trained(network, fitted, data=data, metrics=scores, sections=(table,))


def begin(file: Path) -> Draft:
    return Draft(f"The next number of {file.name}", {"network": {"hidden_size": 8}})


def load_run(directory: Path) -> NextNumberRun:
    def build(content: dict[str, Any]) -> NextNumberRun:
        return NextNumberRun(NextNumber(NextNumberRecipe.model_validate(content["recipe"]).network), content)

    return read_run(directory, build)


@torch.no_grad()
def error(network: NextNumber, part: Tensor) -> float:
    """The mean absolute error over a part ``[N, 1]``."""
    network.eval()
    y, _ = network(part[None, :-1], *network.initial_state(1))
    return float((y[0] - part[1:]).abs().mean())
