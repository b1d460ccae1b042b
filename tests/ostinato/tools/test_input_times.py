from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostinato.errors import TableError
from ostinato.tools.input_table import InputRows, InputTable

TRAINED = {"features": ["x"], "missing": True, "times": {"columns": ["time"], "step": "1 hour"}}
UNKNOWN = {"features": ["x"], "missing": True}
GAP = "time,x\n2024-01-01 00:00,0\n2024-01-01 01:00,1\n2024-01-01 04:00,4\n2024-01-01 05:00,5\n"
FILLED = [0.0, 1.0, None, None, 4.0, 5.0]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "hours.csv"


def read(
    path: Path, text: str, model_input: dict[str, Any], choice: dict[str, Any] | None = None, **how: Any
) -> InputRows:
    path.write_text(text, encoding="utf-8")
    return InputTable(path, model_input, **how).read(**choice or {})


def values(rows: InputRows) -> list[float | None]:
    return [row.inputs[0] for row in rows.rows]


@pytest.mark.parametrize("model_input", [TRAINED, UNKNOWN])
def test_steps_without_a_row_are_put_in_and_named_by_their_time(model_input: dict[str, Any], table: Path) -> None:
    rows = read(table, GAP, model_input)
    assert values(rows) == FILLED
    assert [(row.line, row.number, row.label) for row in rows.rows[1:5]] == [
        (3, 2, "2024-01-01 01:00"),
        (3, 2, "2024-01-01 02:00"),
        (3, 2, "2024-01-01 03:00"),
        (4, 3, "2024-01-01 04:00"),
    ]
    [warning] = rows.warnings
    assert warning.startswith(
        "2 of 6 steps of 1 hour have no row, in 1 gap, the first after line 3, 2024-01-01 02:00; "
    )


def test_the_calendar_is_known_where_there_is_no_row(table: Path) -> None:
    model_input = {
        "features": ["hour", "x"],
        "missing": True,
        "categories": {"hour": ["00", "01", "02", "3"]},
        "times": {"columns": ["year", "month", "day", "hour"], "step": "1 hour"},
    }
    text = "year,month,day,hour,x\n2024,1,1,0,0\n2024,1,1,1,1\n2024,1,1,5,5\n"
    assert [row.inputs for row in read(table, text, model_input).rows] == [
        [0, 0.0], [1, 1.0], [2, None], [3, None], [None, None], [None, 5.0],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "expected", "num_ahead"),
    [
        ({"limit": 4}, [0.0, 1.0, None, None], 0),
        ({"first": "2024-01-01 04:00", "before": 1}, [None, 4.0, 5.0], 1),
        ({"first": "3", "before": 3, "limit": 1}, [1.0, None, None, 4.0], 3),
        ({"first": "3"}, [4.0, 5.0], 0),
    ],
)
def test_limits_count_steps_whether_they_have_a_row_or_not(
    choice: dict[str, Any], expected: list[float | None], num_ahead: int, table: Path
) -> None:
    rows = read(table, GAP, TRAINED, choice)
    assert (values(rows), rows.num_ahead) == (expected, num_ahead)
    assert ("2 of" in "".join(rows.warnings)) == (expected.count(None) == 2)


def test_gaps_are_refused_where_the_model_takes_no_missing_values_or_as_told(table: Path) -> None:
    with pytest.raises(TableError, match=r"2 of 6 steps .* takes no missing values, .*--gaps ignore takes rows"):
        read(table, GAP, TRAINED | {"missing": False})
    with pytest.raises(TableError, match=r"2 of 6 steps .*--gaps fill puts them in"):
        read(table, GAP, TRAINED, gaps="refuse")
    assert values(read(table, GAP, TRAINED | {"missing": False}, gaps="ignore")) == [0.0, 1.0, 4.0, 5.0]
    ignoring = TRAINED | {"times": {"columns": ["time"], "gaps": "ignore"}}
    assert values(read(table, GAP, ignoring)) == [0.0, 1.0, 4.0, 5.0]
    assert values(read(table, GAP, ignoring, gaps="fill")) == FILLED


def test_rows_nearer_than_a_step_of_the_model_are_refused(table: Path) -> None:
    text = "time,x\n" + "".join(f"2024-01-01 00:{minute:02},1\n" for minute in (0, 15, 30, 45))
    with pytest.raises(
        TableError, match=r"line 3: .* its rows are 15 minutes apart, and a step of the model is 1 hour"
    ):
        read(table, text, TRAINED)
    assert len(values(read(table, text, UNKNOWN))) == 4


def test_a_time_column_of_another_name_is_found_told_or_missed(table: Path) -> None:
    rows = read(table, GAP.replace("time", "Date"), TRAINED)
    assert values(rows) == FILLED
    assert rows.warnings[0].startswith(
        "the model's training told the time by 'time', and this table does not have that: "
    )
    assert "it is read from 'Date'" in rows.warnings[0]
    stamped = GAP.replace("time", "stamp")
    rows = read(table, stamped, TRAINED)
    assert values(rows) == [0.0, 1.0, 4.0, 5.0]
    assert "rows are taken as consecutive steps; --time NAME says which column" in rows.warnings[0]
    for how in ({"time": ["stamp"]}, {"renamed": {"time": "stamp"}}):
        rows = read(table, stamped, TRAINED, **how)
        assert (values(rows), len(rows.warnings)) == (FILLED, 1)
    with pytest.raises(TableError, match="has no column 'clock'"):
        read(table, stamped, TRAINED, time=["clock"])


def test_a_column_that_is_only_called_a_time_is_said_and_left_alone(table: Path) -> None:
    rows = read(table, "date,x\nMon,1\nTue,2\n", UNKNOWN)
    assert ([row.label for row in rows.rows], values(rows)) == (["Mon", "Tue"], [1.0, 2.0])
    assert rows.warnings[0].startswith("column 'date' does not tell the time (in line 2 Mon is not a time")
    with pytest.raises(TableError, match=r"line 2, column 'date': Mon is not a time"):
        read(table, "date,x\nMon,1\nTue,2\n", UNKNOWN, time=["date"])


def test_a_table_without_times_has_rows_and_nothing_to_tell(table: Path) -> None:
    rows = read(table, "x,y\n1,0\n,\n3,0\n,\n", UNKNOWN)
    assert (values(rows), rows.warnings) == ([1.0, None, 3.0], [])


def test_seconds_of_a_calendar_belong_to_the_time(table: Path) -> None:
    text = "year,month,day,hour,minute,second,x\n" + "".join(f"2024,1,1,0,0,{second},1\n" for second in (0, 1, 3))
    rows = read(table, text, UNKNOWN)
    assert values(rows) == [1.0, 1.0, None, 1.0]
    assert [row.label for row in rows.rows][1:3] == ["2024-01-01 00:00:01", "2024-01-01 00:00:02"]


def test_units_without_a_year_tell_no_time(table: Path) -> None:
    rows = read(table, "month,day,hour,x\n1,1,0,1\n1,1,5,2\n", UNKNOWN)
    assert (values(rows), rows.warnings) == ([1.0, 2.0], [])


def test_a_step_that_the_manifest_cannot_mean_is_named(table: Path) -> None:
    with pytest.raises(TableError, match=r"inputs\[0\]\.times\.step: 'fortnightly' is not a step"):
        read(table, GAP, TRAINED | {"times": {"columns": ["time"], "step": "fortnightly"}})
