from __future__ import annotations

from datetime import datetime

from ostinato.tables.gaps import Gap, longest, moment_text, sentence
from ostinato.tables.stamps import HOUR, to_moment
from ostinato.tables.steps import TimeStep

START = to_moment(datetime(2024, 1, 1))


def gap(line: int, hours: int) -> Gap:
    return Gap(line, START + line * HOUR, START + (line + hours - 1) * HOUR, hours)


def test_a_sentence_counts_steps_and_gaps_and_says_where_the_first_is() -> None:
    assert sentence([gap(7, 3), gap(20, 2)], 1234, TimeStep(HOUR)) == (
        "5 of 1,234 steps of 1 hour have no row, in 2 gaps, the first after line 7, 2024-01-01 07:00"
    )
    assert sentence([gap(7, 1)], 9, TimeStep(HOUR)) == (
        "1 of 9 steps of 1 hour has no row, in 1 gap, the first after line 7, 2024-01-01 07:00"
    )


def test_the_longest_gaps_come_first_and_of_equals_the_first() -> None:
    shown = longest([gap(10, 1), gap(20, 3), gap(30, 1), gap(1000, 12), gap(40, 1), gap(50, 1)]).split("\n")
    assert [line.split()[:2] for line in shown[1:]] == [
        ["1,000", "12"],
        ["20", "3"],
        ["10", "1"],
        ["30", "1"],
        ["40", "1"],
    ]
    assert shown[2] == "          20      3  2024-01-01 20:00  2024-01-01 22:00"


def test_a_moment_is_shown_without_what_is_zero() -> None:
    times = [
        datetime(2024, 1, 1),
        datetime(2024, 1, 1, 7),
        datetime(2024, 1, 1, 7, 0, 5),
        datetime(2024, 1, 1, 0, 0, 0, 7),
    ]
    assert [moment_text(to_moment(time)) for time in times] == [
        "2024-01-01",
        "2024-01-01 07:00",
        "2024-01-01 07:00:05",
        "2024-01-01 00:00:00.000007",
    ]
