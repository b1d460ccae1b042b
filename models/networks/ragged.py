"""Recurrent layers over padded sequences of known lengths."""

from __future__ import annotations

from typing import Protocol, TypeAlias, cast, runtime_checkable

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Hidden: TypeAlias = Tensor | tuple[Tensor, Tensor]


@runtime_checkable
class RunsRagged(Protocol):
    """Stands in for recurrent layers and heeds lengths by itself, as the exporter's stand-in does."""

    def run_ragged(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Hidden]:
        """As the function of this name."""
        ...


def run_ragged(layers: nn.Module, x: Tensor, lengths: Tensor) -> tuple[Tensor, Hidden]:
    """Run ``nn.LSTM`` or ``nn.GRU`` (one direction or two, stacked, ``batch_first``) over each row's true steps alone.

    What stands at and beyond a row's length has no influence, and the direction that reads backwards begins at the
    row's last step. A network that calls its layers so can be exported with its lengths as an input.

    Args:
        x: ``[B, S, F]``.
        lengths: int64 ``[B]``, from 1 to S.

    Returns:
        outputs ``[B, S, D H]`` for D directions, 0 at and beyond the lengths; the last states ``[L D, B, H]``, each
        row's own (a pair of them for an LSTM).
    """
    if isinstance(layers, RunsRagged):
        return layers.run_ragged(x, lengths)
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    outputs, last = layers(packed)
    padded, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
    return padded, cast("Hidden", last)
