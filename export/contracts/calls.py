"""Calls of a user's ``forward``: which of its parameters takes what, found by the names and by trying."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from torch import Tensor, nn

from ostinato.export.contracts.adapter import Call, Slot
from ostinato.export.contracts.structures import flatten, is_named, parts_of
from ostinato.service.artifact.tensors import Input

Values: TypeAlias = dict[str, Any]
"""Name of a parameter -> the states that it is given, in their structure."""

REST = "*"
"""In ``Values``, what is given by position behind all else."""
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_FLAGS = (bool, int, float, str)
_STATE_WORDS = ("state", "states", "hidden", "hiddens", "hx", "h", "memory", "cache", "carry", "past_key_values")


def is_word_of_states(name: str) -> bool:
    """Whether an argument is called as states are: ``hidden``, ``h0``, ``prev_state``."""
    parts = name.lower().rstrip("0123456789_").split("_")
    return any(part in (*_STATE_WORDS, "hc") for part in parts)


class Parameters:
    """The parameters of a ``forward``, and those that are not taken yet."""

    def __init__(self, module: nn.Module, frame_axes: tuple[int | None, ...] = ()) -> None:
        self._frame_axes = frame_axes
        every = inspect.signature(module.forward).parameters.values()
        self.positional = [each.name for each in every if each.kind in _POSITIONAL]
        self.named = [each.name for each in every if each.kind is inspect.Parameter.KEYWORD_ONLY]
        self.has_rest = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in every)
        self._default = {each.name: each.default for each in every}

    def free(self, slots: Mapping[str, Slot]) -> list[str]:
        """Those that may take a state: not taken, and neither a flag nor a number."""
        names = [name for name in (*self.positional, *self.named) if name not in slots]
        return [name for name in names if not isinstance(self._default[name], _FLAGS)]

    def needed(self, name: str) -> bool:
        """Whether it has no default."""
        return self._default[name] is inspect.Parameter.empty

    def call(self, slots: Mapping[str, Slot], rest: Sequence[Slot] = ()) -> Call:
        """By position as far as it goes, by name beyond."""
        args: list[Slot] = []
        left = dict(slots)
        for name in self.positional:
            if name not in left:
                break
            args.append(left.pop(name))
        return Call((*args, *rest), left, frame_axes=self._frame_axes)


def bindings(parameters: Parameters, inputs: Sequence[Input], context: Sequence[Input]) -> Iterator[dict[str, Slot]]:
    """Ways to give inputs and contexts, the likeliest first: each by its name or its place, all in a dict or tuple."""
    parts = (*inputs, *context)
    names = (*parameters.positional, *parameters.named)
    slots = {part.name: Slot((place,), next) for place, part in enumerate(parts) if part.name in names}
    others = [Slot((place,), next) for place, part in enumerate(parts) if part.name not in names]
    places = [name for name in parameters.positional if name not in slots]
    if len(others) <= len(places):
        yield {**slots, **dict(zip(places, others, strict=False))}
    if not parameters.positional:
        return
    first = parameters.positional[0]
    for together in dict.fromkeys((len(parts), len(inputs))):
        given = parts[:together]
        behind = {
            part.name if part.name in names else name: Slot((place,), next)
            for (place, part), name in zip(list(enumerate(parts))[together:], parameters.positional[1:], strict=False)
        }
        yield {first: Slot(tuple(range(together)), partial(_in_dict, [part.name for part in given])), **behind}
        if together > 1:
            yield {first: Slot(tuple(range(together)), tuple), **behind}


def _in_dict(keys: Sequence[str], tensors: Iterator[Tensor]) -> dict[str, Tensor]:
    return dict(zip(keys, tensors, strict=True))


def with_states(parameters: Parameters, slots: Mapping[str, Slot], values: Values, first: int) -> Call:
    """The call that gives the states, too, whose tensors begin at place ``first``."""
    rest: list[Slot] = []
    more = dict(slots)
    for name, value in values.items():
        for part in value if name == REST else [value]:
            leaves, rebuild = flatten(part)
            slot = Slot(tuple(range(first, first + len(leaves))), rebuild)
            first += len(leaves)
            if name == REST:
                rest.append(slot)
            else:
                more[name] = slot
    return parameters.call(more, rest)


def ways_to_give(parameters: Parameters, free: Sequence[str], begun: Any) -> Iterator[Values]:
    """Ways to give what ``initial_state`` gave."""
    parts = parts_of(begun)
    if parts is not None and is_named(begun) and set(parts) <= set(free):
        yield parts
    if parts is not None and not isinstance(begun, Mapping):
        values = list(parts.values())
        if len(values) <= len(free) and len(values) > 1:
            yield dict(zip(free, values, strict=False))
        if parameters.has_rest:
            yield {REST: values}
    if parameters.has_rest and isinstance(begun, Tensor):
        yield {REST: [begun]}
    for name in free:
        yield {name: begun}
        if isinstance(begun, Tensor):
            yield {name: (begun,)}
            yield {name: [begun]}


def states_in(answer: Any, free: Sequence[str], *, has_rest: bool = False) -> Iterator[Values]:
    """What of an answer may be the states, and the parameters that it may be given by: the likeliest first.

    Args:
        has_rest: the parameters end in one that takes any number, as ``*states`` does.
    """
    parts = parts_of(answer)
    if parts is not None and is_named(answer):
        found = {name: value for name in free if (value := _named(parts, name)) is not None}
        if found:
            yield found
        words = [key for key in parts if key.lower() in _STATE_WORDS]
        for name in free:
            for word in words:
                yield {name: parts[word]}
    if parts is not None:
        values = list(parts.values())
        for count in range(min(len(free), len(values) - 1), 1, -1):
            yield dict(zip(free, values[-count:], strict=False))
        last = parts_of(values[-1]) if values else None
        if last is not None and 1 < len(last) <= len(free):
            yield dict(zip(free, last.values(), strict=False))
        for name in free:
            if len(values) > 1:
                yield from ({name: value} for value in reversed(values))
            if len(values) > 2:
                yield {name: tuple(values[1:])}
                yield {name: list(values[1:])}
        if has_rest:
            yield {REST: values[1:]}
            if last is not None:
                yield {REST: list(last.values())}
    for name in free:
        yield {name: answer}


def places_of_states(
    answer: Any, given: Sequence[Tensor], values: Values
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Places of outputs and of states among the tensors of an answer, where tensors of their shapes are.

    Args:
        given: the states as they were given.
        values: by which parameters.
    """
    leaves = [tensor for _, tensor in flatten(answer)[0]]
    count = len(given)
    ends = range(len(leaves), count - 1, -1)
    candidates = [_by_name(answer, values), *(list(range(end - count, end)) for end in ends)]
    for places in candidates:
        found = tuple(places)
        if len(found) != count:
            continue
        if [(leaves[place].shape, leaves[place].dtype) for place in found] == [
            (each.shape, each.dtype) for each in given
        ]:
            yield tuple(place for place in range(len(leaves)) if place not in found) or (0,), found


def _by_name(answer: Any, values: Values) -> list[int]:
    """The places of the parts of an answer that are called as the parameters are."""
    parts = parts_of(answer)
    if parts is None or not is_named(answer):
        return []
    ends: dict[str, list[int]] = {}
    end = 0
    for key, part in parts.items():
        number = len(flatten(part)[0])
        ends[key] = list(range(end, end + number))
        end += number
    found = [_named(ends, name) for name in values]
    if all(each is not None for each in found):
        return [place for each in found for place in each or ()]
    words = [key for key in parts if key.lower() in _STATE_WORDS]
    return ends[words[0]] if len(words) == 1 and len(values) == 1 else []


def _named(parts: Mapping[str, Any], name: str) -> Any:
    for key in (name, f"{name}_next", f"next_{name}", f"new_{name}", f"{name}_new", f"{name}_n", f"{name}n"):
        if key in parts:
            return parts[key]
    return None
