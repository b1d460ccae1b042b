"""The table of what was found of a foreign graph, for terminals of 80 columns: names whole, a line for a state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from rich.markup import escape

from ostinato.commands.tables import WholeTable

if TYPE_CHECKING:
    from ostinato.export.importing.found import FileSummary, FoundTensor

_MANY = 4
"""States of one kind that are told one by one; more are told together."""
_WIDE = 30
"""Characters of two names that stand on one line."""


@dataclass(frozen=True)
class _Line:
    """What is said of a tensor, or of a state's two: what it is, its name, its axes, and how that was found."""

    role: str
    name: str
    made: str
    axes: str
    how: str

    @property
    def kind(self) -> tuple[str, str, str]:
        """What lines have in common that are told together: names but for their numbers."""
        return self.role, re.sub(r"\d+", "#", self.name), re.sub(r"\d+", "#", self.made)


def found_table(found: FileSummary) -> WholeTable:
    """A table of a graph's inputs, states and outputs."""
    table = WholeTable(title=f"{found.source}: task {found.task}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("is", no_wrap=True)
    table.add_column("in the file", no_wrap=True, overflow="fold")
    table.add_column("served in axes", overflow="fold")
    table.add_column("how this was found", overflow="fold")
    for line in _grouped(list(_lines(found))):
        arrow = "\n  -> " if len(line.name) + len(line.made) > _WIDE else " -> "
        name = f"{line.name}{arrow}{line.made}" if line.made else line.name
        table.add_row(*map(escape, (line.role, name, line.axes, line.how)))
    return table


def _lines(found: FileSummary) -> Iterator[_Line]:
    made = {given: (made, how) for given, made, how in found.pairs}
    carried = {made for made, _ in made.values()}
    for tensor in found.tensors:
        if tensor.name in carried and tensor.role == "next state":
            continue
        is_served_so = tensor.served in ("", tensor.name)
        name = tensor.name if is_served_so else f"{tensor.name}\n  as {tensor.served}"
        after, how = made[tensor.name] if tensor.role == "state" else ("", tensor.how)
        declared = tensor.declared if _says_more(tensor) else ""
        yield _Line(tensor.role, name, after, "\n".join(filter(None, (tensor.axes, declared))), how)


def _says_more(tensor: FoundTensor) -> bool:
    """Whether what the file declares is not seen from the axes: another dtype, or other sizes."""
    dtype, _, sizes = tensor.declared.partition(" [")
    if dtype != "float32" or not sizes:
        return tensor.declared != "not in the file"
    told, axes = sizes.rstrip("]").split(", "), tensor.axes.strip("[]").split(", ")
    return [size if size.isdigit() else "?" for size in told] != [axis if axis.isdigit() else "?" for axis in axes]


def _grouped(lines: Sequence[_Line]) -> Iterator[_Line]:
    for _, group in groupby(lines, lambda line: line.kind):
        alike = list(group)
        if len(alike) <= _MANY:
            yield from alike
            continue
        first, last = alike[0], alike[-1]
        axes = list(dict.fromkeys(line.axes.splitlines()[0] for line in alike if line.axes))
        yield _Line(
            f"{len(alike)} {first.role}s",
            f"{first.name} ... {last.name}",
            f"{first.made} ... {last.made}" if first.made else "",
            "\n".join(axes if len(axes) <= _MANY else [*axes[: _MANY - 1], "..."]),
            first.how,
        )
