"""Delays: outputs that speak of a step before, as those of a network that is trained to wait before it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input, Output


def with_delays(made: Sequence[Output], first_input: Input, delay: int | Mapping[str, int]) -> tuple[Output, ...]:
    """The outputs with their delays.

    Args:
        delay: one for all that are made at each step, or by the names of outputs.

    Raises:
        ExportError: no output is called so, a delay is negative, or the output is made once a run.
    """
    by_step = {part.name for part in made if part.time_axis is not None or first_input.time_axis is None}
    delays = delay if isinstance(delay, Mapping) else dict.fromkeys(by_step, delay)
    for name, steps in delays.items():
        if name not in {part.name for part in made}:
            raise ExportError(f"delay of {name!r}: the outputs are {', '.join(part.name for part in made)}")
        if steps < 0:
            raise ExportError(f"delay {steps}: the steps that pass before an answer are 0 or more")
        if steps and name not in by_step:
            raise ExportError(f"delay of {name!r}: it is made once a run, and speaks of no step of its own")
    return tuple(part.model_copy(update={"delay": delays.get(part.name, 0)}) for part in made)


def delay_of_words(words: Sequence[str]) -> int | dict[str, int]:
    """What ``3``, or ``mean=3`` for each of several, says.

    Raises:
        ExportError: it says nothing of the kind.
    """
    if len(words) == 1 and words[0].isdecimal():
        return int(words[0])
    pairs = [word.partition("=") for word in words]
    if any(not name or not steps.isdecimal() for name, _, steps in pairs):
        raise ExportError(f"--delay {','.join(words)}: write a number of steps, or one for each output: mean=3,kind=0")
    return {name: int(steps) for name, _, steps in pairs} if pairs else 0
