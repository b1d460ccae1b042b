"""Written pairs: sources with what is right to write for them, from tables with two columns or from a dictionary."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import model_validator

from ostinato.errors import InputError
from ostinato.models.data.files import read_text_lines
from ostinato.models.data.lexicon import read_lexicon
from ostinato.models.data.parts import PARTS, PartFraction, PartName, split_by_name
from ostinato.models.data.symbols import Symbols, Unit, Units, cut
from ostinato.models.errors import DataError
from ostinato.models.recipe import Count, FileRecipe, meant
from ostinato.tables.json_lines import is_json
from ostinato.tables.parquet import is_parquet
from ostinato.tables.table import Table

# source -> what is right to write for it, each once, in the order of the file
Entries: TypeAlias = dict[str, tuple[Units, ...]]

START, STOP = "<start>", "<stop>"
_LOOKED_AT = 100


class PairsData(FileRecipe):
    """The pairs.

    ``file``: a table (CSV, tabs, semicolons, bars, Parquet, JSON), plain or compressed, or a dictionary in the form of
    CMUdict.
    ``form``: how the file is written.
    ``header``: whether the first row of a table has the names of its columns; otherwise they are ``1``, ``2``, ...
    ``source_column``: the column that is read. (``source``, as in every recipe, says where the data come from.)
    ``target_column``: the column that is to be written.
    ``source_unit``: what a step of the source is: ``characters`` (code points), or ``words``, which are between spaces.
    ``target_unit``: what a step of the target is: ``characters`` (code points), or ``words``, which are between spaces.
    ``source_lowercase``: whether capital letters of the source are read as small letters.
    ``target_lowercase``: whether capital letters of the target are read as small letters.
    ``min_count``: symbols that are less frequent are unknown.
    ``max_symbols``: how many symbols there are at most, the most frequent ones.
    ``unknown``: whether a symbol represents all that no source of the training part has; otherwise a service refuses
    it.
    ``stress``: of ``cmudict``, whether the stress digits of the vowels are written.
    ``validation_fraction``: the part for validation, drawn by the source; all targets of a source are in one part.
    ``test_fraction``: the part that is scored, drawn by the source; all targets of a source are in one part.
    """

    form: Literal["table", "cmudict"] = "table"
    header: bool = True
    source_column: str = "source"
    target_column: str = "target"
    source_unit: Unit = "characters"
    target_unit: Unit = "characters"
    source_lowercase: bool = False
    target_lowercase: bool = False
    min_count: Count = 1
    max_symbols: Count = 10_000
    unknown: bool = True
    stress: bool = False
    validation_fraction: PartFraction = 0.05
    test_fraction: PartFraction = 0.05

    @model_validator(mode="before")
    @classmethod
    def _of_a_dictionary(cls, given: Any) -> Any:
        """Of a dictionary, words are read in small letters, and phonemes written."""
        if isinstance(given, dict) and given.get("form") == "cmudict":
            return {"source_lowercase": True, "target_unit": "words", **given}
        return given

    @model_validator(mode="after")
    def _check(self) -> PairsData:
        if self.stress and self.form != "cmudict":
            raise ValueError("stress: is of form = 'cmudict'")
        return self


@dataclass(frozen=True)
class WrittenPairs:
    """Pairs in parts.

    ``parts``: all targets of a source are in one part; too few sources are in all of them.
    ``num_passed_over``: rows with an empty cell.
    """

    parts: dict[PartName, Entries]
    sources: Symbols
    targets: Symbols
    sha256: str
    num_passed_over: int = 0

    @property
    def held_out(self) -> bool:
        """Whether the parts differ."""
        return self.parts["test"] != self.parts["training"]

    @property
    def longest(self) -> tuple[int, int]:
        """Symbols of the longest source and of the longest target."""
        entries = [entry for part in PARTS for entry in self.parts[part].items()]
        return (
            max(len(self.source_units(source)) for source, _ in entries),
            max(len(target) for _, targets in entries for target in targets),
        )

    def source_units(self, source: str) -> Units:
        """A source, cut."""
        return cut(source, self.sources.unit, self.sources.lowercase)

    def content(self) -> dict[str, Any]:
        """What a run says of its data."""
        return {
            "sha256": self.sha256,
            "num_sources": {part: len(self.parts[part]) for part in PARTS},
            "num_pairs": {part: sum(map(len, self.parts[part].values())) for part in PARTS},
            "num_passed_over": self.num_passed_over,
            "held_out": self.held_out,
        }


def load_pairs(recipe: PairsData) -> WrittenPairs:
    """Read pairs and cut them into parts and symbols; symbols are those of the training part.

    Raises:
        DataError: the file cannot be read, lacks a column, or has no pair.
    """
    entries, num_passed_over = _entries(recipe)
    if not entries:
        raise DataError(f"{recipe.file}: has no row with a source and a target")
    where = split_by_name(entries, recipe.validation_fraction, recipe.test_fraction)
    parts = {part: {source: targets for source, targets in entries.items() if part in where[source]} for part in PARTS}
    known = parts["training"] if recipe.unknown else entries
    sources = Symbols.learn(
        (cut(source, recipe.source_unit, recipe.source_lowercase) for source in known),
        recipe.source_unit,
        lowercase=recipe.source_lowercase,
        unknown=recipe.unknown,
        min_count=recipe.min_count,
        max_symbols=recipe.max_symbols,
    )
    targets = Symbols.learn(
        (target for own in known.values() for target in own),
        recipe.target_unit,
        lowercase=recipe.target_lowercase,
        special=(START, STOP),
        unknown=False,
        min_count=recipe.min_count,
        max_symbols=recipe.max_symbols,
    )
    digest = hashlib.sha256(recipe.file.read_bytes()).hexdigest()
    return WrittenPairs(parts, sources, targets, digest, num_passed_over)


def read_rows(path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    """Rows of a table with their lines, a header among them.

    A file whose lines all have a tab is cut there and nowhere else: quotes are quotes, as in sentences.

    Raises:
        DataError: the file cannot be read.
    """
    has_keys = is_parquet(path) or is_json(path)
    if not has_keys and is_cut_at_tabs(lines := read_text_lines(path)):
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, [_unquoted(cell.strip()) for cell in line.split("\t")]
        return
    try:
        table = Table(path, as_written=True)
        yield 1, table.header
        yield from ((row.line, row.cells) for row in table.rows())
    except InputError as error:
        raise DataError(str(error)) from error


def is_cut_at_tabs(lines: Sequence[str]) -> bool:
    """Whether each of the first lines has a tab."""
    first = list(islice((line for line in lines if line.strip()), _LOOKED_AT))
    return len(first) > 0 and all("\t" in line for line in first)


def _entries(recipe: PairsData) -> tuple[Entries, int]:
    """All sources with their targets, and how many rows have none."""
    if recipe.form == "cmudict":
        return dict(read_lexicon(recipe.file, recipe.stress)), 0
    rows = read_rows(recipe.file)
    header: Sequence[str] = ()
    if recipe.header:
        _, header = next(rows, (0, ()))
    entries: dict[str, dict[Units, None]] = {}
    num_passed_over = 0
    places: tuple[int, int] | None = None
    for line, cells in rows:
        header = header or [str(number) for number in range(1, len(cells) + 1)]
        places = places or (_place(recipe, "source_column", header), _place(recipe, "target_column", header))
        if len(cells) <= max(places):
            raise DataError(f"{recipe.file}: line {line}: has {len(cells)} cells; column {max(places) + 1} is needed")
        source, target = (cells[place] for place in places)
        source_units = cut(source, recipe.source_unit, recipe.source_lowercase)
        units = cut(target, recipe.target_unit, recipe.target_lowercase)
        if not source_units or not units:
            num_passed_over += 1
            continue
        name = (" " if recipe.source_unit == "words" else "").join(source_units)
        entries.setdefault(name, {})[units] = None
    return {source: tuple(targets) for source, targets in entries.items()}, num_passed_over


def _place(recipe: PairsData, key: str, header: Sequence[str]) -> int:
    name: str = getattr(recipe, key)
    if name not in header:
        raise DataError(
            f"{recipe.file}: has no column {name!r} (data.{key}){meant(name, header)}; it has "
            f"{', '.join(map(repr, header))}" + ("" if recipe.header else ", as data.header = false")
        )
    return list(header).index(name)


def _unquoted(cell: str) -> str:
    """A cell as a table program writes it: in quotes, those within it doubled."""
    if len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in cell[1:-1].replace('""', ""):
        return next(csv.reader([cell]))[0]
    return cell
