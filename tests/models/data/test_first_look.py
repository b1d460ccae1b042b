from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from ostinato.models.data.first_look import begin_series
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
        ("a,b", ["1,2"] * 20, "no column tells when its rows were"),
        ("Datum,level", ["31.01.2024 17:00,1"] * 20, "'Datum' would, but 31.01.2024 17:00 is not a time: its day"),
        ("", [], "is empty"),
        ("time,level", [], "has no row below its header"),
        ("when,level", [f"{day},1" for day in days()] + [",1"], "'when' would, but the row has no time"),
        ("time,level", ["2024-01-01,1"] * 20, "has times more than once, and no column tells their rows apart"),
        ("time,word", [f"{day},w{day.day}" for day in days()], "no column of amounts that change is left"),
        ("time,level", [f"{day},{day.day}" for day in days()[:8]], "8 moments are too few"),
    ],
)
def test_what_cannot_be_forecast_is_refused(tmp_path: Path, header: str, rows: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        begin_series(written(tmp_path, header, *rows))


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
