"""Tables on the standard output, in which no name is cut."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

PIPED_COLUMNS = 10_000
"""Where nobody looks, a line of a table stays whole, however long it is."""


def table_console(*, stderr: bool = False) -> Console:
    """As wide as the terminal; or as any table, where there is none and nobody says how wide it is."""
    console = Console(stderr=stderr)
    if console.is_terminal or os.environ.get("COLUMNS"):
        return console
    return Console(stderr=stderr, width=PIPED_COLUMNS)


class WholeTable(Table):
    """A table of rich whose words are whole: where it is too wide, its cells wrap between words; and where that is not
    enough, each row is a block, headed by its first cell, with a line for each other cell.

    Its title and its caption wrap where the terminal ends, and not where the table does.
    """

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich calls to draw it."""
        if self.title:
            yield _sentence(self.title, "table.title")
        widths = self._widths(console, options)
        if widths is None:
            yield from self._blocks(console, options)
        else:
            yield from Table.__rich_console__(self._with(widths), console, options)
        if self.caption:
            yield _sentence(self.caption, "table.caption")

    def _widths(self, console: Console, options: ConsoleOptions) -> list[int] | None:
        """The widths of the columns without their padding, so that all words are whole; None where there are none."""
        wide = options.update(width=PIPED_COLUMNS)
        needed = [_measure(console, wide, self._shown(column)) for column in self.columns]
        least = [
            each.maximum if column.no_wrap else each.minimum for each, column in zip(needed, self.columns, strict=True)
        ]
        most = [each.maximum for each in needed]
        around = Measurement.get(console, wide, self).maximum - sum(most)
        room = options.max_width - around
        if sum(least) > room:
            return None
        cap = max(most, default=0)
        while sum(widths := [min(high, max(low, cap)) for low, high in zip(least, most, strict=True)]) > room:
            cap -= 1
        return widths

    def _shown(self, column: Column) -> list[RenderableType]:
        return [*([column.header] if self.show_header else []), *column.cells]

    def _with(self, widths: Sequence[int]) -> Table:
        table = copy.copy(self)
        table.title = table.caption = None
        table.columns = [copy.copy(column) for column in self.columns]
        for column, width in zip(table.columns, widths, strict=True):
            column.width = width
        return table

    def _blocks(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        names = [_words(column.header) if self.show_header else "" for column in self.columns[1:]]
        label = max(map(cell_len, names), default=0) + 2
        for head, *others in zip(*(column.cells for column in self.columns), strict=True):
            if head != "":
                yield head
            told = [(name, cell) for name, cell in zip(names, others, strict=True) if cell != ""]
            if _measure(console, options, others).minimum + label + 2 > options.max_width:  # a word under its label
                yield from (
                    Padding(each, (0, 0, 0, left)) for pair in told for each, left in zip(pair, (2, 4), strict=True)
                )
                continue
            block = Table.grid(padding=(0, 2, 0, 0))
            block.add_column(no_wrap=True)
            for name, cell in told:
                block.add_row(Text(name, style="dim"), cell)
            yield Padding(block, (0, 0, 0, 2))


def _measure(console: Console, options: ConsoleOptions, cells: Sequence[RenderableType]) -> Measurement:
    found = [Measurement.get(console, options, cell) for cell in cells]
    return Measurement(
        max((each.minimum for each in found), default=0), max((each.maximum for each in found), default=0)
    )


def _sentence(text: str | Text, style: str) -> Text:
    return Text.from_markup(text, style=style) if isinstance(text, str) else text


def _words(header: RenderableType) -> str:
    """A header in one line."""
    return " ".join(str(header).split())
