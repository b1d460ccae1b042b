from __future__ import annotations

from collections import deque
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.batching import Work, next_iteration


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


def test_no_work_makes_no_iteration() -> None:
    assert next_iteration(deque(), max_batch_size=4, max_iteration_steps=8) == (None, [])


def test_the_oldest_are_taken_first_and_at_most_a_full_batch() -> None:
    works = [work() for _ in range(5)]
    line = deque(works)
    iteration, _ = next_iteration(line, max_batch_size=3, max_iteration_steps=8)
    assert iteration is not None
    assert iteration.works == works[:3]
    assert list(line) == works[3:]


def test_every_row_runs_the_least_number_of_steps_that_one_has_left() -> None:
    iteration, _ = next_iteration(deque([work(5), work(2), work(9)]), max_batch_size=4, max_iteration_steps=8)
    assert iteration is not None
    assert (iteration.num_rows, iteration.num_steps) == (3, 2)


def test_steps_already_done_are_not_counted() -> None:
    iteration, _ = next_iteration(deque([work(10, num_done=9), work(5)]), max_batch_size=4, max_iteration_steps=8)
    assert iteration is not None
    assert iteration.num_steps == 1


def test_a_long_chunk_is_cut_at_the_limit() -> None:
    iteration, _ = next_iteration(deque([work(100)]), max_batch_size=4, max_iteration_steps=8)
    assert iteration is not None
    assert iteration.num_steps == 8


def test_a_block_of_rows_is_taken_whole_or_waits() -> None:
    first, block = work(), work(num_rows=4)
    line = deque([first, block])
    iteration, _ = next_iteration(line, max_batch_size=4, max_iteration_steps=8)
    assert iteration is not None
    assert iteration.works == [first]
    assert list(line) == [block]


def test_cancelled_work_is_dropped_unless_it_has_begun() -> None:
    gone, begun, fresh = work(), work(3, num_done=1), work()
    gone.future.has_gone = begun.future.has_gone = True
    iteration, dropped = next_iteration(deque([gone, begun, fresh]), max_batch_size=4, max_iteration_steps=8)
    assert iteration is not None
    assert (iteration.works, dropped) == ([begun, fresh], [gone])


def test_cancelled_private_work_is_dropped_even_if_it_has_begun() -> None:
    begun = work(3, num_done=1, private=True)
    begun.future.has_gone = True
    assert next_iteration(deque([begun]), max_batch_size=4, max_iteration_steps=8) == (None, [begun])


@pytest.mark.parametrize(
    ("works", "is_whole"),
    [
        ([work(2), work(2)], True),
        ([work(), work(num_rows=3)], True),
        ([work(2), work(3)], False),
        ([work(3), work(2)], False),
        ([work(9)], False),  # over the limit of steps
        ([work(2), work(3, num_done=1)], False),
        ([work(2), work(2, private=True)], False),
        ([work(2, private=True)], False),
    ],
)
def test_an_iteration_is_whole_where_it_is_all_of_its_works_and_all_are_sessions(
    works: list[Work], is_whole: bool
) -> None:
    iteration, _ = next_iteration(deque(works), max_batch_size=4, max_iteration_steps=8)
    assert iteration is not None
    assert iteration.is_whole is is_whole


def test_private_work_with_few_steps_left_waits_where_that_computes_more_and_is_first_next_time() -> None:
    long = [work(100, private=True) for _ in range(60)]
    short = work(1, private=True)
    line = deque([*long[:30], short, *long[30:]])
    iteration, _ = next_iteration(line, max_batch_size=64, max_iteration_steps=8)
    assert iteration is not None
    # 60 rows of 8 steps for one overhead are worth more than 61 rows of one.
    assert (iteration.works, iteration.num_steps) == (long, 8)
    assert list(line) == [short]


def test_a_session_never_waits_for_private_work() -> None:
    session = work(1)
    line = deque([*(work(100, private=True) for _ in range(60)), session])
    iteration, _ = next_iteration(line, max_batch_size=64, max_iteration_steps=8)
    assert iteration is not None
    assert session in iteration.works
    assert (iteration.num_rows, iteration.num_steps) == (61, 1)


def test_work_that_was_in_a_failed_run_shares_no_further_one() -> None:
    suspect, other, fresh = work(), work(), work()
    suspect.alone = other.alone = True
    line = deque([suspect, other, fresh])
    batches = []
    while line:
        iteration, _ = next_iteration(line, max_batch_size=4, max_iteration_steps=8)
        assert iteration is not None
        batches.append(iteration.works)
    assert batches == [[suspect], [other], [fresh]]


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
    # Whoever stood in line had the others of the line before it, a batch at a time; a private one, each alone.
    longest_wait = len(works) if any(private) else -(-len(works) // max_batch_size)
    line = deque(works)
    computed = 0
    last_seen = dict.fromkeys(works, 0)
    number = 0
    while line:
        number += 1
        iteration, _ = next_iteration(line, max_batch_size=max_batch_size, max_iteration_steps=max_iteration_steps)
        assert iteration is not None
        assert len(set(iteration.works)) == len(iteration.works) <= max_batch_size
        computed += iteration.num_rows * iteration.num_steps
        for each in iteration.works:
            assert number - last_seen[each] <= longest_wait + 1
            last_seen[each] = number
            each.num_done += iteration.num_steps
            if each.num_done < each.num_steps:
                each.scratch = each.scratch or [1]
                line.append(each)
    assert all(each.num_done == each.num_steps for each in works)
    assert computed == sum(lengths)
