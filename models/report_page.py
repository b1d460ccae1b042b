"""Reports as files: ``report.html``, one page that loads nothing from elsewhere, and its numbers, ``report.json``."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ostinato.models.errors import RunError
from ostinato.models.report import (
    BarChart,
    HistogramChart,
    LineChart,
    Matrix,
    ReportPart,
    ScoreTable,
    as_content,
    of_content,
)

PAGE_FILE = "report.html"
NUMBERS_FILE = "report.json"
_COLOURS = ("#1f6f8b", "#c1440e", "#5b8c2a", "#7a4fa3", "#b58900", "#444444")
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; white-space: pre-line }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top }
th:first-child, td:first-child { text-align: left } .note { color: #666; margin: .3rem 0 0 }
figure { margin: 0; overflow-x: auto } svg { max-width: 100%; height: auto }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.5rem } dt { color: #666 } dd { margin: 0 }
""".strip()
# Labels stay text, so that the page can be searched; ids follow from the drawing alone, so that pages can be compared.
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "report", "font.family": "sans-serif", "font.size": 10}
_MAX_LABELS = 40


def write_report(
    directory: Path, title: str, description: str, facts: Sequence[tuple[str, str]], sections: Sequence[ReportPart]
) -> None:
    """Write ``report.html`` and ``report.json``.

    Args:
        facts: names and values at its top: data, network, how long it took.
    """
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    body = "\n".join(f"<section><h2>{escape(part.title)}</h2>{_shown(part)}</section>" for part in sections)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1><p>{escape(description)}</p>"
        f"<dl>{told}</dl>\n{body}\n</body></html>\n"
    )
    (directory / PAGE_FILE).write_text(page, encoding="utf-8")
    content = {"facts": dict(facts), "sections": [as_content(section) for section in sections]}
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    (directory / NUMBERS_FILE).write_text(text + "\n", encoding="utf-8")


def read_sections(directory: Path) -> list[ReportPart]:
    """The sections of a report that was written.

    Raises:
        RunError: it is absent or damaged.
    """
    path = directory / NUMBERS_FILE
    try:
        return [of_content(section) for section in json.loads(path.read_text(encoding="utf-8"))["sections"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: is absent or damaged: {error}; train again, without --resume") from error


def _shown(section: ReportPart) -> str:
    content = _table(section) if isinstance(section, ScoreTable) else _figure(section)
    return content + (f'<p class="note">{escape(section.note)}</p>' if section.note else "")


def _table(table: ScoreTable) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "".join(row(cells, "td") for cells in table.rows)
    return f"<table><thead>{row(table.columns, 'th')}</thead><tbody>{rows}</tbody></table>"


def _figure(chart: LineChart | BarChart | HistogramChart | Matrix) -> str:
    with mpl.rc_context(_SETTINGS):
        # A figure of its own, not one of pyplot's, which would keep it.
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        _draw(chart, axes, figure)
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = drawn.getvalue()
    # Without what stands before it in a file of its own, which names an address.
    return f'<figure role="img" aria-label="{escape(chart.title)}">{svg[svg.index("<svg") :]}</figure>'


def _draw(chart: LineChart | BarChart | HistogramChart | Matrix, axes: Axes, figure: Figure) -> None:
    match chart:
        case LineChart():
            _draw_lines(chart, axes)
        case BarChart():
            _draw_bars(chart, axes)
        case HistogramChart():
            axes.hist(chart.values, bins=min(60, max(10, len(chart.values) // 20)), color=_COLOURS[0])
            axes.set_xlabel(_words(chart.x_label))
            axes.set_ylabel("count")
        case Matrix():
            _draw_matrix(chart, axes, figure)


def _draw_lines(chart: LineChart, axes: Axes) -> None:
    for place, (name, (x, y)) in enumerate(chart.lines.items()):
        # A single number would be an invisible line.
        marker = "o" if len(x) == 1 else ""
        axes.plot(x, y, label=_words(name), color=_COLOURS[place % len(_COLOURS)], linewidth=1.4, marker=marker)
    for place, (name, (x, lower, upper)) in enumerate((chart.bands or {}).items()):
        axes.fill_between(x, lower, upper, label=_words(name), color=_COLOURS[place % len(_COLOURS)], alpha=0.2)
    _label(chart, axes, len(chart.lines) + len(chart.bands or {}))


def _draw_bars(chart: BarChart, axes: Axes) -> None:
    width = 0.8 / max(1, len(chart.bars))
    for place, (name, heights) in enumerate(chart.bars.items()):
        at = [position + (place - (len(chart.bars) - 1) / 2) * width for position in range(len(chart.labels))]
        axes.bar(at, heights, width, label=_words(name), color=_COLOURS[place % len(_COLOURS)])
    _ticks(axes.set_xticks, chart.labels, rotation=45 if sum(map(len, chart.labels)) > 60 else 0)
    _label(chart, axes, len(chart.bars))


def _draw_matrix(chart: Matrix, axes: Axes, figure: Figure) -> None:
    figure.set_size_inches(8, max(3.0, min(9.0, 1.2 + 0.3 * len(chart.rows))))
    image = axes.imshow(chart.values, cmap="Blues", aspect="auto")
    figure.colorbar(image, ax=axes, fraction=0.04)
    _ticks(axes.set_xticks, chart.columns, rotation=45)
    _ticks(axes.set_yticks, chart.rows)
    axes.set_xlabel(_words(chart.x_label))
    axes.set_ylabel(_words(chart.y_label))


def _label(chart: LineChart | BarChart, axes: Axes, num_names: int) -> None:
    axes.set_xlabel(_words(chart.x_label))
    axes.set_ylabel(_words(chart.y_label))
    axes.margins(x=0.01)
    if num_names > 1:
        axes.legend(frameon=False, ncols=2, loc="upper right")


def _ticks(set_ticks: Any, labels: Sequence[str], rotation: int = 0) -> None:
    every = max(1, -(-len(labels) // _MAX_LABELS))
    at = range(0, len(labels), every)
    set_ticks(list(at), [_words(labels[place]) for place in at], rotation=rotation)


def _words(text: str) -> str:
    """Text that is not read as mathematics."""
    return text.replace("$", r"\$")
