from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.one_step import one_step
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.proofs.recurrent import prove
from tests.export.modules import amounts


class Pixels(nn.Module):
    """A network whose numbers are off by ``error`` where it reads several steps at once: as products are rounded.

    Its answers go from 0 to ``most``.
    """

    def __init__(self, most: float, error: float) -> None:
        super().__init__()
        self.most, self.error = most, error

    def initial_state(self, batch_size: int) -> Tensor:
        """A sum."""
        return torch.zeros(batch_size, 1)

    def forward(self, x: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        """A pixel that is full, and one that is nearly empty."""
        sums = torch.cumsum(torch.cat([total.unsqueeze(1), x[..., :1]], dim=1), dim=1)[:, 1:]
        empty = torch.sigmoid(sums) + (self.error if x.shape[1] > 1 else 0.0)
        return torch.cat([torch.full_like(empty, self.most), empty], dim=-1), sums[:, -1]


def contract(most: float, error: float) -> Contract:
    return inspect_module(Pixels(most, error), amounts())


@pytest.mark.parametrize("error", [0.0078125, 0.05])
def test_pixels_of_16_bits_are_rounded_as_the_largest_of_them_is(error: float) -> None:
    one_step(contract(65535.0, error))
    network = contract(65535.0, error)
    prove(network, network)


@pytest.mark.parametrize(("most", "error"), [(1.0, 0.0078125), (255.0, 0.05), (65535.0, 40.0)])
def test_what_is_off_by_more_than_rounding_is_no_recurrence(most: float, error: float) -> None:
    with pytest.raises(ExportError, match="answers differently step by step"):
        one_step(contract(most, error))
    network = contract(most, error)
    with pytest.raises(ExportError, match="cut into chunks the network answers differently"):
        prove(network, network)
