"""The picture in docs/performance.md: a bar a server in each panel, with what was measured in the same run.

`python -m benchmarks.chart` draws it again from the table of servers in that page, without a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from benchmarks.bench import KINDS
from benchmarks.figures import Figures
from benchmarks.report import PICTURE, SERVERS
from benchmarks.subjects import ROOT

PAGE = ROOT / "docs" / "performance.md"
TITLE = "One step a request over HTTP JSON: Ostinato, its limit and three baselines"
OURS, THEIRS, LIMIT = "#D55E00", "#56799B", "#C9D3DC"
"""Told apart without colours, too: by their lightness, and by the names next to the bars."""


class Panel(NamedTuple):
    """A figure of each server.

    Attributes:
        column: of the table in the page, counted from the servers' names.
        pattern: of the figure's name; ``times`` it is what is shown.
        is_log: whether bars are as long as the figure's magnitude; a bar then begins a little below the least.
    """

    title: str
    better: str
    column: int
    pattern: str
    times: float
    shown: str
    is_log: bool = False


PANELS = (
    Panel("steps/s, 256 sessions", "longer is better →", 1, "http/256/{}/rate", 1.0, "{:,.0f}"),
    Panel(
        "p99 in ms, 256 sessions",
        "← shorter is better (log axis)",
        3,
        "http/256/{}/p99",
        1000.0,
        "{:,.0f}",
        is_log=True,
    ),
    Panel("p50 in ms, one client", "← shorter is better", 5, "http/1/{}/p50", 1000.0, "{:,.2f}"),
)


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Draw the figures of a report; servers that were not measured are left out."""
    figures = Figures(report["figures"])
    kinds = [kind for kind in reversed(KINDS.values()) if figures.spread(PANELS[0].pattern.format(kind.name))]
    # Text stays text: small, and the reader's own fonts.
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ostinato", "font.size": 12})
    picture, axes = pyplot.subplots(1, len(PANELS), figsize=(11, 3.4), sharey=True, layout="constrained")
    picture.suptitle(TITLE, x=0.01, ha="left", fontsize=14, fontweight="bold")
    for each, panel in zip(axes, PANELS, strict=True):
        _draw_panel(each, panel, {kind.name: figures.spread(panel.pattern.format(kind.name)) for kind in kinds})
        each.set_yticks(range(len(kinds)), [kind.title for kind in kinds])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, metadata={"Date": None})
    pyplot.close(picture)


def _draw_panel(axes: Axes, panel: Panel, found: Mapping[str, Any]) -> None:
    values = {name: spread.median * panel.times for name, spread in found.items() if spread is not None}
    least = min(values.values(), default=1.0)
    for place, name in enumerate(found):
        if name not in values:
            axes.annotate("not measured", (0, place), (4, 0), textcoords="offset points", va="center")
            continue
        colour = {"ostinato": OURS, "echo": LIMIT}.get(name, THEIRS)
        axes.barh(place, values[name], color=colour)
        axes.annotate(
            panel.shown.format(values[name]), (values[name], place), (4, 0), textcoords="offset points", va="center"
        )
    if panel.is_log:
        axes.set_xscale("log")
        axes.set_xlim(least / 3, 6 * max(values.values(), default=1.0))
        axes.tick_params(axis="x", labelsize=10)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)
        axes.set_axisbelow(True)
    else:
        axes.set_xticks([])
        axes.margins(x=0.25)
    axes.set_title(panel.title, loc="left", fontsize=12)
    axes.set_xlabel(panel.better, loc="left", fontsize=12, color="#444444")
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="y", length=0)


def read_page(page: str) -> dict[str, list[float]]:
    """The figures that a page has in its table of servers, a round of each.

    Raises:
        ValueError: it has none.
    """
    names = {kind.title: kind.name for kind in KINDS.values()}
    figures: dict[str, list[float]] = {}
    _, _, table = page.partition(SERVERS)
    for line in table.strip().splitlines():
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for panel in PANELS if cells[0] in names else ():
            number = float(cells[panel.column].replace(",", ""))
            figures[panel.pattern.format(names[cells[0]])] = [number / panel.times]
    if not figures:
        raise ValueError(f"there is no table of servers below {SERVERS!r}")
    return figures


if __name__ == "__main__":
    draw({"figures": read_page(PAGE.read_text(encoding="utf-8"))}, PAGE.parent / PICTURE)
