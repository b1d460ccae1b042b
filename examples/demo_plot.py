"""The demo's picture: forecasts of live sessions against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import matplotlib as mpl
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#c1440e", "#1f6f8b")
INK, FAINT = "#222222", "#8a8a8a"
CLOSE_UP = timedelta(days=5)


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


def draw(path: Path, times: Sequence[datetime], truth: Sequence[float | None], models: Sequence[Forecasts]) -> None:
    """Write the picture: the whole replay above; below its last days, and the look ahead behind them.

    Args:
        times, truth: of every hour, those of the look ahead included; a missing value is a gap.
    """
    mpl.rcParams.update({"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False, "text.color": INK})
    figure = Figure(figsize=(11, 7), dpi=120, layout="constrained")
    whole, close_up = figure.subplots(2, 1)
    num_replayed = len(models[0].one_ahead)
    now = times[num_replayed - 1]

    _one_ahead(whole, times[:num_replayed], truth, models)
    whole.set_title("One hour ahead, hour by hour, from live sessions", loc="left", fontweight="bold")
    whole.legend(loc="lower right", bbox_to_anchor=(1, 0.99), ncols=3, frameon=False, borderaxespad=0)

    first = next(index for index, time in enumerate(times) if time >= now - CLOSE_UP)
    recent = [replace(model, one_ahead=model.one_ahead[first:]) for model in models]
    _one_ahead(close_up, times[first:num_replayed], truth[first:], recent)
    future = times[num_replayed - 1 :]
    close_up.plot(future, _gaps(truth[num_replayed - 1 :]), color=INK, linewidth=1.6, linestyle=(0, (1, 1.2)))
    for model, colour in zip(models, COLOURS, strict=True):
        close_up.plot(future[1:], model.ahead, color=colour, linewidth=2.2, label=f"{model.name}, {len(model.ahead)} h")
    close_up.axvspan(now, times[-1], color="#f3efe6", zorder=0)
    close_up.axvline(now, color=FAINT, linewidth=0.8)
    close_up.annotate(
        f"{len(models[0].ahead)} hours ahead", (now, 1), xycoords=("data", "axes fraction"), xytext=(5, -12),
        textcoords="offset points", color=FAINT,
    )  # fmt: skip
    close_up.set_title("The last days, and the look ahead from where the sessions stand", loc="left", fontweight="bold")
    for axes in (whole, close_up):
        _finish(axes)

    errors = ", ".join(f"{model.name} {model.mae:.2f}" for model in models)
    figure.supxlabel(
        f"Mean absolute error over {models[0].num_scored} held-out hours: {errors}, "
        f"persistence {models[0].persistence_mae:.2f} µg/m³",
        fontsize=10,
        color=INK,
    )
    figure.savefig(path)


def _one_ahead(
    axes: Axes, times: Sequence[datetime], truth: Sequence[float | None], models: Sequence[Forecasts]
) -> None:
    axes.plot(times, _gaps(truth[: len(times)]), color=INK, linewidth=1.6, label="what came")
    for model, colour in zip(models, COLOURS, strict=True):
        axes.plot(times, _gaps(model.one_ahead), color=colour, linewidth=1.0, alpha=0.85, label=model.name)


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
