from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from benchmarks.workloads import (
    CYCLE_STEPS,
    MAX_LENGTH,
    MIN_LENGTH,
    MODEL,
    Offline,
    Steps,
    draw_lengths,
    draw_sequences,
    pad,
    scattered,
    write_model,
)
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.offline import run_sequence


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("repository"))


def test_the_model_passes_the_checks_of_the_service(directory: Path) -> None:
    loaded = load_model(directory, Settings())
    assert (loaded.manifest.name, loaded.manifest.batch_invariant) == (MODEL, True)
    assert sum(np.prod(state.row_shape) for state in loaded.manifest.states) == 2 * 128


def test_offline_it_is_what_the_service_runs(directory: Path) -> None:
    runner = load_model(directory, Settings()).runner
    sequence = draw_sequences(1)[0][None]
    assert np.array_equal(Offline(directory).run(sequence)[0], run_sequence(runner, sequence, 7)[0])


def test_a_lost_or_doubled_step_shows_in_the_answer(directory: Path) -> None:
    offline, steps = Offline(directory), Steps.draw(1)
    outputs = offline.run(steps.applied(0, 400)[None])[0][0, :, 0]
    assert len(np.unique(outputs[-CYCLE_STEPS:])) == CYCLE_STEPS


def test_lengths_are_those_of_the_workload_and_the_same_each_time() -> None:
    lengths = draw_lengths(100_000)
    assert (lengths.min(), lengths.max()) == (MIN_LENGTH, MAX_LENGTH)
    assert abs(lengths.mean() - 86) < 1
    assert np.array_equal(draw_lengths(), draw_lengths())
    assert [len(sequence) for sequence in draw_sequences(20)] == draw_lengths(20).tolist()


def test_a_session_begins_with_the_last_of_its_cycle() -> None:
    steps = Steps(np.arange(4, dtype=np.float32).reshape(1, 4, 1))
    assert steps.applied(0, 6)[:, 0].tolist() == [3, 0, 1, 2, 3, 0]
    assert steps.applied(0, 3, cycle_steps=1)[:, 0].tolist() == [0, 0, 0]


def test_padding_leaves_zeros_behind_each_sequence() -> None:
    batch = pad([np.ones((1, 16), np.float32), np.ones((3, 16), np.float32)])
    assert batch.sum(axis=2).tolist() == [[16, 0, 0], [16, 16, 16]]


def test_scattered_numbers_differ_and_are_in_no_order() -> None:
    numbers = [scattered(number) for number in range(10_000)]
    assert len(set(numbers)) == len(numbers)
    # About every second one is less than the one before it; of numbers in order, none would be.
    falling = sum(later < earlier for earlier, later in itertools.pairwise(numbers))
    assert 3_000 < falling < 7_000
    assert max(numbers) < 2**32
