"""Progress bars of the commands."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

SECONDS_BEFORE_PROGRESS = 2.0


class ProgressReport(Protocol):
    """Says how far something is."""

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """``done`` of ``total``, and a few words on it; with a total of 0, a sentence above the bar."""


def progress_bar(
    console: Console, unit: str = "", *, has_remaining: bool = False, transient: bool = False, disable: bool = False
) -> Progress:
    """A bar with what it is of, and how long it took.

    Args:
        unit: of what is counted; empty = no count is shown.
        has_remaining: whether it tells how long the rest will take.
        transient: whether it disappears at its end.
    """
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn()]
    if unit:
        columns += [MofNCompleteColumn(), TextColumn(f"{unit}  {{task.fields[text]}}")]
    columns.append(TimeElapsedColumn())
    if has_remaining:
        columns.append(TimeRemainingColumn())
    return Progress(*columns, console=console, transient=transient, disable=disable)


def reporter(bar: Progress, title: str) -> ProgressReport:
    """A new task of the bar; what is called to say how far it is."""
    task = bar.add_task(escape(title), total=None, text="")

    def report(done: int, total: int, text: str = "") -> None:
        if total == 0:
            bar.console.print(f"[yellow]{escape(text)}[/]", highlight=False, soft_wrap=True)
            return
        bar.update(task, completed=done, total=total, text=text)

    return report


@contextlib.contextmanager
def late_progress(console: Console, title: str, unit: str) -> Iterator[ProgressReport]:
    """A bar that appears when it takes longer than two seconds."""
    bar = progress_bar(console, unit, has_remaining=True, transient=True)
    report = reporter(bar, title)
    timer = threading.Timer(SECONDS_BEFORE_PROGRESS, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield report
    finally:
        timer.cancel()
        bar.stop()
