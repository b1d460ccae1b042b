"""Runs of classifiers, whose answers are of whole sequences (labels) or of each step (tags)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ostinato.models.data.labelled import Labelled
from ostinato.models.networks.classifier import AnyClassifier, ClassifierRecipe, build_classifier
from ostinato.models.networks.ensemble import joined
from ostinato.models.networks.step_encoder import StepFeatures
from ostinato.models.report import ReportPart
from ostinato.models.run_files import Trained, read_run
from ostinato.models.training.fitting import Fitted


@dataclass(frozen=True)
class ClassifierRun:
    """A trained classifier, ready to export, with the content of ``run.json``."""

    network: AnyClassifier
    features: StepFeatures
    content: dict[str, Any]


def load_classifier(directory: Path, recipe: type[ClassifierRecipe]) -> ClassifierRun:
    """The network of a run directory, with its weights.

    Args:
        recipe: of the kind's networks.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """

    def build(content: dict[str, Any]) -> ClassifierRun:
        features = StepFeatures.of_content(content["features"])
        network = recipe.model_validate(content["recipe"]["network"])
        num_members = content["recipe"]["training"].get("members", 1)
        members = [build_classifier(features, network, len(content["classes"])) for _ in range(num_members)]
        return ClassifierRun(joined(members), features, content)

    return read_run(directory, build)


def trained_classifier(
    network: AnyClassifier,
    fitted: Fitted,
    data: Labelled,
    metrics: Mapping[str, Any],
    sections: Sequence[ReportPart],
) -> Trained:
    """What is written of a training."""
    return Trained(
        network,
        fitted,
        data=data.content(),
        metrics=metrics,
        sections=sections,
        of_the_kind={
            "features": asdict(StepFeatures.of(data)),
            "categories": data.categories,
            "classes": data.classes,
        },
    )
