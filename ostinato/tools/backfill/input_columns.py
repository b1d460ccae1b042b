"""Columns of a file that hold what a model takes: found by the manifest's names, and their types looked at, once and
before anything is run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa

from ostinato.errors import InputError
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.edge.arrow.cells import is_list, is_text
from ostinato.service.edge.arrow.tensor_types import check_tensor_sequences, feature_part, sizes_of
from ostinato.service.errors import InvalidInput
from ostinato.tools.backfill.asked import Backfill
from ostinato.tools.backfill.column_files import plain_type

ROW_COLUMN = "ostinato.row"
"""In the sorted copy of a file: which row of it each was."""
WHOLE = "inputs"
"""The column that has all of a sequence, as a message to ``predict`` has it."""


@dataclass(frozen=True)
class InputColumns:
    """Which columns hold what.

    Attributes:
        is_wide: whether each row is a sequence, of lists; else each is a step.
        whole: the column with all inputs of a sequence; empty where each has columns of its own.
        columns: of each input and context its column, or one for each feature; of a context that is absent, None.
        id_column, time_column, row_column: empty where there is none.
    """

    is_wide: bool
    whole: str
    columns: Mapping[str, tuple[str, ...] | None]
    id_column: str
    time_column: str
    row_column: str

    @property
    def names(self) -> list[str]:
        """All columns that are read."""
        listed = [self.id_column, self.time_column, self.row_column, self.whole]
        listed += [name for names in self.columns.values() for name in names or ()]
        return [name for name in dict.fromkeys(listed) if name]

    @classmethod
    def find(cls, schema: pa.Schema, manifest: Manifest, asked: Backfill) -> InputColumns:
        """Those that a back-fill reads.

        Raises:
            InputError: one is absent, which names those that are nearest, or of a type that holds no such thing.
        """
        finder = _Finder(schema, asked)
        finder.check_renamed(manifest)
        columns: dict[str, tuple[str, ...] | None] = {}
        names = [asked.renamed.get(name, name) for part in manifest.inputs for name in (part.name, *part.features)]
        is_wide = any(finder.holds_lists(name) for name in names) or finder.holds_lists(WHOLE)
        whole = ""
        if asked.id_column and is_wide:
            is_wide = not all(finder.holds_step(part) for part in manifest.inputs)
        if is_wide and finder.is_whole(manifest.given):
            whole = WHOLE
        for part in () if whole else manifest.inputs:
            columns[part.name] = finder.wide_columns(part) if is_wide else finder.columns(part)
        for part in manifest.context:
            columns[part.name] = finder.columns(part, may_be_absent=part.missing)
        if not is_wide and not asked.id_column:
            raise InputError(
                f"{asked.files[0]}: each row is a step: --id names the column that tells the sequences apart. For "
                "a row a sequence, its columns are lists"
            )
        if is_wide and asked.time_column:
            raise InputError(f"{asked.files[0]}: --time orders rows, and each row is a whole sequence here")
        finder.check_id(asked.id_column)
        finder.check_time(asked.time_column)
        row_column = ROW_COLUMN if asked.is_sorted else ""
        return cls(is_wide, whole, columns, asked.id_column, asked.time_column, row_column)


class _Finder:
    """Columns by their names."""

    def __init__(self, schema: pa.Schema, asked: Backfill) -> None:
        self._place, self._renamed = asked.files[0], asked.renamed
        self._types = {field.name: plain_type(field.type) for field in schema}
        if len(self._types) < len(schema.names):
            twice = next(name for name in schema.names if schema.names.count(name) > 1)
            raise InputError(f"{self._place}: two columns are called {twice!r}")

    def _type(self, name: str, what: str) -> pa.DataType:
        if name not in self._types:
            near = get_close_matches(name, self._types, 3, 0.5)
            words = f"; did you mean {' or '.join(map(repr, near))}?" if near else f"; it has {self._few()}"
            raise InputError(f"{self._place}: there is no column {name!r}, {what}{words}")
        return self._types[name]

    def check_renamed(self, manifest: Manifest) -> None:
        """Refuse a column for what the model does not take, which would be passed over."""
        taken = dict.fromkeys(name for part in parts_of(manifest) for name in (*part.features, part.name))
        for name in self._renamed:
            if name not in taken:
                near = get_close_matches(name, taken, 1, 0.5)
                words = f"; did you mean {near[0]!r}?" if near else f"; it takes {', '.join(taken)}"
                raise InputError(f"--column {name}={self._renamed[name]}: the model takes no {name!r}{words}")

    def _few(self) -> str:
        names = list(self._types)
        return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")

    def _own(self, name: str) -> str:
        return self._renamed.get(name, name)

    def holds_lists(self, name: str) -> bool:
        return name in self._types and is_list(self._types[name])

    def is_whole(self, given: RowLayout[Input]) -> bool:
        """Whether the column ``inputs`` is as a message to ``predict`` has it."""
        if not self.holds_lists(WHOLE) and not pa.types.is_struct(self._types.get(WHOLE, pa.null())):
            return False
        try:
            check_tensor_sequences(self._types[WHOLE], given, WHOLE)
        except InvalidInput as error:
            if given.is_single and given.parts[0].name != WHOLE:
                raise InputError(f"{self._place}: {error}") from error
            return False
        return True

    def holds_step(self, part: Input) -> bool:
        """Whether there are columns of which each row is one step."""
        name = self._own(part.name)
        if name in self._types and sizes_of(self._types[name], part):
            return True
        return all(self._own(each) in self._types and not self.holds_lists(self._own(each)) for each in part.features)

    def columns(self, part: Input, *, may_be_absent: bool = False) -> tuple[str, ...] | None:
        """The column of a tensor of one step, or those of its features."""
        name = self._own(part.name)
        if name in self._types and (part.row_shape or part.features == (part.name,)) and self._fits(name, part):
            return (name,)
        names = tuple(map(self._own, part.features))
        if may_be_absent and not any(each in self._types for each in names):
            return None
        for each, feature in zip(names, part.features, strict=True):
            kind = self._type(each, f"which is {feature!r} of {part.name!r}")
            if sizes_of(kind, feature_part(part, feature)) != ():
                what = "words or numbers" if feature in part.categories else "numbers"
                raise InputError(f"{self._place}: column {each!r} is of {kind}, not of {what}")
        return names

    def _fits(self, name: str, part: Input) -> bool:
        return sizes_of(self._types[name], part) is not None

    def wide_columns(self, part: Input) -> tuple[str, ...]:
        """The column of lists of a tensor's steps, or those of its features, each a list."""
        name = self._own(part.name)
        if self.holds_lists(name):
            try:
                check_tensor_sequences(self._types[name], RowLayout((part,)), name)
            except InvalidInput as error:
                raise InputError(f"{self._place}: {error}") from error
            return (name,)
        names = tuple(map(self._own, part.features))
        for each, feature in zip(names, part.features, strict=True):
            kind = self._type(each, f"which is {feature!r} of {part.name!r}")
            if not is_list(kind) or sizes_of(kind.value_type, feature_part(part, feature)) != ():
                raise InputError(f"{self._place}: column {each!r} is of {kind}, not of lists with a value a step")
        return names

    def check_id(self, name: str) -> None:
        if not name:
            return
        kind = self._type(name, "which --id names")
        if not (pa.types.is_integer(kind) or is_text(kind)):
            raise InputError(f"{self._place}: column {name!r} is of {kind}; ids are whole numbers or text")

    def check_time(self, name: str) -> None:
        if not name:
            return
        kind = self._type(name, "which --time names")
        is_time = pa.types.is_temporal(kind) and not pa.types.is_duration(kind) and not pa.types.is_interval(kind)
        if not (is_time or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise InputError(f"{self._place}: column {name!r} is of {kind}; times are timestamps, dates or numbers")


def parts_of(manifest: Manifest) -> Iterator[Input]:
    """All tensors that come from columns."""
    yield from manifest.inputs
    yield from manifest.context


def check_output_names(names: Sequence[str]) -> None:
    """Refuse columns of one name.

    Raises:
        InputError: names it.
    """
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two columns of the output would be called {name!r}: rename that of the file")
