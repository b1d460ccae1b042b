"""The decoder in a manifest: the graph that writes an output, a step a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ostinato.service.artifact.tensors import Input, Nested, Output, Part, State, Tensor


class Memory(Tensor):
    """What a decoder looks at in every step and never changes: its input in the decoder's graph, dtype and shape.

    ``made_by``: the encoder's output that it is, or the session's state of a recurrent model.
    """

    made_by: str


class Decoder(Part):
    """The graph ``decode``: one step of an output, from the step before it.

    ``previous``: the input for what the step before chose: codes ``[B]`` with ``num_codes``, or numbers ``[B, O]``
    that are the output of the step before. None where the graph carries that in a state.
    ``start``: what stands for the step before the first: a code, a number, or a list of numbers.
    ``stop``: the code that ends an output; None where an output ends after so many steps as were asked for.
    ``output``: a score for each code (a log-probability up to a constant), ``[B, V]``; or the numbers ``[B, O]``.
    ``states``: what is carried from step to step. ``begun_by``: state -> the encoder's output, or the session's state,
    that it begins with; one that is not named begins with its ``initial``.
    ``lengths``: the input for the true lengths of the sources, int64 ``[B]``; empty where the graph has none.
    ``lengths_made_by``: the session's state that holds them, in a recurrent model.
    ``shares_runs``: of a recurrent model's decoder, False where each output is run by itself.
    ``attention``: the output ``[B, S]`` of weights on the source's steps, ``[B, M]`` on the M places of a memory
    without steps; empty where there is none.
    ``memory``: what it looks at in every step.
    """

    previous: Input | None = None
    start: Nested = 0
    stop: Annotated[int, Field(ge=0)] | None = None
    output: Output
    states: tuple[State, ...] = ()
    begun_by: dict[str, str] = Field(default_factory=dict)
    memory: tuple[Memory, ...] = ()
    lengths: str = ""
    lengths_made_by: str = ""
    attention: str = ""
    shares_runs: bool = True

    @property
    def num_codes(self) -> int | None:
        """How many codes an output may choose from; None where it is numbers."""
        return None if self.previous is None else self.previous.num_codes

    @property
    def attends_to_steps(self) -> bool:
        """Whether the attention is ``[B, S]``; where no memory has steps, it is over the places of the first."""
        return any(part.source_axis is not None for part in self.memory)

    @model_validator(mode="after")
    def _check_decoder(self) -> Decoder:
        if self.num_codes is not None:
            if self.output.num_features != self.num_codes:
                raise ValueError(f"the output scores {self.output.num_features} codes of {self.num_codes}")
            if not isinstance(self.start, int) or not 0 <= self.start < self.num_codes:
                raise ValueError(f"start {self.start!r} is none of the {self.num_codes} codes")
            if self.stop is not None and self.stop >= self.num_codes:
                raise ValueError(f"stop {self.stop} is none of the {self.num_codes} codes")
        elif self.stop is not None:
            raise ValueError("numbers have no stop code")
        if self.previous is not None and ("T" in self.previous.shape or "T" in self.output.shape):
            raise ValueError("the decoder's graph takes one step a run: its tensors have no 'T'")
        if self.attention and not self.memory:
            raise ValueError("attention needs a memory")
        if unknown := sorted(set(self.begun_by) - {state.name for state in self.states}):
            raise ValueError(f"begun_by: the decoder has no state {unknown[0]!r}")
        names = [self.lengths] * bool(self.lengths) + [part.name for part in self.memory]
        names += [state.input for state in self.states] + ([self.previous.name] if self.previous else [])
        if len(set(names)) != len(names):
            raise ValueError(f"a decoder's input is named twice among {sorted(names)}")
        return self
