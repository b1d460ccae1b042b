"""Options of generation: how outputs are chosen, and what a model can do of that."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.errors import InvalidInput, TooLarge

DecodingMethod = Literal["greedy", "beam", "sample"]

DEFAULT_BEAMS = 5

OPTIONS_OF_METHODS: dict[str, tuple[str, ...]] = {
    "beam": ("num_beams", "length_penalty"),
    "sample": ("temperature", "top_k", "top_p", "seed"),
}
"""The options that are of one method alone."""


class Options(NamedTuple):
    """How outputs are chosen; None = not said, and so the default.

    Attributes:
        max_steps: the most steps of an output, its stop among them; the model's limit where not given.
        num_beams: of ``beam``; 5 where not given.
        length_penalty: of ``beam``, see ``Beam``; 0 where not given.
        num_return: outputs for each input; 1 where not given.
        temperature, top_k, top_p, seed: of ``sample``, see ``Sample``; 1, 0, 1 and a seed of chance where not given.
        with_attention: whether attention is kept.
    """

    method: DecodingMethod = "greedy"
    max_steps: int | None = None
    num_beams: int | None = None
    length_penalty: float | None = None
    num_return: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    seed: int | None = None
    with_attention: bool = False


NOTHING_SAID = Options()


def check_options(generator: GenerationEngine, options: Options, *, has_codes: bool) -> None:
    """Refuse what a model cannot do.

    Args:
        has_codes: whether it writes codes; else it writes numbers.

    Raises:
        InvalidInput: an option is not for this, or not for each other; names it.
        TooLarge: an option is over the model's limit.
    """
    if options == NOTHING_SAID:
        return
    for method, names in OPTIONS_OF_METHODS.items():
        for name in names:
            if getattr(options, name) is not None and options.method != method:
                raise InvalidInput(f"{name} is for method {method!r}, not {options.method!r}", field=name)
    if not has_codes and options.method != "greedy":
        raise InvalidInput("this model's outputs are numbers, of which none is chosen: leave it out", field="method")
    if options.max_steps is not None and options.max_steps > generator.max_output_steps:
        raise TooLarge(f"max_steps {options.max_steps}; the most is {generator.max_output_steps}")
    num_beams = options.num_beams or (DEFAULT_BEAMS if options.method == "beam" else 1)
    for name, number in (("num_beams", num_beams), ("num_return", options.num_return or 1)):
        if number > generator.max_beams:
            raise TooLarge(f"{name} {number}; the most is {generator.max_beams}")
    if options.num_return is not None and options.num_return > num_beams and options.method != "sample":
        most = f"{num_beams} beams give" if options.method == "beam" else f"{options.method!r} gives"
        raise InvalidInput(f"{most} at most {num_beams} for each input", field="num_return")
    if options.with_attention and not generator.part.attention:
        raise InvalidInput("this model has no attention", field="return_attention")
    if has_codes and options.top_k is not None and options.top_k > (generator.part.num_codes or 0):
        raise InvalidInput(f"the model has {generator.part.num_codes} codes", field="top_k")
