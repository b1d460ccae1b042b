from __future__ import annotations

from itertools import islice

import pytest

from ostinato.tools.load import Script
from ostinato.tools.sequences.course import CYCLE_STEPS, Course, Portion, last_span, spans


@pytest.mark.parametrize("request_steps", [1, 3, 16, 40])
def test_a_sequence_without_an_end_begins_once_and_goes_through_its_cycle(request_steps: int) -> None:
    course = Course.of(request_steps, None)
    script = Script(
        [b""] * len(course.portions), [len(portion.places) for portion in course.portions], course.again_from
    )
    sent = [course.portions[turn] for turn in islice(script.turns(), 100)]
    assert [portion.is_first for portion in sent] == [True] + [False] * 99
    assert not any(portion.is_last for portion in sent)
    places = [place for portion in sent for place in portion.places]
    assert places == [step % CYCLE_STEPS for step in range(100 * request_steps)]


def test_a_sequence_of_some_length_begins_and_ends_and_so_does_the_next() -> None:
    assert Course.of(3, 7) == Course(
        (
            Portion((0, 1, 2), is_first=True, is_last=False),
            Portion((3, 4, 5), is_first=False, is_last=False),
            Portion((6,), is_first=False, is_last=True),
        ),
        0,
    )
    assert Course.of(8, 5).portions == (Portion((0, 1, 2, 3, 4), is_first=True, is_last=True),)


def test_the_steps_of_an_answer_are_counted_from_the_beginning_of_its_sequence() -> None:
    ending = Script([b""] * 4, [0, 3, 2, 0])
    assert list(islice(spans(ending), 6)) == [(0, 0), (0, 3), (3, 5), (5, 5), (0, 0), (0, 3)]
    assert last_span(ending, 2, num_steps=15) == (3, 5)
    endless = Script([b""] * 3, [4, 2, 2], again_from=1)
    assert list(islice(spans(endless), 4)) == [(0, 4), (4, 6), (6, 8), (8, 10)]
    assert last_span(endless, 1, num_steps=10) == (8, 10)
