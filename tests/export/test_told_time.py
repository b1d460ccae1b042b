from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ostinato.export.errors import ExportError
from ostinato.export.runs.registry import export_run
from ostinato.export.told_time import ToldTime, with_time
from ostinato.export.version_directory import Exported
from ostinato.models.data.series import Dataset, load_dataset
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.series_time import SeriesTime
from ostinato.service.artifact.tensors import Input
from ostinato.service.inputs.series_clock import SeriesClock
from tests.training import train_run

BERLIN = ZoneInfo("Europe/Berlin")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
FEATURES = ("load", "hour", "weekday", "month", "doy")
RECIPE = """
name = "waves"
[data]
file = "wave.csv"
target = "load"
features = ["load", "hour", "weekday", "month"]
categorical = ["hour", "weekday"]
time = ["time"]
validation_from = 2024-01-11
test_from = 2024-01-14
season_steps = 12
[network]
cell = "gru"
hidden_size = 4
[training]
num_streams = 4
window_steps = 12
max_epochs = 1
"""


def hours(begin: datetime, end: datetime) -> Iterator[datetime]:
    while begin < end:
        yield begin
        begin += timedelta(hours=1)


def row_of(time: str, wall: datetime, load: float) -> str:
    return f"{time},{load:.3f},{wall.hour},{DAYS[wall.weekday()]},{wall.month},{wall.timetuple().tm_yday}"


def write_table(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["time,load,hour,weekday,month,doy", *rows]) + "\n", encoding="utf-8")
    return path


def dataset_of(path: Path, **changes: object) -> Dataset:
    options = {"features": FEATURES, "categorical": ("hour", "weekday"), "time": ("time",), **changes}
    borders = {"validation_from": date(2025, 6, 1), "test_from": date(2025, 8, 1)}
    return load_dataset(DataRecipe.model_validate({"file": path, "target": "load", **borders, **options}))


def clock_of(dataset: Dataset, zone: str) -> SeriesClock:
    told = {key: value for key, value in dataset.time.items() if key != "is_local"}
    time = SeriesTime.model_validate({**told, "step": dataset.step, "zone": zone})
    size = len(dataset.features)
    part = Input(name="inputs", dtype="float32", shape=("B", "T", size), features=dataset.features, missing=True)
    return SeriesClock(time, part)


@pytest.mark.parametrize("form", ["by a local clock without offsets", "with offsets", "in UTC"])
def test_what_a_clock_tells_of_two_years_is_what_the_tables_reader_read(tmp_path: Path, form: str) -> None:
    zone = UTC if form == "in UTC" else BERLIN
    moments = list(hours(datetime(2023, 12, 31, 23, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC)))
    walls = [moment.astimezone(zone) for moment in moments]
    told = [wall.replace(tzinfo=None if form.startswith("by") else wall.tzinfo).isoformat() for wall in walls]
    rows = [row_of(time, wall, index % 7) for index, (time, wall) in enumerate(zip(told, walls, strict=True))]
    dataset = dataset_of(write_table(tmp_path / "table.csv", rows))
    assert dataset.time["is_local"] is (form != "in UTC")
    assert set(dataset.time["calendar"]) == set(FEATURES[1:])
    clock = clock_of(dataset, "" if form == "in UTC" else "Europe/Berlin")
    numbers = clock.numbers(moments[0].isoformat(), len(moments))
    assert [clock.number_of(moment.isoformat()) for moment in moments] == numbers.tolist()
    made, read = clock.rows(numbers), dataset.only.values
    assert len(read) == len(moments)
    assert np.ascontiguousarray(made[:, 1:]).tobytes() == np.ascontiguousarray(read[:, 1:]).tobytes()


def test_month_ends_and_days_are_those_of_the_table(tmp_path: Path) -> None:
    ends = [datetime(2010 + (month + 1) // 12, (month + 1) % 12 + 1, 1) - timedelta(days=1) for month in range(189)]
    rows = [row_of(end.date().isoformat(), end, index % 7) for index, end in enumerate(ends)]
    dataset = dataset_of(write_table(tmp_path / "months.csv", rows), categorical=("weekday",))
    assert (dataset.step, dataset.time["day"], dataset.time["is_local"]) == ("1 month", 31, False)
    clock = clock_of(dataset, "Europe/Berlin")
    numbers = [clock.number_of(end.date().isoformat()) for end in ends]
    assert np.diff(numbers).tolist() == [1] * (len(ends) - 1)
    assert [clock.number_of(end.replace(tzinfo=BERLIN).isoformat()) for end in ends] == numbers
    made = clock.rows(np.array(numbers))
    told = [dataset.features.index(name) for name in dataset.time["calendar"]]
    assert "month" in dataset.time["calendar"]
    assert np.ascontiguousarray(made[:, told]).tobytes() == dataset.only.values[:, told].tobytes()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("told_time")
    walls = list(hours(datetime(2024, 1, 1, 0, 30), datetime(2024, 1, 17)))
    write_table(folder / "wave.csv", [row_of(wall.isoformat(), wall, index % 5) for index, wall in enumerate(walls)])
    (folder / "waves.toml").write_text(RECIPE, encoding="utf-8")
    run, _ = train_run(folder / "waves.toml", folder / "run")
    return export_run(run, folder / "repository")


def test_an_export_tells_the_time_of_its_training(exported: Exported) -> None:
    time = exported.manifest.time
    assert time is not None
    assert (time.step, time.zone, time.origin.minute, set(time.calendar)) == ("1 hour", "", 30, {"hour", "weekday"})
    assert Manifest.read(exported.directory) == exported.manifest
    clock = SeriesClock.of(exported.manifest)
    assert clock is not None
    # A single month was seen, so nothing is known of the others; Tuesday is the second of seven words, by the alphabet.
    words = exported.manifest.inputs[0].categories["weekday"]
    row = clock.rows(clock.numbers("2026-03-03T17:30:00Z", 1))[0]
    assert (row[2], np.isnan(row[3])) == (words.index("Tue"), True)
    assert exported.manifest.inputs[0].categories["hour"][int(row[1])] == "17"


def test_flags_tell_another_zone_step_or_interval(exported: Exported) -> None:
    zoned = with_time(exported, ToldTime(zone="Asia/Kathmandu")).manifest.time
    assert zoned is not None
    assert (zoned.zone, set(zoned.calendar), zoned.origin.minute) == ("Asia/Kathmandu", {"hour", "weekday"}, 30)
    half = with_time(exported, ToldTime(step="30 minutes")).manifest.time
    assert half is not None
    assert (half.step, half.origin) == ("30 minutes", datetime(1970, 1, 1))
    gap = with_time(exported, ToldTime(interval="month:hour:0")).manifest.time
    assert gap is not None
    assert (gap.step, gap.interval and gap.interval.model_dump()) == (
        "",
        {"feature": "month", "unit": "hour", "first": 0.0},
    )


def test_an_origin_says_on_which_day_weeks_begin_and_months_end(exported: Exported) -> None:
    def next_after(told: ToldTime, text: str) -> str | None:
        clock = SeriesClock.of(with_time(exported, told).manifest)
        assert clock is not None
        return clock.text(int(clock.numbers(text, 1)[0]) + 1)

    assert next_after(ToldTime(step="1 week", origin="2026-01-05"), "2025-12-29") == "2026-01-05T00:00:00Z"
    assert next_after(ToldTime(step="1 month", origin="2026-02-28"), "2025-12-31") == "2026-01-31T00:00:00Z"
    assert next_after(ToldTime(step="1 month", origin="2026-01-15"), "2026-02-15") == "2026-03-15T00:00:00Z"
    berlin = ToldTime(step="6 hours", zone="Europe/Berlin", origin="2026-01-01T01:00")
    assert next_after(berlin, "2026-07-01T02:00") == "2026-07-01T08:00:00+02:00"
    few = with_time(exported, ToldTime(max_fill=3)).manifest.time
    assert few is not None
    # The training's own step, origin and calendar stay.
    assert (few.max_fill_steps, few.step, few.origin.minute, set(few.calendar)) == (
        3,
        "1 hour",
        30,
        {"hour", "weekday"},
    )


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (ToldTime(origin="yesterday"), "no time as 2026-01-05"),
        (ToldTime(origin="2026-01-05T00:00Z"), "without an offset"),
        (ToldTime(max_fill=-1), "greater than or equal to 0"),
        (ToldTime(zone="Mars/Olympus"), "no time zone"),
        (ToldTime(step="an hour or so"), "not a step"),
        (ToldTime(interval="gap"), "no feature"),
        (ToldTime(interval="month:hour:none"), "no number"),
        (ToldTime(interval="month", step="1 hour"), "a step, or an interval"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_the_version(exported: Exported, told: ToldTime, why: str) -> None:
    before = (exported.directory / "model.json").read_bytes()
    with pytest.raises(ExportError, match=why):
        with_time(exported, told)
    if "feature" not in why:  # which the manifest alone tells; all else is told before anything is exported
        with pytest.raises(ExportError, match=why):
            told.check()
    assert (exported.directory / "model.json").read_bytes() == before


def test_a_local_clock_needs_its_zone(exported: Exported) -> None:
    local = {**exported.manifest.provenance["data"]["time"], "is_local": True}
    provenance = {**exported.manifest.provenance, "data": {"time": local}}
    untimed = exported.manifest.model_copy(update={"provenance": provenance, "time": None})
    given = Exported(exported.directory, untimed, exported.proof)
    left = with_time(given, ToldTime())
    assert left.manifest.time is None
    assert any("--zone" in note for note in left.proof.notes)
    with pytest.raises(ExportError, match="--zone tells which"):
        with_time(given, ToldTime(step="1 hour"))
    told = with_time(left, ToldTime(zone="Europe/Berlin"))
    assert told.manifest.time is not None
    assert not any("--zone" in note for note in told.proof.notes)
