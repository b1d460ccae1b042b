"""Reports and waits, with a clock that is turned by hand."""

from __future__ import annotations

from ostinato.connectors.reports import GrowingWait, Reports


def test_a_line_is_written_once_a_minute_and_others_at_once() -> None:
    lines: list[str] = []
    now = 0.0
    report = Reports(lines.append, lambda: now)
    for at in (0.0, 1.0, 59.9, 60.0, 61.0):
        now = at
        report("down")
    report("letter 1", "letters")
    report("letter 2", "letters")
    assert lines == ["down", "down", "letter 1"]


def test_waits_grow_to_five_seconds_and_begin_anew_after_success() -> None:
    wait = GrowingWait()
    assert [wait.next_seconds() for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    wait.succeeded()
    assert wait.next_seconds() == 0.1
