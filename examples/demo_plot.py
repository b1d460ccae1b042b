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

COLOURS = ("#c1440e", "#1f6f8b")
FAN_COLOUR = "#6a4c93"
INK, FAINT = "#222222", "#8a8a8a"
CLOSE_UP = timedelta(days=5)
WEEK = timedelta(days=7)


@dataclass(frozen=True)
class Forecasts:
    """One model's forecasts.

    Attributes:
        one_ahead: for each hour of the replay what was predicted an hour before; None = nothing.
        ahead: the look ahead, one value for each hour after the replay.
        mae, persistence_mae: over the ``num_scored`` hours of the replay that have a value.
    """

    name: str
    one_ahead: Sequence[float | None]
    ahead: Sequence[float]
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
    """Write the picture: above the week around the kill, hour by hour; below the last days, and the day ahead of them.

    Args:
        times, truth: of every hour, those of the look ahead included; a missing value is a gap.
        killed_at: the hour after which the service was killed.
    """
    mpl.rcParams.update({"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False, "text.color": INK})
    figure = Figure(figsize=(11, 7), dpi=120, layout="constrained")
    week, close_up = figure.subplots(2, 1)
    num_replayed = len(models[0].one_ahead)
    now = times[num_replayed - 1]

    hours = _between(times[:num_replayed], killed_at - WEEK / 2, killed_at + WEEK / 2)
    _one_ahead(week, times, truth, models, hours)
    before = [None, *truth][hours]
    week.plot(times[hours], _gaps(before), color=FAINT, linewidth=0.9, linestyle=(0, (4, 2)), label="persistence")
    week.axvline(killed_at, color=INK, linewidth=1.2)
    week.annotate(
        "kill -9, started again, the session continues", (killed_at, 1), xycoords=("data", "axes fraction"),
        xytext=(5, -12), textcoords="offset points", color=INK,
    )  # fmt: skip
    week.set_title("One hour ahead, hour by hour, from live sessions", loc="left", fontweight="bold")

    _one_ahead(close_up, times, truth, models, _between(times[:num_replayed], now - CLOSE_UP, now))
    future = times[num_replayed - 1 :]
    close_up.plot(future, _gaps(truth[num_replayed - 1 :]), color=INK, linewidth=1.6, linestyle=(0, (1, 1.2)))
    band = f"{fan.name}, {fan.share} % band"
    close_up.fill_between(future[1:], fan.low, fan.high, color=FAN_COLOUR, alpha=0.18, linewidth=0, label=band)
    close_up.plot(future[1:], fan.median, color=FAN_COLOUR, linewidth=2.2, label=f"{fan.name}, median")
    for model, colour in zip(models, COLOURS, strict=True):
        close_up.plot(future[1:], model.ahead, color=colour, linewidth=1.6, linestyle=(0, (3, 1)))
    close_up.axvspan(now, times[-1], color="#f3efe6", zorder=0)
    close_up.axvline(now, color=FAINT, linewidth=0.8)
    close_up.annotate(
        f"{len(models[0].ahead)} hours ahead", (now, 1), xycoords=("data", "axes fraction"), xytext=(5, -12),
        textcoords="offset points", color=FAINT,
    )  # fmt: skip
    close_up.set_title("The last days, and a day ahead from where the sessions are", loc="left", fontweight="bold")
    for axes in (week, close_up):
        _finish(axes)
    week.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=4, frameon=False, borderaxespad=0)
    handles, labels = close_up.get_legend_handles_labels()
    close_up.legend(
        handles[-2:], labels[-2:], loc="lower right", bbox_to_anchor=(1, 0.99), ncols=2, frameon=False, borderaxespad=0
    )

    errors = ", ".join(f"{model.name} {model.mae:.2f}" for model in models)
    figure.supxlabel(
        f"Mean absolute error over {models[0].num_scored} held-out hours: {errors}, "
        f"persistence {models[0].persistence_mae:.2f} µg/m³",
        fontsize=10,
        color=INK,
    )
    figure.savefig(path)


def _one_ahead(
    axes: Axes,
    times: Sequence[datetime],
    truth: Sequence[float | None],
    models: Sequence[Forecasts],
    hours: slice,
) -> None:
    axes.plot(times[hours], _gaps(truth[hours]), color=INK, linewidth=1.6, label="what came")
    for model, colour in zip(models, COLOURS, strict=True):
        one_ahead = _gaps(model.one_ahead[hours])
        axes.plot(times[hours], one_ahead, color=colour, linewidth=1.0, alpha=0.85, label=model.name)


def _between(times: Sequence[datetime], first: datetime, last: datetime) -> slice:
    """The hours from ``first`` to ``last``, inclusive."""
    inside = [index for index, time in enumerate(times) if first <= time <= last]
    return slice(inside[0], inside[-1] + 1)


def _finish(axes: Axes) -> None:
    axes.set_ylabel("PM2.5 in Beijing (µg/m³)")
    axes.set_xlabel("local time")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    locator = dates.AutoDateLocator(minticks=5, maxticks=10)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))


def _gaps(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]
