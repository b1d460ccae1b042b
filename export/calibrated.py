"""Calibrated versions: forecasters whose sessions keep count of what their forecasts are off by.

What they begin from is what the trained network was off by in the validation part, which training did not learn from.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from ostinato.export.errors import ExportError
from ostinato.export.told_time import faults_of
from ostinato.export.version_directory import Exported
from ostinato.models.data.series import Dataset, load_dataset
from ostinato.models.kinds.forecaster import ForecasterRun, forecast_of, load_run
from ostinato.models.kinds.registry import FORECASTER
from ostinato.models.networks.forecasts import Forecasts
from ostinato.models.run_files import read_content
from ostinato.models.training.forecasting import futures, origins_of
from ostinato.service.artifact.calibration import Alarm, Crossing
from ostinato.service.artifact.distribution import Doubles, TargetForecast, targets_of
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tracking import scores_of

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
RATE = 0.02
"""By how much of itself a tracked number is moved: by the factor exp(RATE level) up, by exp(-RATE (1 - level)) down."""
_LAG_PARTS = (6, 2, 1)
"""Changes are tracked over this part of the steps ahead."""
_LEAST = 1e-6
"""Of the greatest score, what no score to begin from is below: a number of 0 could not be multiplied."""
_MIN_SCORES = 100
_RARE_REPEATS = 1 / 2000
_MOST_REPEATS = 1000
"""Beyond that a number says nothing by staying as it is, as of snow in summer."""
_CROSSING = re.compile(r"(.+?)([<>])([-+.\deE]+)(?::([-+.\deE]+))?")


@dataclass(frozen=True)
class CalibrationOptions:
    """What is asked for.

    ``num_steps``: how far ahead. ``table``: the table of the training; None = where the recipe has it. ``alarm``,
    ``crossings``: as the command takes them.
    """

    num_steps: int
    table: Path | None = None
    alarm: str = "0.99:0.9"
    crossings: tuple[str, ...] = ()


def calibrated(exported: Exported, source: str, options: CalibrationOptions) -> Exported:
    """The same version with a calibration.

    Args:
        source: the run directory.

    Raises:
        ExportError: it is no forecaster's run, or its validation part is too short; the table is another one than the
            training's; or an option does not fit. The version stays as it is.
        DataError: the table cannot be read.
    """
    run, dataset, told = _told(source, options)
    members = {**_found(run, dataset, exported.manifest, options.num_steps), **told}
    content = {**exported.manifest.model_dump(), "calibration": members}
    content.pop("batch_invariant", None)  # which follows from the promise
    try:
        manifest = Manifest(**content)
    except ValidationError as error:
        raise ExportError(f"--calibrate: {faults_of(error)}; the version was exported without") from error
    manifest.write(exported.directory)
    return replace(exported, manifest=manifest)


def check_calibration(source: str, options: CalibrationOptions) -> None:
    """Refuse what cannot be, before anything is exported; raises as ``calibrated``."""
    _told(source, options)


def _told(source: str, options: CalibrationOptions) -> tuple[ForecasterRun, Dataset, dict[str, Any]]:
    """The run, the table of its training, and the members that the options tell."""
    directory = Path(source)
    if ":" in source or read_content(directory).get("kind", FORECASTER) != FORECASTER:
        raise ExportError("--calibrate: only the run of a forecaster has a validation part to calibrate by")
    alarm = [_number(text, "--alarm") for text in options.alarm.split(":")]
    try:
        told = Alarm(**dict(zip(("begin", "end"), alarm, strict=False)))
        crossings = [Crossing(**_crossing(text)) for text in options.crossings]
    except ValidationError as error:
        raise ExportError(f"--calibrate: {faults_of(error)}") from error
    run = load_run(directory)
    dataset = _dataset(run, options)
    features = run.recipe.data.features
    for crossing in crossings:
        if crossing.feature not in features:
            near = get_close_matches(crossing.feature, features, 1)
            words = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(features)}"
            raise ExportError(f"--crossing: {crossing.feature!r} is no input feature{words}")
    return run, dataset, {"alarm": told, "crossings": crossings}


def _dataset(run: ForecasterRun, options: CalibrationOptions) -> Dataset:
    file = options.table or run.recipe.data.file
    if not file.exists():
        raise ExportError(f"--calibrate: there is no table {file}; say where it is by --table")
    dataset = load_dataset(run.recipe.data.model_copy(update={"file": file}))
    if dataset.sha256 != run.content["data"]["sha256"]:
        raise ExportError(f"--calibrate: {file} is not the table of the training, by its SHA-256")
    return dataset


def _found(run: ForecasterRun, dataset: Dataset, manifest: Manifest, num_steps: int) -> dict[str, Any]:
    """Levels, factors, lags and targets."""
    forecasts = run.forecasts
    if forecasts.num_steps > 1 and num_steps > forecasts.num_steps:
        raise ExportError(f"--calibrate {num_steps}: the network answers {forecasts.num_steps} steps ahead")
    recipe = run.recipe
    if forecasts.num_steps == 1:
        update = {"training": recipe.training.model_copy(update={"horizon_steps": num_steps})}
        recipe = recipe.model_copy(update=update)
    found = origins_of(dataset, "validation", recipe.training.horizon_steps)
    forecast = forecast_of(run.network, recipe, dataset)
    answers = np.concatenate([forecast(series, origins) for series, origins in found])[:, :num_steps]
    tables = [futures(series.truth, num_steps)[list(origins)].numpy() for series, origins in found]
    truth = np.concatenate(tables).astype(np.float64)
    is_fed_back = recipe.network.forecast == "fed_back"
    lags = _lags(num_steps) if is_fed_back or forecasts.loss in ("absolute", "squared") else ()
    levels = np.array(LEVELS)
    targets = []
    for place, target in enumerate(dataset.targets):
        if target not in {name for part in manifest.inputs for name in part.features}:
            continue
        readings = [series.truth[slice(*series.span("validation")), place] for series in dataset.series]
        own = _one_step(forecasts, target, run)
        scores = _scores(own, answers[:, :, place], truth[:, :, place], of_itself=not lags)
        seen = [series.truth[: series.span("validation")[1], place] for series in dataset.series]
        told = _of_target(scores, [_changes(readings, lag) for lag in lags], lags)
        targets.append({"name": target, **told, "most_repeats": most_repeats(seen)})
    if not targets:
        raise ExportError("--calibrate: no target is a feature, so no session is told what came of its forecasts")
    return {
        "levels": LEVELS,
        "raises": [math.exp(RATE * level) for level in levels],
        "lowers": [math.exp(-RATE * (1 - level)) for level in levels],
        "lags": lags,
        "targets": targets,
    }


def _lags(num_steps: int) -> tuple[int, ...]:
    return tuple(sorted({lag for part in _LAG_PARTS if (lag := round(num_steps / part)) > 1}))


def _one_step(forecasts: Forecasts, target: str, run: ForecasterRun) -> TargetForecast:
    """Where the parts of one target are, one step ahead, which are P numbers."""
    one_step = replace(forecasts, num_steps=1)
    counts = run.recipe.training.loss == "counts"
    (own,) = targets_of(one_step.names([target]), {}, counts=counts)
    return own


def _scores(own: TargetForecast, answers: NDArray[Any], truth: Doubles, *, of_itself: bool) -> Doubles:
    """How far readings ``[n, H]`` were from answers ``[n, H, P]``: one step ahead in what the network reaches, and
    further ahead in the same way (``of_itself``) or in the reading's own unit.
    """
    points, reaches = own.points(answers), own.reaches(answers)[..., 0, :]
    if not of_itself:
        reaches[:, 1:] = 1.0
    return scores_of(truth, np.concatenate([points, reaches], axis=-1))


def most_repeats(parts: list[NDArray[Any]]) -> int:
    """How often in a row the same number is read at most, but for one in 2,000 of the readings ``[N]`` of some series;
    missing ones are passed over. 0 = so often that nothing is to be made of it.
    """
    counts = []
    for part in parts:
        known = part[~np.isnan(part)]
        places = np.arange(len(known))
        begins = np.concatenate([[True], known[1:] != known[:-1]])[: len(known)]
        counts.append(places - np.maximum.accumulate(np.where(begins, places, 0)) + 1)
    found = np.concatenate(counts)
    most = int(np.quantile(found, 1 - _RARE_REPEATS, method="higher")) if len(found) else 0
    return most if most <= _MOST_REPEATS else 0


def _changes(readings: list[NDArray[Any]], lag: int) -> Doubles:
    parts = [part.astype(np.float64) for part in readings]
    return np.concatenate([np.abs(part[lag:] - part[: max(len(part) - lag, 0)]) for part in parts])


def _of_target(scores: Doubles, changes: list[Doubles], lags: tuple[int, ...]) -> dict[str, Any]:
    """What one target begins from, and its scales."""
    bases = [_quantiles(scores[:, 0], "forecasts"), *(_quantiles(each, "changes") for each in changes)]
    scales = []
    for ahead in range(1, scores.shape[1] + 1):
        place = next((index for index, lag in enumerate(lags) if lag >= ahead), len(lags) - 1)
        basis = bases[0] if ahead == 1 or not lags else bases[1 + place]
        scales.append((_quantiles(scores[:, ahead - 1], "forecasts") / basis).tolist())
    return {"scores": bases[0].tolist(), "changes": [basis.tolist() for basis in bases[1:]], "scales": scales}


def _quantiles(scores: Doubles, what: str) -> Doubles:
    known = scores[np.isfinite(scores)]
    if len(known) < _MIN_SCORES:
        raise ExportError(
            f"--calibrate: the validation part has {len(known)} {what} that can be scored; {_MIN_SCORES} are needed"
        )
    quantiles: Doubles = np.quantile(known, LEVELS)
    if not quantiles[-1]:
        raise ExportError(f"--calibrate: {what} in the validation part are 0 throughout, and nothing to measure by")
    least: Doubles = np.maximum(quantiles, _LEAST * quantiles[-1])
    return least


def _crossing(text: str) -> dict[str, Any]:
    found = _CROSSING.fullmatch(text)
    if found is None:
        raise ExportError(f"--crossing {text!r}: it is FEATURE>LIMIT, FEATURE<LIMIT, and perhaps :UNTIL behind that")
    side = "above" if found[2] == ">" else "below"
    until = None if found[4] is None else _number(found[4], "--crossing")
    return {"feature": found[1], side: _number(found[3], "--crossing"), "until": until}


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ExportError(f"{option}: {text!r} is no number") from error
