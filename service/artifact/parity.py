"""Parity: how near a graph comes to its network."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ostinato.service.artifact.tensors import Part


class Parity(Part):
    """How near the graph comes to the trained network, and over what that was measured.

    ``max_difference`` is the largest ``|graph - network| / max(1, |network|)`` over all outputs and states.
    ``max_difference``: that number.
    ``tolerance``: what it was allowed to be.
    ``batch_sizes``, ``lengths``: of the sequences that were run.
    ``num_chunkings``: in how many ways they were cut into chunks.
    """

    max_difference: Annotated[float, Field(ge=0)]
    tolerance: Annotated[float, Field(gt=0)] = 1e-5
    batch_sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    num_chunkings: int
