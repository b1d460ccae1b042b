"""Export of classifiers of sequences."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ostinato.export.exporter import export_module
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label
from ostinato.export.sequence_exporter import export_sequence
from ostinato.export.version_directory import Exported
from ostinato.models.classifier_run import ClassifierRun
from ostinato.models.data.labelled import UNKNOWN
from ostinato.models.kinds.labels import load_run
from ostinato.models.networks.classifier import streams
from ostinato.service.artifact.tensors import Input, Statistics


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the classifier of a run directory; its outputs have the classes' names, and are their probabilities.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_sequence``, and ``export_module`` of one that streams.
    """
    run = load_run(run_directory)
    return export_classifier(run, repository, name=name, version=version, force=force, report=report)


def export_classifier(
    run: ClassifierRun, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export a classifier, by the task that its directions ask for.

    Raises:
        ExportError: as ``export_sequence`` and ``export_module``.
    """
    network, features, content = run.network, run.features, run.content
    given = Input(
        name="inputs",
        dtype="float32",
        shape=("B", "T", len(features.names)),
        features=features.names,
        missing=True,
        missing_words=content["recipe"]["data"]["missing"],
        categories=content["categories"],
        unknown=dict.fromkeys(content["categories"], UNKNOWN),
        statistics=Statistics(**asdict(features.statistics)),
    )
    described = label(content, name)
    classes = tuple(content["classes"])
    if not streams(network):
        return export_sequence(
            network,
            given,
            repository,
            version=version,
            output_features=classes,
            force=force,
            report=report,
            **described,
        )
    return export_module(
        network,
        given,
        repository,
        version=version,
        output_features=classes,
        state_names=network.state_names,
        force=force,
        report=report,
        **described,
    )
