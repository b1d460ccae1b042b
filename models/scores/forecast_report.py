"""Report of a forecaster: errors by steps ahead, season and level, coverage, residuals, examples, each series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.series import Floats, Times, moment_words
from ostinato.models.report import BarChart, HistogramChart, LineChart, ReportPart, ScoreTable
from ostinato.models.rivals.forecasts import PERSISTENCE, SEASONAL_NAIVE
from ostinato.models.rivals.rival import NETWORK
from ostinato.models.scores.forecaster import Judged, coverage, interval_coverage

_NUM_LEVELS = 5
_MAX_SERIES = 40
_MAX_RESIDUALS = 5000
# Steps of an example, where a step's answer is one step ahead; and how many examples there are of longer forecasts.
_EXAMPLE_STEPS, _NUM_EXAMPLES = 168, 3
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def forecast_sections(judged: Sequence[Judged], season_steps: int, sentence: str) -> list[ReportPart]:
    """All of it, target by target.

    Args:
        sentence: how training went.
    """
    sections: list[ReportPart] = []
    for one in judged:
        note = "; ".join(filter(None, (sentence, one.missing)))
        sections += [_errors(one, season_steps, note), *_coverage(one), *_charts(one), *_by_series(one)]
    return sections


def _errors(judged: Judged, season_steps: int, sentence: str) -> ScoreTable:
    return _one_step(judged, season_steps, sentence) if judged.num_steps == 1 else _by_steps_ahead(judged, sentence)


def _one_step(judged: Judged, season_steps: int, sentence: str) -> ScoreTable:
    simple = judged.mean_mae(PERSISTENCE)
    called = {SEASONAL_NAIVE: f"seasonal naive ({season_steps} steps)"}
    forecasts = ((called.get(name, name), judged.mean_mae(name)) for name in judged.points)
    times = judged.times[judged.scored]
    return ScoreTable(
        title=f"{judged.target}, one step ahead, {judged.scored.sum():,} scored steps\n"
        f"{moment_words(times.min())} to {moment_words(times.max())}",
        columns=("forecast", "MAE", "compared with persistence"),
        rows=tuple((name, number(mae), f"{mae / simple - 1:+.1%}" if simple else "") for name, mae in forecasts),
        note=sentence,
    )


def _by_steps_ahead(judged: Judged, sentence: str) -> ScoreTable:
    names = list(judged.points)
    within = interval_coverage(judged.quantiles, judged.truth, judged.scored) if judged.levels else ()
    rows = [
        (str(k + 1), *(number(judged.maes(name)[k]) for name in names), *(f"{part:.3f}" for part in within[k : k + 1]))
        for k in range(judged.num_steps)
    ]
    mean = ("mean", *(number(judged.mean_mae(name)) for name in names))
    inside = (f"within {judged.levels[0]:g} to {judged.levels[-1]:g}",) if judged.levels else ()
    return ScoreTable(
        title=f"{judged.target}, MAE by steps ahead, {len(judged.origins):,} origins\n"
        f"{moment_words(judged.origins.min())} to {moment_words(judged.origins.max())}",
        columns=("steps ahead", *names, *inside),
        rows=(*rows, (*mean, *((f"{np.mean(within):.3f}",) if judged.levels else ()))),
        note=sentence,
    )


def _coverage(judged: Judged) -> list[ReportPart]:
    found: list[ReportPart] = []
    if judged.levels:
        measured = coverage(judged.quantiles, judged.truth, judged.scored)
        title = "values at or below each quantile" + (", all steps ahead" if judged.num_steps > 1 else "")
        rows = tuple((f"{wanted:g}", f"{part:.3f}") for wanted, part in zip(judged.levels, measured, strict=True))
        found += [ScoreTable(f"{judged.target}, {title}", ("quantile", "measured"), rows), _quantiles(judged)]
    if judged.variances is not None:
        errors = (judged.truth - judged.points[NETWORK])[judged.scored].astype(np.float64)
        ratio = float(np.mean(errors**2 / judged.variances[judged.scored]))
        note = "squared error by forecast variance: 1 where the spread is right, more where it is too narrow"
        found.append(ScoreTable(f"{judged.target}, spread", ("", "measured"), (("ratio", f"{ratio:.3f}"),), note))
    return found


def _quantiles(judged: Judged) -> ScoreTable:
    """The quantiles of the network next to those of its rivals."""
    rows = [
        (
            name,
            number(judged.pinball(quantiles)),
            f"{np.mean(interval_coverage(quantiles, judged.truth, judged.scored)):.3f}",
        )
        for name, quantiles in judged.all_quantiles.items()
    ]
    levels = f"{judged.levels[0]:g} to {judged.levels[-1]:g}"
    return ScoreTable(
        f"{judged.target}, quantiles {', '.join(f'{level:g}' for level in judged.levels)}",
        ("forecast", "pinball losses, added up", f"within {levels}"),
        tuple(rows),
    )


def _charts(judged: Judged) -> list[ReportPart]:
    charts: list[ReportPart] = []
    shown = [name for name in judged.points if name in (NETWORK, PERSISTENCE, SEASONAL_NAIVE)]
    if judged.num_steps > 1:
        steps = list(range(1, judged.num_steps + 1))
        lines = {name: (steps, judged.maes(name)) for name in judged.points}
        charts.append(LineChart(f"{judged.target}: error by steps ahead", "steps ahead", "MAE", lines))
    for title, label, groups, labels in _seasons(judged.times):
        errors = {name: _mae_by(judged, name, groups, len(labels)) for name in shown}
        charts.append(BarChart(f"{judged.target}: error by {title}", label, "MAE", labels, errors))
    charts += [*_by_level(judged, shown), _residuals(judged), *_examples(judged)]
    return charts


def _seasons(times: Times) -> list[tuple[str, str, NDArray[np.int64], list[str]]]:
    """How a clock and a calendar tell the times apart: title, axis, the group of each, what groups are called."""
    hours = (times.astype("datetime64[h]") - times.astype("datetime64[D]")).astype(np.int64)
    days = (times.astype("datetime64[D]").astype(np.int64) + 3) % 7
    months = times.astype("datetime64[M]").astype(np.int64) % 12
    by_clock = [
        ("hour of the day", "hour", hours, [str(hour) for hour in range(24)]),
        ("weekday", "day", days, list(_WEEKDAYS)),
        ("month", "month", months, list(_MONTHS)),
    ]
    return [found for found in by_clock if len(np.unique(found[2])) > 1]


def _mae_by(judged: Judged, name: str, groups: NDArray[np.int64], num_groups: int) -> list[float]:
    errors = np.abs(judged.points[name].astype(np.float64) - judged.truth)[judged.scored]
    of = groups[judged.scored]
    counts = np.bincount(of, minlength=num_groups)
    sums = np.bincount(of, weights=errors, minlength=num_groups)
    return [float(total / count) if count else float("nan") for total, count in zip(sums, counts, strict=True)]


def _by_level(judged: Judged, shown: Sequence[str]) -> list[ReportPart]:
    truth = judged.truth[judged.scored]
    borders = np.unique(np.quantile(truth, np.linspace(0, 1, _NUM_LEVELS + 1)))
    if len(borders) < 3:
        return []
    groups = np.clip(np.searchsorted(borders, np.nan_to_num(judged.truth), side="right") - 1, 0, len(borders) - 2)
    labels = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(borders)]
    errors = {name: _mae_by(judged, name, groups, len(labels)) for name in shown}
    return [BarChart(f"{judged.target}: error by its level", judged.target, "MAE", labels, errors)]


def _residuals(judged: Judged) -> ReportPart:
    residuals = (judged.truth - judged.points[NETWORK])[judged.scored].astype(np.float64)
    every = max(1, -(-len(residuals) // _MAX_RESIDUALS))
    note = f"mean {residuals.mean():.4g}, standard deviation {residuals.std():.4g}"
    nearest = (judged.truth[:, 0] - judged.points[NETWORK][:, 0]).astype(np.float64)
    before, after = nearest[:-1], nearest[1:]
    both = judged.scored[:-1, 0] & judged.scored[1:, 0] & (judged.series[:-1] == judged.series[1:])
    if both.sum() > 2 and before[both].std() and after[both].std():
        correlation = np.corrcoef(before[both], after[both])[0, 1]
        note += f"; from one step ahead to the next their correlation is {correlation:.3f}"
    return HistogramChart(
        f"{judged.target}: residuals", "value less forecast", [float(r) for r in residuals[::every]], note
    )


def _examples(judged: Judged) -> list[ReportPart]:
    """The last steps of the test part, or some forecasts from it, next to what came."""
    last = np.flatnonzero(judged.series == judged.series[-1])
    name = judged.names[judged.series[-1]]
    of = f"{judged.target}{f' of {name}' if name else ''}"
    if judged.num_steps == 1:
        rows = last[-_EXAMPLE_STEPS:]
        return [_example(judged, f"{of}: the last {len(rows)} steps", lambda table: table[rows, 0])]
    chosen = last[np.linspace(0, len(last) - 1, min(_NUM_EXAMPLES, len(last))).astype(int)]
    return [
        _example(judged, f"{of}: forecast made at {judged.origins[row]}", lambda table, row=row: table[row])  # type: ignore[misc]
        for row in chosen
    ]


def _example(judged: Judged, title: str, taken: Callable[[Floats], Floats]) -> ReportPart:
    truth = [float(value) for value in taken(judged.truth)]
    x = list(range(1, len(truth) + 1))
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {
        "value": (x, truth),
        NETWORK: (x, [float(value) for value in taken(judged.points[NETWORK])]),
    }
    bands = None
    if judged.levels:
        low, high = (taken(judged.quantiles[..., place]) for place in (0, -1))
        bands = {
            f"{judged.levels[0]:g} to {judged.levels[-1]:g}": (x, [float(v) for v in low], [float(v) for v in high])
        }
    return LineChart(title, "step", judged.target, lines, bands)


def _by_series(judged: Judged) -> list[ReportPart]:
    if len(judged.names) == 1:
        return []
    rows = []
    for index, name in enumerate(judged.names):
        own = judged.scored & (judged.series == index)[:, None]
        maes = [
            float(np.abs(judged.points[forecast] - judged.truth)[own].mean()) if own.any() else float("nan")
            for forecast in judged.points
        ]
        rows.append((name, *(number(mae) for mae in maes), f"{own.sum():,}"))
    title = f"{judged.target}, MAE of each of {len(rows)} series"
    note = f"and {len(rows) - _MAX_SERIES} more" if len(rows) > _MAX_SERIES else ""
    return [ScoreTable(title, ("series", *judged.points, "scored"), tuple(rows[:_MAX_SERIES]), note, len(rows) <= 12)]


def number(value: float) -> str:
    """With as many places as tell something: three of a small one."""
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.1f}"
