from __future__ import annotations

import numpy as np
import torch

from ostinato.models.data.pairs import IGNORED, Pairs, bucketed_batches, padded

START, STOP = 0, 1


def drawn_pairs(num: int) -> Pairs:
    random = np.random.default_rng(5)
    sources = [random.integers(9, size=size).tolist() for size in random.integers(1, 20, num)]
    targets = [random.integers(2, 9, size=size).tolist() for size in random.integers(1, 12, num)]
    return Pairs.of(sources, targets, START, STOP)


def test_codes_are_padded_to_the_longest() -> None:
    codes, lengths = padded([[4], [5, 6, 7]])
    assert codes.tolist() == [[4, 0, 0], [5, 6, 7]]
    assert lengths.tolist() == [1, 3]


def test_outputs_begin_with_start_and_end_with_stop() -> None:
    pairs = Pairs.of([[3], [3, 4]], [[5, 6], [7]], START, STOP)
    assert pairs.target_in.tolist() == [[START, 5, 6], [START, 7, 0]]
    assert pairs.target_out.tolist() == [[5, 6, STOP], [7, STOP, IGNORED]]
    assert pairs.target_lengths.tolist() == [3, 2]


def test_a_batch_is_padded_to_its_own_longest_and_no_further() -> None:
    pairs = Pairs.of([[3], [3, 4], [1, 2, 3, 4]], [[5, 6], [7], [7, 7, 7]], START, STOP)
    batch = pairs.batch(torch.tensor([1, 0]))
    assert batch.source.tolist() == [[3, 4], [3, 0]]
    assert batch.target_in.shape == batch.target_out.shape == (2, 3)


def test_an_epochs_batches_hold_each_pair_exactly_once() -> None:
    pairs = drawn_pairs(103)
    batches = bucketed_batches(pairs, 16, np.random.default_rng(1))
    # 103 = 6 * 16 + 7.
    assert sorted(len(batch) for batch in batches) == [7, *[16] * 6]
    assert sorted(torch.cat(batches).tolist()) == list(range(103))


def test_batches_hold_like_lengths_so_that_hardly_anything_is_padding() -> None:
    pairs = drawn_pairs(1000)
    batches = bucketed_batches(pairs, 20, np.random.default_rng(1))
    computed = sum(len(batch) * int(pairs.lengths[batch].max()) for batch in batches)
    # Some 50 batches of 19 lengths: at most one border between lengths in a batch.
    assert computed < 1.03 * int(pairs.lengths.sum())
    in_order = sum(20 * int(pairs.lengths[start : start + 20].max()) for start in range(0, 1000, 20))
    assert in_order > 1.5 * int(pairs.lengths.sum())


def test_who_shares_a_batch_is_drawn_anew_each_epoch_and_the_same_for_the_same_seed() -> None:
    pairs = drawn_pairs(200)
    first, again, other = (
        [batch.tolist() for batch in bucketed_batches(pairs, 16, np.random.default_rng(seed))] for seed in (1, 1, 2)
    )
    assert first == again
    assert sorted(map(sorted, first)) != sorted(map(sorted, other))
