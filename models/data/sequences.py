"""Sequences by name: rows of many sequences in one table, a file a sequence, ``.ts`` files, words with their tags.

Whatever the form, what comes of it are cells as they are written, sequence by sequence, with what is to be learned of
each: one label, or one tag a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ostinato.errors import InputError
from ostinato.models.data.files import read_text_lines
from ostinato.models.errors import DataError
from ostinato.models.recipe import meant
from ostinato.tables.cells import MISSING_WORDS
from ostinato.tables.table import NamedColumns, Table
from ostinato.tables.text import plain_suffix, read_lines

# A value with its time stamp; and what ends a dimension of such.
_STAMPED = re.compile(r"\([^()]*,\s*([^,()]+)\)")
_STAMPED_END = re.compile(r"(?<=\)):")


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


def read_ts(path: Path) -> WrittenSequences:
    """Read a ``.ts`` file (sktime, aeon): dimensions cut by ``:``, values by ``,``, the class behind the last.

    Of time stamps, ``(stamp,value)``, the values are taken. A dimension that is shorter is missing at its end.

    Raises:
        DataError: a line is not of that form.
    """
    sequences: list[WrittenSequence] = []
    num_features = 0
    in_data, has_stamps, may_differ = False, False, False
    for number, line in enumerate(read_text_lines(path), start=1):
        text = line.strip()
        if not text or text.startswith(("#", "%")):
            continue
        if text.startswith("@"):
            in_data = in_data or text.lower() == "@data"
            if text.lower().split()[:2] == ["@classlabel", "false"]:
                raise DataError(f"{path}: line {number}: the sequences have no class: there is nothing to learn")
            if text.lower().split()[:2] == ["@targetlabel", "true"]:
                raise DataError(f"{path}: line {number}: the sequences have a number each, and no class")
            has_stamps = has_stamps or text.lower().split()[:2] == ["@timestamps", "true"]
            may_differ = may_differ or text.lower().split()[:2] == ["@equallength", "false"]
            continue
        if not in_data:
            raise DataError(f"{path}: line {number}: comes before @data; is it a .ts file?")
        *dimensions, label = _STAMPED_END.split(text) if has_stamps else text.split(":")
        values = [_STAMPED.findall(own) if has_stamps else own.split(",") for own in dimensions]
        lengths = sorted({len(own) for own in values})
        if lengths[:1] in ([], [0]) or (num_features and len(values) != num_features):
            more = f"; all lines have as many dimensions, {num_features}" if num_features else ""
            what = "values with time stamps, (stamp,value)" if has_stamps else "values"
            raise DataError(f"{path}: line {number}: {len(values)} dimensions of {lengths} {what}{more}")
        if len(lengths) > 1 and not may_differ:
            raise DataError(
                f"{path}: line {number}: {len(values)} dimensions of {lengths} values; all of a line have as many, "
                "where @equalLength false does not say otherwise"
            )
        num_features = len(values)
        sequences.append(of_dimensions(str(len(sequences)), f"{path}: line {number}", values, label.strip()))
    return WrittenSequences(tuple(f"dimension_{index}" for index in range(num_features)), tuple(sequences))


def of_dimensions(name: str, place: str, dimensions: Sequence[Sequence[str]], label: str) -> WrittenSequence:
    """A sequence whose dimensions are told one after the other; shorter ones are missing at their end."""
    longest = max(map(len, dimensions))
    padded = [[cell.strip() for cell in own] + [""] * (longest - len(own)) for own in dimensions]
    rows = list(zip(*padded, strict=True))
    while len(rows) > 1 and all(cell in MISSING_WORDS for cell in rows[-1]):
        rows.pop()
    return WrittenSequence(name, place, tuple(rows), (label,))


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
            f"{path}: line {columns.lines[cells.index('')]}, column {name!r}: is empty; the id of a sequence is in "
            "each of its rows, or in the first one of each alone"
        )
    own = ""
    return [own := cell or own for cell in cells]


def read_blocks(path: Path, column: int = -1) -> WrittenSequences:
    """Read words with their tags, one of each a line, cut by tabs or spaces, a blank line behind each sentence (CoNLL).

    Lines of CoNLL-U that are comments, ranges of words and empty words are passed over; there, the word is the second
    column and the tag (universal part of speech) the fourth.

    Args:
        column: where the tag stands, of files that are not CoNLL-U.

    Raises:
        DataError: a line has no tag.
    """
    is_conllu = plain_suffix(path) == ".conllu"
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
