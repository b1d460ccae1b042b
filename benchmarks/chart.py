"""The picture in docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from benchmarks.bench import KINDS
from benchmarks.figures import Figures

PANELS = (
    ("steps/s, 256 sessions", "http/256/{}/rate", 1.0, "{:,.0f}"),
    ("p99 in ms, 256 sessions", "http/256/{}/p99", 1000.0, "{:,.0f}"),
    ("p50 in ms, one client", "http/1/{}/p50", 1000.0, "{:,.2f}"),
)
OURS, THEIRS, LIMIT = "#b5442e", "#8a9aa9", "#d8dee4"


def draw(report: Mapping[str, Any], path: Path) -> None:
    """One bar a server in each panel, with what was measured in the same run; lower bars of times are better."""
    figures = Figures(report["figures"])
    # Text stays text: small, and the reader's own fonts.
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "ostinato", "font.size": 9})
    picture, panels = pyplot.subplots(1, len(PANELS), figsize=(11, 2.6), sharey=True, layout="constrained")
    kinds = list(reversed(KINDS.values()))
    for axes, (title, pattern, times, shown) in zip(panels, PANELS, strict=True):
        for place, kind in enumerate(kinds):
            spread = figures.spread(pattern.format(kind.name))
            value = spread.median * times if spread else 0.0
            colour = {"ostinato": OURS, "echo": LIMIT}.get(kind.name, THEIRS)
            axes.barh(place, value, color=colour)
            text = shown.format(value) if spread else "not measured"
            axes.annotate(text, (value, place), (4, 0), textcoords="offset points", va="center")
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_yticks(range(len(kinds)), [kind.title for kind in kinds])
        axes.set_xticks([])
        axes.margins(x=0.25)
        axes.spines[:].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(path, metadata={"Date": None})
    pyplot.close(picture)
