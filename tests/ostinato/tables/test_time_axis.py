from __future__ import annotations

from ostinato.tables.stamps import HOUR
from ostinato.tables.steps import TimeStep
from ostinato.tables.time_axis import AxisStep, TimeAxis


def axis(hours: list[int], unit: int = 1) -> TimeAxis:
    """Rows at these hours, on lines of even numbers from 2 on."""
    steps = []
    for row, (hour, following) in enumerate(zip(hours, [*hours[1:], hours[-1] + unit], strict=True)):
        steps.append(AxisStep(row, row, hour * HOUR))
        steps += [AxisStep(None, row, missing * HOUR) for missing in range(hour + unit, following, unit)]
    return TimeAxis(steps, TimeStep(unit * HOUR), lines=range(2, 2 + 2 * len(hours), 2))


def test_gaps_are_the_runs_of_steps_without_a_row() -> None:
    series = axis([0, 1, 4, 5, 7])
    assert series.num_filled == 3
    assert [tuple(gap) for gap in series.gaps()] == [(4, 2 * HOUR, 3 * HOUR, 2), (8, 6 * HOUR, 6 * HOUR, 1)]
    assert series.position(2) == 4


def test_a_part_tells_its_own_gaps() -> None:
    part = axis([0, 1, 4, 5, 7]).part(3, 7)
    assert [tuple(gap) for gap in part.gaps()] == [(4, 3 * HOUR, 3 * HOUR, 1), (8, 6 * HOUR, 6 * HOUR, 1)]
    assert part.all_notes()[0].startswith("2 of 4 steps of 1 hour have no row, in 2 gaps, the first after line 4, ")


def test_where_every_other_step_has_no_row_another_step_is_told() -> None:
    # Hours 0 to 5; then 10 gaps of two hours each; then hours again.
    series = axis([*range(6), *range(8, 36, 3), *range(36, 40)])
    assert series.all_notes()[1:] == ["from line 12 to line 32 its rows are 3 hours apart"]
    assert axis([*range(6), *range(8, 33, 3), *range(33, 40)]).all_notes()[1:] == []


def test_a_gap_of_another_size_in_between_ends_such_a_run() -> None:
    series = axis([*range(0, 12, 2), *range(13, 27, 2), *range(29, 35, 2)])
    # 5 gaps, none, then 6 and a longer one, then 2.
    assert len(series.all_notes()) == 1
