"""Language models of any text, its characters or words, from a prompt or from nothing (``kind = "text"``)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from ostinato.models.data.lines import EDGE_CODE
from ostinato.models.data.symbols import Symbols
from ostinato.models.data.text import Text, TextData, load_text
from ostinato.models.data.text_draft import draft_of_text
from ostinato.models.draft import Draft
from ostinato.models.networks.ensemble import joined
from ostinato.models.networks.language_model import LanguageModel, LanguageModelRecipe
from ostinato.models.networks.ngram_table import MixedLanguageModel, NGramRecipe, NGramTable
from ostinato.models.recipe import RunRecipe
from ostinato.models.run_files import Trained, read_run
from ostinato.models.scores.text import score, sections_of
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.job import Job
from ostinato.models.training.members import train_members
from ostinato.models.training.ngram_table import learned_table, with_ngram
from ostinato.models.training.text import TextTraining, fit

# The least that a service may be asked to read, and to write, of lines, however short all of them are.
_LEAST_PROMPT, _LEAST_OUTPUT = 64, 128


class TextRecipe(RunRecipe):
    """A model that continues a text.

    ``ngram``: an n-gram model next to the network, see below; None = there is none.
    """

    kind: Literal["text"]
    data: TextData
    network: LanguageModelRecipe = LanguageModelRecipe()
    training: TextTraining = TextTraining()
    ngram: NGramRecipe | None = None


RECIPE = TextRecipe


@dataclass(frozen=True)
class TextRun:
    """A trained language model with what its codes stand for, and the content of ``run.json``."""

    network: LanguageModel
    symbols: Symbols
    content: dict[str, Any]


def train(recipe: TextRecipe, job: Job) -> Trained:
    """Train on the training part, choose by the validation part, score once on the test part.

    Raises:
        TrainingError: the text cannot be used, or training fails.
    """
    text = load_text(recipe.data)

    def train_one(training: TextTraining, own: Job) -> tuple[LanguageModel, Fitted]:
        network = LanguageModel(len(text.symbols), recipe.network)
        return network, fit(network, text, training, own)

    table = None
    if recipe.ngram is not None:
        job.tell("n-grams are counted")
        # What it refuses is refused before the network has trained for hours.
        table = learned_table(text, recipe.ngram)
    network, fitted = train_members(recipe.training, job, train_one)
    sizes = {}
    if table is not None:
        both, fitted = with_ngram(network, fitted, table, text)
        sizes = {"ngram": both.ngram.sizes}
        network = cast(LanguageModel, both)
    scores, missing = score(network, text)
    return Trained(
        network,
        fitted,
        data=text.content(),
        metrics=asdict(scores),
        sections=sections_of(network, text, scores, "; ".join(filter(None, (fitted.sentence(), missing)))),
        of_the_kind={
            "vocabularies": {"target": text.symbols.content()},
            "start": EDGE_CODE,
            "stop": EDGE_CODE,
            "limits": _limits(text),
            **sizes,
        },
    )


def load_run(directory: Path) -> TextRun:
    """The network of a run directory, with its weights.

    Raises:
        RunError: a file is absent or does not hold what training wrote.
    """
    return read_run(directory, _build)


def _build(content: dict[str, Any]) -> TextRun:
    recipe = TextRecipe.model_validate(content["recipe"])
    symbols = Symbols.of_content(content["vocabularies"]["target"])
    members = [LanguageModel(len(symbols), recipe.network) for _ in range(recipe.training.members)]
    network = joined(members)
    if recipe.ngram is not None:
        network = cast(LanguageModel, MixedLanguageModel(network, NGramTable(len(symbols), **content["ngram"])))
    return TextRun(network, symbols, content)


def begin(file: Path) -> Draft:
    """A recipe for a text file.

    Raises:
        DataError: the file cannot be read, or is empty.
    """
    return draft_of_text(file)


def _limits(text: Text) -> dict[str, int]:
    """How long prompts and outputs may be; 0 = as the server has it."""
    if text.is_running:
        return {"max_source_steps": 0, "max_output_steps": 0}
    longest = max(len(codes) for texts in text.parts.values() for codes in texts)
    least = 1 << (longest - 1).bit_length()
    return {"max_source_steps": max(_LEAST_PROMPT, least), "max_output_steps": max(_LEAST_OUTPUT, 2 * least)}
