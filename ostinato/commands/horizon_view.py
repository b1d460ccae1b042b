"""View of scores by horizon: a table in the terminal for each target."""

from __future__ import annotations

from rich import box
from rich.markup import escape

from ostinato.commands.tables import WholeTable
from ostinato.tools.horizon_report import header, lines
from ostinato.tools.horizon_scores import HorizonScores


def horizon_table(model: str, scores: HorizonScores) -> WholeTable:
    """The scores of one target's forecasts, a line for each step ahead."""
    title = f"{escape(model)}: {escape(scores.target)}, MAE of the model and of others"
    table = WholeTable(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0)
    for name in header(scores):
        table.add_column(escape(name), justify="right")
    for cells in lines(scores):
        table.add_row(*map(escape, cells))
    return table
