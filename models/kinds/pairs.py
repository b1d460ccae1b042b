"""Any text to any other: translation, spelling, dates; sequences to write for sequences (``kind = "pairs"``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from ostinato.models.data.pairs import Pairs
from ostinato.models.data.pairs_draft import draft_of_pairs
from ostinato.models.data.symbols import Symbols
from ostinato.models.data.written_pairs import Entries, PairsData, WrittenPairs, load_pairs
from ostinato.models.draft import Draft
from ostinato.models.networks.ensemble import joined
from ostinato.models.networks.seq2seq import Seq2Seq, Seq2SeqRecipe
from ostinato.models.recipe import RunRecipe
from ostinato.models.run_files import Trained, read_run
from ostinato.models.scores.pairs import (
    NUM_BEAMS,
    START_CODE,
    STOP_CODE,
    error_rates,
    score,
    write_for,
)
from ostinato.models.scores.pairs_report import sections_of
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.generation import GenerationTraining, fit_pairs
from ostinato.models.training.job import Job
from ostinato.models.training.members import train_members

# The least that a service may be asked to read, and to write, however short the data are.
_LEAST_SOURCE, _LEAST_OUTPUT = 64, 128
_NUM_EXAMPLES = 48


class PairsRecipe(RunRecipe):
    """A model that reads one text and writes another."""

    kind: Literal["pairs"]
    data: PairsData
    network: Seq2SeqRecipe = Seq2SeqRecipe()
    training: GenerationTraining = GenerationTraining()


RECIPE = PairsRecipe


@dataclass(frozen=True)
class PairsRun:
    """A trained network with what its codes stand for, and the content of ``run.json``."""

    network: Seq2Seq
    sources: Symbols
    targets: Symbols
    content: dict[str, Any]


def train(recipe: PairsRecipe, job: Job) -> Trained:
    """Train on the training part, stop by the validation part, score once on the test part.

    Raises:
        TrainingError: the pairs cannot be used, or training fails.
    """
    data = load_pairs(recipe.data)
    if data.num_passed_over:
        job.tell(f"{data.num_passed_over:,} rows have no source or no target and are passed over")

    def train_one(training: GenerationTraining, own: Job) -> tuple[Seq2Seq, Fitted]:
        return fit(recipe.model_copy(update={"training": training}), data, own)

    network, fitted = train_members(recipe.training, job, train_one)
    scores = score(network, data)
    return Trained(
        network,
        fitted,
        data=data.content(),
        metrics={**asdict(scores), "num_beams": NUM_BEAMS, "validation_wrong": fitted.validation},
        sections=sections_of(network, data, scores, fitted),
        of_the_kind={
            "vocabularies": {"source": data.sources.content(), "target": data.targets.content()},
            "start": START_CODE,
            "stop": STOP_CODE,
            "limits": _limits(data),
            "examples": _examples(data),
        },
    )


def fit(recipe: PairsRecipe, data: WrittenPairs, job: Job) -> tuple[Seq2Seq, Fitted]:
    """A network trained on the training part, with the weights of its best epoch by the validation part."""
    network = build_network(recipe.network, data.sources, data.targets)
    network.to(recipe.training.device)
    held_out = data.parts["validation"]

    def wrong(network: Seq2Seq) -> float:
        written = write_for(network, list(held_out), data)
        return error_rates([data.targets.units(one.codes) for one in written], held_out).wrong

    pairs = pairs_of(data.parts["training"], data)
    fitted = fit_pairs(network, pairs, recipe.training, wrong, job, "validation: wrong", data.sources.unknown)
    network.cpu()
    return network, fitted


def load_run(directory: Path) -> PairsRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def _build(content: dict[str, Any]) -> PairsRun:
    sources, targets = (Symbols.of_content(content["vocabularies"][role]) for role in ("source", "target"))
    recipe = PairsRecipe.model_validate(content["recipe"])
    members = [build_network(recipe.network, sources, targets) for _ in range(recipe.training.members)]
    return PairsRun(joined(members), sources, targets, content)


def begin(file: Path) -> Draft:
    """A recipe for a table with two columns of text, or for a dictionary as CMUdict is written.

    Raises:
        DataError: the file cannot be read, or has no two columns.
    """
    return draft_of_pairs(file)


def build_network(recipe: Seq2SeqRecipe, sources: Symbols, targets: Symbols) -> Seq2Seq:
    """The network that a recipe asks for, untrained."""
    return Seq2Seq(nn.Embedding(len(sources), recipe.embedding_size), recipe.embedding_size, len(targets), recipe)


def pairs_of(entries: Entries, data: WrittenPairs) -> Pairs:
    """One pair for each target of each source."""
    both = [
        (data.sources.encode(data.source_units(source)), data.targets.encode(target))
        for source, targets in entries.items()
        for target in targets
    ]
    return Pairs.of([source for source, _ in both], [target for _, target in both], START_CODE, STOP_CODE)


def _limits(data: WrittenPairs) -> dict[str, int]:
    """How long sources and outputs may be: twice what the data have, and no less than is usual."""
    source, target = data.longest
    return {"max_source_steps": max(_LEAST_SOURCE, 2 * source), "max_output_steps": max(_LEAST_OUTPUT, 2 * target)}


def _examples(data: WrittenPairs) -> list[list[int]]:
    """Sources of all lengths for the exporter to try: over symbols at random, a trained network is chaotic."""
    sources = [data.sources.encode(data.source_units(source)) for source in data.parts["test"]]
    sources.sort(key=len)
    return [sources[place * (len(sources) - 1) // (_NUM_EXAMPLES - 1)] for place in range(_NUM_EXAMPLES)]
