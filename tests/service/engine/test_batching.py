from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from service.engine.batching import Work, next_iteration


class Caller:
    """All that the batching asks of a future."""

    def __init__(self) -> None:
        self.has_gone = False

    def cancelled(self) -> bool:
        return self.has_gone


def work(num_steps: int = 1, num_rows: int = 1) -> Work:
    return Work(slots=object(), inputs=None, num_rows=num_rows, num_steps=num_steps, future=Caller())


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
    half_done = work(10)
    half_done.num_done = 9
    iteration, _ = next_iteration(deque([half_done, work(5)]), max_batch_size=4, max_iteration_steps=8)
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
    gone, begun, fresh = work(), work(3), work()
    gone.future.has_gone = begun.future.has_gone = True
    begun.num_done = 1
    iteration, dropped = next_iteration(deque([gone, begun, fresh]), max_batch_size=4, max_iteration_steps=8)
    assert iteration is not None
    assert (iteration.works, dropped) == ([begun, fresh], [gone])


def test_cancelled_private_work_is_dropped_even_if_it_has_begun() -> None:
    begun = work(3)
    begun.scratch = begun.slots
    begun.num_done = 1
    begun.future.has_gone = True
    assert next_iteration(deque([begun]), max_batch_size=4, max_iteration_steps=8) == (None, [begun])


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
    max_batch_size=st.integers(1, 8),
    max_iteration_steps=st.integers(1, 9),
)
def test_all_steps_run_once_without_padding_and_nobody_starves(
    lengths: list[int], max_batch_size: int, max_iteration_steps: int
) -> None:
    works = [work(length) for length in lengths]
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
            # Whoever stood in line had the others of the line before it, a batch at a time.
            assert number - last_seen[each] <= -(-len(works) // max_batch_size) + 1
            last_seen[each] = number
            each.num_done += iteration.num_steps
            if each.num_done < each.num_steps:
                line.append(each)
    assert all(each.num_done == each.num_steps for each in works)
    assert computed == sum(lengths)
