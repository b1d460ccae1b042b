"""Arguments of ``forward`` of a module of whole sequences: what each is given, and what it answers with.

An argument with ``len`` in its name is given the lengths, int64 ``[B]``; one with ``mask`` in it a bool mask
``[B, T]``: true within a sequence, or, where its name has ``pad`` in it, true in the padding, as torch's
``key_padding_mask`` is.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from ostinato.export.contracts.calls import is_word_of_states
from ostinato.export.contracts.preparation import name_of, unwrapped
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input

Role: TypeAlias = Literal["input", "context", "lengths", "mask", "padding"]


class Place(NamedTuple):
    """What one argument of ``forward`` is given; ``number``: of which input, or of which context."""

    argument: str
    role: Role
    number: int = 0


class WholeSequences(nn.Module):
    """A user's module with plain arguments and answers: inputs, lengths where it takes them, context; a tuple of
    tensors.

    Args:
        is_unpadded: every sequence is as long as the run, so lengths are not an argument but follow from that.
    """

    def __init__(
        self, module: nn.Module, places: Sequence[Place], num_inputs: int, *, is_unpadded: bool = False
    ) -> None:
        super().__init__()
        self.module = module
        self.places = tuple(places)
        self.num_inputs = num_inputs
        self.is_unpadded = is_unpadded
        heeds_lengths = any(place.role in ("lengths", "mask", "padding") for place in places)
        self.takes_lengths = heeds_lengths and not is_unpadded
        # By position as far as that goes: a stand-in of a layer calls its arguments otherwise.
        names = [each.name for each in _parameters(module) if each.kind is not each.KEYWORD_ONLY]
        matching = [place.argument == name for place, name in zip(places, names, strict=False)]
        self.num_positional = matching.index(False) if False in matching else len(matching)
        self.batch_axis, self.time_axis = 0, 1

    def around(self, module: nn.Module) -> WholeSequences:
        """The same around another module with the same arguments."""
        made = WholeSequences(module, self.places, self.num_inputs, is_unpadded=self.is_unpadded).eval()
        made.batch_axis, made.time_axis = self.batch_axis, self.time_axis
        return made

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs, nested ones one by one."""
        inputs, rest = tensors[: self.num_inputs], tensors[self.num_inputs :]
        x = inputs[0]
        lengths = rest[0] if self.takes_lengths else x.new_full((x.shape[self.batch_axis],), x.shape[self.time_axis])
        lengths = lengths.to(torch.int64)
        context = rest[1:] if self.takes_lengths else rest
        given: dict[str, Tensor] = {}
        for place in self.places:
            if place.role == "input":
                given[place.argument] = inputs[place.number]
            elif place.role == "context":
                given[place.argument] = context[place.number]
            else:
                given[place.argument] = lengths
                if place.role != "lengths":
                    steps = torch.arange(x.shape[self.time_axis])
                    within = steps[None, :] < lengths[:, None]
                    given[place.argument] = within if place.role == "mask" else ~within
        by_position = [given.pop(place.argument) for place in self.places[: self.num_positional]]
        return tuple(tensor for _, tensor in flat_tensors(self.module(*by_position, **given)))


def answers_whole_sequences(module: nn.Module, named: Collection[str] = ()) -> bool:
    """Whether a module is one of whole sequences by all that can be told without being said: it has no states of its
    own to begin with, and takes lengths or reads its sequences both ways.

    Args:
        named: arguments that are inputs or contexts. Next to a state, a mask that is one of them, as of what was
            measured, tells nothing, nor do lengths or a mask that may be left out: such a module streams.
    """
    module = unwrapped(module)
    if any(callable(getattr(module, name, None)) for name in ("initial_state", "encode", "decode")):
        return False
    both_ways = any(isinstance(part, nn.RNNBase) and part.bidirectional for part in module.modules())
    others = _parameters(module)[1:]
    heeding = [each for each in others if _is_heeding(each.name)]
    has_states = any(is_word_of_states(each.name) for each in others if each.name not in named)
    needed = {each.name for each in others if each.default is each.empty}.difference(named)
    if heeding and (both_ways or not has_states or any(each.name in needed for each in heeding)):
        return True
    return both_ways and not needed


def _is_heeding(name: str) -> bool:
    return "len" in name.lower() or "mask" in name.lower()


def find_places(module: nn.Module, inputs: Sequence[Input], context: Sequence[Input]) -> list[Place]:
    """What each argument of ``forward`` is given.

    Raises:
        ExportError: an argument is given nothing, or there is none for an input.
    """
    parameters = _parameters(module)
    known: dict[str, tuple[Role, int]] = {part.name: ("input", index) for index, part in enumerate(inputs)}
    known |= {part.name: ("context", index) for index, part in enumerate(context)}
    waiting = [place for name, place in known.items() if name not in {each.name for each in parameters}]
    places: list[Place] = []
    for parameter in parameters:
        name = parameter.name
        found: tuple[Role, int] | None = known.get(name)
        if found is None and _is_heeding(name) and places:
            found = (_heeding(name), 0)
        elif found is None and waiting:
            found = waiting.pop(0)
        elif found is None and parameter.default is parameter.empty:
            # The only one that is left over, behind the sequence: what else could it be told?
            if any(place.role in ("lengths", "mask", "padding") for place in places):
                raise ExportError(
                    f"{name_of(module)}.forward has an argument {name!r} that nothing is said of: name it as an input "
                    "or a context, or give it a default"
                )
            found = ("lengths", 0)
        if found is not None:
            places.append(Place(name, *found))
    if waiting:
        wanted = ", ".join(parameter.name for parameter in parameters)
        raise ExportError(
            f"{name_of(module)}.forward({wanted}) has no argument for {len(waiting)} of the inputs and contexts that "
            f"were named: {', '.join(known)}"
        )
    return places


def _heeding(name: str) -> Role:
    if "mask" not in name.lower():
        return "lengths"
    return "padding" if "pad" in name.lower() else "mask"


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [each for each in inspect.signature(module.forward).parameters.values() if each.kind in kinds]


def flat_tensors(answer: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of an answer, nested in any way, with the keys that lead to them."""
    if isinstance(answer, Tensor):
        yield name, answer
    elif isinstance(answer, Mapping):
        for key, each in answer.items():
            yield from flat_tensors(each, f"{name}_{key}".lstrip("_"))
    elif isinstance(answer, tuple | list):
        keys = getattr(answer, "_fields", range(len(answer)))
        for key, each in zip(keys, answer, strict=True):
            yield from flat_tensors(each, f"{name}_{key}".lstrip("_"))
    elif answer is not None:
        raise ExportError(f"forward returns {type(answer).__name__}: return tensors, or a tuple or dict of them")
