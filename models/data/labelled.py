"""Sequences as numbers, each with what is to be learned of it: a class for all of it, or one for each step."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.frame_files import ARRAYS
from ostinato.models.data.parts import PartName
from ostinato.models.data.sequence_files import read_arff, read_folders, read_numpy, read_wide
from ostinato.models.data.sequences import (
    WrittenSequence,
    WrittenSequences,
    read_blocks,
    read_table,
    read_ts,
)
from ostinato.models.data.series import Floats, TrainingStatistics
from ostinato.models.errors import DataError
from ostinato.models.recipe import Count, FileRecipe, Fraction, meant
from ostinato.tables.cells import MISSING_WORDS, CellReader
from ostinato.tables.text import plain_suffix

# What stands for words that the training part does not have often enough.
UNKNOWN = "<unknown>"
# Ends of files that have a word and its tag in each line.
BLOCKS = (".conll", ".conllu", ".iob", ".bio", ".pos", ".tagged")


class SequencesRecipe(FileRecipe):
    """Where sequences are, and how they are read.

    ``file``: one of these: a table whose rows are steps, or sequences. A ``.ts`` or ``.arff`` file. An ``.npz`` file
    with the arrays ``X`` and ``y``. A folder with a folder for each label, which has a table or ``.npy`` file for each
    sequence. For tags, words with their tags line by line (CoNLL, CoNLL-U).
    ``test_file``: a file of the same form that is scored; without it, a part of ``file`` is, or its ``X_test``.
    ``row``: what a row of a table is: a ``step``, or a ``sequence`` with its steps from left to right.
    ``channels``: of arrays, whether features are the first or the last axis of a sequence; None = the shorter one.
    ``id``: of a table, the column that says which sequence a row belongs to. The rows of a sequence are in the order of
    the file.
    ``features``: the columns that the network is given.
    ``categorical``: the columns that are words and not amounts.
    ``answer``: the column of the label, which all rows of a sequence share, or of the tag of each row.
    ``missing``: the cells that mean a missing value.
    ``min_count``: words that the training part has less often are unknown, as are all that it does not have.
    ``validation_fraction``: the part of all sequences that decides when training ends.
    ``test_fraction``: the part of all sequences that is scored.
    """

    test_file: Path | None = None
    row: Literal["step", "sequence"] = "step"
    channels: Literal["first", "last"] | None = None
    id: str = ""
    features: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    answer: str = ""
    missing: tuple[str, ...] = MISSING_WORDS
    min_count: Count = 1
    validation_fraction: Fraction = 0.15
    test_fraction: Fraction = 0.15

    def located(self, folder: Path) -> Self:
        """With paths made absolute, which start at the recipe's own folder."""
        return super().located(folder).model_copy(update={"test_file": self.test_file and folder / self.test_file})


@dataclass(frozen=True)
class LabelledSequence:
    """Steps ``x`` float32 ``[T, F]``, NaN where missing, and ``answers`` int64: ``[1]``, or ``[T]`` for tags."""

    name: str
    x: Floats
    answers: NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """Labelled sequences, cut into parts.

    ``classes``: what the answers 0, 1, ... stand for. ``categories``: of each categorical feature, its words.
    """

    features: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    classes: tuple[str, ...]
    parts: dict[PartName, tuple[LabelledSequence, ...]]
    statistics: TrainingStatistics
    sha256: str

    def content(self) -> dict[str, Any]:
        """SHA-256, and how many sequences and steps are in each part."""
        return {
            "sha256": self.sha256,
            **{
                part: {"num_sequences": len(own), "num_steps": sum(len(sequence.x) for sequence in own)}
                for part, own in self.parts.items()
            },
        }


def read_sequences(recipe: SequencesRecipe, path: Path, *, tagged: bool) -> WrittenSequences:
    """The sequences of a file or folder, as they are written.

    Raises:
        DataError: it cannot be read.
    """
    if path.is_dir():
        if tagged:
            raise DataError(f"{path}: is a folder; tags come from one table, with an id column for its sequences")
        return read_folders(path, recipe.features)
    suffix = plain_suffix(path)
    if suffix in (".ts", ".arff"):
        return read_ts(path) if suffix == ".ts" else read_arff(path)
    if suffix in ARRAYS:
        found = read_numpy(path, recipe.answer, recipe.channels)
        assert found is not None, "only of a test part there may be none"
        return found
    if recipe.row == "sequence":
        return read_wide(path, recipe.answer, recipe.id)
    if tagged and (suffix in BLOCKS or not recipe.features):
        return read_blocks(path)
    if not recipe.features or not recipe.answer:
        raise DataError(f"{path}: say under [data] which columns are features, and which is the answer")
    return read_table(path, recipe.features, recipe.answer, recipe.id)


def load_labelled(recipe: SequencesRecipe, *, tagged: bool) -> Labelled:
    """Read, check, cut into parts and encode.

    Args:
        tagged: whether there is an answer for each step, and not one for a sequence.

    Raises:
        DataError: a file is not what the recipe says, a part has no sequence, or there is one class only.
    """
    written = read_sequences(recipe, recipe.file, tagged=tagged)
    tests = None if recipe.test_file is None else read_sequences(recipe, recipe.test_file, tagged=tagged)
    if tests is None and plain_suffix(recipe.file) in ARRAYS:
        tests = read_numpy(recipe.file, "", recipe.channels, test=True)
    if tests is not None and tests.features != written.features:
        raise DataError(f"{recipe.test_file}: has the features {tests.features}, and {recipe.file} {written.features}")
    answered = [_answered(sequence, tagged=tagged) for sequence in written.sequences]
    parts = _cut(
        recipe, answered, None if tests is None else [_answered(one, tagged=tagged) for one in tests.sequences]
    )
    training = parts["training"]
    is_words = written.features == ("word",) and not recipe.features
    categorical = ("word",) if is_words else recipe.categorical
    if unknown := set(categorical) - set(written.features):
        raise DataError(
            f"data.categorical: {sorted(unknown)} are not among the features {list(written.features)}"
            f"{meant(min(unknown), written.features)}"
        )
    categories = {name: _words(recipe, written.features.index(name), name, training) for name in categorical}
    classes = tuple(sorted({answer for sequence in training for answer in sequence.answers}, key=_natural))
    if len(classes) < 2:
        raise DataError(f"{recipe.file}: the training part has the one class {classes[0]!r}: there is nothing to learn")
    encoder = _Encoder(recipe, written.features, categories, classes)
    encoded = {part: tuple(map(encoder.encode, own)) for part, own in parts.items()}
    steps = np.concatenate([sequence.x for sequence in encoded["training"]])
    return Labelled(
        written.features,
        categories,
        classes,
        encoded,
        _statistics(recipe, written.features, steps),
        _sha256(recipe.file),
    )


class _Encoder:
    """Cells to numbers, answers to classes."""

    def __init__(
        self,
        recipe: SequencesRecipe,
        features: tuple[str, ...],
        categories: dict[str, tuple[str, ...]],
        classes: tuple[str, ...],
    ) -> None:
        self._features = features
        self._readers = [
            CellReader(categories.get(name, ()), recipe.missing, unknown=UNKNOWN if name in categories else None)
            for name in features
        ]
        self._classes = {name: place for place, name in enumerate(classes)}

    def encode(self, sequence: WrittenSequence) -> LabelledSequence:
        x = np.full((len(sequence.rows), len(self._features)), np.nan, np.float32)
        for step, row in enumerate(sequence.rows):
            for place, (cell, reader) in enumerate(zip(row, self._readers, strict=True)):
                try:
                    number = reader.number(cell)
                except ValueError as error:
                    raise DataError(
                        f"{sequence.place}, step {step}, {self._features[place]!r}: {error}; list it under "
                        "data.missing if it stands for a missing value, or the column under data.categorical"
                    ) from error
                if number is not None:
                    x[step, place] = number
        for answer in sequence.answers:
            if answer not in self._classes:
                raise DataError(
                    f"{sequence.place}: the class {answer!r} is not in the training part: nothing can learn it"
                )
        return LabelledSequence(sequence.name, x, np.array([self._classes[answer] for answer in sequence.answers]))


def _answered(sequence: WrittenSequence, *, tagged: bool) -> WrittenSequence:
    """With one answer for all of it, or with one for each step."""
    if not sequence.rows:
        raise DataError(f"{sequence.place}: the sequence has no step")
    if tagged:
        if len(sequence.answers) != len(sequence.rows):
            raise DataError(f"{sequence.place}: {len(sequence.answers)} tags for {len(sequence.rows)} steps")
        return sequence
    if len(found := sorted(set(sequence.answers))) != 1:
        raise DataError(
            f"{sequence.place}: has the labels {', '.join(map(repr, found[:4]))}; a sequence has one label in all its "
            "rows; for one in each row take the kind 'tags', and data.id must tell the sequences apart"
        )
    return WrittenSequence(sequence.name, sequence.place, sequence.rows, (found[0],))


def _cut(
    recipe: SequencesRecipe, written: Sequence[WrittenSequence], tests: Sequence[WrittenSequence] | None
) -> dict[PartName, list[WrittenSequence]]:
    """Parts in which each class (of tags: the first) has its share.

    Who is where follows from the names and the places in the file, wherever that lies.
    """
    folder = f"{recipe.file.parent}/"

    def drawn(sequence: WrittenSequence) -> bytes:
        return hashlib.sha256(f"{sequence.name}\0{sequence.place.removeprefix(folder)}".encode()).digest()

    groups: dict[str, list[WrittenSequence]] = {}
    for sequence in sorted(written, key=drawn):
        groups.setdefault(sequence.answers[0], []).append(sequence)
    parts: dict[PartName, list[WrittenSequence]] = {"training": [], "validation": [], "test": list(tests or ())}
    fractions: dict[PartName, float] = {
        "test": recipe.test_fraction if tests is None else 0.0,
        "validation": recipe.validation_fraction,
    }
    given: dict[PartName, int] = {"test": 0, "validation": 0}
    seen = 0
    for group in groups.values():
        for place, sequence in enumerate(group):
            seen += 1
            # Counted over all classes, so that small ones have their share together; the first of each teaches.
            due = [part for part, fraction in fractions.items() if given[part] + 1 <= seen * fraction + 1e-9]
            part: PartName = due[0] if due and place > 0 else "training"
            parts[part].append(sequence)
            if part != "training":
                given[part] += 1
    for part, own in parts.items():
        if not own:
            raise DataError(
                f"{recipe.file}: has {len(written)} sequences, of which none falls into the {part} part: give more, or "
                f"raise data.{'test' if part == 'test' else 'validation'}_fraction"
            )
    return parts


def _words(recipe: SequencesRecipe, place: int, name: str, training: Sequence[WrittenSequence]) -> tuple[str, ...]:
    counts = Counter(row[place] for sequence in training for row in sequence.rows)
    words = [
        word
        for word, count in counts.most_common()
        if count >= recipe.min_count and word not in (*recipe.missing, UNKNOWN)
    ]
    if not words:
        raise DataError(f"{recipe.file}: {name!r} has no word that the training part has {recipe.min_count} times")
    # The words that were not met are the network's last code.
    return (*words, UNKNOWN)


def _statistics(recipe: SequencesRecipe, features: tuple[str, ...], steps: Floats) -> TrainingStatistics:
    present = ~np.isnan(steps)
    for name, count in zip(features, present.sum(axis=0), strict=True):
        if not count:
            raise DataError(f"{recipe.file}: {name!r} has no value in the training part: leave it out of data.features")
    wide = steps.astype(np.float64)

    def rounded(numbers: NDArray[np.float64]) -> tuple[float, ...]:
        return tuple(float(number) for number in numbers.astype(np.float32))

    return TrainingStatistics(
        mean=rounded(np.nanmean(wide, axis=0)),
        std=rounded(np.nanstd(wide, axis=0)),
        minimum=rounded(np.nanmin(wide, axis=0)),
        maximum=rounded(np.nanmax(wide, axis=0)),
        missing_fraction=rounded(1.0 - present.mean(axis=0)),
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else (path,):
        if file.is_file():
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers in their order, then words in theirs."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
