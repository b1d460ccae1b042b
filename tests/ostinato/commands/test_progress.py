"""Progress bars, on terminals that are none."""

import io
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from ostinato.commands import progress
from ostinato.commands.models_fetch import BytesFetched
from ostinato.commands.progress import ProgressReport, late_progress, progress_bar, reporter


def shown(tell: Callable[[ProgressReport], None], *, is_terminal: bool, unit: str = "steps") -> str:
    """What a bar that is late writes, which is there from the beginning."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=80)
    with late_progress(console, "running", unit) as report:
        bars_are_there()
        tell(report)
    return file.getvalue()


started: list[Callable[[], None]] = []


def bars_are_there() -> None:
    started.pop()()


@pytest.fixture(autouse=True)
def timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timer that calls when it is told to."""

    class Puppet:
        daemon = False

        def __init__(self, seconds: float, call: Callable[[], None]) -> None:
            assert seconds == progress.SECONDS_BEFORE_PROGRESS
            started.append(call)

        def start(self) -> None:
            """Nothing, until it is told."""

        cancel = start

    monkeypatch.setattr(threading, "Timer", Puppet)


def test_a_bar_tells_how_much_is_done_on_a_terminal_and_is_quiet_in_a_pipe() -> None:
    def tell(report: ProgressReport) -> None:
        report(3, 8, "[of] two")

    on_terminal = shown(tell, is_terminal=True)
    assert "3/8" in on_terminal
    assert "[of] two" in on_terminal
    assert shown(tell, is_terminal=False) == ""


def test_a_bar_of_bytes_counts_them_without_knowing_how_many_there_are() -> None:
    def fetch(report: ProgressReport) -> None:
        count = BytesFetched(report)
        count("https://models.example.com/a", 1000)
        count("https://models.example.com/a", 2000)

    text = shown(fetch, is_terminal=True, unit="")
    assert "3.0 kB, " in text
    assert "https://models.example.com/a" in text


def test_a_bar_of_known_seconds_fills_by_itself() -> None:
    file, now = io.StringIO(), 0.0
    bar = progress_bar(Console(file=file, force_terminal=True, width=80), "s")
    bar.get_time = lambda: now
    reporter(bar, "256 sequences", seconds=10.0)
    for now in (4.5, 25.0):  # noqa: B007 - the clock reads it
        bar.console.print(bar)
    assert [figure in file.getvalue() for figure in (" 4/10", "10/10", "25/10")] == [True, True, False]


def test_sentences_above_a_bar_are_written_in_a_pipe_too() -> None:
    file = io.StringIO()
    with progress_bar(Console(file=file, width=80)) as bar:
        reporter(bar, "train")(0, 0, "is trained already")
    assert file.getvalue() == "is trained already\n"


def test_what_is_written_behind_a_bar_on_the_standard_error_comes_to_the_standard_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    error = io.StringIO()
    monkeypatch.setattr(sys, "stderr", error)
    with (tmp_path / "out.csv").open("w") as output:
        monkeypatch.setattr(sys, "stdout", output)
        with late_progress(Console(stderr=True, force_terminal=True, width=80), "running", "steps") as report:
            bars_are_there()
            report(1, 2)
            sys.stdout.write("0.5\n")
    assert (tmp_path / "out.csv").read_text() == "0.5\n"
    assert "1/2" in error.getvalue()
