"""The promise: in which shapes a model's graph is run, so that a row's numbers are the same live and offline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ostinato.service.artifact.tensors import Part

MAX_ROWS = 65_536
"""Of a run at one shape."""


class Promise(Part):
    """How a graph must be run so that a row's numbers are the same to the bit, whatever shares its run: live, in
    ``predict``, in forecasts and offline.

    ``any``: in any batch and however its steps are cut, with ``rows`` rows at least (2 where a batch of one is rounded
    differently from others; a row is then run twice); ``steps`` is 0. Offline is one run over the whole sequence.
    ``fixed``: always ``rows`` rows, of ``steps`` steps; offline, too. ``alone``: one row and one step a run.

    Of a model of whole sequences ``steps`` is always 0, since each of them is run at once. ``any``: a sequence may be
    padded to any length, in any company. ``fixed``: always ``rows`` rows, padded to a length that follows from the
    sequence alone: the least power of two that holds it, from 16 on; or its own length, where the graph takes no
    lengths. ``alone``: by itself, at its own length. Offline each sequence is run by itself.

    ``holds``: ``any``, in any batch; ``fixed``, always in runs of the same shape; or ``alone``, each row by itself.
    ``rows``: rows of a run; with ``any``, the fewest.
    ``steps``: steps of a run; 0 = any number.
    """

    holds: Literal["any", "fixed", "alone"]
    rows: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 1
    steps: Annotated[int, Field(ge=0, le=1)] = 0

    @model_validator(mode="after")
    def _check_promise(self) -> Promise:
        if self.steps and self.holds == "any":
            raise ValueError("a run of any shape has any number of steps: steps is 0 with 'any', else 1")
        if self.holds == "alone" and self.rows != 1:
            raise ValueError("a row that is run alone is the only one: rows is 1")
        return self

    def __str__(self) -> str:
        if self.holds == "any":
            return "any" if self.rows == 1 else f"any, of {self.rows} rows at least"
        if self.holds == "fixed":
            return f"fixed at {self.rows} x {self.steps}" if self.steps else f"fixed at {self.rows} rows"
        return "alone"

    @property
    def sentence(self) -> str:
        """What it means for whoever serves the model, and what it costs."""
        if self.holds == "any":
            twice = (
                f", in runs of {self.rows} rows at least: one session alone is computed twice" if self.rows > 1 else ""
            )
            return f"live answers equal one offline run, whatever shares their batch and however steps are cut{twice}"
        if self.holds == "fixed":
            return (
                f"live answers equal those of 'ostinato run', both in runs of {self.rows} rows of one step: one "
                f"session alone costs what {self.rows} do"
            )
        return "live answers equal those of 'ostinato run', both one row of one step a run: nothing shares a batch"

    @property
    def sentence_of_sequences(self) -> str:
        """The same, of a model of whole sequences."""
        return _SENTENCES_OF_SEQUENCES[self.holds]


_SENTENCES_OF_SEQUENCES = {
    "any": "a sequence's answer equals one offline run of it, whatever shares its batch and however it is padded",
    "fixed": (
        "answers equal those of 'ostinato run', both in runs of so many rows, padded to a power of two: one sequence "
        "alone costs what so many do"
    ),
    "alone": "answers equal those of 'ostinato run', both one sequence a run: nothing shares a batch",
}

ANY = Promise(holds="any")
ALONE = Promise(holds="alone", steps=1)
BY_ITSELF = Promise(holds="alone")
"""Of whole sequences."""
