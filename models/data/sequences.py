"""Sequences by name: rows of many sequences in one table, a file a sequence, ``.ts`` files, words with their tags.

Whatever the form, what comes of it are cells as they are written, sequence by sequence, with what is to be learned of
each: one label, or one tag a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ostinato.errors import InputError
from ostinato.models.data.files import read_text_lines
from ostinato.models.errors import DataError
from ostinato.models.recipe import meant
from ostinato.tables.table import NamedColumns, Table
from ostinato.tables.text import read_lines

_COMPRESSED = (".xz", ".gz", ".bz2")


@dataclass(frozen=True)
class WrittenSequence:
    """One sequence as it is written.

    ``place``: file and line where it begins, for errors. ``rows``: for each step the cells of the features.
    ``answers``: one label, or one tag a step.
    """

    name: str
    place: str
    rows: tuple[tuple[str, ...], ...]
    answers: tuple[str, ...]


@dataclass(frozen=True)
class WrittenSequences:
    """Sequences of one file or folder, and what their features are called."""

    features: tuple[str, ...]
    sequences: tuple[WrittenSequence, ...]


def suffix_of(path: Path) -> str:
    """The end of a file's name, in small letters, without that of a compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in _COMPRESSED]
    return suffixes[-1] if suffixes else ""


def read_ts(path: Path) -> WrittenSequences:
    """Read a ``.ts`` file (sktime, aeon): dimensions cut by ``:``, values by ``,``, the class behind the last.

    Raises:
        DataError: a line is not of that form, or its dimensions have not the same number of values.
    """
    sequences: list[WrittenSequence] = []
    num_features = 0
    in_data = False
    for number, line in enumerate(read_text_lines(path), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if text.startswith("@"):
            in_data = in_data or text.lower() == "@data"
            if text.lower().split()[:2] == ["@classlabel", "false"]:
                raise DataError(f"{path}: line {number}: the sequences have no class: there is nothing to learn")
            if text.lower().split()[:2] == ["@timestamps", "true"]:
                raise DataError(f"{path}: line {number}: time stamps within a .ts file are not read; leave them out")
            continue
        if not in_data:
            raise DataError(f"{path}: line {number}: comes before @data; is it a .ts file?")
        *dimensions, label = text.split(":")
        values = [dimension.split(",") for dimension in dimensions]
        lengths = sorted({len(value) for value in values})
        if not values or len(lengths) > 1 or (num_features and len(values) != num_features):
            raise DataError(
                f"{path}: line {number}: {len(values)} dimensions of {lengths} values; all lines have as many "
                f"dimensions{f', {num_features}' if num_features else ''}, and all of a line as many values"
            )
        num_features = len(values)
        rows = tuple(tuple(cell.strip() for cell in row) for row in zip(*values, strict=True))
        sequences.append(WrittenSequence(str(len(sequences)), f"{path}: line {number}", rows, (label.strip(),)))
    return WrittenSequences(tuple(f"dimension_{index}" for index in range(num_features)), tuple(sequences))


def read_table(path: Path, features: tuple[str, ...], answer: str, name: str = "") -> WrittenSequences:
    """Read a table whose rows are steps.

    Args:
        features: of the columns, those that the network is given.
        answer: the column of the label or the tag.
        name: the column that tells sequences apart, their rows in the order of the file; without one all rows are one.

    Raises:
        DataError: a column is absent, a row is of no sequence, or the table cannot be read.
    """
    try:
        table = Table(path)
        wanted = (*features, answer, *((name,) if name else ()))
        for column in wanted:
            if column not in table.header:
                raise DataError(
                    f"{path}: has no column {column!r}{meant(column, table.header)}; it has {', '.join(table.header)}"
                )
        columns = table.columns(wanted)
    except InputError as error:
        raise DataError(str(error)) from error
    steps: dict[str, list[int]] = {}
    names = _ids(path, name, columns) if name else [""] * len(columns.lines)
    for row, own in enumerate(names):
        steps.setdefault(own, []).append(row)
    cells = [columns.cells[feature] for feature in features]
    return WrittenSequences(
        features,
        tuple(
            WrittenSequence(
                own,
                f"{path}: line {columns.lines[rows[0]]}" + (f", {name} {own!r}" if name else ""),
                tuple(tuple(column[row] for column in cells) for row in rows),
                tuple(columns.cells[answer][row] for row in rows),
            )
            for own, rows in steps.items()
        ),
    )


def _ids(path: Path, name: str, columns: NamedColumns) -> list[str]:
    """The id of the sequence that each row is of; one that is written in a sequence's first row alone holds below it.

    Raises:
        DataError: a row is of no sequence.
    """
    cells = columns.cells[name]
    if all(cells):
        return cells
    written = [cell for cell in cells if cell]
    if not cells[0] or len(set(written)) < len(written):
        raise DataError(
            f"{path}: line {columns.lines[cells.index('')]}, column {name!r}: is empty; the id of a sequence stands in "
            "each of its rows, or in the first one of each alone"
        )
    own = ""
    return [own := cell or own for cell in cells]


def read_folders(path: Path, features: tuple[str, ...]) -> WrittenSequences:
    """Read a folder that has a folder for each label, and in it a table for each sequence.

    Args:
        features: of the tables' columns; all of the first table where it is empty.

    Raises:
        DataError: there are no such folders, or a table cannot be read.
    """
    files = [(folder.name, file) for folder in _children(path) if folder.is_dir() for file in _children(folder)]
    if not files:
        raise DataError(f"{path}: has no folders with files in them: one for each label, a table for each sequence")
    sequences: list[WrittenSequence] = []
    for label, file in files:
        try:
            table = Table(file)
            features = features or table.header
            columns = table.columns(features)
        except InputError as error:
            raise DataError(str(error)) from error
        rows = tuple(zip(*(columns.cells[feature] for feature in features), strict=True))
        sequences.append(WrittenSequence(f"{label}/{file.name}", str(file), rows, (label,)))
    return WrittenSequences(features, tuple(sequences))


def read_blocks(path: Path, column: int = -1) -> WrittenSequences:
    """Read words with their tags, one of each a line, cut by tabs or spaces, a blank line behind each sentence (CoNLL).

    Lines of CoNLL-U that are comments, ranges of words and empty words are passed over; there, the word is the second
    column and the tag (universal part of speech) the fourth.

    Args:
        column: where the tag stands, of files that are not CoNLL-U.

    Raises:
        DataError: a line has no tag.
    """
    is_conllu = suffix_of(path) == ".conllu"
    sequences: list[WrittenSequence] = []
    for start, block in _blocks(path):
        words: list[tuple[str, ...]] = []
        tags: list[str] = []
        for number, line in block:
            if line.startswith("#") and (is_conllu or ("\t" not in line and len(line.split()) != 2)):
                continue
            cells = line.split("\t") if "\t" in line else line.split()
            if is_conllu and ("-" in cells[0] or "." in cells[0]):
                continue
            word, tag = (1, 3) if is_conllu else (0, column)
            if len(cells) < 2 or len(cells) <= max(word, tag):
                raise DataError(f"{path}: line {number}: {line!r} has no word and tag; they are cut by a tab or spaces")
            words.append((cells[word],))
            tags.append(cells[tag])
        if words:
            sequences.append(WrittenSequence(str(len(sequences)), f"{path}: line {start}", tuple(words), tuple(tags)))
    return WrittenSequences(("word",), tuple(sequences))


def _blocks(path: Path) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Lines without a blank one between them, numbered, and where they begin."""
    block: list[tuple[int, str]] = []
    try:
        lines: Iterable[str] = list(read_lines(path))
    except InputError as error:
        raise DataError(str(error)) from error
    for number, line in enumerate(lines, start=1):
        if (text := line.rstrip("\r\n")) and not text.isspace():
            block.append((number, text))
            continue
        if block:
            yield block[0][0], block
        block = []
    if block:
        yield block[0][0], block


def _children(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if not child.name.startswith("."))
