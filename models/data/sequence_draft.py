"""Drafts of recipes for labelled sequences: what a file's columns are most likely to be."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from ostinato.errors import InputError
from ostinato.models.data.frame_files import ARRAYS
from ostinato.models.data.labelled import BLOCKS, SequencesRecipe, read_sequences
from ostinato.models.data.sequence_files import are_steps, read_folders, read_wide, wide_rows
from ostinato.models.draft import Draft
from ostinato.models.errors import DataError
from ostinato.tables.cells import MISSING_WORDS, CellReader
from ostinato.tables.table import Table
from ostinato.tables.text import plain_suffix

_ANSWERS = re.compile(
    r"^(label|class|tag|target|y|category|kind|state|activity|pos|ner|answer|species)s?$", re.IGNORECASE
)
_NAMES = re.compile(
    r"(^|[_ ])(id|uuid|name|key|sequence|seq|series|case|trial|sample|sentence|subject)([_ ]|$)|id$", re.IGNORECASE
)
_TIMES = re.compile(r"^(time|timestamp|date|datetime|step|t|index|frame|row|seconds|ms)$", re.IGNORECASE)
_LOOKED_AT = 20_000
# Steps of all epochs that are learned from within half a minute on one core.
_STEPS, _LEAST_EPOCHS = 1_000_000, 5
# So many updates tell a small network what there is to tell.
_UPDATES, _BATCH_SIZE = 1_000, 16
_LEAST_SEQUENCES = 4
# Tables of fewer columns have no sequence in a row.
_LEAST_STEPS = 8
_WITH_KEYS = (".parquet", ".pq", ".parq", ".jsonl", ".ndjson", ".json")
# More classes than this are rather amounts, or names.
_MAX_CLASSES = 1000


def draft_of_sequences(file: Path, *, tagged: bool) -> Draft:
    """A recipe for labels or tags, by the form of a file.

    Raises:
        DataError: the file is of no form that is read, or no column can be the answer.
    """
    what = "tag for each step" if tagged else "label for each sequence"
    description = f"A {what} of {file.name}"
    draft = _draft_of(file, description, tagged)
    test = _test_beside(file)
    return draft if test is None else replace(draft, beside={"test_file": test})


def _draft_of(file: Path, description: str, tagged: bool) -> Draft:
    if file.is_dir() and not tagged:
        found = read_folders(file, ())
        features = tuple(name for name in found.features if not _TIMES.match(name)) or found.features
        words = _words_of(found.features, [list(one.rows) for one in found.sequences[:20]])
        num_steps = sum(len(one.rows) for one in found.sequences)
        words = tuple(name for name in words if name in features)
        return _draft(description, features, words, {}, tagged, num_steps, len(found.sequences))
    suffix = plain_suffix(file)
    has_form = suffix in (".ts", ".arff", *ARRAYS) or file.is_dir()
    if has_form or (tagged and (suffix in BLOCKS or not _has_columns(file))):
        sequences = read_sequences(SequencesRecipe(file=file), file, tagged=tagged).sequences
        if len(sequences) < _LEAST_SEQUENCES:
            form = "" if has_form else "; a line is a word and its tag, and blank lines are between sentences"
            raise DataError(f"{file}: has {len(sequences)} sequences, too few to train, to stop and to test on{form}")
        return _draft(description, (), (), {}, tagged, sum(len(one.rows) for one in sequences), len(sequences))
    if not tagged and (wide := _wide(file)):
        found = read_wide(file, wide["answer"], wide.get("id", ""))
        num_steps = sum(len(one.rows) for one in found.sequences)
        return _draft(description, (), (), wide, tagged, num_steps, len(found.sequences))
    return _draft_of_table(file, description, tagged)


def _wide(file: Path) -> dict[str, str]:
    """The keys of a table with a sequence a row, its steps from left to right; none of one with a step a row."""
    if plain_suffix(file) in _WITH_KEYS:
        return {}
    header, rows = wide_rows(file)
    if len(header) < _LEAST_STEPS or not rows:
        return {}
    columns = {name: [cells[place] for _, cells in rows] for place, name in enumerate(header)}
    named = [name for name in header if _ANSWERS.match(name)]
    names = [name for name in header if _NAMES.search(name) and name not in named]
    if any(len(set(columns[name])) < len(rows) for name in names):
        # Rows of one sequence: steps.
        return {}
    few = [name for name in (header[0], header[-1]) if 2 <= len(set(columns[name])) <= max(2, len(rows) // 2)]
    for answer in (*named, *few):
        steps = [name for name in header if name != answer and name not in names[:1]]
        if are_steps(steps) and all(_is_amount(columns[name]) for name in steps[:_LEAST_STEPS]):
            return {"row": "sequence", "id": names[0] if names else "", "answer": answer}
    return {}


def _test_beside(file: Path) -> str | None:
    """The name of the test part that lies beside a training part of the same name, if one does."""
    for training, test in (("TRAIN", "TEST"), ("train", "test"), ("Train", "Test"), ("training", "test")):
        named = re.sub(rf"(?<![A-Za-z]){training}(?![A-Za-z])", test, file.name)
        if named != file.name and (file.parent / named).exists():
            return named
    return None


def _draft_of_table(file: Path, description: str, tagged: bool) -> Draft:
    try:
        table = Table(file)
        written = table.rows()
        rows = [row.cells for row in islice(written, _LOOKED_AT)]
        num_steps = len(rows) + sum(1 for _ in written)
    except InputError as error:
        raise DataError(str(error)) from error
    if not rows:
        raise DataError(f"{file}: has no row below its header")
    columns = {name: [row[place] for row in rows] for place, name in enumerate(table.header)}
    answer = _answer(file, columns, tagged)
    name = _name(columns, answer, tagged)
    times = [column for column in columns if _TIMES.match(column) and column not in (answer, name)]
    features = tuple(column for column in columns if column not in (answer, name, *times))
    if not features:
        raise DataError(f"{file}: has no column besides {answer!r} that a network could be given")
    words = tuple(column for column in features if not _is_amount(columns[column]))
    if not tagged and not name:
        raise DataError(
            f"{file}: no column tells its sequences apart; give each row the name of its sequence, in a column such as "
            "'id', or put each sequence into a file of its own, in a folder of its label's name"
        )
    num_sequences = num_steps * len(set(columns[name])) // len(rows) if name else 0
    return _draft(description, features, words, {"id": name, "answer": answer}, tagged, num_steps, num_sequences)


def _draft(
    description: str,
    features: Sequence[str],
    words: Sequence[str],
    columns: dict[str, str],
    tagged: bool,
    num_steps: int,
    num_sequences: int = 0,
) -> Draft:
    data: dict[str, Any] = {key: value for key, value in columns.items() if value}
    data |= {"features": list(features), "categorical": list(words)} if features else {}
    data |= {"validation_fraction": 0.15, "test_fraction": 0.15}
    network: dict[str, Any] = {"cell": "lstm", "hidden_size": 64, "dropout": 0.2, "bidirectional": True}
    if not tagged:
        network["pooling"] = "last"
    # Few sequences are looked at more often.
    num_updates = max(1.0, 0.7 * num_sequences / _BATCH_SIZE) if num_sequences else float(_UPDATES)
    most = 20 if tagged else max(60, math.ceil(_UPDATES / num_updates))
    max_epochs = max(_LEAST_EPOCHS, min(most, _STEPS // max(1, num_steps)))
    patience = 4 if tagged else max(15, max_epochs // 4)
    training = {"batch_size": _BATCH_SIZE, "max_epochs": max_epochs, "patience_epochs": patience}
    return Draft(
        description,
        {"data": data, "network": network, "training": {**training, "learning_rate": 5e-3, "seed": 0}},
        {
            "data.row": "a row is a whole sequence, its steps from left to right",
            "data.test_file": "what is scored",
            "data.id": "tells sequences apart"
            + ("" if "row" in columns else "; their rows are steps in the order of the file"),
            "data.answer": "what is to be answered",
            "data.categorical": "those features that are words",
            "data.test_fraction": "held out and scored; or give another file as test_file",
            "network.bidirectional": "false: it streams, with an answer after every step",
            "network.pooling": "or max, or attention",
        },
    )


def _has_columns(file: Path) -> bool:
    """Whether it is a table with a header, and not words with their tags."""
    try:
        table = Table(file)
        first = next(iter(table.rows()), None)
    except InputError:
        return False
    named = [name for name in table.header if _ANSWERS.match(name)]
    return len(table.header) > 1 and first is not None and (bool(named) or len(table.header) > 2)


def _answer(file: Path, columns: dict[str, list[str]], tagged: bool) -> str:
    """The column that is named as an answer is, else the last one of few words."""
    named = [column for column in columns if _ANSWERS.match(column)]
    few = [column for column, cells in columns.items() if 2 <= len(set(cells)) <= min(_MAX_CLASSES, len(cells) // 2)]
    words = [column for column in few if not _is_amount(columns[column]) and not _NAMES.search(column)]
    for found in (named, words, few):
        if found:
            return found[-1]
    what = "the tag of each row" if tagged else "the label of its sequence, in each row"
    raise DataError(f"{file}: no column looks like {what}; name one 'label'")


def _name(columns: dict[str, list[str]], answer: str, tagged: bool) -> str:
    """The column whose cells are the same for stretches of rows, in each of which a label is the same; empty = none."""
    fits: list[str] = []
    for column, cells in columns.items():
        if column == answer or len(set(cells)) < 2 or len(set(cells)) > len(cells) // 2:
            continue
        labels: dict[str, set[str]] = {}
        for own, label in zip(cells, columns[answer], strict=True):
            labels.setdefault(own, set()).add(label)
        if tagged or all(len(found) == 1 for found in labels.values()):
            fits.append(column)
    named = [column for column in fits if _NAMES.search(column)]
    if named:
        return named[0]
    return "" if tagged or not fits else fits[0]


def _is_amount(cells: Sequence[str]) -> bool:
    reader = CellReader((), MISSING_WORDS)
    try:
        return any(reader.number(cell) is not None for cell in cells)
    except ValueError:
        return False


def _words_of(features: Sequence[str], sequences: list[list[tuple[str, ...]]]) -> tuple[str, ...]:
    cells = {name: [row[place] for rows in sequences for row in rows] for place, name in enumerate(features)}
    return tuple(name for name in features if not _is_amount(cells[name]))
