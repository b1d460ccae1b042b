from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostinato.errors import TableError
from ostinato.tools.input_table import InputTable

INPUT: dict[str, Any] = {
    "features": ["load", "wind", "hour"],
    "missing": True,
    "categories": {"wind": ["N", "NA"], "hour": ["0", "6", "12"]},
}
CSV = "day,hour,wind,load,other\n2024-01-01,06,NA,1.5,x\n2024-01-02,12.0,N,NA,\n2024-01-03,0,,2,z\n"
ROWS = [[1.5, 1.0, 1.0], [None, 0.0, 2.0], [2.0, None, 0.0]]


def write(tmp_path: Path, text: str, name: str = "hours.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def rows(path: Path, model_input: dict[str, Any] = INPUT, **choice: Any) -> list[list[float | None]]:
    return [row.inputs for row in InputTable(path, model_input).read(**choice).rows]


def test_columns_are_found_by_name_words_become_codes_and_holes_stay_holes(tmp_path: Path) -> None:
    # A word of the model's own, NA, is that word and no hole; 06 and 12.0 are the words 6 and 12.
    assert rows(write(tmp_path, CSV)) == ROWS


def test_a_column_may_have_another_name(tmp_path: Path) -> None:
    path = write(tmp_path, CSV.replace("load", "LOAD_MW"))
    table = InputTable(path, INPUT, {"load": "LOAD_MW"})
    assert [row.inputs for row in table.read().rows] == ROWS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hour,wind\n0,N\n", "has no column 'load'; its columns, cut at commas, are 'hour', 'wind'"),
        ("hour,wind\n0,N\n", "--column 'load=NAME' says which column holds 'load'"),
        ("load,load,wind,hour\n", "has more than one column 'load'"),
        (CSV.replace("1.5", "1,5", 1), "line 2: 6 cells, the header has 5"),
        (CSV.replace("1.5", "high"), "line 2, column 'load': 'high' is not a number"),
        (CSV.replace("1.5", "inf"), "line 2, column 'load': 'inf' is not finite"),
        (CSV.replace("1.5", "1e39"), "line 2, column 'load': '1e39' is not finite in the dtype of the model's input"),
        ("load,wind,hour\n", "there is no row from the first on; the file has 0"),
        ("", "has no column 'load'; it is empty"),
    ],
)
def test_what_is_wrong_is_told_with_file_line_and_column(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(TableError) as raised:
        rows(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


def test_a_hole_is_refused_where_the_model_takes_none(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"line 3, column 'load': the value is missing"):
        rows(write(tmp_path, CSV), {**INPUT, "missing": False})


def test_a_word_that_the_training_did_not_meet_is_missing_as_it_is_there_and_told(tmp_path: Path) -> None:
    read = InputTable(write(tmp_path, CSV.replace(",N,", ",W,").replace("12.0", "13")), INPUT).read()
    assert [row.inputs for row in read.rows] == [[1.5, 1.0, 1.0], [None, None, None], [2.0, None, 0.0]]
    assert [warning.partition(";")[0] for warning in read.warnings] == [
        "column 'wind': 1 cell holds a word that the model does not know, as 'W' in line 3",
        "column 'hour': 1 cell holds a word that the model does not know, as '13' in line 3",
    ]


def test_an_unknown_word_is_refused_where_the_model_takes_no_missing_values(tmp_path: Path) -> None:
    model_input = {"features": ["wind"], "missing": False, "categories": {"wind": ["N", "NA"]}}
    with pytest.raises(TableError, match=r"line 3, column 'wind': 'W' is none of the words that .* knows: N, NA"):
        rows(write(tmp_path, CSV.replace(",N,", ",W,")), model_input)


def test_what_was_missing_in_the_training_is_missing(tmp_path: Path) -> None:
    path = write(tmp_path, "x\n-999\n-999.0\n1\n")
    assert rows(path, {"features": ["x"], "missing": True, "missing_words": ["-999"]}) == [[None], [None], [1.0]]
    assert rows(path, {"features": ["x"], "missing": True}) == [[-999.0], [-999.0], [1.0]]


def test_an_input_of_whole_numbers_gets_whole_numbers(tmp_path: Path) -> None:
    model_input = {"features": ["x"], "missing": False, "dtype": "int64"}
    assert repr(rows(write(tmp_path, "x\n07\n8.0\n1e2\n9007199254740993\n"), model_input)) == (
        "[[7], [8], [100], [9007199254740993]]"
    )
    with pytest.raises(TableError, match=r"line 2, column 'x': '7.5' is not a whole number"):
        rows(write(tmp_path, "x\n7.5\n"), model_input)


CALENDAR = "year,month,day,hour,x\n2014,12,31,9,1\n2014,12,31,10,2\n2014,12,31,11,3\n"
TIMES = "timestamp,x\n2014-12-31T09:00:00Z,1\n2014-12-31T10:00:00Z,2\n2014-12-31T11:00:00Z,3\n"
ONE = {"features": ["x"], "missing": False, "categories": {}}


@pytest.mark.parametrize("text", [CALENDAR, TIMES])
@pytest.mark.parametrize(
    ("choice", "expected", "ahead"),
    [
        ({"first": "2"}, [2, 3], 0),
        ({"first": "2014-12-31 10:00"}, [2, 3], 0),
        ({"first": "2014-12-31 09:30", "limit": 1}, [2], 0),
        ({"first": "2014-12-31"}, [1, 2, 3], 0),
        ({"first": "3", "before": 1}, [2, 3], 1),
        ({"first": "2", "before": 9, "limit": 1}, [1, 2], 1),
    ],
)
def test_the_first_row_is_chosen_by_number_or_time(
    text: str, choice: dict[str, Any], expected: list[float], ahead: int, tmp_path: Path
) -> None:
    read = InputTable(write(tmp_path, text), ONE).read(**choice)
    assert ([row.inputs[0] for row in read.rows], read.num_ahead) == (expected, ahead)


def test_rows_are_named_by_their_time(tmp_path: Path) -> None:
    assert InputTable(write(tmp_path, CALENDAR), ONE).read().rows[0].label == "2014-12-31 09:00"
    assert InputTable(write(tmp_path, "x\n5\n"), ONE).read().rows[0].label == "1"


def test_a_time_is_refused_in_a_file_without_times(tmp_path: Path) -> None:
    table = InputTable(write(tmp_path, "x\n5\n"), ONE)
    with pytest.raises(TableError, match="give a row's number"):
        table.read(first="2014-12-31")
    with pytest.raises(TableError, match="neither a row's number nor a time"):
        table.read(first="yesterday")


def test_a_time_with_a_zone_is_found_by_the_moment_that_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, "time,x\n2014-12-31T09:00:00+01:00,1\n2014-12-31T10:00:00+01:00,2\n")
    assert rows(path, ONE, first="2014-12-31T09:00:00Z") == [[2.0]]
    assert rows(path, ONE, first="2014-12-31T10:00:00") == [[2.0]]


def test_a_fault_outside_the_rows_asked_for_does_not_matter(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "x\nbad\n2\nworse\n"), ONE, first="2", limit=1) == [[2.0]]


def test_each_series_is_read_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "sites.csv"
    rows = ["b,2026-01-01 00:00,1", "a,2026-01-01 01:00,10", "b,2026-01-01 02:00,3", "a,2026-01-01 02:00,20"]
    path.write_text("\n".join(["site,time,x", *rows]))
    part = {"features": ["x"], "missing": True}
    table = InputTable(path, part)
    found = table.read_each("site")
    # An hour is missing in b alone: of two hours between its rows nobody knows, and of a there are none.
    assert {name: [row.inputs for row in rows.rows] for name, rows in found.items()} == {
        "b": [[1.0], [3.0]],
        "a": [[10.0], [20.0]],
    }
    later = table.read_each("site", first="2026-01-01 01:30", before=5)
    assert {name: (len(rows.rows), rows.num_ahead) for name, rows in later.items()} == {"b": (2, 1), "a": (2, 1)}
    assert list(table.read_each("site", first="2026-01-01 02:00", limit=1)) == ["b", "a"]
    with pytest.raises(TableError, match="there is no row from 2027 on"):
        table.read_each("site", first="2027")


def test_the_context_of_each_series_is_what_its_first_row_has(tmp_path: Path) -> None:
    table = InputTable(write(tmp_path, "x,site,part,floor,gone\n1,a,2,7,NA\n2,b,3,8,1\n3,a,9,9,9\n"), ONE)
    place: dict[str, Any] = {
        "name": "place",
        "shape": ["B", 3],
        "features": ["part", "floor", "gone"],
        "categories": {"part": ["2"]},
    }
    absent = {"name": "absent", "shape": ["B", 2], "features": ["floor", "roof"]}
    nested = {"name": "nested", "shape": ["B", 1, 2], "features": ["part", "floor"]}
    parts = [place, absent, nested, {"name": "one", "shape": ["B"], "features": ["floor"]}]
    assert table.contexts(parts, "site") == {
        "a": {"place": ["2", 7.0, None], "one": [7.0]},
        "b": {"place": ["3", 8.0, 1.0], "one": [8.0]},
    }
    assert table.contexts(parts) == {"": {"place": ["2", 7.0, None], "one": [7.0]}}
    assert table.contexts([absent, nested], "site") == {}
