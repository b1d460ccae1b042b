"""Limits of one request, as a manifest has them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ostinato.service.artifact.tensors import Part


class Limits(Part):
    """What one request of this model may ask for. 0 = only the server's own limit counts.

    ``max_chunk_steps``: steps in a chunk.
    ``max_horizon``: steps of a forecast.
    ``max_source_steps``: steps of a source.
    ``max_output_steps``: steps of an output that is generated.
    ``max_beams``: beams, and outputs for each input.
    """

    max_chunk_steps: Annotated[int, Field(ge=0)] = 0
    max_horizon: Annotated[int, Field(ge=0)] = 0
    max_source_steps: Annotated[int, Field(ge=0)] = 0
    max_output_steps: Annotated[int, Field(ge=0)] = 0
    max_beams: Annotated[int, Field(ge=0)] = 0
