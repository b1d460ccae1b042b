"""A class for each sequence, of any lengths (``kind = "labels"``): who speaks, which gesture, which fault."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ostinato.models.classifier_run import ClassifierRun, load_classifier, trained_classifier
from ostinato.models.data.labelled import Labelled, LabelledSequence, SequencesRecipe, load_labelled
from ostinato.models.data.sequence_draft import draft_of_sequences
from ostinato.models.draft import Draft
from ostinato.models.networks.classifier import (
    AnyClassifier,
    LabelNetworkRecipe,
    build_classifier,
    streams,
)
from ostinato.models.networks.step_encoder import StepFeatures
from ostinato.models.recipe import RunRecipe, TrainingRecipe
from ostinato.models.report import ReportPart, ScoreTable
from ostinato.models.rivals.rival import NETWORK, answers_of, metric_name
from ostinato.models.rivals.sequences import RIVALS
from ostinato.models.run_files import Trained
from ostinato.models.scores.labelled import (
    ClassScores,
    class_table,
    confusion_chart,
    right_by_step,
)
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.job import Job
from ostinato.models.training.labelled import fit, probabilities
from ostinato.models.training.members import train_members


class LabelsRecipe(RunRecipe):
    """A model that gives each sequence a label."""

    kind: Literal["labels"]
    data: SequencesRecipe
    network: LabelNetworkRecipe = LabelNetworkRecipe()
    training: TrainingRecipe = TrainingRecipe(batch_size=16, max_epochs=60, patience_epochs=15, learning_rate=5e-3)


RECIPE = LabelsRecipe


def train(recipe: LabelsRecipe, job: Job) -> Trained:
    """Train on one part of the sequences, stop by another, score once on the third (models/kinds/registry.py).

    Raises:
        TrainingError: the data cannot be used, or training fails.
    """
    data = load_labelled(recipe.data, tagged=False)
    features = StepFeatures.of(data)

    def train_one(training: TrainingRecipe, own: Job) -> tuple[AnyClassifier, Fitted]:
        network = build_classifier(features, recipe.network, len(data.classes))
        learned = [_for(network, sequence) for sequence in data.parts["training"]]
        held_out = [_for(network, sequence) for sequence in data.parts["validation"]]
        return network, fit(network, learned, held_out, training, own)

    network, fitted = train_members(recipe.training, job, train_one)
    metrics, sections = _scored(network, data, fitted)
    return trained_classifier(network, fitted, data, metrics, sections)


def load_run(directory: Path) -> ClassifierRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return load_classifier(directory, LabelNetworkRecipe)


def begin(file: Path) -> Draft:
    """A recipe for a ``.ts`` file, a folder of folders, or a table whose rows are steps.

    Raises:
        DataError: the file is none of these.
    """
    return draft_of_sequences(file, tagged=False)


def _for(network: AnyClassifier, sequence: LabelledSequence) -> LabelledSequence:
    """With its label at every step, for a network that answers at every step."""
    if not streams(network):
        return sequence
    return LabelledSequence(sequence.name, sequence.x, np.repeat(sequence.answers, len(sequence.x)))


def _scored(network: AnyClassifier, data: Labelled, fitted: Fitted) -> tuple[dict[str, Any], list[ReportPart]]:
    test = data.parts["test"]
    found = probabilities(network, test)
    answers = np.array([steps[-1].argmax() for steps in found])
    truth = np.array([int(sequence.answers[0]) for sequence in test])
    num_classes = len(data.classes)
    theirs, missing = answers_of(RIVALS, data)
    scores = {name: ClassScores.of(one, truth, num_classes) for name, one in {NETWORK: answers, **theirs}.items()}
    rows = tuple(
        (name, f"{one.accuracy:.1%}", f"{one.balanced_accuracy:.1%}", f"{one.macro_f1:.3f}")
        for name, one in scores.items()
    )
    columns = ("label by", "right", "mean of classes", "macro F1")
    note = "; ".join(filter(None, (fitted.sentence(), missing)))
    table = ScoreTable(f"labels of {len(test):,} held-out sequences", columns, rows, note)
    sections: list[ReportPart] = [table, confusion_chart(answers, truth, data.classes)]
    sections.append(class_table(answers, truth, data.classes))
    if streams(network):
        sections.append(right_by_step(found, truth))
    sections.append(_mistakes(data, found, answers, truth))
    metrics = {metric_name(name): asdict(one) for name, one in scores.items()}
    return {**metrics, "num_scored": len(test)}, sections


def _mistakes(data: Labelled, found: list[Any], answers: Any, truth: Any) -> ScoreTable:
    wrong = np.flatnonzero(answers != truth)[:20]
    rows = tuple(
        (
            data.parts["test"][place].name,
            data.classes[truth[place]],
            data.classes[answers[place]],
            f"{found[place][-1].max():.1%}",
        )
        for place in wrong
    )
    return ScoreTable("mistakes, the first", ("sequence", "true", "answered", "how sure"), rows, printed=False)
