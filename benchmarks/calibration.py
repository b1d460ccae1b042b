"""Calibration: how often a calibrated forecaster's intervals hold, and which planted anomalies it finds.

    python -m benchmarks.calibration runs/beijing-lstm repository/beijing-lstm/1 examples/.../beijing_pm25_hourly.csv.xz

Intervals are those that a session would tell behind each hour of the test part, which nothing was learned from; those
of the whole part and of each season are counted. Anomalies are planted into the same part by the recipe of ``planted``,
and each detector gets the threshold that lets 1 % of the hours without one through.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.series import Series, load_dataset
from ostinato.models.kinds.forecaster import ForecasterRun, load_run
from ostinato.models.training.forecasting import origins_of
from ostinato.models.training.origins import feed_back
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.inference.calibrated import calibrated_quantiles

Floats = NDArray[Any]

LEVELS = (80, 95)
HORIZONS = (1, 24)
SEASONS = ("winter", "spring", "summer", "autumn")
FALSE_ALARMS = 0.01
KINDS = ("spike", "level shift", "stuck", "drift")
EVERY_STEPS = 120
"""From one planted anomaly to the next."""
REST_STEPS = 24
"""Behind one, hours that are neither found nor false: the detector may still tell of its end."""


def planted(values: Floats, seed: int) -> tuple[Floats, list[tuple[str, int, int]]]:
    """A series ``[N]`` with an anomaly about every ``EVERY_STEPS``, kinds in turn, and (kind, first, behind the last).

    spike        one hour, 120 ug/m3 up, or down where there is as much
    level shift  24 hours, 80 up
    stuck        12 hours at the value of the hour before
    drift        24 hours, rising to 100 by the last
    """
    generator = np.random.default_rng(seed)
    made, windows = values.copy(), []
    for turn, start in enumerate(range(200, len(values) - 200, EVERY_STEPS)):
        first = start + int(generator.integers(0, EVERY_STEPS // 2))
        kind = KINDS[turn % len(KINDS)]
        length = {"spike": 1, "level shift": 24, "stuck": 12, "drift": 24}[kind]
        part = slice(first, first + length)
        if np.isnan(values[first - 1 : first + length]).any():
            continue
        if kind == "spike":
            made[part] += -120 if made[first] > 120 and generator.random() < 0.5 else 120
        elif kind == "level shift":
            made[part] += 80
        elif kind == "stuck":
            made[part] = made[first - 1]
        else:
            made[part] += np.linspace(100 / length, 100, length)
        windows.append((kind, first, first + length))
    return made, windows


def moving_z(values: Floats, window: int = 168) -> Floats:
    """How many standard deviations of the last ``window`` hours a value is from their mean."""
    scores = np.full(len(values), np.nan)
    for step in range(window, len(values)):
        past = values[step - window : step]
        scores[step] = abs(values[step] - np.nanmean(past)) / max(np.nanstd(past), 1e-9)
    return scores


def moving_z_of_changes(values: Floats, window: int = 168) -> Floats:
    """The same of the change from the hour before."""
    return moving_z(np.concatenate([[np.nan], np.diff(values)]), window)


def seasonal_z(values: Floats, days: int = 28) -> Floats:
    """The same, among the same hours of the last ``days``."""
    scores = np.full(len(values), np.nan)
    for step in range(24 * days, len(values)):
        past = values[step - 24 * days : step : 24]
        scores[step] = abs(values[step] - np.nanmean(past)) / max(np.nanstd(past), 1e-9)
    return scores


def coverage(run: ForecasterRun, manifest: Manifest, series: Series, features: Any, origins: range) -> None:
    """Print how often intervals hold."""
    watch = manifest.watch
    assert watch is not None
    horizon = max(HORIZONS)
    forecasts = feed_back(run.network, features, series, origins, horizon, ()).numpy()[..., 0, 0]  # type: ignore[arg-type]
    kept = watch.tracker.initial()
    at = np.array(origins)
    truth = np.stack([series.truth[at + ahead, 0] for ahead in range(1, horizon + 1)], axis=1)
    season = (series.times[at].astype("datetime64[M]").astype(int) % 12 + 1) % 12 // 3
    inside = {(level, ahead): np.zeros(len(at), bool) for level in LEVELS for ahead in HORIZONS}
    width = dict.fromkeys(inside, 0.0)
    probabilities = [end for level in LEVELS for end in (0.5 - level / 200, 0.5 + level / 200)]
    targets = manifest.forecasts
    for place, origin in enumerate(origins):
        row = series.values[origin][None, None]
        kept = watch.see(kept[None], row, forecasts[place, :1][None, None]).tracked.after[0]
        ends = calibrated_quantiles(watch, kept, forecasts[place][:, None], targets, probabilities)[..., 0]
        for number, level in enumerate(LEVELS):
            for ahead in HORIZONS:
                low, high = ends[ahead - 1, 2 * number : 2 * number + 2]
                inside[level, ahead][place] = low <= truth[place, ahead - 1] <= high
                width[level, ahead] += (high - low) / len(at)
    print("| level | hours ahead | all | " + " | ".join(SEASONS) + " | mean width |")
    print("|---|---|---|" + "---|" * len(SEASONS) + "---|")
    for (level, ahead), held in inside.items():
        known = ~np.isnan(truth[:, ahead - 1])
        parts = [known, *(known & (season == number) for number in range(4))]
        cells = " | ".join(f"{100 * held[part].mean():.1f}" for part in parts)
        print(f"| {level} % | {ahead} | {cells} | {width[level, ahead]:.0f} |")


def anomalies(
    run: ForecasterRun, manifest: Manifest, series: Series, features: Any, origins: range, seeds: int
) -> None:
    """Print which planted anomalies are found."""
    watch = manifest.watch
    assert watch is not None
    place = features.index(manifest.calibration.targets[0].name)  # type: ignore[union-attr]

    def calibrated(values: Floats, rows: Floats) -> Floats:
        rows = rows.copy()
        rows[list(origins), place] = values
        of = replace(series, values=rows)
        made = feed_back(run.network, features, of, origins, 1, ()).numpy()[:, 0, 0]  # type: ignore[arg-type]
        told: Floats = watch.see(watch.tracker.initial()[None], rows[None, list(origins)], made[None]).anomaly[0]
        return told

    detectors: dict[str, Callable[[Floats, Floats], Floats]] = {
        "calibrated forecaster": calibrated,
        "moving z-score (a week)": lambda values, _: moving_z(values),
        "moving z-score of changes (a week)": lambda values, _: moving_z_of_changes(values),
        "z-score by the hour of the day (28 days)": lambda values, _: seasonal_z(values),
    }
    found: dict[str, dict[str, list[bool]]] = {name: {kind: [] for kind in KINDS} for name in detectors}
    precisions: dict[str, list[float]] = {name: [] for name in detectors}
    clean = series.values[list(origins), place].astype(np.float64)
    for seed in range(seeds):
        values, windows = planted(clean, seed)
        quiet = np.ones(len(values), bool)
        quiet[: 24 * 28] = False
        for _, first, last in windows:
            quiet[first : last + REST_STEPS] = False
        for name, detect in detectors.items():
            scores = np.nan_to_num(detect(values.astype(np.float32), series.values), nan=-1.0)
            threshold = np.quantile(scores[quiet], 1 - FALSE_ALARMS)
            hits = [(kind, bool((scores[first:last] > threshold).any())) for kind, first, last in windows]
            for kind, hit in hits:
                found[name][kind].append(hit)
            true, false = sum(hit for _, hit in hits), int((scores[quiet] > threshold).sum())
            precisions[name].append(true / (true + false))
    print("| detector | " + " | ".join(KINDS) + " | recall | precision | F1 |")
    print("|---|" + "---|" * (len(KINDS) + 3))
    for name, kinds in found.items():
        recall = float(np.mean([hit for hits in kinds.values() for hit in hits]))
        precision = float(np.mean(precisions[name]))
        cells = " | ".join(f"{100 * np.mean(kinds[kind]):.0f}" for kind in KINDS)
        f1 = 2 * precision * recall / (precision + recall)
        print(f"| {name} | {cells} | {100 * recall:.0f} | {100 * precision:.0f} | {100 * f1:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run directory of a point forecaster of one series, fed back")
    parser.add_argument("version", type=Path, help="its version, exported with --calibrate 24")
    parser.add_argument("table", type=Path, help="the table of the training")
    parser.add_argument("--seeds", type=int, default=5, help="how many times anomalies are planted")
    given = parser.parse_args()
    run, manifest = load_run(given.run), Manifest.read(given.version)
    dataset = load_dataset(run.recipe.data.model_copy(update={"file": given.table}))
    ((series, origins),) = origins_of(dataset, "test", max(HORIZONS))
    coverage(run, manifest, series, dataset.features, origins)
    anomalies(run, manifest, series, dataset.features, origins, given.seeds)


if __name__ == "__main__":
    main()
