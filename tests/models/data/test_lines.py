from __future__ import annotations

import torch

from ostinato.models.data.lines import Lines
from ostinato.models.data.pairs import IGNORED


def test_a_line_is_given_behind_the_edge_and_wanted_before_it() -> None:
    lines = Lines.of([[2], [3, 1]])
    given, wanted = lines.batch(torch.arange(2))
    assert given.tolist() == [[0, 2, 0], [0, 3, 1]]
    assert wanted.tolist() == [[2, 0, IGNORED], [3, 1, 0]]
    assert lines.lengths.tolist() == [2, 3]


def test_what_is_unknown_is_never_wanted() -> None:
    _, wanted = Lines.of([[2, 7, 1]], unknown=7).batch(torch.arange(1))
    assert wanted.tolist() == [[2, IGNORED, 1, 0]]


def test_lines_of_like_length_share_a_batch_no_longer_than_its_longest() -> None:
    lines = Lines.of([[3, 1, 2], [1], [2], [1, 2, 3, 1, 2, 3]])
    batches = [(given.tolist(), wanted.tolist()) for given, wanted in lines.batches(torch.tensor([2, 0, 1]), 2)]
    assert batches == [([[0, 2], [0, 1]], [[2, 0], [1, 0]]), ([[0, 3, 1, 2]], [[3, 1, 2, 0]])]
