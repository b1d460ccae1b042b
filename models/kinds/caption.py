"""Captions of handwritten digits, spelled letter by letter (``kind = "caption"``)."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AliasChoices, Field
from torch import Tensor

from ostinato.models.data.digits import (
    IMAGE_SIZE,
    NAMES,
    SYMBOLS,
    Digits,
    DigitsRecipe,
    Parts,
    load_digits,
    names_to_codes,
    shifted,
    split,
)
from ostinato.models.data.lines import EDGE, EDGE_CODE
from ostinato.models.data.series import Floats
from ostinato.models.networks.caption import Captioner, spell
from ostinato.models.recipe import Count, Fraction, RunRecipe, Section, TrainingRecipe
from ostinato.models.report import ScoreTable
from ostinato.models.run_files import Trained, read_run
from ostinato.models.training.fitting import Fitted, fit_rows
from ostinato.models.training.generation import loss_of
from ostinato.models.training.job import Job


class CaptionNetworkRecipe(Section):
    """Sizes; ``num_channels`` is that of the first convolution, ``dropout`` is of the picture's features."""

    num_channels: Count = 16
    embedding_size: Count = 16
    hidden_size: Count = 64
    dropout: Fraction = 0.0


class CaptionTrainingRecipe(TrainingRecipe):
    """How it is trained; ``max_shift``: by how many pixels at most a picture is moved each time it is learned from."""

    max_epochs: Count = Field(default=60, validation_alias=AliasChoices("max_epochs", "num_epochs"))
    max_shift: Annotated[int, Field(ge=0, lt=IMAGE_SIZE)] = 1


class CaptionRecipe(RunRecipe):
    """All that one training run depends on."""

    kind: Literal["caption"]
    data: DigitsRecipe
    network: CaptionNetworkRecipe = CaptionNetworkRecipe()
    training: CaptionTrainingRecipe = CaptionTrainingRecipe()


RECIPE = CaptionRecipe


@dataclass(frozen=True)
class CaptionScores:
    """Fractions of the held-out digits whose name came out right, to the letter."""

    spelled_right: float
    nearest_centroid: float
    most_frequent: float
    num_scored: int


@dataclass(frozen=True)
class CaptionRun:
    """A trained captioner, ready to export, with the content of ``run.json``."""

    network: Captioner
    content: dict[str, Any]


def train(recipe: CaptionRecipe, job: Job) -> Trained:
    """Train what a recipe says, as ``ostinato.models.kinds.registry`` has it.

    Raises:
        TrainingError: the data cannot be used, or training fails.
    """
    parts = split(recipe.data, load_digits(recipe.data.file))
    network, fitted = fit(recipe, parts.training, parts.validation, job)
    scores = score(network, parts.training, parts.test)
    return Trained(
        network,
        fitted,
        data=_data(recipe, parts),
        metrics=asdict(scores),
        sections=(_table(scores, fitted),),
        of_the_kind={
            "vocabularies": {"target": {"symbols": SYMBOLS, "separator": "", "special": (EDGE,)}},
            "start": EDGE_CODE,
            "stop": EDGE_CODE,
            "statistics": _statistics(parts.training.pixels),
        },
    )


def load_run(directory: Path) -> CaptionRun:
    """The captioner of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def _build(content: dict[str, Any]) -> CaptionRun:
    return CaptionRun(build_captioner(CaptionRecipe.model_validate(content["recipe"]).network), content)


def fit(recipe: CaptionRecipe, training: Digits, validation: Digits, job: Job) -> tuple[Captioner, Fitted]:
    """A network trained on one part of the digits, with the weights of its best epoch by the loss on another.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    network = build_captioner(recipe.network)
    pixels = torch.from_numpy(training.pixels)
    given, wanted = names_to_codes(training.digits)
    shift = recipe.training.max_shift

    def loss(rows: Tensor) -> Tensor:
        moved = shifted(pixels[rows], torch.randint(-shift, shift + 1, (len(rows), 2)))
        return loss_of(network(moved, given[rows]), wanted[rows])

    fitted = fit_rows(
        network,
        len(pixels),
        recipe.training,
        loss,
        lambda: mean_loss(network, validation),
        job,
        "validation loss",
    )
    return network, fitted


def build_captioner(recipe: CaptionNetworkRecipe) -> Captioner:
    """The network that a recipe asks for, untrained."""
    return Captioner(len(SYMBOLS), recipe.num_channels, recipe.embedding_size, recipe.hidden_size, recipe.dropout)


@torch.no_grad()
def mean_loss(network: Captioner, digits: Digits) -> float:
    """The mean cross-entropy of a letter, the edge behind the last one among them, in nats."""
    network.eval()
    given, wanted = names_to_codes(digits.digits)
    return loss_of(network(torch.from_numpy(digits.pixels), given), wanted).item()


def score(network: Captioner, training: Digits, test: Digits) -> CaptionScores:
    """Spell each test picture, and let two simple rules guess what it shows, both from the training part alone."""
    network.eval()
    codes = spell(network, torch.from_numpy(test.pixels), EDGE_CODE, EDGE_CODE, max_steps=2 * max(map(len, NAMES)))
    spelled = ["".join(SYMBOLS[code] for code in row) for row in codes]
    right = [name == NAMES[digit] for name, digit in zip(spelled, test.digits, strict=True)]
    most_frequent, _ = Counter(training.digits.tolist()).most_common(1)[0]
    return CaptionScores(
        spelled_right=float(np.mean(right)),
        nearest_centroid=float(np.mean(nearest_centroids(training, test.pixels) == test.digits)),
        most_frequent=float(np.mean(test.digits == most_frequent)),
        num_scored=len(right),
    )


def nearest_centroids(training: Digits, pixels: Floats) -> NDArray[np.int64]:
    """For each picture ``[N, 64]`` the digit whose mean picture is nearest to it."""
    known = np.unique(training.digits)
    means = np.stack([training.pixels[training.digits == digit].mean(axis=0) for digit in known])
    distances = ((pixels[:, None, :] - means[None, :, :]) ** 2).sum(axis=-1)
    nearest: NDArray[np.int64] = known[distances.argmin(axis=1)]
    return nearest


def _data(recipe: CaptionRecipe, parts: Parts) -> dict[str, Any]:
    return {
        "sha256": hashlib.sha256(recipe.data.file.read_bytes()).hexdigest(),
        "num_digits": {
            "training": len(parts.training.digits),
            "validation": len(parts.validation.digits),
            "test": len(parts.test.digits),
        },
    }


def _statistics(pixels: Floats) -> dict[str, list[float]]:
    """What each pixel looked like in training; of pictures ``[N, 64]``."""
    found = {"mean": pixels.mean(axis=0), "std": pixels.std(axis=0)}
    found |= {"minimum": pixels.min(axis=0), "maximum": pixels.max(axis=0)}
    return {name: numbers.tolist() for name, numbers in found.items()}


def _table(scores: CaptionScores, fitted: Fitted) -> ScoreTable:
    rows = (
        ("network, spelled letter by letter", scores.spelled_right),
        ("nearest mean picture", scores.nearest_centroid),
        ("always the most frequent", scores.most_frequent),
    )
    return ScoreTable(
        title=f"names of {scores.num_scored} held-out digits",
        columns=("captions", "right"),
        rows=tuple((name, f"{fraction:.1%}") for name, fraction in rows),
        note=fitted.sentence(),
    )
