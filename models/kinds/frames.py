"""Image sequences to the next frames, or to a class for each frame or sequence (``kind = "frames"``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from pydantic import model_validator

from ostinato.models.data.frame_draft import draft_of_frames
from ostinato.models.data.frame_files import FrameFilesRecipe
from ostinato.models.data.frames import FrameForm, FrameParts, load_frames
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError
from ostinato.models.networks.ensemble import joined
from ostinato.models.networks.frames import (
    AnyFrameNetwork,
    FrameClassifier,
    FrameNetworkRecipe,
    FramePredictor,
    FrameScale,
    answers_frames,
)
from ostinato.models.networks.layers_recipe import LayersRecipe
from ostinato.models.recipe import RunRecipe
from ostinato.models.report import ReportPart, ScoreTable
from ostinato.models.run_files import Trained, read_run
from ostinato.models.scores.frames import (
    error_table,
    example_strips,
    horizon_charts,
    nearest_mean_frames,
    next_frame_errors,
    rollout_errors,
)
from ostinato.models.scores.labelled import ClassScores, class_table, confusion_chart, right_by_step
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.frames import FrameTrainingRecipe, fit, probabilities
from ostinato.models.training.job import Job
from ostinato.models.training.members import train_members

_LEAST_SIDE = 4
# What a ConvLSTM has of the keys of layers.
_OF_CONV_LSTM = {"num_layers", "dropout", "forget_bias"}


class FramesRecipe(RunRecipe):
    """A model of sequences of frames: it predicts the next frame, or a label."""

    kind: Literal["frames"]
    data: FrameFilesRecipe
    network: FrameNetworkRecipe = FrameNetworkRecipe()
    training: FrameTrainingRecipe = FrameTrainingRecipe()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.data.predict == "label":
            if self.training.loss not in (None, "cross_entropy"):
                raise ValueError(
                    f"training.loss: {self.training.loss} is of next frames; labels have the cross_entropy"
                )
            return self
        # A recipe that a run has kept says all keys: what is as it would be anyhow asks for nothing.
        fields = LayersRecipe.model_fields
        for name in sorted(set(fields) - _OF_CONV_LSTM):
            if getattr(self.network, name) != fields[name].default:
                raise ValueError(
                    f'network.{name}: is of data.predict = "label"; next frames have layers of ConvLSTM, sized by '
                    "num_channels"
                )
        return self


RECIPE = FramesRecipe


@dataclass(frozen=True)
class FramesRun:
    """A trained network of frames, ready to export, with the content of ``run.json``."""

    network: AnyFrameNetwork
    form: FrameForm
    content: dict[str, Any]


def train(recipe: FramesRecipe, job: Job) -> Trained:
    """Train on one part of the sequences, stop by another, score once on the third (models/kinds/registry.py).

    Raises:
        TrainingError: the data cannot be used, or training fails.
    """
    data = load_frames(recipe.data)
    ranges = data.statistics.channel_range(data.form)

    def train_one(training: FrameTrainingRecipe, own: Job) -> tuple[AnyFrameNetwork, Fitted]:
        network = build(recipe, data.form, ranges, len(data.classes))
        return network, fit(network, data.parts["training"], data.parts["validation"], training, own)

    network, fitted = train_members(recipe.training, job, train_one)
    if answers_frames(network):
        metrics, sections = _scored_frames(network, data, fitted)
    else:
        metrics, sections = _scored_labels(cast(FrameClassifier, network), data, fitted)
    return Trained(
        network,
        fitted,
        data=data.content(),
        metrics=metrics,
        sections=sections,
        of_the_kind={
            "form": asdict(data.form),
            "ranges": ranges,
            "classes": data.classes,
            "statistics": data.statistics.content(),
        },
    )


def load_run(directory: Path) -> FramesRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def _build(content: dict[str, Any]) -> FramesRun:
    form = FrameForm(**content["form"])
    least, most = content["ranges"]
    recipe = FramesRecipe.model_validate(content["recipe"])
    ranges, num_classes = (tuple(least), tuple(most)), len(content["classes"])
    members = [build(recipe, form, ranges, num_classes) for _ in range(recipe.training.members)]
    return FramesRun(joined(members), form, content)


def build(
    recipe: FramesRecipe, form: FrameForm, ranges: tuple[tuple[float, ...], tuple[float, ...]], num_classes: int
) -> AnyFrameNetwork:
    """The network that a recipe asks for, untrained.

    Args:
        ranges: the least and the most of each channel.

    Raises:
        DataError: frames are too small, or no whole number of patches.
    """
    patch_size = recipe.network.patch_size
    if form.height % patch_size or form.width % patch_size:
        raise DataError(
            f"network.patch_size: {patch_size} does not divide frames of {form.height} x {form.width} pixels"
        )
    scale = FrameScale(form, *ranges, patch_size)
    if recipe.data.predict == "next_frame":
        return FramePredictor(scale, recipe.network, sigmoid=recipe.training.loss == "cross_entropy")
    if min(scale.size) < _LEAST_SIDE:
        raise DataError(
            f"{recipe.data.file}: frames of {form.height} x {form.width} pixels in patches of {patch_size} are too "
            f'small for a CNN, which needs {_LEAST_SIDE} each way: lower network.patch_size, or take kind = "tags"'
        )
    return FrameClassifier(scale, recipe.network, num_classes)


def begin(file: Path) -> Draft:
    """A recipe for arrays, a folder of folders of pictures, or a table that lists pictures.

    Raises:
        DataError: the file is none of these.
    """
    return draft_of_frames(file)


def _scored_frames(
    network: FramePredictor, data: FrameParts, fitted: Fitted
) -> tuple[dict[str, Any], list[ReportPart]]:
    ahead, rolled = next_frame_errors(network, data), rollout_errors(network, data)
    sections: list[ReportPart] = [error_table(ahead, rolled, data, fitted.sentence())]
    sections += horizon_charts(rolled)
    sections += example_strips(network, data)
    metrics = {
        name: {own.replace(" ", "_"): errors.content() for own, errors in found.items()}
        for name, found in (("next_frame", ahead), ("rollout", rolled))
    }
    return {**metrics, "horizon": data.horizon, "num_scored": len(data.parts["test"])}, sections


def _scored_labels(
    network: FrameClassifier, data: FrameParts, fitted: Fitted
) -> tuple[dict[str, Any], list[ReportPart]]:
    training, test = data.parts["training"], data.parts["test"]
    num_classes = len(data.classes)
    found = probabilities(network, test)
    truth = np.concatenate([one.answers for one in test])
    answers = np.concatenate(
        [steps[-len(one.answers) :].argmax(axis=1) for steps, one in zip(found, test, strict=True)]
    )
    most_frequent = np.bincount(np.concatenate([one.answers for one in training])).argmax()
    scores = {
        "network": ClassScores.of(answers, truth, num_classes),
        "nearest mean frame": ClassScores.of(
            np.concatenate(nearest_mean_frames(training, test, num_classes)), truth, num_classes
        ),
        "always the most frequent": ClassScores.of(np.full(len(truth), most_frequent), truth, num_classes),
    }
    rows = tuple(
        (name, f"{one.accuracy:.1%}", f"{one.balanced_accuracy:.1%}", f"{one.macro_f1:.3f}")
        for name, one in scores.items()
    )
    is_whole = all(len(one.answers) == 1 for one in test)
    what = (
        f"{len(test):,} held-out sequences"
        if is_whole
        else f"{len(truth):,} frames in {len(test):,} held-out sequences"
    )
    columns = ("label by", "right", "mean of classes", "macro F1")
    sections: list[ReportPart] = [
        ScoreTable(f"labels of {what}", columns, rows, fitted.sentence()),
        confusion_chart(answers, truth, data.classes),
        class_table(answers, truth, data.classes),
    ]
    if is_whole:
        sections.append(right_by_step(found, truth))
    names = ("network", "nearest_mean_frame", "most_frequent")
    metrics = {name: asdict(one) for name, one in zip(names, scores.values(), strict=True)}
    return {**metrics, "num_scored": len(truth)}, sections
