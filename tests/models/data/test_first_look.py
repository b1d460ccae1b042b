from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from ostinato.models.data.first_look import begin_series
from ostinato.models.data.series import load_dataset
from ostinato.models.errors import DataError
from ostinato.models.kinds.registry import write_draft
from ostinato.models.networks.forecaster_recipe import Recipe

NUM_DAYS = 120


def written(tmp_path: Path, header: str, *rows: str, name: str = "table.csv") -> Path:
    path = tmp_path / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def days() -> list[date]:
    return [date(2024, 1, 1) + timedelta(days=day) for day in range(NUM_DAYS)]


def test_one_series_of_days(tmp_path: Path) -> None:
    rows = [f"{day},{number % 7},{number * 0.5},x,{number % 3}" for number, day in enumerate(days())]
    file = written(tmp_path, "date,y,level,place,kind", *rows)
    draft = begin_series(file)
    data = draft.tables["data"]
    assert (data["target"], data["time"], data["season_steps"]) == ("y", ("date",), 7)
    assert data["features"] == ["y", "level", "kind"]
    assert "place: has one value" in draft.words["data.features"]
    assert "series" not in data
    # 70 and 85 % of 120 days.
    assert data["validation_from"] == datetime(2024, 1, 1) + timedelta(days=84)
    assert data["test_from"] == datetime(2024, 1, 1) + timedelta(days=102)


def test_a_draft_is_a_recipe(tmp_path: Path) -> None:
    file = written(tmp_path, "date,y", *(f"{day},{number}" for number, day in enumerate(days())))
    write_draft("forecaster", file, tmp_path / "recipe.toml")
    recipe = Recipe.read(tmp_path / "recipe.toml")
    assert recipe.data.file.resolve() == file.resolve()
    assert recipe.training.window_steps * 2 * recipe.training.batch_size < 84


def test_series_in_one_file_and_what_is_static(tmp_path: Path) -> None:
    rows = [
        f"{day},{shop},{town},{size},{number % 5}"
        for shop, town, size in (("a", "north", "10"), ("b", "north", ""), ("c", "south", "30"))
        for number, day in enumerate(days())
    ]
    data = begin_series(written(tmp_path, "ds,shop,town,size,sold", *rows)).tables["data"]
    assert (data["series"], data["static"], data["categorical"]) == ("shop", ["town", "size"], ["town"])
    assert (data["target"], data["features"]) == ("sold", ["sold"])


def test_hours_of_a_calendar_are_cycles_and_a_word_among_numbers_is_missing(tmp_path: Path) -> None:
    start = datetime(2024, 1, 1)
    rows = []
    for number in range(400):
        time = start + timedelta(hours=number)
        load = "-" if number % 50 == 7 else str(number % 24)
        rows.append(f"{time.year};{time.month};{time.day};{time.hour};{load}")
    data = begin_series(written(tmp_path, "year;month;day;hour;load", *rows)).tables["data"]
    assert data["time"] == ("year", "month", "day", "hour")
    assert (data["target"], data["cycles"], data["season_steps"]) == ("load", ["hour"], 24)
    assert data["missing"][-1] == "-"
    # The one month has one value, and days come that the training part does not have.
    assert data["features"] == ["hour", "load"]


def test_times_that_no_step_fits_are_taken_as_steps(tmp_path: Path) -> None:
    time, rows = datetime(2024, 1, 1), []
    for number in range(120):
        time += timedelta(seconds=37 + number * number % 101)
        rows.append(f"{time.isoformat()},{number % 9}")
    data = begin_series(written(tmp_path, "time,level", *rows)).tables["data"]
    assert data["gaps"] == "ignore"
    assert data["season_steps"] == 1


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("a,b", ["1,2"] * 20, r"no column of amounts that change is left .*\(a: has one value; b: has one value\)"),
        (
            "Datum,x",
            ["03/04/2024 17:00,1"] * 20,
            "'Datum' would, but 03/04/2024 17:00 is not a time: it may be 2024-04-03",
        ),
        ("when,level,level", [f"{day},1,2" for day in days()], "level: occurs twice in the header"),
        ("", [], "is empty"),
        ("time,level", [], "has no row below its header"),
        ("when,level", [f"{day},1" for day in days()] + [",1"], "line 122, column 'when': the row has no time"),
        ("time,level", ["2024-01-01,1"] * 20, "has times more than once, and no column tells their rows apart"),
        ("time,word", [f"{day},w{day.day}" for day in days()], "no column of amounts that change is left"),
        ("time,level", [f"{day},{day.day}" for day in days()[:8]], "8 moments are too few"),
    ],
)
def test_what_cannot_be_forecast_is_refused(tmp_path: Path, header: str, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        begin_series(written(tmp_path, header, *rows))


def test_amounts_below_0_are_no_times(tmp_path: Path) -> None:
    rows = [f"{number},{number % 9 - 4}.5,{number * 7 % 11 - 5}" for number in range(NUM_DAYS)]
    assert begin_series(written(tmp_path, "t,east,north", *rows)).tables["data"]["time"] == ("t",)


def test_a_table_without_times_has_steps_that_are_counted_from_0(tmp_path: Path) -> None:
    draft = begin_series(written(tmp_path, "level,flow", *(f"{number % 7},{number}" for number in range(NUM_DAYS))))
    data = draft.tables["data"]
    assert (data["time"], data["validation_from"], data["test_from"]) == ((), 84, 102)
    assert "rows are steps, counted from 0" in draft.words["data.time"]


@pytest.mark.parametrize("first", [0, 1, 995])
def test_a_column_that_numbers_the_steps_tells_the_time(tmp_path: Path, first: int) -> None:
    rows = [f"{first + number},{number % 7}" for number in range(NUM_DAYS)]
    data = begin_series(written(tmp_path, "t,level", *rows)).tables["data"]
    assert (data["time"], data["features"]) == (("t",), ["level"])
    assert (data["validation_from"], data["test_from"]) == (first + 84, first + 102)


def test_seconds_of_a_recording_tell_the_time(tmp_path: Path) -> None:
    file = written(tmp_path, "time,level", *(f"{number * 0.02:.2f},{number % 7}" for number in range(NUM_DAYS)))
    write_draft("forecaster", file, tmp_path / "recipe.toml")
    recipe = Recipe.read(tmp_path / "recipe.toml")
    assert recipe.data.test_from == datetime(1970, 1, 2, 0, 0, 2, 40_000)
    assert load_dataset(recipe.data).step == "20 milliseconds"


@pytest.mark.parametrize(
    ("header", "written_as", "step"),
    [
        ("date,time", lambda time: f"{time:%Y-%m-%d},{time:%H:%M:%S}", 24),
        ("Datum,Stunde", lambda time: f"{time:%d.%m.%Y},{time:%H:%M}", 24),
        ("date,hour", lambda time: f"{time:%Y-%m-%d},{time.hour}", 24),
    ],
)
def test_a_date_and_its_time_of_day_are_one_time(
    tmp_path: Path, header: str, written_as: Callable[[datetime], str], step: int
) -> None:
    rows = [f"{written_as(datetime(2024, 1, 1) + timedelta(hours=n))},{n % 24}" for n in range(400)]
    data = begin_series(written(tmp_path, f"{header},load", *rows)).tables["data"]
    assert data["time"] == tuple(header.split(","))
    assert ("series" in data, data["season_steps"]) == (False, step)


@pytest.mark.parametrize(("unit", "per_year"), [("month", 12), ("quarter", 4)])
def test_a_year_and_its_month_or_quarter_are_one_time(tmp_path: Path, unit: str, per_year: int) -> None:
    rows = [f"{1950 + n // per_year}.0,{n % per_year + 1}.0,{n * n % 11}" for n in range(NUM_DAYS)]
    data = begin_series(written(tmp_path, f"year,{unit},level", *rows)).tables["data"]
    assert (data["time"], data["season_steps"]) == (("year", unit), per_year)
    assert unit in data["features"]
    assert "series" not in data


def test_two_columns_may_tell_series_apart(tmp_path: Path) -> None:
    rows = [f"{day},{shop},{item},{n % 5}" for n, day in enumerate(days()) for shop in (1, 2) for item in (1, 2, 3)]
    file = written(tmp_path, "date,store,item,sales", *rows)
    write_draft("forecaster", file, tmp_path / "recipe.toml")
    recipe = Recipe.read(tmp_path / "recipe.toml")
    assert (recipe.data.series, recipe.data.features) == (("store", "item"), ("sales",))
    dataset = load_dataset(recipe.data)
    assert [series.name for series in dataset.series] == ["1 / 1", "1 / 2", "1 / 3", "2 / 1", "2 / 2", "2 / 3"]


@pytest.mark.parametrize(
    ("header", "targets"),
    [
        ("date,MT_1,MT_2,MT_3", ("MT_1", "MT_2", "MT_3")),
        ("date,Bonn,Ulm,Jena", ("Bonn", "Ulm", "Jena")),  # of one size
        ("date,MT_1,y,MT_3", "y"),
    ],
)
def test_a_series_a_column_makes_each_a_target(tmp_path: Path, header: str, targets: object) -> None:
    rows = [f"{day},{n % 7 + 2},{n % 5 + 3},{n % 6 + 2}" for n, day in enumerate(days())]
    assert begin_series(written(tmp_path, header, *rows)).tables["data"]["target"] == targets


def test_amounts_of_unlike_sizes_are_not_one_wide_table(tmp_path: Path) -> None:
    rows = [f"{day},{n % 7},{n % 5 + 60},{n % 6 + 1013}" for n, day in enumerate(days())]
    data = begin_series(written(tmp_path, "date,celsius,humidity,hectopascal", *rows)).tables["data"]
    assert data["target"] == "hectopascal"


@pytest.mark.parametrize("word", ["None", "n.a.", "#N/A", "<NA>", "-999", "--"])
def test_what_stands_for_nothing_is_missing_however_often(tmp_path: Path, word: str) -> None:
    rows = [f"{day},{word if n % 3 == 1 else n % 7}" for n, day in enumerate(days())]
    data = begin_series(written(tmp_path, "date,y", *rows)).tables["data"]
    assert data["target"] == "y"
    assert word in data["missing"]


@pytest.mark.parametrize("name", ["ts", "epoch", "unix_time", "event_ts"])
def test_a_column_of_seconds_since_1970_tells_the_time(tmp_path: Path, name: str) -> None:
    rows = [f"{1_700_000_000 + 300 * number},{number % 7}" for number in range(NUM_DAYS)]
    data = begin_series(written(tmp_path, f"{name},level", *rows)).tables["data"]
    assert (data["time"], data["features"], data["season_steps"]) == ((name,), ["level"], 12)


def test_a_month_that_is_the_time_is_left_out_as_that(tmp_path: Path) -> None:
    rows = [f"{1980 + number // 12}-{number % 12 + 1:02},{number % 12}" for number in range(144)]
    draft = begin_series(written(tmp_path, "Month,Passengers", *rows))
    assert draft.tables["data"]["features"] == ["Passengers"]
    assert "left out: Month: the time tells it" in draft.words["data.features"]
