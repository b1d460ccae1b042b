from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostinato.errors import TableError
from ostinato.tables.gaps import MAX_FILLED
from ostinato.tables.stamps import to_datetime
from ostinato.tables.steps import TimeStep
from ostinato.tables.table import Table
from ostinato.tables.time_axis import TimeAxis
from ostinato.tables.time_columns import TimeColumns
from ostinato.tables.timed_table import AxisRules

LayOut = Callable[..., TimeAxis]
HOUR, MINUTE, DAY = timedelta(hours=1), timedelta(minutes=1), timedelta(days=1)
START = datetime(2024, 6, 3)


def every(step: timedelta, numbers: Sequence[float], start: datetime = START) -> list[datetime]:
    return [start + number * step for number in numbers]


@pytest.fixture
def lay_out(tmp_path: Path) -> LayOut:
    """Lays out rows of these times, or of a whole text; rules by name."""

    def lay(times: Sequence[datetime] | Sequence[str] | str, **rules: object) -> TimeAxis:
        path = tmp_path / "table.csv"
        lines = [f"{time},{number}" for number, time in enumerate(times)]
        path.write_text(times if isinstance(times, str) else "\n".join(["time,load", *lines]), encoding="utf-8")
        table = Table(path)
        columns = table.columns(["time"])
        timed = TimeColumns(table, ["time"]).read(columns.lines, [[cell] for cell in columns.cells["time"]])
        return timed.lay_out(AxisRules(**rules))  # type: ignore[arg-type]

    return lay


def walls(axis: TimeAxis) -> list[datetime]:
    return [to_datetime(step.wall) for step in axis.steps]


def test_steps_without_a_row_are_put_in_between_and_told(lay_out: LayOut) -> None:
    axis = lay_out(every(HOUR, [0, 1, 2, 5, 6, 8]))
    assert [step.row for step in axis.steps] == [0, 1, 2, None, None, 3, 4, None, 5]
    assert [step.last_row for step in axis.steps] == [0, 1, 2, 2, 2, 3, 4, 4, 5]
    assert walls(axis) == every(HOUR, range(9))
    assert (axis.num_filled, str(axis.step)) == (3, "1 hour")
    [note] = axis.all_notes()
    assert note.split("\n") == [
        "3 of 9 steps of 1 hour have no row, in 2 gaps, the first after line 4, 2024-06-03 03:00; they are put in, "
        "their values missing. The longest:",
        "  after line  steps  from              to",
        "           4      2  2024-06-03 03:00  2024-06-03 04:00",
        "           6      1  2024-06-03 07:00  2024-06-03 07:00",
    ]


def test_a_part_of_the_steps_tells_its_own_gaps(lay_out: LayOut) -> None:
    axis = lay_out(every(HOUR, [0, 1, 2, 5, 6, 8])).part(4, 8)
    assert [step.row for step in axis.steps] == [None, 3, 4, None]
    assert [(gap.line, gap.num_steps) for gap in axis.gaps()] == [(4, 1), (6, 1)]


def test_a_series_without_gaps_has_nothing_to_tell(lay_out: LayOut) -> None:
    axis = lay_out(every(HOUR, range(30)))
    assert (axis.num_filled, axis.all_notes()) == (0, [])
    assert [step.row for step in axis.steps] == list(range(30))


@pytest.mark.parametrize(
    ("rules", "ways"),
    [({"gaps": "refuse"}, "gaps=fill puts them in"), ({"may_fill": False}, "the model takes no missing values")],
)
def test_gaps_are_refused_with_the_way_out(rules: dict[str, object], ways: str, lay_out: LayOut) -> None:
    with pytest.raises(
        TableError, match=r"table\.csv: 3 of 9 steps of 1 hour have no row, .*longest: 2 after line 4"
    ) as refused:
        lay_out(every(HOUR, [0, 1, 2, 5, 6, 8]), **rules)
    assert ways in str(refused.value)
    assert "gaps=ignore takes rows as consecutive steps" in str(refused.value)
    assert lay_out(every(HOUR, range(9)), **rules).num_filled == 0


@pytest.mark.parametrize("times", [every(HOUR, [0, 1, 2, 5]), every(HOUR, [5, 1, 1, 7])])
def test_ignored_times_make_rows_consecutive(times: list[datetime], lay_out: LayOut) -> None:
    axis = lay_out(times, gaps="ignore")
    assert [step.row for step in axis.steps] == [0, 1, 2, 3]
    assert (axis.step, axis.all_notes()) == (None, [])


BY_HOUR = "time,hour,load\n" + "".join(f"2024-06-0{day},{hour},1\n" for day in (3, 4) for hour in range(4))
BY_TOWN = "time,town,load\n" + "".join(
    f"2024-06-03 0{hour}:00,{town},1\n" for town in ("Oslo", "Rome") for hour in range(4)
)
MIXED_NIGHT = [
    *every(15 * MINUTE, range(8), datetime(2023, 10, 29)),
    *(datetime(2023, 10, 29, 2, minute) for minute in (0, 0, 15, 15)),
]


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        (
            every(HOUR, [0, 1, 2, 2, 3]),
            r"line 5: 2024-06-03T02:00:00 does not come after line 4, .* there twice, and one row must go",
        ),
        (
            every(HOUR, [0, 1, 2, 3, 1, 4]),
            r"line 6: 2024-06-03T01:00:00 does not come after line 3, which has the same time",
        ),
        (
            every(HOUR, [0, 1, 4, 5, 2, 3]),
            r"line 6: .*T02:00:00 does not come after .*T05:00:00 in line 5: .*sort them by 'time'",
        ),
        (
            every(HOUR, [0, 1, -9, 2, 3]),
            r"line 4: 2024-06-02T15:00:00 does not come after .*line 3: it alone is out of order",
        ),
        (
            every(HOUR, [0, 1, 99, 2, 3]),
            r"line 4: 2024-06-07T03:00:00 comes before .* in line 5: it alone is out of order",
        ),
        (every(HOUR, [3, 2, 1, 0]), r"line 3: .* from the newest to the oldest"),
        (
            BY_TOWN,
            r"line 6: 2024-06-03T00:00:00 is in line 2, too, .* 2 series, told apart by column 'town' "
            r"\('Oslo', 'Rome'\)",
        ),
        (
            "time,load\n" + "2024-06-03,1\n2024-06-04,2\n" * 2,
            r"line 4: .* several times, and no column tells their rows apart",
        ),
        (BY_HOUR, r"line 3: .* the rest of the time is in column 'hour'; write it in one column"),
        (MIXED_NIGHT, r"line 11: 2023-10-29T02:00:00 .* its two times are mixed"),
        (every(HOUR, [*range(9), 8.5, *range(9, 20)]), r"line 11: 2024-06-03T08:30:00 is off the grid of 1 hour"),
        (
            every(MINUTE, [0, 7, 31, 44, 200, 201, 350]),
            r"its rows are not a step apart, but 1 minute before line 7 and 156 minutes before line 6; no step",
        ),
        (
            [*every(MINUTE, range(3)), datetime(9999, 1, 1)],
            r"line 4: [0-9,]{12,} steps of 1 minute are missing after it, .* cut the table",
        ),
        (["2024-06-03", "", "2024-06-05"], r"line 3, column 'time': the row has no time"),
        (["03/06/2024", "04/06/2024"], r"line 2, column 'time': .* it may be 2024-06-03 or 2024-03-06"),
    ],
)
def test_what_cannot_be_laid_out_gets_its_own_sentence(
    times: list[datetime] | str, reason: str, lay_out: LayOut
) -> None:
    with pytest.raises(TableError, match=reason):
        lay_out(times)


def test_rows_of_another_step_than_the_one_that_is_told_are_refused(lay_out: LayOut) -> None:
    rules = {"step": TimeStep.parse("1 hour"), "step_owner": " of the model"}
    with pytest.raises(
        TableError, match=r"line 3: .*00:15:00 is between .* 15 minutes apart, and a step of the model is 1 hour"
    ):
        lay_out(every(15 * MINUTE, range(9)), **rules)
    axis = lay_out(every(3 * HOUR, range(3)), **rules)
    assert [step.row for step in axis.steps] == [0, None, None, 1, None, None, 2]
    assert axis.all_notes()[0] == "its rows are 3 hours apart, and a step of the model is 1 hour"


def test_two_rows_of_one_step_are_refused(lay_out: LayOut) -> None:
    times = [*every(HOUR, range(3)), START + 2 * HOUR + MINUTE, START + 3 * HOUR]
    with pytest.raises(TableError, match=r"line 5: .*02:01:00 and .*02:00:00 in line 4 fall into one step of 1 hour"):
        lay_out(times, step=TimeStep.parse("1 hour"))


def test_stamps_some_seconds_off_the_grid_are_the_steps_that_they_are_near(lay_out: LayOut) -> None:
    times = [time + timedelta(seconds=number % 5) for number, time in enumerate(every(15 * MINUTE, [0, 1, 2, 5, 6]))]
    axis = lay_out(times)
    assert [step.row for step in axis.steps] == [0, 1, 2, None, None, 3, 4]
    assert axis.all_notes()[0] == (
        "4 rows are off the grid of 15 minutes by up to 4 seconds, the first in line 3, 2024-06-03 00:15:01; each is "
        "taken for the step that it is nearest to"
    )


def test_the_hour_that_comes_twice_and_the_one_that_never_does_are_neither_disorder_nor_gaps(lay_out: LayOut) -> None:
    autumn = [*every(HOUR, range(3), datetime(2023, 10, 29)), *every(HOUR, range(2, 9), datetime(2023, 10, 29))]
    axis = lay_out(autumn)
    assert [step.row for step in axis.steps] == list(range(10))
    assert axis.all_notes() == [
        "the clock is set back by an hour once, in line 5, 2023-10-29 02:00: the hour that comes twice is two hours "
        "(daylight saving time)"
    ]
    axis = lay_out(every(HOUR, [0, 1, 3, 4, 5], datetime(2024, 3, 31)))
    assert [step.row for step in axis.steps] == list(range(5))
    assert axis.all_notes() == [
        "the clock is set forward by an hour once, in line 4, from 2024-03-31 01:00 to 2024-03-31 03:00: the hour "
        "that is left out is no gap (daylight saving time)"
    ]


def test_a_gap_after_the_clock_was_changed_is_told_by_the_clock(lay_out: LayOut) -> None:
    autumn = [*every(HOUR, range(3), datetime(2023, 10, 29)), *every(HOUR, [2, 3, 6], datetime(2023, 10, 29))]
    axis = lay_out(autumn)
    assert walls(axis)[3:] == every(HOUR, [2, 3, 4, 5, 6], datetime(2023, 10, 29))


def test_offsets_make_hours_even_and_days_go_by_the_clock(lay_out: LayOut) -> None:
    hours = ["2023-10-29T01:00+02:00", "2023-10-29T02:00+02:00", "2023-10-29T02:00+01:00", "2023-10-29T04:00+01:00"]
    assert [step.row for step in lay_out(hours).steps] == [0, 1, 2, None, 3]
    days = ["2023-10-28T00:00+02:00", "2023-10-29T00:00+02:00", "2023-10-30T00:00+01:00", "2023-11-01T00:00+01:00"]
    assert [step.row for step in lay_out(days).steps] == [0, 1, 2, None, 3]


def test_a_long_gap_is_filled_up_to_a_limit(lay_out: LayOut) -> None:
    assert lay_out(every(MINUTE, [0, 1, MAX_FILLED + 2])).num_filled == MAX_FILLED
    with pytest.raises(TableError, match=r"line 3: 100,001 steps of 1 minute are missing after it"):
        lay_out(every(MINUTE, [0, 1, MAX_FILLED + 3]))


STEPS = [
    "10 milliseconds",
    "1 second",
    "15 minutes",
    "1 hour",
    "6 hours",
    "1 day",
    "7 days",
    "1 month",
    "1 year",
    "1 working day",
]


@st.composite
def grids_with_gaps(draw: st.DrawFn) -> tuple[str, list[datetime], list[int]]:
    """A step, a grid of it, and the numbers of those of its moments that have a row, the first and the last too."""
    text = draw(st.sampled_from(STEPS))
    num_steps = draw(st.integers(2, 60))
    dropped = draw(st.sets(st.integers(1, num_steps - 2))) if num_steps > 2 else set()
    grid: list[datetime] = []
    time = START
    while len(grid) < num_steps:
        if text == "1 month":
            time = datetime(2001 + len(grid) // 12, 1 + len(grid) % 12, 5)
        elif text == "1 year":
            time = datetime(1900 + len(grid), 5, 5)
        elif grid:
            time += timedelta(microseconds=TimeStep.parse(text).microseconds or DAY // timedelta(microseconds=1))
        if text != "1 working day" or time.weekday() < 5:
            grid.append(time)
    return text, grid, [number for number in range(num_steps) if number not in dropped]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=grids_with_gaps())
def test_filling_gives_back_a_grid_whatever_rows_were_dropped(
    drawn: tuple[str, list[datetime], list[int]], lay_out: LayOut
) -> None:
    text, grid, kept = drawn
    axis = lay_out([grid[number] for number in kept], step=TimeStep.parse(text))
    assert walls(axis) == grid
    rows = {number: row for row, number in enumerate(kept)}
    assert [step.row for step in axis.steps] == [rows.get(number) for number in range(len(grid))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=grids_with_gaps())
def test_the_step_is_found_where_some_neighbours_are_left(
    drawn: tuple[str, list[datetime], list[int]], lay_out: LayOut
) -> None:
    text, grid, kept = drawn
    # Every third row is dropped at most: the step shows, and five days of seven are no working days.
    kept = sorted({0, 1, len(grid) - 1, *(number for number in range(len(grid)) if number % 3 or number in kept)})
    axis = lay_out([grid[number] for number in kept])
    if text == "1 working day":
        assert str(axis.step) in ("1 day", text)  # it takes four weeks to tell
    else:
        assert str(axis.step) == text
        assert walls(axis) == grid
