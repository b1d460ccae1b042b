"""Parity: how near a graph comes to its network."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ostinato.service.artifact.tensors import Part


class Parity(Part):
    """How near the graph comes to the trained network, and on what that was measured.

    ``max_difference``: the largest ``|graph - network| / max(1, |network|)`` over all outputs and states.
    ``tolerance``: the most that it may be.
    ``batch_sizes``: batch sizes of the sequences that were run.
    ``lengths``: lengths of the sequences that were run.
    ``num_chunkings``: in how many ways the sequences were cut into chunks.
    """

    max_difference: Annotated[float, Field(ge=0)]
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    num_chunkings: int
