from __future__ import annotations

import pytest

from ostinato.service.engine.admission import Admission
from ostinato.service.errors import Draining, Overloaded, TooLarge, UnknownModel


def test_rows_are_counted_and_refused_before_anything_is_queued() -> None:
    admission = Admission(3, unit="rows", in_thread=False)
    admission.admit(2)
    with pytest.raises(Overloaded, match="2 of at most 3 rows") as refusal:
        admission.admit(2)
    assert refusal.value.retry_after_seconds == 1
    admission.admit(1)
    assert admission.num_rows == 3
    assert admission.saturation == 1
    with pytest.raises(TooLarge, match="4 rows in one request; the most is 3"):
        admission.admit(4)
    assert admission.num_rows == 3


def test_rows_that_leave_make_room() -> None:
    admission = Admission(3, unit="rows", in_thread=False)
    admission.admit(3)
    with pytest.raises(Overloaded):
        admission.check_room()
    admission.leave(1)
    admission.check_room()
    assert admission.num_rows == 2


def test_no_rows_are_admitted_where_there_is_no_room_and_refused_in_a_drain() -> None:
    """What opens or resets a session asks for none, and is let in whatever waits."""
    admission = Admission(1, unit="lanes", in_thread=False)
    admission.admit(1)
    admission.admit(0)
    admission.drain()
    for num_rows in (0, 9):
        with pytest.raises(Draining):
            admission.admit(num_rows)
    with pytest.raises(Draining):
        admission.check_room()
    assert admission.num_rows == 1
    admission.leave(1)
    with pytest.raises(Draining):
        admission.check_room()


def test_it_shows_what_it_counts() -> None:
    admission = Admission(8, unit="lanes", in_thread=True)
    admission.admit(5)
    assert repr(admission) == "<Admission 5 of 8 lanes>"
    admission.close()
    assert repr(admission) == "<Admission 5 of 8 lanes, draining>"


def test_a_version_that_retires_says_so_and_no_server_that_stops() -> None:
    admission = Admission(3, unit="rows", in_thread=False)
    admission.admit(2)
    assert isinstance(admission.stopped("the server stopped"), Draining)
    admission.retire("version '1' is unloaded")
    with pytest.raises(UnknownModel, match="version '1' is unloaded"):
        admission.admit(0)
    with pytest.raises(UnknownModel, match="version '1' is unloaded"):
        admission.check_room()
    admission.drain()
    assert isinstance(admission.stopped("the server stopped"), UnknownModel)
    assert admission.num_rows == 2  # which are finished
