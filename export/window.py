"""A window module made to stream: a network that answers from the last L steps, with these steps as its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ostinato.export.errors import ExportError


class Window(nn.Module):
    """A network that is trained on windows of L steps, as a module that is given a step after the other.

    Libraries that forecast train on windows (darts' block RNN, neuralforecast, pytorch-forecasting): the network
    answers from the last L steps, which it begins again each time. Here these steps are a state, so that it serves
    sessions: each step is answered as if the window that ends with it had been given, scalers of a window included. It
    costs what L steps do.

    Args:
        module: takes a window ``[B, L, F]`` and answers ``[B, ...]``: an output ``[B, O]``, a horizon ``[B, H]`` or
            ``[B, H, O]``; of a tuple, the first is the answer.
        length: L.
        num_features: F.
        call: how the module is given a window, where it takes it in another form than by itself:
            ``lambda module, window: module((window, None))``. It gets the module, since an export works on a copy.
        begin: what is in a window before its sequence began: the first step, again and again (``"first"``), or
            ``"zeros"``. A scaler finds nothing new in the first.

    Raises:
        ExportError: the length is none.
    """

    def __init__(
        self,
        module: nn.Module,
        length: int,
        num_features: int = 1,
        *,
        call: Callable[[nn.Module, Tensor], Tensor | tuple[Tensor, ...]] | None = None,
        begin: Literal["first", "zeros"] = "first",
    ) -> None:
        super().__init__()
        if length < 1:
            raise ExportError(f"a window of {length} steps; it has one at least")
        if begin not in ("first", "zeros"):
            raise ExportError(f"a window begins with the 'first' step or with 'zeros', not with {begin!r}")
        self.module = module
        self.length = length
        self.num_features = num_features
        self._call = call
        self._begin = begin

    def initial_state(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """The steps before the first ``[B, L - 1, F]``, of which none is one of the sequence's: ``[B]``."""
        return torch.zeros(batch_size, max(1, self.length - 1), self.num_features), torch.zeros(batch_size)

    def forward(self, x: Tensor, before: Tensor, has_begun: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Steps ``x [B, T, F]`` and the state to the answers ``[B, T, ...]`` and the state."""
        if self._begin == "first":
            before = torch.where(has_begun[:, None, None] > 0, before, x[:, :1].expand_as(before))
        steps = torch.cat([before, x], dim=1)
        begun = torch.ones_like(has_begun)
        first = before.shape[1] - (self.length - 1)
        windows = steps[:, first:].unfold(1, self.length, 1).transpose(2, 3)
        window = windows.reshape(-1, self.length, self.num_features)
        answer = self.module(window) if self._call is None else self._call(self.module, window)
        made = answer[0] if isinstance(answer, tuple | list) else answer
        return made.reshape(x.shape[0], x.shape[1], *made.shape[1:]), steps[:, -before.shape[1] :], begun
