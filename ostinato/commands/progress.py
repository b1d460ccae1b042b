"""Progress bars of the commands: on a terminal, and nowhere else."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

Item = TypeVar("Item")

SECONDS_BEFORE_PROGRESS = 2.0
BAR_COLUMNS = 20
MOST_NEXT_TO_A_BAR = 24
"""Characters of what a bar is of; with more it has a line of its own, so that both are whole in 80 columns."""


class ProgressReport(Protocol):
    """Says how far something is."""

    def __call__(self, done: int, total: int | None, text: str = "") -> None:
        """``done`` of ``total``, which may be unknown, and a few words on it; with a total of 0, a sentence above the
        bar.
        """


def progress_bar(
    console: Console, unit: str = "", *, has_remaining: bool = False, transient: bool = False, disable: bool = False
) -> Progress:
    """A bar with what it is of, and how long it took; nothing where the console is no terminal.

    What a command writes while the bar is on its standard error goes to its standard output, also where that is a file
    or a pipe: rich would bring it to the bar's console, and the file would stay empty.

    Args:
        unit: of what is counted; empty = no count is shown, only the words of a report.
        has_remaining: whether it tells how long the rest will take.
        transient: whether it disappears at its end.
    """
    whole = Column(no_wrap=True)
    columns: list[ProgressColumn] = [_ShortTitle("{task.description}"), BarColumn(BAR_COLUMNS)]
    if unit:
        columns.append(MofNCompleteColumn(table_column=whole))
    columns.append(TextColumn(f"{unit}  {{task.fields[text]}}".lstrip(), table_column=Column()))
    columns.append(TimeElapsedColumn(table_column=whole))
    if has_remaining:
        columns.append(TimeRemainingColumn(table_column=whole))
    return _TitledProgress(
        *columns,
        console=console,
        transient=transient,
        disable=disable or not console.is_terminal,
        redirect_stdout=not console.stderr or sys.stdout.isatty(),
    )


class _ShortTitle(TextColumn):
    """What a bar is of, unless that has a line of its own."""

    def render(self, task: Task) -> Text:
        return Text("") if _is_long(task) else super().render(task)


class _TitledProgress(Progress):
    """Bars, each below what it is of where that is long; one of something that takes a known time fills by itself."""

    def get_renderables(self) -> Iterator[RenderableType]:
        for task in self.tasks:
            if task.fields.get("is_timed") and task.total is not None:
                task.completed = min(task.total, task.elapsed or 0.0)
            if task.visible and _is_long(task):
                yield Text.from_markup(task.description)
            yield self.make_tasks_table([task])


def _is_long(task: Task) -> bool:
    return len(Text.from_markup(task.description)) > MOST_NEXT_TO_A_BAR


def reporter(bar: Progress, title: str, *, seconds: float | None = None) -> ProgressReport:
    """A new task of the bar; what is called to say how far it is.

    Args:
        seconds: that it takes, where they are known: the bar fills by itself.
    """
    task = bar.add_task(escape(title), total=seconds, text="", is_timed=seconds is not None)

    def report(done: int, total: int | None, text: str = "") -> None:
        if total == 0:
            bar.console.print(f"[yellow]{escape(text)}[/]", highlight=False, soft_wrap=True)
            return
        bar.update(task, completed=done, total=total, text=escape(text))

    return report


@contextlib.contextmanager
def late_progress(
    console: Console, title: str, unit: str, *, seconds: float | None = None, disable: bool = False
) -> Iterator[ProgressReport]:
    """A bar that appears when it takes longer than two seconds; see ``progress_bar`` and ``reporter``."""
    bar = progress_bar(console, unit, has_remaining=True, transient=True, disable=disable)
    report = reporter(bar, title, seconds=seconds)
    timer = threading.Timer(SECONDS_BEFORE_PROGRESS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield report
    finally:
        timer.cancel()
        bar.stop()


def tracked(items: Iterable[Item], total: int, console: Console, title: str, unit: str) -> Iterator[Item]:
    """Items with a bar that tells how many of them are done; see ``late_progress``."""
    with late_progress(console, title, unit) as report:
        for number, item in enumerate(items):
            report(number, total)
            yield item
