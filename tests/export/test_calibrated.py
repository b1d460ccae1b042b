from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ostinato.export.calibrated import LEVELS, CalibrationOptions, calibrated, check_calibration, most_repeats
from ostinato.export.errors import ExportError
from ostinato.export.runs.registry import export_run
from ostinato.export.version_directory import Exported
from ostinato.models.data.series import load_dataset
from ostinato.models.kinds.forecaster import load_run
from ostinato.models.training.forecasting import answers_of
from ostinato.service.artifact.manifest import Manifest
from tests.training import train_run

RECIPE = """
kind = "forecaster"
name = "waves"
[data]
file = "wave.csv"
target = "level"
features = ["level", "wind"]
time = ["time"]
validation_from = 2024-01-11
test_from = 2024-01-20
season_steps = 12
[network]
cell = "gru"
hidden_size = 4
{network}
[training]
num_streams = 4
window_steps = 12
max_epochs = 1
{training}
"""
KINDS = {
    "fed_back": ("", ""),
    "attention": ('forecast = "attention"\nmemory_steps = 12', 'loss = "pinball"\nhorizon_steps = 3'),
    "direct": ('forecast = "direct"', 'loss = "gaussian"\nhorizon_steps = 6'),
}


def exported(folder: Path, kind: str) -> tuple[Path, Exported]:
    network, training = KINDS[kind]
    rows = [
        f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00,{10 + math.sin(hour / 2) + (hour % 7) / 5:.3f},{hour % 5}"
        for hour in range(600)
    ]
    (folder / "wave.csv").write_text("\n".join(["time,level,wind", *rows]) + "\n", encoding="utf-8")
    (folder / "waves.toml").write_text(RECIPE.format(network=network, training=training), encoding="utf-8")
    run, _ = train_run(folder / "waves.toml", folder / "run")
    return run, export_run(run, folder / "repository")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("kind", "lags"), [("fed_back", (3, 6)), ("attention", ()), ("direct", ())])
def test_what_the_network_was_off_by_is_what_sessions_begin_from(
    tmp_path: Path, kind: str, lags: tuple[int, ...]
) -> None:
    run, version = exported(tmp_path, kind)
    options = CalibrationOptions(6, tmp_path / "wave.csv", crossings=("level>11.5:11", "wind<1"))
    made = calibrated(version, str(run), options)
    manifest = Manifest.read(made.directory)
    assert manifest == made.manifest
    calibration = manifest.calibration
    assert calibration is not None
    assert calibration.levels == LEVELS
    assert calibration.lags == lags
    assert calibration.num_steps == 6
    assert [(each.feature, each.above, each.below, each.until) for each in calibration.crossings] == [
        ("level", 11.5, None, 11.0),
        ("wind", None, 1.0, None),
    ]
    (target,) = calibration.targets
    assert target.scales[0] == pytest.approx([1.0] * len(LEVELS))
    if kind != "attention":
        trained = load_run(run)
        data = trained.recipe.data.model_copy(update={"file": tmp_path / "wave.csv"})
        (series,) = load_dataset(data).series
        start, end = series.span("validation")
        (answers,) = answers_of(trained.network, [(series, start - 1, end - 6)])
        points = answers[:, 0, 0].numpy().astype(np.float64)
        spread = points[..., 1] if kind == "direct" else 1.0
        truth = series.truth[start : end - 5, 0]
        scores = np.abs(truth - points[..., 0]) / spread
        assert target.scores == pytest.approx(np.quantile(scores, LEVELS).tolist(), rel=1e-5)
    if lags:
        readings = series.truth[slice(*series.span("validation")), 0].astype(np.float64)
        changes = np.quantile(np.abs(readings[3:] - readings[:-3]), LEVELS)
        assert target.changes[0] == pytest.approx(changes.tolist())


@pytest.mark.usefixtures("quick")
def test_what_does_not_fit_leaves_the_version_as_it_was(tmp_path: Path) -> None:
    run, version = exported(tmp_path, "direct")
    before = (version.directory / "model.json").read_bytes()
    other = tmp_path / "other.csv"
    other.write_text((tmp_path / "wave.csv").read_text() + "2024-01-26T00:00,10,1\n")
    table = tmp_path / "wave.csv"
    for options, words in (
        (CalibrationOptions(3, tmp_path / "none.csv"), "say where it is by --table"),
        (CalibrationOptions(3, other), "not the table of the training"),
        (CalibrationOptions(7, table), "answers 6 steps ahead"),
        (CalibrationOptions(3, table, alarm="0.9:0.99"), "above its begin"),
        (CalibrationOptions(3, table, alarm="much"), "'much' is no number"),
        (CalibrationOptions(3, table, crossings=("level",)), "FEATURE>LIMIT"),
        (CalibrationOptions(3, table, crossings=("rain>3",)), "'rain' is no input feature"),
        (CalibrationOptions(3, table, crossings=("winds>3",)), "did you mean 'wind'"),
    ):
        with pytest.raises(ExportError, match=words):
            calibrated(version, str(run), options)
        if options.num_steps == 3:  # what needs no network is told before one is exported
            with pytest.raises(ExportError, match=words):
                check_calibration(str(run), options)
    check_calibration(str(run), CalibrationOptions(3, table, crossings=("wind>3",)))
    with pytest.raises(ExportError, match="only the run of a forecaster"):
        calibrated(version, "my.module:function", CalibrationOptions(3, table))
    assert (version.directory / "model.json").read_bytes() == before


def test_how_often_a_number_comes_in_a_row_is_that_of_all_but_one_reading_in_2000() -> None:
    moving, nan = np.arange(10_000.0), np.nan
    assert most_repeats([moving]) == 1
    # Of 20,000 readings ten may come more often. A missing one is passed over: four of a number are at most 4 in a row.
    moving[50:55] = [3.0, 3.0, nan, 3.0, 3.0]
    assert most_repeats([moving, np.arange(10_000.0)]) == 1
    # Four times seven in a row: 4 readings are a seventh, 8 a sixth or more, and 12 a fifth or more.
    for start in range(100, 500, 100):
        moving[start : start + 7] = 5.0
    assert most_repeats([moving, np.arange(10_000.0)]) == 5
    assert most_repeats([np.zeros(20_000)]) == 0
    assert most_repeats([np.full(5, nan)]) == most_repeats([np.empty(0)]) == 0
