"""Tables on the standard output."""

from __future__ import annotations

import os

from rich.console import Console

PIPED_COLUMNS = 10_000
"""Where nobody looks, a line of a table stays whole, however long it is."""


def table_console() -> Console:
    """As wide as the terminal; or as any table, where there is none and nobody says how wide it is."""
    console = Console()
    return console if console.is_terminal or os.environ.get("COLUMNS") else Console(width=PIPED_COLUMNS)
