"""Modules of operators that ONNX lacks, or that torch translates less exactly than it computes.

Each function returns a module and what ``export_module`` is told of it; its docstring says what is particular.
"""

# mypy: disable-error-code="no-any-return, no-untyped-def, no-untyped-call"

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.zoo.entries import Entry, amounts
from tests.zoo.modules_signatures import H, written


def min_gru_in_logs() -> Entry:
    """A minGRU over all steps at once by ``logcumsumexp``, as it is trained: step by step it is the same."""

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.gate, self.candidate = nn.Linear(3, H), nn.Linear(3, H)

        def initial_state(self, batch_size):
            return torch.full((batch_size, H), 0.5)

        def forward(self, x, h):
            gate, candidate = self.gate(x), self.candidate(x)
            log_candidate = torch.where(candidate >= 0, (F.relu(candidate) + 0.5).log(), -F.softplus(-candidate))
            log_values = torch.cat([h.log().unsqueeze(1), log_candidate - F.softplus(-gate)], 1)
            kept = F.pad(torch.cumsum(-F.softplus(gate), 1), (0, 0, 1, 0))
            hidden = torch.exp(kept + torch.logcumsumexp(log_values - kept, 1))[:, 1:]
            return hidden, hidden[:, -1]

    return Network(), amounts()


def sticks_medians_and_distances() -> Entry:
    """``cumprod`` along the features, ``median``, ``cdist`` to centres."""

    def forward(self, x, h=None):
        y, h = self.gru(x, h)
        sticks = torch.cumprod(1 - torch.sigmoid(y), -1)
        centres = self.embedding.weight[:, :1].expand(x.shape[0], 7, H)
        return torch.cat([sticks, y.median(-1, keepdim=True).values, torch.cdist(y, centres)], -1), h

    return written(forward), amounts()
