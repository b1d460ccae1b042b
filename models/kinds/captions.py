"""A text for each picture, symbol by symbol (``kind = "captions"``): names of digits, short descriptions."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ostinato.models.data.lines import EDGE, EDGE_CODE, Lines
from ostinato.models.data.picture_draft import draft_of_pictures
from ostinato.models.data.pictures import PictureParts, Pictures, PicturesRecipe, load_pictures, shifted, turned
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError
from ostinato.models.networks.caption import Captioner, spell
from ostinato.models.networks.ensemble import joined
from ostinato.models.recipe import Count, Fraction, RunRecipe, Section, TrainingRecipe
from ostinato.models.report import BarChart, ReportPart, ScoreTable
from ostinato.models.rivals.pictures import RIVALS
from ostinato.models.rivals.rival import NETWORK, answers_of, metric_name
from ostinato.models.run_files import Trained, read_run
from ostinato.models.scores.captions import CaptionScores
from ostinato.models.training.fitting import Fitted, fit_rows
from ostinato.models.training.generation import loss_of
from ostinato.models.training.job import Job
from ostinato.models.training.members import train_members

_SCORED = 512
_EXAMPLES = 25


class CaptionNetworkRecipe(Section):
    """Sizes of a network that reads a picture and writes a text.

    ``unit``: what is written in one step, a character or a word.
    ``num_channels``: channels of the first convolution.
    ``embedding_size``: numbers that represent a symbol.
    ``hidden_size``: hidden units of the decoder.
    ``dropout``: of the features of the picture.
    """

    unit: Literal["characters", "words"] = "characters"
    num_channels: Count = 32
    embedding_size: Count = 16
    hidden_size: Count = 64
    dropout: Fraction = 0.3


class CaptionTrainingRecipe(TrainingRecipe):
    """How it is trained: each time a picture is learned from, it is changed by random amounts.

    ``max_shift``: by how many pixels at most a picture is moved; by whole pixels if it is neither turned nor resized.
    ``max_turn_degrees``: by how many degrees at most a picture is turned.
    ``max_resize``: by what part of its size at most a picture grows or shrinks.
    """

    max_epochs: Count = 40
    learning_rate: Annotated[float, Field(gt=0, le=1e36)] = 6e-3
    warm_up_epochs: Annotated[float, Field(ge=0)] = 4.0
    max_shift: Annotated[int, Field(ge=0)] = 1
    max_turn_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    max_resize: Fraction = 0.0


class CaptionsRecipe(RunRecipe):
    """A model that writes a text for a picture."""

    kind: Literal["captions"]
    data: PicturesRecipe
    network: CaptionNetworkRecipe = CaptionNetworkRecipe()
    training: CaptionTrainingRecipe = CaptionTrainingRecipe()


RECIPE = CaptionsRecipe


@dataclass(frozen=True)
class CaptionsRun:
    """A trained captioner, ready to export, with the content of ``run.json``."""

    network: Captioner
    content: dict[str, Any]


def train(recipe: CaptionsRecipe, job: Job) -> Trained:
    """Train on one part of the pictures, stop by another, score once on the third (models/kinds/registry.py).

    Raises:
        TrainingError: the data cannot be used, or training fails.
    """
    data = load_pictures(recipe.data)
    symbols = _symbols(recipe, data)

    def train_one(training: CaptionTrainingRecipe, own: Job) -> tuple[Captioner, Fitted]:
        member = recipe.model_copy(update={"training": training})
        network = build(member, len(symbols), data.shape, data.most)
        return network, fit(network, member, data, symbols, own)

    network, fitted = train_members(recipe.training, job, train_one)
    metrics, sections = _scored(network, recipe, data, symbols, fitted)
    separator = " " if recipe.network.unit == "words" else ""
    training = data.parts["training"].pixels.reshape(len(data.parts["training"].texts), -1)
    return Trained(
        network,
        fitted,
        data=data.content(),
        metrics=metrics,
        sections=sections,
        of_the_kind={
            "vocabularies": {"target": {"symbols": symbols, "separator": separator, "special": (EDGE,)}},
            "start": EDGE_CODE,
            "stop": EDGE_CODE,
            "pictures": {"shape": data.shape, "most": data.most, "names": data.names},
            "max_symbols": max(len(units(text, recipe)) for part in data.parts.values() for text in part.texts),
            "statistics": {
                "mean": training.mean(axis=0).tolist(),
                "std": training.std(axis=0).tolist(),
                "minimum": training.min(axis=0).tolist(),
                "maximum": training.max(axis=0).tolist(),
            },
        },
    )


def load_run(directory: Path) -> CaptionsRun:
    """The captioner of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def _build(content: dict[str, Any]) -> CaptionsRun:
    recipe = CaptionsRecipe.model_validate(content["recipe"])
    channels, height, width = content["pictures"]["shape"]
    num_codes = len(content["vocabularies"]["target"]["symbols"])
    shape, most = (channels, height, width), content["pictures"]["most"]
    members = [build(recipe, num_codes, shape, most) for _ in range(recipe.training.members)]
    return CaptionsRun(joined(members), content)


def build(recipe: CaptionsRecipe, num_codes: int, shape: tuple[int, int, int], most: float) -> Captioner:
    """The network that a recipe asks for, untrained."""
    sizes = recipe.network
    return Captioner(
        num_codes,
        sizes.num_channels,
        sizes.embedding_size,
        sizes.hidden_size,
        sizes.dropout,
        shape=shape,
        most=most,
    )


def begin(file: Path) -> Draft:
    """A recipe for a table of pixels, a table that names files, or a folder with such a table.

    Raises:
        DataError: the file is none of these.
    """
    return draft_of_pictures(file)


def fit(network: Captioner, recipe: CaptionsRecipe, data: PictureParts, symbols: tuple[str, ...], job: Job) -> Fitted:
    """Train until the validation loss stops falling; the best epoch's weights stay.

    Raises:
        Diverged: the loss is no longer a finite number.
    """
    device = recipe.training.device
    network.to(device)
    training, validation = data.parts["training"], data.parts["validation"]
    pixels = torch.from_numpy(training.pixels).to(device)
    given, wanted = (codes.to(device) for codes in _whole(_spelled(training, recipe, symbols)))

    def loss(rows: Tensor) -> Tensor:
        return loss_of(network(varied(pixels[rows], recipe.training), given[rows]), wanted[rows])

    fitted = fit_rows(
        network,
        len(pixels),
        recipe.training,
        loss,
        lambda: mean_loss(network, validation, recipe, symbols),
        job,
        "validation loss",
    )
    network.cpu()
    return fitted


def varied(pixels: Tensor, recipe: CaptionTrainingRecipe) -> Tensor:
    """Pictures ``[B, C, H, W]`` moved, turned and resized at random, as a recipe has it."""
    device, count = pixels.device, len(pixels)
    shift = min(recipe.max_shift, *(side - 1 for side in pixels.shape[-2:]))
    if not recipe.max_turn_degrees and not recipe.max_resize:
        return shifted(pixels, torch.randint(-shift, shift + 1, (count, 2)).to(device))
    drawn = 2.0 * torch.rand(count, 4) - 1.0
    most = torch.tensor([shift, shift, recipe.max_turn_degrees, recipe.max_resize])
    down, right, degrees, resize = (drawn * most).to(device).unbind(1)
    return turned(pixels, torch.stack([down, right], dim=1), degrees, 1.0 + resize)


@torch.no_grad()
def mean_loss(network: Captioner, pictures: Pictures, recipe: CaptionsRecipe, symbols: tuple[str, ...]) -> float:
    """The mean cross-entropy of a symbol, the edge behind the last one among them, in nats."""
    device = next(network.parameters()).device
    texts = _spelled(pictures, recipe, symbols)
    total = 0.0
    for rows in torch.split(torch.arange(len(texts)), _SCORED):
        given, wanted = texts.batch(rows)
        scores = network(torch.from_numpy(pictures.pixels[rows.numpy()]).to(device), given.to(device))
        total += loss_of(scores, wanted.to(device)).item() * int(texts.lengths[rows].sum())
    return total / int(texts.lengths.sum())


def units(text: str, recipe: CaptionsRecipe) -> list[str]:
    """A text as what is written step by step."""
    return text.split() if recipe.network.unit == "words" else list(text)


def _symbols(recipe: CaptionsRecipe, data: PictureParts) -> tuple[str, ...]:
    """The edge, and all that texts are written with.

    Raises:
        DataError: a held-out text has a symbol that no text of the training part has.
    """
    known = {unit for text in data.parts["training"].texts for unit in units(text, recipe)}
    for part in ("validation", "test"):
        for text in data.parts[part].texts:
            if new := sorted(set(units(text, recipe)) - known):
                raise DataError(
                    f"{recipe.data.file}: {new[0]!r} in {text!r} is in no text of the training part: nothing can learn "
                    "to write it; give more rows, or data.validation_from and data.test_from further behind"
                )
    return (EDGE, *sorted(known - {EDGE}))


def _spelled(pictures: Pictures, recipe: CaptionsRecipe, symbols: tuple[str, ...]) -> Lines:
    codes = {symbol: code for code, symbol in enumerate(symbols)}
    return Lines.of([[codes[unit] for unit in units(text, recipe)] for text in pictures.texts])


def _whole(lines: Lines) -> tuple[Tensor, Tensor]:
    """Given and wanted of all lines."""
    return lines.batch(torch.arange(len(lines)))


def _scored(
    network: Captioner, recipe: CaptionsRecipe, data: PictureParts, symbols: tuple[str, ...], fitted: Fitted
) -> tuple[dict[str, Any], list[ReportPart]]:
    test = data.parts["test"]
    longest = max(len(units(text, recipe)) for part in data.parts.values() for text in part.texts)
    joint = " " if recipe.network.unit == "words" else ""
    written: list[str] = []
    for rows in np.array_split(np.arange(len(test.texts)), -(-len(test.texts) // _SCORED)):
        codes = spell(network, torch.from_numpy(test.pixels[rows]), EDGE_CODE, EDGE_CODE, max_steps=2 * longest)
        written += [joint.join(symbols[code] for code in row) for row in codes]
    texts = [joint.join(units(text, recipe)) for text in test.texts]
    theirs, missing = answers_of(RIVALS, data)
    scores = {
        name: CaptionScores.of([joint.join(units(text, recipe)) for text in found], texts)
        for name, found in {NETWORK: written, **theirs}.items()
    }
    table = ScoreTable(
        title=f"texts of {len(texts):,} held-out pictures",
        columns=("captions", "right, to the letter", "wrong letters"),
        rows=tuple((name, f"{one.right:.1%}", f"{one.letter_error:.1%}") for name, one in scores.items()),
        note="; ".join(filter(None, (fitted.sentence(), missing))),
    )
    wrong = [(true, found) for true, found in zip(texts, written, strict=True) if true != found][:_EXAMPLES]
    mistakes = ScoreTable("mistakes, the first", ("true", "written"), tuple(wrong), printed=False)
    metrics = {metric_name(name): asdict(one) for name, one in scores.items()}
    return {**metrics, "num_scored": len(texts)}, [table, _by_text(texts, written), mistakes]


def _by_text(texts: list[str], written: list[str]) -> BarChart:
    """How many of each text came out right, the most frequent texts first."""
    counts = Counter(texts)
    shown = [text for text, _ in counts.most_common(20)]
    right = Counter(true for true, found in zip(texts, written, strict=True) if true == found)
    return BarChart(
        "right, by text", "text", "part that is right", shown, {"right": [right[t] / counts[t] for t in shown]}
    )
