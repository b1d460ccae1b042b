"""Scores of forecasts by how many steps ahead they are, next to those of naive ones over the same values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.naive_forecasts import persistence, seasonal_naive

MODEL, PERSISTENCE, SEASONAL_NAIVE = "model", "persistence", "seasonal naive"
Floats: TypeAlias = NDArray[np.float64]

_QUANTILE = re.compile(r"_p(\d+(?:\.\d+)?)$")


@dataclass(frozen=True)
class TargetForecasts:
    """Forecasts of one target, from ``n`` origins of one series or several, at 1 to H steps ahead.

    Attributes:
        truth: what came, ``[n, H]``; NaN where nothing did.
        points: forecast -> its numbers, ``[n, H]``; NaN where there is none.
        scales: of each origin, ``[n]``: the mean absolute error of the naive forecast before it, by which MASE divides.
        levels, quantiles: those that the model answers, ``[n, H, Q]``; none where it answers none.
    """

    target: str
    truth: Floats
    points: Mapping[str, Floats]
    scales: Floats
    levels: tuple[float, ...] = ()
    quantiles: Floats | None = None


@dataclass(frozen=True)
class HorizonScores:
    """Errors of the forecasts of one target; each list is by steps ahead, from 1, NaN where nothing was scored.

    All forecasts are scored over the same values: those that came, and that each of them is a number for.

    Attributes:
        mase: MAE of errors that are divided by the scale of their series (Hyndman and Koehler, 2006).
        pinball: the mean over the levels of the model's quantiles, NaN where it has none so far ahead; empty where it
            answers none.
        coverage: the part of the values from its lowest to its highest quantile, likewise; and ``nominal``, which it
            should be.
    """

    target: str
    num_scored: list[int]
    mae: dict[str, list[float]]
    rmse: dict[str, list[float]]
    mase: dict[str, list[float]]
    pinball: list[float]
    coverage: list[float]
    nominal: float | None

    @property
    def skill(self) -> dict[str, list[float]]:
        """By which fraction the MAE of each forecast is below that of persistence."""
        base = np.array(self.mae[PERSISTENCE])
        with np.errstate(invalid="ignore", divide="ignore"):
            return {name: (1 - np.array(mae) / base).tolist() for name, mae in self.mae.items() if name != PERSISTENCE}

    def content(self) -> dict[str, Any]:
        """All of it as plain members; None stands for NaN."""
        members: dict[str, Any] = {
            "num_scored": self.num_scored,
            "mae": self.mae,
            "rmse": self.rmse,
            "mase": self.mase,
            "skill": self.skill,
        }
        if self.coverage:
            members |= {"pinball": self.pinball, "coverage": self.coverage, "nominal_coverage": self.nominal}
        return {name: _plain(member) for name, member in members.items()}


def score(forecasts: TargetForecasts) -> HorizonScores:
    """The scores of one target's forecasts."""
    truth, points = forecasts.truth, forecasts.points
    scored = ~np.isnan(truth)
    for made in points.values():
        scored &= ~np.isnan(made)
    mae, rmse, mase = {}, {}, {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, made in points.items():
            errors = np.abs(made - truth)
            mae[name] = _mean(errors, scored)
            rmse[name] = np.sqrt(_mean(errors**2, scored)).tolist()
            mase[name] = _mean(errors / forecasts.scales[:, None], scored)
    pinball: list[float] = []
    coverage: list[float] = []
    nominal = None
    if forecasts.quantiles is not None and len(forecasts.levels) > 1:
        quantiles, levels = forecasts.quantiles, np.array(forecasts.levels)
        gaps = truth[..., None] - quantiles
        known = scored & ~np.isnan(quantiles).any(axis=-1)
        pinball = _mean(np.maximum(levels * gaps, (levels - 1) * gaps).mean(axis=-1), known)
        inside = (quantiles[..., 0] <= truth) & (truth <= quantiles[..., -1])
        coverage = _mean(inside.astype(np.float64), known)
        nominal = float(np.round(levels[-1] - levels[0], 12))
    count = [int(number) for number in scored.sum(axis=0)]
    return HorizonScores(forecasts.target, count, mae, rmse, mase, pinball, coverage, nominal)


def together(parts: Sequence[TargetForecasts]) -> TargetForecasts:
    """The forecasts of one target in several series as one."""
    quantiles = [part.quantiles for part in parts if part.quantiles is not None]
    return TargetForecasts(
        parts[0].target,
        np.concatenate([part.truth for part in parts]),
        {name: np.concatenate([part.points[name] for part in parts]) for name in parts[0].points},
        np.concatenate([part.scales for part in parts]),
        parts[0].levels,
        np.concatenate(quantiles) if quantiles else None,
    )


def naive_points(values: Floats, origins: Sequence[int], horizon: int, season_steps: int) -> dict[str, Floats]:
    """Persistence, and where there is a season its naive forecast, from some origins of a series ``[N]``, as float64
    ``[n, H]``.
    """
    points = {PERSISTENCE: persistence(values, origins, horizon)}
    if season_steps > 1:
        points[SEASONAL_NAIVE] = seasonal_naive(values, origins, horizon, season_steps)
    return points


def truth_ahead(values: Floats, origins: Sequence[int], horizon: int) -> Floats:
    """What came after each origin, ``[n, H]``; NaN behind the end of the series."""
    longer = np.concatenate([values, np.full(horizon, np.nan)])
    return np.asarray(longer[np.array(origins, int)[:, None] + np.arange(1, horizon + 1)])


def naive_scale(history: Floats, season_steps: int) -> float:
    """The mean absolute error of the naive forecast one season ahead (one step, where there is none) within a history,
    over steps whose value and whose forecast's value are known; NaN where there is none, or it makes no error.
    """
    lag = max(1, season_steps)
    changes = np.abs(history[lag:] - history[:-lag])
    known = changes[~np.isnan(changes)]
    return float(known.mean()) or float("nan") if len(known) else float("nan")


def quantile_features(outputs: Sequence[str], source: str) -> dict[float, str]:
    """Level -> the output that is this quantile of what ``source`` forecasts, as ``pm2.5_p10``; the lowest first."""
    base, ahead = _QUANTILE.sub("", source.removesuffix("_ahead_1")), "_ahead_1" * source.endswith("_ahead_1")
    levels: dict[float, str] = {}
    for name in outputs:
        found = _QUANTILE.search(name.removesuffix(ahead) if ahead else name)
        if found and name == f"{base}{found[0]}{ahead}":
            levels[float(found[1]) / 100] = name
    return dict(sorted(levels.items()))


def _mean(numbers: Floats, scored: NDArray[np.bool_]) -> list[float]:
    """At each of H steps ahead, over what is scored of ``[n, H]``."""
    with np.errstate(invalid="ignore"):
        means: list[float] = (np.where(scored, numbers, 0.0).sum(axis=0) / scored.sum(axis=0)).tolist()
    return means


def _plain(member: Any) -> Any:
    if isinstance(member, dict):
        return {name: _plain(each) for name, each in member.items()}
    if isinstance(member, list):
        return [_plain(each) for each in member]
    return None if isinstance(member, float) and member != member else member
