from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.service.engine.recurrent.batching import MAX_ROW_STEPS, Iteration, Line, Work


class Caller:
    """All that the batching asks of a future."""

    def __init__(self) -> None:
        self.has_gone = False

    def cancelled(self) -> bool:
        return self.has_gone


def work(num_steps: int = 1, num_rows: int = 1, *, num_done: int = 0, private: bool = False) -> Work:
    made = Work([0] * num_rows, None, num_rows, num_steps, Caller(), private=private)
    made.num_done = num_done
    if num_done and not private:
        made.scratch = [1] * num_rows
    return made


def line_of(works: Iterable[Work], max_batch_size: int = 4, max_iteration_steps: int = 8) -> Line:
    line = Line(max_batch_size=max_batch_size, max_iteration_steps=max_iteration_steps)
    for each in works:
        line.append(each)
    return line


def next_of(line: Line) -> Iteration:
    iteration, dropped = line.next_iteration()
    assert iteration is not None
    assert dropped == []
    return iteration


def test_no_work_makes_no_iteration() -> None:
    assert line_of([]).next_iteration() == (None, [])


def test_the_oldest_are_taken_first_and_at_most_a_full_batch() -> None:
    works = [work() for _ in range(5)]
    line = line_of(works, max_batch_size=3)
    assert next_of(line).works == works[:3]
    assert len(line) == 2
    assert next_of(line).works == works[3:]


def test_every_row_runs_the_least_number_of_steps_that_one_has_left() -> None:
    iteration = next_of(line_of([work(5), work(2), work(9)]))
    assert (iteration.num_rows, iteration.num_steps) == (3, 2)


def test_steps_already_done_are_not_counted() -> None:
    assert next_of(line_of([work(10, num_done=9), work(5)])).num_steps == 1


def test_a_long_chunk_is_cut_at_the_limit() -> None:
    assert next_of(line_of([work(100)])).num_steps == 8


def test_many_long_chunks_are_cut_where_they_would_leave_the_caches() -> None:
    iteration = next_of(line_of([work(100) for _ in range(256)], max_batch_size=256, max_iteration_steps=64))
    assert (iteration.num_rows, iteration.num_steps) == (256, MAX_ROW_STEPS // 256)


def test_a_block_of_rows_is_taken_whole_or_waits() -> None:
    first, block = work(), work(num_rows=4)
    line = line_of([first, block])
    assert next_of(line).works == [first]
    assert next_of(line).works == [block]


def test_cancelled_work_is_dropped_unless_it_has_begun() -> None:
    gone, begun, fresh = work(), work(3, num_done=1), work()
    gone.future.has_gone = begun.future.has_gone = True
    iteration, dropped = line_of([gone, begun, fresh]).next_iteration()
    assert iteration is not None
    assert (iteration.works, dropped) == ([begun, fresh], [gone])


def test_cancelled_private_work_is_dropped_even_if_it_has_begun() -> None:
    begun = work(3, num_done=1, private=True)
    begun.future.has_gone = True
    line = line_of([begun])
    assert line.next_iteration() == (None, [begun])
    assert len(line) == 0


@pytest.mark.parametrize(
    ("works", "is_whole"),
    [
        ([work(2), work(2)], True),
        ([work(), work(num_rows=3)], True),
        ([work(2), work(3)], False),
        ([work(3), work(2)], False),
        ([work(9)], False),  # over the limit of steps
        ([work(2), work(3, num_done=1)], False),
        ([work(2, private=True)], False),
    ],
)
def test_an_iteration_is_whole_where_it_is_all_of_its_works_and_all_are_sessions(
    works: list[Work], is_whole: bool
) -> None:
    iteration = next_of(line_of(works))
    assert iteration.works == works
    assert iteration.is_whole is is_whole


def test_private_work_runs_in_strides_of_powers_of_two_with_others_of_its_stride() -> None:
    # 13 = 8 + 4 + 1 and 12 = 8 + 4; the one of 5 = 4 + 1 joins them at their second stride.
    thirteen, twelve, five = (work(steps, private=True) for steps in (13, 12, 5))
    line = line_of([thirteen, twelve, five])
    seen = []
    while len(line):
        iteration = next_of(line)
        assert iteration.is_private
        seen.append((iteration.works, iteration.num_steps))
        for each in iteration.works:
            each.num_done += iteration.num_steps
            if each.num_done < each.num_steps:
                line.append(each)
    assert seen == [([thirteen, twelve], 8), ([five, thirteen, twelve], 4), ([five, thirteen], 1)]


def test_private_work_of_one_step_fills_a_run_however_many_rows_that_has() -> None:
    many = MAX_ROW_STEPS + 100
    line = line_of([work(private=True) for _ in range(many)], max_batch_size=2 * MAX_ROW_STEPS)
    assert next_of(line).num_rows == many
    line = line_of([work(2, private=True) for _ in range(many)], max_batch_size=2 * MAX_ROW_STEPS)
    assert next_of(line).num_rows == MAX_ROW_STEPS // 2


def test_sessions_and_private_work_take_turns() -> None:
    sessions, private = [work() for _ in range(3)], [work(private=True) for _ in range(3)]
    line = line_of([*private, *sessions], max_batch_size=1)
    order = [next_of(line).works[0] for _ in range(6)]
    assert [each.private for each in order] in ([True, False] * 3, [False, True] * 3)


def test_work_that_was_in_a_failed_run_shares_no_further_one_and_comes_first() -> None:
    suspects, fresh = [work(), work(private=True)], work()
    line = line_of([fresh])
    line.put_alone(suspects)
    assert [next_of(line).works for _ in range(3)] == [[suspects[0]], [suspects[1]], [fresh]]


def test_a_suspect_whose_caller_has_gone_is_dropped() -> None:
    suspect, fresh = work(), work()
    suspect.future.has_gone = True
    line = line_of([fresh])
    line.put_alone([suspect])
    iteration, dropped = line.next_iteration()
    assert iteration is not None
    assert (iteration.works, dropped) == ([fresh], [suspect])


def test_a_suspect_of_a_session_that_has_begun_runs_to_its_end_whoever_waits_and_private_work_does_not() -> None:
    begun, private = work(5, num_done=2), work(5, num_done=2, private=True)
    for suspect in (begun, private):
        suspect.future.has_gone = True
    line = line_of([])
    line.put_alone([private, begun])
    iteration, dropped = line.next_iteration()
    assert iteration is not None
    assert (iteration.works, iteration.num_steps, dropped) == ([begun], 3, [private])


def test_clearing_gives_back_all_work() -> None:
    works = [work(), work(5, private=True), work(private=True)]
    line = line_of(works)
    line.put_alone([work()])
    assert len(line.clear()) == 4
    assert len(line) == 0
    assert line.next_iteration() == (None, [])


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40),
    private=st.sampled_from([(False,), (True,), (False, True), (True, True, False)]),
    max_batch_size=st.integers(1, 8),
    max_iteration_steps=st.integers(1, 9),
)
def test_all_steps_run_once_without_padding_and_nobody_starves(
    lengths: list[int], private: tuple[bool, ...], max_batch_size: int, max_iteration_steps: int
) -> None:
    works = [work(length, private=is_private) for length, is_private in zip(lengths, cycle(private), strict=False)]
    line = line_of(works, max_batch_size, max_iteration_steps)
    computed = number = 0
    last_seen = dict.fromkeys(works, 0)
    # Whoever stood in line had the others of the line before it: sessions a batch at a time, private work in the
    # worst case one at a time; and the two lines take turns.
    longest_wait = 2 * len(works) if any(private) else -(-len(works) // max_batch_size)
    while len(line):
        number += 1
        iteration = next_of(line)
        assert len(set(iteration.works)) == len(iteration.works) == iteration.num_rows <= max_batch_size
        assert iteration.num_steps <= max_iteration_steps
        assert {each.private for each in iteration.works} == {iteration.is_private}
        computed += iteration.num_rows * iteration.num_steps
        for each in iteration.works:
            assert number - last_seen[each] <= longest_wait + 1
            last_seen[each] = number
            each.num_done += iteration.num_steps
            assert each.num_done <= each.num_steps
            if each.num_done < each.num_steps:
                each.scratch = each.scratch or [1]
                line.append(each)
    assert all(each.num_done == each.num_steps for each in works)
    assert computed == sum(lengths)
