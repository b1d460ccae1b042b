"""The demo's picture: forecasts of live sessions against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import matplotlib as mpl
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#d95f02", "#1b6ca8")
FAN_COLOUR, KILL_COLOUR = "#6a4c93", "#c1121f"
INK, FAINT = "#222222", "#8a8a8a"
WEEK, BEFORE = timedelta(days=7), timedelta(hours=12)
"""What is shown around the kill, and ahead of the look ahead."""
INCHES = (8, 6.4)
"""A page shows the picture 800 pixels wide: a point of a font is 1.4 of them."""


@dataclass(frozen=True)
class Forecasts:
    """One model's forecasts.

    Attributes:
        one_ahead: for each hour of the replay what was predicted an hour before; None = nothing.
        mae, persistence_mae: over the ``num_scored`` hours of the replay that have a value.
    """

    name: str
    one_ahead: Sequence[float | None]
    mae: float
    persistence_mae: float
    num_scored: int


@dataclass(frozen=True)
class Fan:
    """A forecast of the hours after the replay with how sure it is: of each hour three quantiles.

    Attributes:
        share: of the values that should lie between ``low`` and ``high``, in percent.
    """

    name: str
    low: Sequence[float]
    median: Sequence[float]
    high: Sequence[float]
    share: int


def draw(
    path: Path,
    times: Sequence[datetime],
    truth: Sequence[float | None],
    models: Sequence[Forecasts],
    fan: Fan,
    killed_at: datetime,
) -> None:
    """Write the picture: above the week around the kill, hour by hour; below the last hours, and the day ahead.

    Args:
        times, truth: of every hour, those of the look ahead included; a missing value is a gap.
        killed_at: the hour after which the service was killed.
    """
    mpl.rcParams.update({"font.size": 10.5, "axes.spines.top": False, "axes.spines.right": False, "text.color": INK})
    figure = Figure(figsize=INCHES, dpi=200, layout="constrained")
    week, days = figure.subplots(2, 1, height_ratios=(1.25, 1))
    num_replayed = len(models[0].one_ahead)
    _draw_week(week, times[:num_replayed], truth, models, killed_at)
    _draw_day_ahead(days, times, truth, fan, num_replayed)
    figure.supxlabel(
        f"Numbers: mean absolute error over {models[0].num_scored} held-out hours, in µg/m³", fontsize=9.5, color=INK
    )
    figure.savefig(path)


def _draw_week(
    axes: Axes,
    times: Sequence[datetime],
    truth: Sequence[float | None],
    models: Sequence[Forecasts],
    killed_at: datetime,
) -> None:
    """The hours around the kill: what was measured, and what was forecast of each an hour before."""
    hours = _between(times, killed_at - WEEK / 2, killed_at + WEEK / 2)
    axes.plot(times[hours], _gaps(truth[hours]), color=INK, linewidth=2.0, label="measured")
    for model, colour in zip(models, COLOURS, strict=True):
        label = f"{model.name} {model.mae:.2f}"
        axes.plot(times[hours], _gaps(model.one_ahead[hours]), color=colour, linewidth=1.3, label=label)
    before = _gaps([None, *truth][hours])
    label = f"persistence {models[0].persistence_mae:.2f}"
    axes.plot(times[hours], before, color=FAINT, linewidth=1.0, linestyle=(0, (4, 2)), label=label)
    axes.axvline(killed_at, color=KILL_COLOUR, linewidth=2.5)
    beside = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "color": KILL_COLOUR, "ha": "right"}
    axes.annotate("kill -9", (killed_at, 0.85), xytext=(-9, 0), fontsize=18, fontweight="bold", **beside)
    axes.annotate("the session\ncontinues", (killed_at, 0.66), xytext=(-9, 0), fontsize=12, **beside)
    _finish(axes, "PM2.5 in Beijing, one hour ahead, from live sessions")


def _draw_day_ahead(
    axes: Axes, times: Sequence[datetime], truth: Sequence[float | None], fan: Fan, num_replayed: int
) -> None:
    """The last hours of the replay, and what was forecast of the next, with how sure that is."""
    now = times[num_replayed - 1]
    past = _between(times[:num_replayed], now - BEFORE, now)
    future = slice(num_replayed - 1, None)
    axes.axvspan(now, times[-1], color="#f5f1e8", zorder=0)
    axes.axvline(now, color=FAINT, linewidth=1.0)
    axes.plot(times[past], _gaps(truth[past]), color=INK, linewidth=2.0)
    axes.plot(times[future], _gaps(truth[future]), color=INK, linewidth=2.0, linestyle=(0, (1, 1)), label="measured")
    ahead = times[num_replayed:]
    axes.plot(ahead, fan.median, color=FAN_COLOUR, linewidth=2.5, label=f"{fan.name}, median")
    band = f"{fan.share} % band"
    axes.fill_between(ahead, fan.low, fan.high, color=FAN_COLOUR, alpha=0.22, linewidth=0, label=band)
    _finish(axes, f"{len(ahead)} hours ahead, from a session's state")


def _between(times: Sequence[datetime], first: datetime, last: datetime) -> slice:
    """The hours from ``first`` to ``last``, inclusive."""
    inside = [index for index, time in enumerate(times) if first <= time <= last]
    return slice(inside[0], inside[-1] + 1)


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontweight="bold", fontsize=12.5, pad=24)
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=4, frameon=False, borderaxespad=0.2, borderpad=0,
        handlelength=1.5, columnspacing=1.2, fontsize=10.5,
    )  # fmt: skip
    axes.set_ylabel("µg/m³")
    axes.set_ylim(bottom=0)
    axes.margins(x=0)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    locator = dates.AutoDateLocator(minticks=5, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
