"""The decoder in a manifest: the graph that writes an output, a step a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ostinato.service.artifact.tensors import Input, Nested, Output, Part, State, Tensor


class Memory(Tensor):
    """What a decoder looks at in every step and never changes: its input in the decoder's graph, dtype and shape.

    ``made_by``: the output of the encoder that fills it, or, in a recurrent model, the session's state.
    """

    made_by: str


class Decoder(Part):
    """The graph ``decode``: one step of an output, from the step before it.

    ``previous``: the input for what the step before chose: codes ``[B]`` with ``num_codes``, or numbers ``[B, O]``, the
    output of the step before. None = the graph carries that in a state.
    ``start``: what the first step gets in place of a step before it: a code, a number, or a list of numbers.
    ``stop``: the code that ends an output; None = an output ends after as many steps as were asked for.
    ``output``: a score for each code (a log-probability up to a constant), ``[B, V]``; or the numbers ``[B, O]``.
    ``states``: what is carried from step to step.
    ``begun_by``: for each state, the encoder's output, or the session's state, that it begins with. One that is not
    named here begins with its ``initial``.
    ``memory``: what the decoder looks at in every step.
    ``lengths``: the input for the true lengths of the sources, int64 ``[B]``; empty where the graph has none.
    ``lengths_made_by``: in a recurrent model, the session's state that holds these lengths.
    ``attention``: the output with the weights on the steps of the source, ``[B, S]``, or on the M places of a memory
    without steps, ``[B, M]``; empty where there is none.
    ``shares_runs``: whether several outputs share a run; false only for the decoder of a recurrent model that runs each
    output by itself.
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
