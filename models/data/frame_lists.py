"""Lists of frames: tables with a sequence, a picture and a label in each row, or some of these."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ostinato.errors import InputError
from ostinato.models.errors import DataError
from ostinato.models.recipe import meant
from ostinato.tables.openings import has_names
from ostinato.tables.table import Table, TableRow

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
_IDS = re.compile(r"(.*[_ ])?(id|seq|sequence|clip|video|series|name|folder|session)s?([_ ].*)?", re.IGNORECASE)
_LABELS = re.compile(r"label|class|tag|answer|target|category|state|y", re.IGNORECASE)


@dataclass(frozen=True)
class ListRow:
    """What a row says, empty where it has no such column; ``line``: where it is."""

    line: int
    sequence: str
    picture: str
    label: str


@dataclass(frozen=True)
class FrameList:
    """The rows of a list, and the columns that they come from, empty where there is none.

    ``has_no_header``: the columns are then called by their place.
    """

    file: Path
    id: str
    picture: str
    label: str
    rows: tuple[ListRow, ...]
    has_no_header: bool

    @property
    def has_pictures(self) -> bool:
        """Whether its rows name pictures."""
        return bool(self.picture)

    @property
    def has_labels(self) -> bool:
        """Whether its rows have labels."""
        return bool(self.label)

    def sequences(self) -> dict[str, list[ListRow]]:
        """The rows of each sequence, in the order of the file."""
        found: dict[str, list[ListRow]] = {}
        for row in self.rows:
            found.setdefault(row.sequence, []).append(row)
        return found

    def labels_of(self, names: Sequence[str], num_frames: int) -> tuple[str, ...]:
        """The labels of the sequence that has one of these names: one, or one for each of its frames.

        Raises:
            DataError: it is not listed, or with another number of labels.
        """
        sequences = self.sequences()
        rows = next((sequences[name] for name in names if name in sequences), None)
        if rows is None:
            raise DataError(f"{self.file}: has no row for the sequence {names[0]!r}{meant(names[0], list(sequences))}")
        if len(rows) not in (1, num_frames):
            raise DataError(
                f"{self.file}: line {rows[0].line}: {len(rows)} labels for {names[0]!r}, which has {num_frames} frames"
            )
        return tuple(row.label for row in rows)


def read_list(file: Path, sequence: str = "", picture: str = "", label: str = "") -> FrameList:
    """The rows of a table; a column that is not named is told by its name and content.

    Raises:
        DataError: the table cannot be read, lacks a named column, or a cell is empty.
    """
    header, rows = listed_rows(file)
    # The first line of a file is its header, or else a row.
    has_no_header = bool(rows) and rows[0].line == 1
    for column in filter(None, (sequence, picture, label)):
        position_of(file, header, column)
    if not rows:
        raise DataError(f"{file}: has no row below its header")
    cells = {name: [row.cells[place] for row in rows] for place, name in enumerate(header)}
    picture = picture or next((name for name, own in cells.items() if is_picture(own[0])), "")
    left = [name for name in header if name != picture]
    label = label or next((name for name in left if name != sequence and _LABELS.fullmatch(name)), "")
    left = [name for name in left if name != label]
    sequence = sequence or next((name for name in left if _IDS.fullmatch(name)), left[0] if left else "")
    left = [name for name in left if name != sequence]
    label = label or (left[-1] if left else "")
    found = []
    for place, row in enumerate(rows):
        own = {name: cells[name][place] if name else "" for name in (sequence, picture, label)}
        if empty := [name for name, cell in own.items() if name and not cell]:
            raise DataError(f"{file}: line {row.line}, column {empty[0]!r}: is empty")
        name = own[sequence] if sequence else Path(own[picture]).parent.as_posix()
        found.append(ListRow(row.line, name, own[picture] if picture else "", own[label] if label else ""))
    return FrameList(file, sequence, picture, label, tuple(found), has_no_header)


def listed_rows(file: Path) -> tuple[tuple[str, ...], list[TableRow]]:
    """The header of a list of pictures, and its rows; where the first row is one already, the columns are 1, 2, ...

    Raises:
        DataError: the table cannot be read.
    """
    try:
        table = Table(file, as_written=True)
        header, rows = table.header, list(table.rows())
    except InputError as error:
        raise DataError(str(error)) from error
    if any(map(is_picture, header)) or not has_names(header):
        # What should be the header is a row already.
        return tuple(str(place + 1) for place in range(len(header))), [TableRow(1, list(header)), *rows]
    return header, rows


def position_of(file: Path, header: tuple[str, ...], name: str) -> int:
    """Where a column is.

    Raises:
        DataError: it is not there, or more than once.
    """
    if name not in header:
        raise DataError(f"{file}: has no column {name!r}{meant(name, header)}; it has {list(header)}")
    if header.count(name) > 1:
        raise DataError(f"{file}: has more than one column {name!r}; give each a name of its own")
    return header.index(name)


def is_picture(name: str) -> bool:
    """Whether a file's name is one of a picture; ``#2`` behind it says which of its texts it stands with."""
    return file_of(name).lower().endswith(PICTURES)


def file_of(name: str) -> str:
    """The name of the file alone."""
    return re.sub(r"#\d+$", "", name)
