"""The picture of what outputs looked at: for each a heat map, its symbols down the side, its source along the top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ostinato.commands.pictures import save
from ostinato.errors import PictureError
from ostinato.extras import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 12
MAX_LABELS = 80
"""Of an axis that names each of its steps; a longer one is numbered."""
CELL_INCHES = 0.36
MAX_HEAT_MAP_INCHES = 9.0
MAX_ROW_INCHES = 11.0
MIN_PANEL_INCHES = 1.3
TITLE_INCHES = 0.8
LETTER_INCHES = 0.1
GAP_INCHES = 0.35
COLOURS = ("#fdf8f3", "#f6d9c3", "#e79a6c", "#c1440e", "#7d2607")
INK, FAINT = "#222222", "#8a8a8a"
BLANK = "\N{OPEN BOX}"


@dataclass(frozen=True)
class Panel:
    """An output and what it looked at.

    Attributes:
        weights: float32 ``[T, S]``.
        source, output: the S and T symbols; None or of another number = they are counted instead.
        score: the output's.
    """

    title: str
    weights: NDArray[np.float32]
    source: Sequence[str] | None
    output: Sequence[str] | None
    score: float | None


def draw(path: Path, panels: Sequence[Panel]) -> None:
    """Write the picture of one to ``MAX_PANELS`` panels.

    Raises:
        PictureError: there is nothing to draw, or the file cannot be written.
    """
    if not panels:
        raise PictureError("--plot: nothing was written, so nothing was looked at")
    require("matplotlib", __name__)
    import matplotlib as mpl

    # Text of an SVG stays text: small, and in the reader's own fonts.
    with mpl.rc_context({"font.size": 10, "text.color": INK, "svg.fonttype": "none", "svg.hashsalt": "ostinato"}):
        save(picture(panels), path)


def picture(panels: Sequence[Panel]) -> Figure:
    """The panels from left to right and in as many rows as they need, each cell a square; at the end the scale."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    places, width, height = _places([_size(panel) for panel in panels])
    figure = Figure(figsize=(width, height), facecolor="white")
    colours = LinearSegmentedColormap.from_list("attention", list(COLOURS))
    mesh: Any = None
    for panel, (left, top) in zip(panels, places, strict=True):
        cell, (num_rows, num_columns) = _cell(panel), panel.weights.shape
        left, top = left + _margin(panel), top + TITLE_INCHES
        axes = _axes(figure, left, top, num_columns * cell, num_rows * cell)
        mesh = _draw_panel(axes, panel, colours, cell)
    side = _axes(figure, width, TITLE_INCHES, 0.12, min(1.6, height - TITLE_INCHES - GAP_INCHES))
    bar = figure.colorbar(mesh, cax=side, ticks=[0, 0.5, 1])
    bar.outline.set_visible(False)
    side.tick_params(length=0, labelsize=8, labelcolor=FAINT)
    side.set_title("weight", fontsize=8, color=FAINT, loc="left")
    return figure


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches, counted from the left upper corner. What stands outside is cut off by nobody."""
    all_width, all_height = figure.get_size_inches()
    return figure.add_axes((left / all_width, 1 - (top + height) / all_height, width / all_width, height / all_height))


def _draw_panel(axes: Axes, panel: Panel, colours: Any, cell: float) -> Any:
    num_rows, num_columns = panel.weights.shape
    lines = 1.0 if cell > CELL_INCHES / 3 else 0.0
    # Squares of their own, not an image: they stay sharp at any size.
    mesh = axes.pcolormesh(panel.weights, cmap=colours, vmin=0, vmax=1, edgecolors="white", linewidth=lines)
    axes.invert_yaxis()
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=3)
    size = min(11.0, 0.7 * 72 * cell)
    if panel.source is not None and len(panel.source) == num_columns <= MAX_LABELS:
        axes.set_xticks([place + 0.5 for place in range(num_columns)], _shown(panel.source), fontsize=size)
    else:
        axes.tick_params(axis="x", labelsize=8, labelcolor=FAINT)
    if panel.output is not None and len(panel.output) == num_rows <= MAX_LABELS:
        axes.set_yticks([place + 0.5 for place in range(num_rows)], _shown(panel.output), fontsize=size)
    else:
        axes.tick_params(axis="y", labelsize=8, labelcolor=FAINT)
    _head(axes, panel.title, 36, 12, INK, "bold")
    if panel.score is not None:
        _head(axes, f"score {_signed(panel.score)}", 22, 9, FAINT, "normal")
    return mesh


def _head(axes: Axes, text: str, points_above: int, size: int, colour: str, weight: str) -> None:
    axes.annotate(
        text, (0, 1), (0, points_above), xycoords="axes fraction", textcoords="offset points", fontsize=size,
        color=colour, fontweight=weight, annotation_clip=False, parse_math=False,
    )  # fmt: skip


def _cell(panel: Panel) -> float:
    """The side of a cell in inches."""
    num_rows, num_columns = panel.weights.shape
    return min(CELL_INCHES, MAX_HEAT_MAP_INCHES / float(max(1, num_rows, num_columns)))


def _margin(panel: Panel) -> float:
    """The room for the symbols at the left of a panel, in inches."""
    return 0.15 + LETTER_INCHES * max((len(symbol) for symbol in panel.output or ("00",)), default=0)


def _size(panel: Panel) -> tuple[float, float]:
    """The width and height in inches that a panel takes with all that belongs to it."""
    num_rows, num_columns = panel.weights.shape
    width = max(num_columns * _cell(panel), MIN_PANEL_INCHES, LETTER_INCHES * len(panel.title))
    return _margin(panel) + width + GAP_INCHES, TITLE_INCHES + num_rows * _cell(panel) + GAP_INCHES


def _places(sizes: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], float, float]:
    """Where the left upper corner of each stands, and the width and height of all, in inches."""
    places = []
    left = top = row_height = all_width = 0.0
    for width, height in sizes:
        if left and left + width > MAX_ROW_INCHES:
            left, top, row_height = 0.0, top + row_height, 0.0
        places.append((left, top))
        left, row_height = left + width, max(row_height, height)
        all_width = max(all_width, left)
    return places, all_width, top + row_height


def _shown(symbols: Sequence[str]) -> list[str]:
    return [BLANK if symbol.isspace() else symbol for symbol in symbols]


def _signed(score: float) -> str:
    return f"{score:.3f}".replace("-", "\N{MINUS SIGN}")
