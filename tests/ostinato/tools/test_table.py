from __future__ import annotations

import gzip
import lzma
from pathlib import Path
from typing import Any

import pytest

from ostinato.errors import TableError
from ostinato.tools.table import Table

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
    return [line.inputs for line in Table(path, model_input).lines(**choice)[0]]


def test_columns_are_found_by_name_words_become_codes_and_holes_stay_holes(tmp_path: Path) -> None:
    # A word of the model's own, NA, is that word and no hole; 06 and 12.0 are the words 6 and 12.
    assert rows(write(tmp_path, CSV)) == ROWS


def test_delimiters_and_a_byte_order_mark_are_recognised(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "\ufeff" + CSV.replace(",", ";"))) == ROWS
    assert rows(write(tmp_path, CSV.replace(",", "\t"))) == ROWS


def test_compressed_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv.xz").write_bytes(lzma.compress(CSV.encode()))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    assert rows(tmp_path / "a.csv.xz") == rows(tmp_path / "a.csv.gz") == ROWS


def test_a_column_may_have_another_name(tmp_path: Path) -> None:
    path = write(tmp_path, CSV.replace("load", "LOAD_MW"))
    table = Table(path, INPUT, {"load": "LOAD_MW"})
    assert [line.inputs for line in table.lines()[0]] == ROWS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hour,wind\n0,N\n", "there is no column 'load' for the model's input 'load'; the columns are hour, wind"),
        ("load,load,wind,hour\n", "there is more than one column 'load'"),
        (CSV.replace("1.5", "1,5", 1), "line 2: 6 fields; the header has 5"),
        (CSV.replace("1.5", "high"), "line 2, column 'load': 'high' is not a finite number"),
        (CSV.replace("1.5", "inf"), "line 2, column 'load': 'inf' is not a finite number"),
        (CSV.replace(",N,", ",W,"), "line 3, column 'wind': 'W' is none of the words that the model knows: N, NA"),
        (CSV.replace("12.0", "13"), "line 3, column 'hour': '13' is none of the words"),
        ("load,wind,hour\n", "there is no row from the first on; the file has 0"),
        ("", "there is no column 'load'"),
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


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.csv.xz").write_bytes(b"no xz")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("broken.csv.xz", "bytes.csv", "absent.csv"):
        with pytest.raises(TableError, match=name):
            rows(tmp_path / name)


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
    lines, num_ahead = Table(write(tmp_path, text), ONE).lines(**choice)
    assert ([line.inputs[0] for line in lines], num_ahead) == (expected, ahead)


def test_rows_are_named_by_their_time(tmp_path: Path) -> None:
    assert Table(write(tmp_path, CALENDAR), ONE).lines()[0][0].label == "2014-12-31 09:00"
    assert Table(write(tmp_path, "x\n5\n"), ONE).lines()[0][0].label == "1"


def test_a_time_is_refused_in_a_file_without_times(tmp_path: Path) -> None:
    table = Table(write(tmp_path, "x\n5\n"), ONE)
    with pytest.raises(TableError, match="give a row's number"):
        table.lines(first="2014-12-31")
    with pytest.raises(TableError, match="neither a row's number nor a time"):
        table.lines(first="yesterday")


def test_a_fault_outside_the_rows_asked_for_does_not_matter(tmp_path: Path) -> None:
    assert rows(write(tmp_path, "x\nbad\n2\nworse\n"), ONE, first="2", limit=1) == [[2.0]]
