"""What the programs among the tests, ``python -m tests.NAME``, share: how they are asked, and where they print."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import typer
from rich.console import Console

WIDTH = 140
"""Of what is printed where there is no terminal."""


def command_line(main: Callable[..., None]) -> typer.Typer:
    """A program's command with its flags."""
    app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command()(main)
    return app


def console() -> Console:
    """Where a program prints."""
    return Console(width=None if sys.stdout.isatty() else WIDTH)


def check_known(given: Sequence[str] | None, known: Sequence[str]) -> None:
    """Let nobody ask for what there is not.

    Raises:
        typer.BadParameter: a word is not known; names those that are.
    """
    for word in given or ():
        if word not in known:
            raise typer.BadParameter(f"there is no {word!r}; there are {', '.join(known)}")
