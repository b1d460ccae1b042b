"""View of a replay: a running table of the latest rows above a progress bar, and a summary."""

from __future__ import annotations

from collections import deque

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape

from ostinato.commands.progress import progress_bar
from ostinato.commands.tables import WholeTable
from ostinato.tools.model_shape import ModelShape
from ostinato.tools.replay import Arrival, Comparison, Replayed

NUM_TABLE_ROWS = 12
MAX_OUTPUTS = 6


class ReplayView:
    """A live view of the first session; the bar counts the rows of all. A context manager and an observer."""

    def __init__(self, console: Console, shape: ModelShape, num_rows: int, *, horizon: int = 1) -> None:
        self._shape, self._horizon = shape, horizon
        self._latest: deque[Arrival] = deque(maxlen=NUM_TABLE_ROWS)
        self._progress = progress_bar(console, "rows", has_remaining=True)
        self._bar = self._progress.add_task(f"replay {escape(shape.name)}", total=num_rows, text="")
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8, auto_refresh=True)

    def __enter__(self) -> ReplayView:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.refresh()
        self._live.__exit__(None, None, None)
        if not self._live.console.is_terminal:
            self._live.console.line()

    def __call__(self, arrival: Arrival) -> None:
        """Count a row, and show it where it is the first session's."""
        self._progress.advance(self._bar)
        if arrival.session == 0:
            self._latest.append(arrival)

    def _render(self) -> Group:
        return Group(self._forecasts() if self._shape.feedback else self._outputs(), self._progress)

    def _forecasts(self) -> WholeTable:
        target = next(iter(self._shape.feedback.values()))
        ahead = "one step" if self._horizon == 1 else f"{self._horizon} steps"
        table = WholeTable(title=f"{escape(self._shape.name)}: {escape(target)}, {ahead} ahead", title_justify="left")
        table.add_column("row")
        for name in ("forecast", "actual", "error", "error of persistence"):
            table.add_column(name, justify="right")
        for arrival in self._latest:
            table.add_row(escape(arrival.row.label), *_cells(arrival.comparisons[target]))
        return table

    def _outputs(self) -> WholeTable:
        shown = self._shape.outputs[:MAX_OUTPUTS]
        left_out = len(self._shape.outputs) - len(shown)
        title = f"{escape(self._shape.name)}: outputs" + (f", {left_out} more not shown" if left_out else "")
        table = WholeTable(title=title, title_justify="left")
        table.add_column("row")
        for name in shown:
            table.add_column(escape(name), justify="right")
        for arrival in self._latest:
            table.add_row(escape(arrival.row.label), *(f"{value:.4g}" for value in arrival.outputs[:MAX_OUTPUTS]))
        return table


def summary(shape: ModelShape, result: Replayed) -> WholeTable:
    """How fast it went, and how near the forecasts came, compared with persistence."""
    rate = result.num_rows / result.seconds if result.seconds else 0.0
    sessions = f"{len(result.session_ids)} session" + ("s" if len(result.session_ids) != 1 else "")
    table = WholeTable(
        title=f"{escape(shape.name)}/{escape(shape.version)}: {result.num_rows:,} rows in {sessions}, "
        f"{result.seconds:.1f} s, {rate:,.0f} steps/s",
        title_justify="left",
    )
    table.add_column("forecast of")
    table.add_column("scored rows", justify="right")
    table.add_column("MAE", justify="right")
    table.add_column("MAE of persistence", justify="right")
    table.add_column("compared with it", justify="right")
    for target, score in result.scores.items():
        gain = f"{score.mae / score.persistence_mae - 1:+.1%}" if score.persistence_total else "-"
        table.add_row(escape(target), f"{score.num_scored:,}", f"{score.mae:.3f}", f"{score.persistence_mae:.3f}", gain)
    if not result.scores:
        table.add_row("nothing: the model's outputs forecast none of its inputs", "-", "-", "-", "-")
    return table


def _cells(compared: Comparison) -> tuple[str, str, str, str]:
    error, other = compared.error, compared.persistence_error
    colour = "white" if error is None or other is None else "green" if error <= other else "red"
    actual = "[dim]missing[/]" if compared.actual is None else _number(compared.actual)
    return _number(compared.forecast), actual, f"[{colour}]{_number(error)}[/]", _number(other)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.1f}" if value == 0 or 1 <= abs(value) < 1e7 else f"{value:.3g}"
