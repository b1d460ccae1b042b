from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ostinato.service.artifact.manifest import ANY, BY_ITSELF, Promise
from ostinato.service.engine.sequence.batching import (
    MAX_ROW_STEPS,
    Company,
    SequenceLine,
    SequenceRun,
    SequenceWork,
)

FIXED = Promise(holds="fixed", rows=16)
SEEDS = range(20)


class Caller:
    def __init__(self) -> None:
        self.is_gone = False

    def cancelled(self) -> bool:
        return self.is_gone


def work(num_steps: int) -> SequenceWork:
    return SequenceWork(np.zeros((num_steps, 1), np.float32), (), Caller())


def line_of(works: Sequence[SequenceWork], company: Company, max_batch_size: int = 256) -> SequenceLine:
    line = SequenceLine(company, max_batch_size=max_batch_size)
    for each in works:
        line.append(each)
    return line


def runs_of(line: SequenceLine) -> list[SequenceRun]:
    runs = []
    while line:
        run, dropped = line.next_run()
        assert not dropped
        assert run is not None
        runs.append(run)
    return runs


def lengths_like_sentences(seed: int, number: int = 256) -> list[int]:
    """Most are short and a few are long."""
    drawn = np.random.default_rng(seed).lognormal(3.3, 0.7, number)
    return [int(length) for length in np.clip(drawn, 1, 400)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("promise", [ANY, FIXED, BY_ITSELF])
@pytest.mark.parametrize("takes_lengths", [True, False])
def test_every_sequence_runs_once_in_a_run_that_its_promise_allows(
    seed: int, promise: Promise, takes_lengths: bool
) -> None:
    works = [work(length) for length in lengths_like_sentences(seed)]
    company = Company(promise, takes_lengths)
    runs = runs_of(line_of(works, company))
    assert sorted(id(each) for run in runs for each in run.works) == sorted(map(id, works))
    for run in runs:
        lengths = [each.num_steps for each in run.works]
        assert len(lengths) == 1 or len(lengths) * run.num_steps <= MAX_ROW_STEPS
        if promise == BY_ITSELF:
            assert lengths == [run.num_steps]
        elif not takes_lengths:
            assert set(lengths) == {run.num_steps}
        elif promise == FIXED:
            assert len(lengths) <= 16
            # The least power of two that holds each by itself: what shares its run has no say in it.
            assert all(run.num_steps in (16, 32, 64, 128, 256, 512) for _ in lengths)
            assert all(length <= run.num_steps for length in lengths)
            assert run.num_steps == 16 or all(2 * length > run.num_steps for length in lengths)
        else:
            assert max(lengths) == run.num_steps


@pytest.mark.parametrize("seed", SEEDS)
def test_little_padding_is_computed_where_like_lengths_wait(seed: int) -> None:
    works = [work(length) for length in lengths_like_sentences(seed)]
    runs = runs_of(line_of(works, Company(ANY, takes_lengths=True)))
    padding = sum(run.padding for run in runs)
    computed = sum(len(run.works) * run.num_steps for run in runs)
    assert padding / computed < 0.15
    # A class holds lengths of 5 to 4 at most, and what joins it has to stay within less.
    assert all(run.padding <= 0.2 * len(run.works) * run.num_steps for run in runs)
    by_arrival = [works[first : first + 32] for first in range(0, len(works), 32)]
    naive = sum(len(part) * max(each.num_steps for each in part) for part in by_arrival)
    assert computed < naive / 2


def test_a_short_sequence_waits_for_one_run_of_long_ones_however_many_there_are() -> None:
    line = line_of([work(4000) for _ in range(50)], Company(ANY, takes_lengths=True))
    line.next_run()
    short = work(5)
    line.append(short)
    waited = 0
    while True:
        run, _ = line.next_run()
        assert run is not None
        if short in run.works:
            break
        waited += 1
    assert waited <= 1


def test_short_sequences_that_keep_coming_leave_a_long_one_its_share() -> None:
    line = SequenceLine(Company(ANY, takes_lengths=True), max_batch_size=32)
    long = work(3000)
    line.append(long)
    steps_of_others = 0
    while True:
        for _ in range(64):
            line.append(work(8))
        run, _ = line.next_run()
        assert run is not None
        if long in run.works:
            break
        steps_of_others += len(run.works) * run.num_steps
    assert steps_of_others <= MAX_ROW_STEPS


def test_of_one_class_the_oldest_runs_first() -> None:
    works = [work(100) for _ in range(100)]
    runs = runs_of(line_of(works, Company(ANY, takes_lengths=True)))
    assert [each for run in runs for each in run.works] == works


def test_what_nobody_waits_for_is_dropped_before_it_runs() -> None:
    works = [work(length) for length in (5, 5, 30, 5)]
    works[1].future.is_gone = works[2].future.is_gone = True
    line = line_of(works, Company(ANY, takes_lengths=True))
    ran: list[SequenceWork] = []
    dropped: list[SequenceWork] = []
    while line:
        run, gone = line.next_run()
        ran += run.works if run else []
        dropped += gone
    assert ran == [works[0], works[3]]
    assert set(map(id, dropped)) == {id(works[1]), id(works[2])}


def test_works_that_shared_a_failed_run_run_alone_and_first() -> None:
    works = [work(5) for _ in range(3)]
    line = line_of(works, Company(ANY, takes_lengths=True))
    run, _ = line.next_run()
    assert run is not None
    line.append(work(5))
    line.put_alone(run.works)
    assert [each.works for each in runs_of(line)[:3]] == [[each] for each in works]
    assert all(each.alone for each in works)


def test_clearing_takes_everything_out() -> None:
    line = line_of([work(5), work(70)], Company(ANY, takes_lengths=True))
    suspect = work(9)
    line.put_alone([suspect])
    assert len(line) == 3
    assert len(line.clear()) == 3
    assert not line
    assert line.next_run() == (None, [])
