"""Export of pronunciation networks."""

from __future__ import annotations

from pathlib import Path

from ostinato.export.generation_exporter import export_encoder_decoder
from ostinato.export.proofs.proof import ProofReport
from ostinato.export.run_content import label, vocabularies_of
from ostinato.export.version_directory import Exported
from ostinato.models.kinds.pronunciation import load_run
from ostinato.service.artifact.manifest import Limits
from ostinato.service.artifact.tensors import Input
from ostinato.service.artifact.vocabulary import Vocabulary

# The longest word of CMUdict has 34 letters.
MAX_SOURCE_STEPS = 64
MAX_OUTPUT_STEPS = 128
# What the graphs are tried on: over letters at random a trained network is chaotic.
_WORDS = (
    *("a", "i", "it", "ox", "the", "cat", "dog", "word", "tree", "blue", "seven", "horse", "orange", "yellow"),
    *("thought", "through", "quickly", "bicycle", "kitchen", "laughter", "knowledge", "blackberry", "dictionary"),
    *("phenomenon", "university", "archaeology", "psychology", "handkerchief", "extraordinary", "pronunciation"),
    *("encyclopaedia", "misunderstanding", "incomprehensible", "telecommunications", "uncharacteristically"),
    *("electroencephalogram", "counterrevolutionaries", "antidisestablishmentarianism"),
    *("supercalifragilisticexpialidocious", "pneumonoultramicroscopicsilicovolcanoconiosis"),
)


def export_run(
    run_directory: Path, repository: Path, *, name: str, version: str, force: bool, report: ProofReport
) -> Exported:
    """Export the speller of a run directory: letters in, phonemes out.

    Raises:
        RunError: the run directory is absent or damaged.
        ExportError: as ``export_encoder_decoder``.
    """
    run = load_run(run_directory)
    vocabularies = vocabularies_of(run_directory, run.content)
    letters = vocabularies["source"]
    return export_encoder_decoder(
        run.network,
        Input(name="source", dtype="int64", shape=("B", "S"), features=("letter",), num_codes=len(letters.symbols)),
        repository,
        version=version,
        start=run.content["start"],
        stop=run.content["stop"],
        vocabularies=vocabularies,
        examples=_examples(letters),
        limits=Limits(max_source_steps=MAX_SOURCE_STEPS, max_output_steps=MAX_OUTPUT_STEPS),
        force=force,
        report=report,
        **label(run.content, name),
    )


def _examples(letters: Vocabulary) -> list[list[int]]:
    """Codes of some words, without the letters that are not in the alphabet; none where it has none of them."""
    words = [[letters.codes[letter] for letter in word if letter in letters.codes] for word in _WORDS]
    return [word for word in words if word]
