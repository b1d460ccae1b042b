"""A class for each step of a sequence (``kind = "tags"``): parts of speech, names, states of a machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ostinato.models.classifier_run import ClassifierRun, load_classifier, trained_classifier
from ostinato.models.data.labelled import Labelled, SequencesRecipe, load_labelled
from ostinato.models.data.sequence_draft import draft_of_sequences
from ostinato.models.draft import Draft
from ostinato.models.networks.classifier import (
    AnyClassifier,
    ClassifierRecipe,
    build_classifier,
)
from ostinato.models.networks.step_encoder import StepFeatures
from ostinato.models.recipe import RunRecipe, TrainingRecipe
from ostinato.models.report import ReportPart, ScoreTable
from ostinato.models.rivals.rival import NETWORK, answers_of, metric_name
from ostinato.models.rivals.tags import RIVALS
from ostinato.models.run_files import Trained
from ostinato.models.scores.labelled import ClassScores, class_table, confusion_chart
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.job import Job
from ostinato.models.training.labelled import fit, probabilities
from ostinato.models.training.members import train_members


class TagsRecipe(RunRecipe):
    """A model that gives each step of a sequence a tag."""

    kind: Literal["tags"]
    data: SequencesRecipe
    network: ClassifierRecipe = ClassifierRecipe()
    training: TrainingRecipe = TrainingRecipe(batch_size=16, max_epochs=20, patience_epochs=4, learning_rate=5e-3)


RECIPE = TagsRecipe


def train(recipe: TagsRecipe, job: Job) -> Trained:
    """Train on one part of the sequences, stop by another, score once on the third (models/kinds/registry.py).

    Raises:
        TrainingError: the data cannot be used, or training fails.
    """
    data = load_labelled(recipe.data, tagged=True)
    features = StepFeatures.of(data)

    def train_one(training: TrainingRecipe, own: Job) -> tuple[AnyClassifier, Fitted]:
        network = build_classifier(features, recipe.network, len(data.classes))
        return network, fit(network, data.parts["training"], data.parts["validation"], training, own)

    network, fitted = train_members(recipe.training, job, train_one)
    metrics, sections = _scored(network, data, fitted)
    return trained_classifier(network, fitted, data, metrics, sections)


def load_run(directory: Path) -> ClassifierRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return load_classifier(directory, ClassifierRecipe)


def begin(file: Path) -> Draft:
    """A recipe for words with their tags line by line, or a table whose rows are steps.

    Raises:
        DataError: the file is none of these.
    """
    return draft_of_sequences(file, tagged=True)


def _scored(network: AnyClassifier, data: Labelled, fitted: Fitted) -> tuple[dict[str, Any], list[ReportPart]]:
    test = data.parts["test"]
    answers = np.concatenate([steps.argmax(axis=1) for steps in probabilities(network, test)])
    truth = np.concatenate([sequence.answers for sequence in test])
    theirs, missing = answers_of(RIVALS, data)
    scores = {
        name: {
            **asdict(ClassScores.of(found, truth, len(data.classes))),
            "sequences_all_right": _whole_right(found, [sequence.answers for sequence in test]),
        }
        for name, found in {NETWORK: answers, **theirs}.items()
    }
    rows = tuple(
        (name, f"{one['accuracy']:.2%}", f"{one['macro_f1']:.3f}", f"{one['sequences_all_right']:.1%}")
        for name, one in scores.items()
    )
    title = f"tags of {len(truth):,} steps in {len(test):,} held-out sequences"
    note = "; ".join(filter(None, (fitted.sentence(), missing)))
    table = ScoreTable(title, ("tags by", "right", "macro F1", "sequences all right"), rows, note)
    sections: list[ReportPart] = [table, confusion_chart(answers, truth, data.classes)]
    sections.append(class_table(answers, truth, data.classes))
    metrics = {metric_name(name): one for name, one in scores.items()}
    return {**metrics, "num_scored": len(truth)}, sections


def _whole_right(answers: Any, truths: list[Any]) -> float:
    """The part of the sequences that have no wrong tag."""
    ends = np.cumsum([len(truth) for truth in truths])
    return float(
        np.mean([bool((own == truth).all()) for own, truth in zip(np.split(answers, ends[:-1]), truths, strict=True)])
    )
