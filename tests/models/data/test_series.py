from __future__ import annotations

import lzma
import re
from pathlib import Path

import numpy as np
import pytest

from ostinato.models.data.files import read_columns
from ostinato.models.data.series import check_target, load_dataset, tell_notes
from ostinato.models.data.series_recipe import DataRecipe
from ostinato.models.errors import DataError
from tests.models.conftest import WriteCsv

SERIES = """time,load,wind,month
2024-01-01,1,NE,9
2024-01-02,NA,SW,10
2024-01-03,3,NE,9
2024-01-04,100,NE,10
2024-01-05,200,gale,11
2024-01-06,300,NE,9
2024-01-07,NA,,9
"""


def recipe(path: Path, **changes: object) -> DataRecipe:
    content: dict[str, object] = {
        "file": path,
        "target": "load",
        "features": ["load", "wind", "month"],
        "categorical": ["wind", "month"],
        "time": ["time"],
        "validation_from": "2024-01-04T00:00",
        "test_from": "2024-01-06T00:00",
    }
    return DataRecipe.model_validate(content | changes)


def test_missing_values_become_nan_and_words_codes(write_csv: WriteCsv) -> None:
    dataset = load_dataset(recipe(write_csv(SERIES)))
    np.testing.assert_array_equal(dataset.only.values[:, 0], [1, np.nan, 3, 100, 200, 300, np.nan])
    np.testing.assert_array_equal(dataset.only.values[:4, 1], [0, 1, 0, 0])
    assert dataset.only.values.dtype == np.float32
    assert dataset.categories["wind"] == ("NE", "SW")


def test_a_word_that_training_never_saw_is_missing(write_csv: WriteCsv) -> None:
    dataset = load_dataset(recipe(write_csv(SERIES)))
    assert np.isnan(dataset.only.values[4, 1])
    assert np.isnan(dataset.only.values[6, 1])
    told = [note for note in dataset.notes if "words that" in note]
    for note, (name, word) in zip(told, (("wind", "gale"), ("month", "11")), strict=True):
        assert note.endswith(
            f"column '{name}' has words that the training part does not have, in 1 row, the first '{word}' in line 6; "
            "they count as missing"
        )


def test_words_that_are_numbers_are_coded_in_the_order_of_numbers(write_csv: WriteCsv) -> None:
    assert load_dataset(recipe(write_csv(SERIES))).categories["month"] == ("9", "10")


def test_a_part_begins_with_the_first_row_of_its_date(write_csv: WriteCsv) -> None:
    dataset = load_dataset(recipe(write_csv(SERIES)))
    assert (dataset.only.validation_start, dataset.only.test_start) == (3, 5)


def test_statistics_are_of_the_training_part_without_its_holes(write_csv: WriteCsv) -> None:
    statistics = load_dataset(recipe(write_csv(SERIES))).statistics
    assert statistics.mean[0] == 2.0
    assert statistics.std[0] == 1.0
    assert (statistics.minimum[0], statistics.maximum[0]) == (1.0, 3.0)
    assert statistics.missing_fraction[0] == pytest.approx(1 / 3)


def test_nothing_after_the_training_part_changes_what_is_learned_from_it(write_csv: WriteCsv) -> None:
    before = load_dataset(recipe(write_csv(SERIES)))
    after = load_dataset(recipe(write_csv(SERIES.replace("300", "9999").replace("gale", "storm"))))
    assert before.statistics == after.statistics
    assert before.categories == after.categories


def test_an_xz_file_reads_like_the_plain_one(write_csv: WriteCsv) -> None:
    plain = write_csv(SERIES)
    packed = plain.with_suffix(".csv.xz")
    packed.write_bytes(lzma.compress(plain.read_bytes()))
    assert read_columns(packed, ("load",)) == read_columns(plain, ("load",))


def test_time_may_stand_in_columns_of_whole_numbers(write_csv: WriteCsv) -> None:
    path = write_csv("year,month,day,hour,load\n" + "".join(f"2024,2,{day},7,{day}\n" for day in range(1, 9)))
    dataset = load_dataset(
        recipe(
            path,
            features=["load"],
            categorical=[],
            time=["year", "month", "day", "hour"],
            validation_from="2024-02-04T00:00",
            test_from="2024-02-06T00:00",
        )
    )
    assert dataset.only.times[0] == np.datetime64("2024-02-01T07:00:00")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SERIES.replace("wind", "sun"),
            r"series\.csv: has no column 'wind'; its columns.* are 'time', 'load', 'sun'",
        ),
        (SERIES.replace(",3,", ",three,"), r"line 4, column 'load': 'three' is not a number.*data\.missing"),
        (SERIES.replace(",3,", ",inf,"), r"line 4, column 'load': 'inf' is not finite"),
        (SERIES.replace("2024-01-03", "2023-12-31"), r"line 4: 2023-12-31T00:00:00 does not come after"),
        (SERIES.replace("2024-01-03", "2024-01-02"), r"line 4: .* does not come after"),
        (SERIES.replace("2024-01-03", "yesterday"), r"line 4, column 'time': yesterday is not a time"),
        (SERIES.replace("2024-01-03,", "2024-01-03,,"), r"line 4: 5 cells, the header has 4"),
        (SERIES.replace(",1,", ",NA,").replace(",3,", ",NA,"), r"column 'load' has no value before 2024-01-04"),
        (SERIES.replace(",300,", ",NA,"), r"column 'load' has no value in the test part"),
        (SERIES.split("\n")[0], r"0 rows fall into the training part.*data\.validation_from"),
        ("", r"has no column 'time'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(write_csv: WriteCsv, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_dataset(recipe(write_csv(text)))


def test_a_part_without_rows_is_refused_with_the_key_to_change(write_csv: WriteCsv) -> None:
    with pytest.raises(DataError, match=r"0 rows fall into the test part.*data\.test_from"):
        load_dataset(recipe(write_csv(SERIES), test_from="2025-01-01T00:00"))


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv: cannot be read: No such file"):
        load_dataset(recipe(tmp_path / "nowhere.csv"))


def test_a_file_that_is_no_xz_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.csv.xz").write_bytes(b"time,load\n")
    with pytest.raises(DataError, match=r"broken\.csv\.xz: is not an xz file"):
        load_dataset(recipe(tmp_path / "broken.csv.xz"))


HOURS = "time,load,wind,month\n" + "".join(
    f"2024-01-0{1 + hour // 24}T{hour % 24:02}:00,{hour},NE,9\n" for hour in range(72)
)


def hourly(path: Path, **changes: object) -> DataRecipe:
    return recipe(path, **{"validation_from": "2024-01-02T00:00", "test_from": "2024-01-03T00:00", **changes})


def without(text: str, *hours: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(hours))


def test_steps_without_a_row_are_put_in_as_missing_values_and_said(write_csv: WriteCsv) -> None:
    full = load_dataset(hourly(write_csv(HOURS)))
    dataset = load_dataset(hourly(write_csv(without(HOURS, "2024-01-01T05", "2024-01-01T06", "2024-01-03T07"))))
    expected = full.only.values.copy()
    expected[[5, 6, 55]] = np.nan
    np.testing.assert_array_equal(dataset.only.values, expected)
    assert (dataset.only.times == full.only.times).all()
    assert (dataset.only.validation_start, dataset.only.test_start) == (24, 48)
    assert dataset.statistics.missing_fraction[0] == pytest.approx(2 / 24)
    assert (
        "series.csv: 3 of 72 steps of 1 hour have no row, in 2 gaps, the first after line 6, 2024-01-01 05:00"
        in (dataset.notes[0])
    )
    parts = dataset.parts()
    assert (parts["step"], parts["num_filled_steps"], parts["num_steps"]) == ("1 hour", 3, 72)


def test_what_is_done_about_gaps_is_the_recipes_to_say(write_csv: WriteCsv) -> None:
    path = write_csv(without(HOURS, "2024-01-01T05"))
    assert len(load_dataset(hourly(path, gaps="ignore")).only.values) == 71
    with pytest.raises(DataError, match=r'1 of 72 steps .*data\.gaps = "fill" puts .*data\.gaps = "ignore" takes rows'):
        load_dataset(hourly(path, gaps="refuse"))
    assert load_dataset(hourly(write_csv(HOURS), gaps="refuse")).num_filled == 0


def test_a_step_that_does_not_show_may_be_told(write_csv: WriteCsv) -> None:
    text = without(HOURS, *(f"2024-01-0{day}T{hour:02}" for day in (1, 2, 3) for hour in range(1, 24, 2)))
    path = write_csv(text)
    assert load_dataset(hourly(path)).step == "2 hours"
    told = load_dataset(hourly(path, step="1 hour"))
    assert (told.step, len(told.only.values), told.num_filled) == ("1 hour", 71, 35)
    with pytest.raises(
        DataError, match=r"03:00.* is between|line 3: .*its rows are 2 hours apart, and a step .* 3 hours"
    ):
        load_dataset(hourly(path, step="3 hours"))


def test_steps_may_be_parts_of_a_second(write_csv: WriteCsv) -> None:
    rows = [f"2024-01-01T00:00:0{tenth // 10}.{tenth % 10},{tenth},NE,9\n" for tenth in range(40) if tenth != 7]
    dataset = load_dataset(
        recipe(
            write_csv("time,load,wind,month\n" + "".join(rows)),
            validation_from="2024-01-01T00:00:02",
            test_from="2024-01-01T00:00:03",
        )
    )
    assert (dataset.step, len(dataset.only.values), dataset.num_filled) == ("100 milliseconds", 40, 1)
    assert dataset.only.times[7] == np.datetime64("2024-01-01T00:00:00.700")


def test_a_part_begins_after_the_clock_was_set_back_where_its_date_does(write_csv: WriteCsv) -> None:
    hours = [*range(22, 27), *range(26, 70)]  # from the evening before: 0, 1, 2, 2, 3, ...
    rows = [f"2023-10-{28 + hour // 24}T{hour % 24:02}:00,{row},NE,9\n" for row, hour in enumerate(hours)]
    path = write_csv("time,load,wind,month\n" + "".join(rows))
    dataset = load_dataset(recipe(path, validation_from="2023-10-29T03:00", test_from="2023-10-30T00:00"))
    # Behind 22, 23, 0, 1, 2 and 2 o'clock, and 21 hours later.
    assert (dataset.only.validation_start, dataset.only.test_start) == (6, 27)
    assert dataset.num_filled == 0
    assert "the clock is set back by an hour once, in line 7" in dataset.notes[0]


def test_a_column_that_never_changes_in_the_training_part_is_said_and_a_target_refused(write_csv: WriteCsv) -> None:
    dataset = load_dataset(hourly(write_csv(HOURS)))
    assert [note.partition(": ")[2] for note in dataset.notes] == [
        f"column {name!r} has one value in all of the training part: nothing is learned from it"
        for name in ("wind", "month")
    ]
    check_target(dataset)
    with pytest.raises(DataError, match=r"the target, 'month', has the one value 9 in all of the training part"):
        check_target(load_dataset(hourly(write_csv(HOURS), target="month", features=["month"], categorical=[])))


TIMES = [f"2026-01-01T{hour:02}:{minute:02}:00" for hour in range(24) for minute in range(0, 60, 10)]


def ten_minutes_of(write_csv: WriteCsv, loads: list[object], others: list[object]) -> DataRecipe:
    lines = [f"{time},{load},{other}" for time, load, other in zip(TIMES, loads, others, strict=False)]
    return recipe(
        write_csv("\n".join(["time,load,other", *lines, ""])),
        features=["load", "other"],
        categorical=[],
        validation_from="2026-01-01T12:00",
        test_from="2026-01-01T18:00",
    )


NOISE: list[object] = [number * 37 % 11 for number in range(len(TIMES))]
# 2^31 and more: float32 has every 256th, so six steps of 60 are one number here and there.
SECONDS: list[object] = [2_200_000_000 + 60 * number for number in range(len(TIMES))]


@pytest.mark.parametrize("place", ["load", "other"])
def test_numbers_that_float32_cannot_tell_apart_are_refused_with_two_of_them(write_csv: WriteCsv, place: str) -> None:
    columns = (SECONDS, NOISE) if place == "load" else (NOISE, SECONDS)
    sentence = rf"column '{place}' has numbers that float32 cannot tell apart, as (22\d{{8}}) and (22\d{{8}}); networks"
    with pytest.raises(DataError, match=rf"{sentence} .*: subtract what all of them have in common") as caught:
        load_dataset(ten_minutes_of(write_csv, *columns))
    found = re.search(sentence, str(caught.value))
    assert found is not None
    first, second = map(int, found.groups())
    assert second - first == 60
    assert np.float32(first) == np.float32(second)


def test_numbers_that_float32_rounds_and_tells_apart_are_taken(write_csv: WriteCsv) -> None:
    in_hours: list[object] = [2_200_000_000 + 3600 * number for number in range(len(TIMES))]
    exact: list[object] = [0.1 + 1e-3 * number for number in range(len(TIMES))]
    alone: list[object] = ["" if number % 3 else 1 for number in range(len(TIMES))]
    for others in (in_hours, exact, alone):
        load_dataset(ten_minutes_of(write_csv, NOISE, others))


@pytest.mark.parametrize(
    ("loads", "sentence"),
    [
        ([7] * len(TIMES), "has the one value 7 in all of the training part"),
        ([f"{number % 7}e37" for number in range(len(TIMES))], r"goes from 0 to 6e\+37, .* overflow float32: give"),
    ],
    ids=["constant", "huge"],
)  # fmt: skip
def test_a_target_that_cannot_be_learned_is_named_with_its_cause(
    write_csv: WriteCsv, loads: list[object], sentence: str
) -> None:
    with pytest.raises(DataError, match=f"the target, 'load', {sentence}"):
        check_target(load_dataset(ten_minutes_of(write_csv, loads, NOISE)))


def test_notes_are_reported_as_sentences(write_csv: WriteCsv) -> None:
    dataset = load_dataset(hourly(write_csv(HOURS)))
    told: list[str] = []
    tell_notes(dataset, told.append)
    assert told == list(dataset.notes)


def test_a_feature_without_a_value_in_a_part_is_said(write_csv: WriteCsv) -> None:
    lines = HOURS.splitlines(keepends=True)
    text = "".join([*lines[:49], *(line.replace(",NE,", ",,") for line in lines[49:])])
    notes = load_dataset(hourly(write_csv(text))).notes
    assert notes[-1].endswith("series.csv: column 'wind' has no value in the test part")


def test_rows_out_of_order_are_not_split_even_where_times_are_ignored(write_csv: WriteCsv) -> None:
    header, *lines = HOURS.splitlines(keepends=True)
    path = write_csv("".join([header, *lines[30:], *lines[:30]]))
    with pytest.raises(DataError, match=r"comes after .*data\.validation_from lies between: .*sort them"):
        load_dataset(hourly(path, gaps="ignore"))
    twice = write_csv("".join([header, *(line for line in lines for _ in range(2))]))
    assert len(load_dataset(hourly(twice, gaps="ignore")).only.values) == 144
