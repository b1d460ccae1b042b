"""The picture of a replay: what came, what had been forecast of it, and the interval where the model answers one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ostinato.commands.pictures import save
from ostinato.errors import PictureError
from ostinato.extras import require
from ostinato.tools.horizon_scores import quantile_features
from ostinato.tools.model_shape import ModelShape
from ostinato.tools.replay import SessionForecasts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_PANELS = 6
MAX_ROWS = 500
"""Of a longer replay the last ones are shown."""
NUM_LABELS = 8
PANEL_INCHES = (10.0, 3.0)
INK, FAINT, FORECAST = "#222222", "#8a8a8a", "#c1440e"


def draw(path: Path, shape: ModelShape, sessions: Sequence[SessionForecasts], horizon: int) -> None:
    """Write the picture: a panel for each target of each of the first sessions, at most ``MAX_PANELS``.

    Raises:
        PictureError: no forecast was made, or the file cannot be written.
    """
    if not any(session.made for session in sessions):
        raise PictureError("--plot: no forecast was made, so there is nothing to draw")
    require("matplotlib", __name__)
    import matplotlib as mpl

    # Text of an SVG stays text: small, and in the reader's own fonts.
    with mpl.rc_context({"font.size": 10, "text.color": INK, "svg.fonttype": "none", "svg.hashsalt": "ostinato"}):
        save(picture(shape, sessions, horizon), path)


def picture(shape: ModelShape, sessions: Sequence[SessionForecasts], horizon: int) -> Figure:
    """The panels below each other; a value stands above the time that it is of, and so does its forecast."""
    from matplotlib.figure import Figure

    shown = [(session, *pair) for session in sessions if session.made for pair in shape.feedback.items()][:MAX_PANELS]
    width, height = PANEL_INCHES
    figure = Figure(figsize=(width, height * len(shown)), facecolor="white", layout="constrained")
    for axes, (session, source, target) in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        _draw_panel(axes, shape, session, source, target, horizon)
    return figure


def _draw_panel(
    axes: Axes, shape: ModelShape, session: SessionForecasts, source: str, target: str, horizon: int
) -> None:
    first = max(min(session.made) + 1, len(session.rows) - MAX_ROWS)
    places = np.arange(first, len(session.rows))
    feature, output = shape.features.index(target), shape.outputs.index(source)
    values = [row.inputs[feature] for row in session.rows[first:]]
    axes.plot(places, [np.nan if value is None else value for value in values], color=INK, linewidth=1.2, label=target)

    def forecast(which: int) -> list[float]:
        """One output's forecast of each of these rows."""
        origins = [int(place) - horizon for place in places]
        return [session.made[origin][-1][which] if origin in session.made else np.nan for origin in origins]

    ahead = "one step" if horizon == 1 else f"{horizon} steps"
    axes.plot(places, forecast(output), color=FORECAST, linewidth=1.2, label=f"forecast {ahead} before")
    quantiles = list(quantile_features(shape.outputs, source).items())
    if len(quantiles) > 1:
        (low, lowest), (high, highest) = quantiles[0], quantiles[-1]
        below, above = (forecast(shape.outputs.index(name)) for name in (lowest, highest))
        axes.fill_between(
            places, below, above, color=FORECAST, alpha=0.2, linewidth=0, label=f"{high - low:.0%} interval"
        )
    labels = np.unique(np.linspace(first, len(session.rows) - 1, NUM_LABELS).round().astype(int))
    axes.set_xticks(labels, [session.rows[int(place)].label for place in labels], fontsize=8, color=FAINT)
    axes.tick_params(length=2, labelsize=8, labelcolor=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    name = f"{session.name}: " if session.name else ""
    axes.set_title(f"{name}{target}", loc="left", fontweight="bold", fontsize=11, parse_math=False)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), fontsize=8, frameon=False, ncols=3)
