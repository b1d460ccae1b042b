"""Scores of a forecaster over the test part: its errors next to those of its rivals, and its quantiles' coverage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.series import Dataset, Floats, Series, Times, moment_words
from ostinato.models.errors import DataError
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.rivals.forecasts import PERSISTENCE, RIVALS, last_season, last_value
from ostinato.models.rivals.lag_table import ForecastTask
from ostinato.models.rivals.rival import NETWORK, Rival, answers_of, metric_name
from ostinato.models.training.forecasting import futures, origins_of

# Of a Gaussian forecast, where quantiles are shown.
_LEVELS = (0.1, 0.5, 0.9)

# After some origins of a series, to what is forecast there, [n, H, K, P].
ForecastOf: TypeAlias = Callable[[Series, range], Floats]
Bools: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """Forecasts of one target, made after each of ``n`` steps, next to what came, at each of H steps ahead.

    ``points``: forecast -> its numbers ``[n, H]``, the network's first. ``scored``: where the value is known and every
    forecast is a number, ``[n, H]``.
    ``levels``, ``quantiles``: those that the network answers, ``[n, H, Q]``; none where it answers none.
    ``of_rivals``: the same quantiles of the rivals that answer them.
    ``missing``: a sentence about rivals that cannot be had here, and how to have them; empty for none.
    ``variances``: that of the network's forecast, ``[n, H]``, where it says one.
    ``times``: of the steps ahead, ``[n, H]``. ``origins``: of the steps after which forecasts are made.
    ``series``: of which series each is, ``[n]``.
    """

    target: str
    truth: Floats
    points: Mapping[str, Floats]
    scored: Bools
    levels: tuple[float, ...]
    quantiles: Floats
    of_rivals: Mapping[str, Floats]
    missing: str
    variances: Floats | None
    times: Times
    origins: Times
    series: NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def num_steps(self) -> int:
        """H."""
        return int(self.truth.shape[1])

    def maes(self, forecast: str) -> tuple[float, ...]:
        """The mean absolute error at each step ahead, in the target's unit."""
        return mean_absolute_errors(self.points[forecast], self.truth, self.scored)

    def mean_mae(self, forecast: str) -> float:
        """The same, averaged over the steps ahead."""
        return float(np.mean(self.maes(forecast)))

    @property
    def improvement(self) -> float:
        """By which fraction the network's error is below that of persistence."""
        return 1.0 - self.mean_mae(NETWORK) / self.mean_mae(PERSISTENCE)

    @property
    def all_quantiles(self) -> dict[str, Floats]:
        """Those of the network, where it answers some, and of its rivals."""
        return {NETWORK: self.quantiles, **self.of_rivals} if self.levels else {}

    def pinball(self, quantiles: Floats) -> float:
        """The pinball losses of all quantiles ``[n, H, Q]``, added up; their mean over the steps ahead."""
        return float(np.mean(pinball_losses(quantiles, self.truth, self.scored, self.levels).sum(axis=1)))

    def metrics(self) -> dict[str, Any]:
        """All of it in numbers."""
        found: dict[str, Any] = {}
        if self.num_steps == 1:
            times = self.times[self.scored]
            found = {f"{metric_name(name)}_mae": self.maes(name)[0] for name in self.points if name != NETWORK}
            found = {"mae": self.maes(NETWORK)[0], **found, "improvement_over_persistence": self.improvement}
            found |= {"num_scored_steps": int(self.scored.sum())}
            found |= {
                "first_time": moment_words(times.min()) if len(times) else "",
                "last_time": moment_words(times.max()),
            }
        else:
            found = {
                "mean_mae": {name: self.mean_mae(name) for name in self.points},
                "mae": {name: self.maes(name) for name in self.points},
                "num_scored": tuple(int(count) for count in self.scored.sum(axis=0)),
                "num_origins": len(self.origins),
                "first_origin": moment_words(self.origins.min()),
                "last_origin": moment_words(self.origins.max()),
            }
        if self.levels:
            found["quantiles"] = self.levels
            found["coverage"] = coverage(self.quantiles, self.truth, self.scored)
            found["interval_coverage"] = interval_coverage(self.quantiles, self.truth, self.scored)
            found["pinball"] = {name: self.pinball(quantiles) for name, quantiles in self.all_quantiles.items()}
        return found


def judge(
    forecast: ForecastOf,
    forecasts: Forecasts,
    dataset: Dataset,
    found: Sequence[tuple[Series, range]],
    num_steps: int,
    season_steps: int,
    others: Mapping[str, ForecastOf] | None = None,
    known: Sequence[str] = (),
    rivals: Sequence[Rival[ForecastTask, Floats]] = RIVALS,
) -> list[Judged]:
    """What a network's forecasts are worth, for each target.

    Args:
        forecasts: what the numbers of them are.
        found: the series and their origins, as ``origins_of`` has them.
        others: more networks to compare with, of the same targets; their first part is the point.
        known: the features that are known ahead.
    """
    answers = np.concatenate([forecast(series, origins) for series, origins in found])
    more = {
        name: np.concatenate([other(series, origins) for series, origins in found])
        for name, other in (others or {}).items()
    }
    judged = []
    for index, target in enumerate(dataset.targets):
        levels, quantiles = quantiles_of(forecasts, answers[:, :, index])
        task = ForecastTask(dataset, index, found, num_steps, season_steps, levels, forecasts.least, tuple(known))
        theirs, missing = answers_of(rivals, task)
        points = {NETWORK: answers[:, :, index, forecasts.point]}
        points |= {name: table[..., table.shape[-1] // 2] for name, table in theirs.items()}
        points |= {name: other[:, :, index, 0] for name, other in more.items()}
        truth = _truth(found, index, num_steps)
        scored = ~np.isnan(truth) & ~np.isnan(np.stack(list(points.values()))).any(axis=0)
        counts = [len(origins) for _, origins in found]
        judged.append(
            Judged(
                target,
                truth,
                points,
                scored,
                levels,
                quantiles,
                {name: table for name, table in theirs.items() if 1 < table.shape[-1] == len(levels)},
                missing,
                _variances(forecasts, answers[:, :, index]),
                np.concatenate([_times_ahead(series, origins, num_steps) for series, origins in found]),
                np.concatenate([series.times[list(origins)] for series, origins in found]),
                np.repeat(np.arange(len(found)), counts),
                tuple(series.name for series, _ in found),
            )
        )
    return judged


def check_scores(dataset: Dataset, num_steps: int, season_steps: int) -> None:
    """Whether the test part can be scored at each step ahead, which is known before anything is trained.

    Raises:
        DataError: it cannot, or the simple forecasts are without fault there, so that none can be better.
    """
    check_season(dataset, season_steps)
    found = origins_of(dataset, "test", num_steps)
    for index, target in enumerate(dataset.targets):
        truth = _truth(found, index, num_steps) if found else np.empty((0, num_steps), np.float32)
        task = ForecastTask(dataset, index, found, num_steps, season_steps)
        simple = [rival(task)[..., 0] for rival in (last_value, last_season)] if found else [truth]
        scored = ~np.isnan(np.stack([truth, *simple])).any(axis=0)
        for ahead, num_scored in enumerate(scored.sum(axis=0), start=1):
            if not num_scored:
                raise DataError(_unscored(target, ahead, num_steps, season_steps))
        if (truth == simple[0])[scored].all():
            raise DataError(
                f"{target!r} never changes in the test part: the last seen value is always right, and no forecast "
                "can be compared with that; change data.test_from"
            )


def _unscored(target: str, ahead: int, num_steps: int, season_steps: int) -> str:
    seasons = f"one whole seasons of {season_steps} steps (data.season_steps) before it"
    if num_steps == 1:
        return f"no step of the test part can be scored: none has a value of {target!r}, one before it, and {seasons}"
    return (
        f"no forecast {ahead} steps ahead can be scored: nowhere in the test part is there a value of {target!r}, one "
        f"known {ahead} steps before it, and {seasons}"
    )


def check_season(dataset: Dataset, season_steps: int) -> None:
    """Whether there is a whole season before the test part.

    Raises:
        DataError: there is not.
    """
    longest = max(dataset.series, key=lambda series: series.test_start)
    if season_steps > longest.test_start:
        raise DataError(
            f"data.season_steps is {season_steps}, and the history before the test part has {longest.test_start} steps "
            f"(the file {len(longest.values)}): the seasonal naive forecast, which is scored for comparison, needs a "
            "whole season; lower it"
        )


def quantiles_of(forecasts: Forecasts, answers: Floats) -> tuple[tuple[float, ...], Floats]:
    """The quantiles in answers ``[n, H, P]``, which they are of, and themselves, ``[n, H, Q]``."""
    if forecasts.loss == "pinball":
        return forecasts.quantiles, answers
    if forecasts.loss != "gaussian":
        return (), answers[..., :0]
    deviations = [NormalDist().inv_cdf(level) for level in _LEVELS]
    return _LEVELS, np.stack([answers[..., 0] + d * answers[..., 1] for d in deviations], axis=-1)


def mean_absolute_errors(forecasts: Floats, truth: Floats, scored: Bools) -> tuple[float, ...]:
    """At each horizon of ``[n, K]``, over what is scored; NaN where nothing is."""
    errors = np.where(scored, np.abs(forecasts.astype(np.float64) - truth), 0.0).sum(axis=0)
    with np.errstate(invalid="ignore"):
        return tuple(float(error) for error in errors / scored.sum(axis=0))


def pinball_losses(forecasts: Floats, truth: Floats, scored: Bools, levels: Sequence[float]) -> NDArray[np.float64]:
    """At each horizon and quantile of ``[n, K, O]`` the mean of ``max(q d, (q - 1) d)``, ``[K, O]``.

    ``d`` is the value less the forecast; at the median it is half the absolute error (Koenker and Bassett, 1978).
    """
    apart = np.where(scored[..., None], truth[..., None] - forecasts.astype(np.float64), 0.0)
    q = np.array(levels)
    with np.errstate(invalid="ignore"):
        losses: NDArray[np.float64] = np.maximum(q * apart, (q - 1) * apart).sum(axis=0) / scored.sum(axis=0)[:, None]
    return losses


def coverage(forecasts: Floats, truth: Floats, scored: Bools) -> tuple[float, ...]:
    """At each quantile of ``[n, K, O]`` the part of the scored values at or below it."""
    return tuple(float(part) for part in (truth[..., None] <= forecasts)[scored].mean(axis=0))


def interval_coverage(forecasts: Floats, truth: Floats, scored: Bools) -> tuple[float, ...]:
    """At each horizon the part of the scored values from the lowest to the highest quantile of ``[n, K, O]``."""
    inside = (forecasts[..., 0] <= truth) & (truth <= forecasts[..., -1]) & scored
    with np.errstate(invalid="ignore"):
        return tuple(float(part) for part in inside.sum(axis=0) / scored.sum(axis=0))


def _variances(forecasts: Forecasts, answers: Floats) -> Floats | None:
    if forecasts.loss == "gaussian":
        return answers[..., 1] ** 2
    if forecasts.loss == "counts":
        mean = answers[..., 0]
        return mean + answers[..., 1] * mean**2 if forecasts.has_dispersion else mean
    return None


def _truth(found: Sequence[tuple[Series, range]], index: int, num_steps: int) -> Floats:
    tables = [futures(series.truth[:, index : index + 1], num_steps)[origins, :, 0] for series, origins in found]
    return np.concatenate([table.numpy() for table in tables])


def _times_ahead(series: Series, origins: range, num_steps: int) -> Times:
    return series.times[np.array(origins)[:, None] + np.arange(1, num_steps + 1)]
