from __future__ import annotations

import torch

from ostinato.models.networks.layer import one_mask_a_sequence


def test_one_mask_is_for_all_steps_of_a_row_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    keep = one_mask_a_sequence(0.25, torch.zeros(200, 50))
    first, later = keep(torch.ones(200, 50)), keep(torch.ones(200, 50))
    assert torch.equal(first, later)
    torch.testing.assert_close(first[first != 0], torch.full_like(first[first != 0], 1 / 0.75))
    assert abs(float(first.mean()) - 1.0) < 0.03
    assert not torch.equal(first[0], first[1])


def test_no_rate_leaves_the_state_as_it_is() -> None:
    state = torch.randn(2, 3)
    assert one_mask_a_sequence(0.0, state)(state) is state
