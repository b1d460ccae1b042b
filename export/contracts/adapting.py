"""Adapting a module: how its ``forward`` is called is found out by running it, and what was inferred is said.

A way to call it counts where what it takes for states comes back in the same shapes, whatever the number of steps, and
two chunks answer as one run does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.export.contracts.adapter import Adapter, Call, Slot
from ostinato.export.contracts.axes import to_axes
from ostinato.export.contracts.beginnings import alike, begin_of, blanks, repeated, rows_of, takes_no_size
from ostinato.export.contracts.calls import (
    Parameters,
    Values,
    bindings,
    places_of_states,
    states_in,
    ways_to_give,
    with_states,
)
from ostinato.export.contracts.forward import failure
from ostinato.export.contracts.naming import names_of, notes_on_joined
from ostinato.export.contracts.preparation import name_of
from ostinato.export.contracts.probes import draw_sequences
from ostinato.export.contracts.reasons import (
    begun_anew,
    signature_words,
    swapped,
    what_looks_ahead,
    with_lost_state,
    without_states,
)
from ostinato.export.contracts.repeats import check_repeats
from ostinato.export.contracts.structures import flatten
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import Input

_ROWS, _STEPS, _CUT = 3, 6, 2
_TOLERANCE = 1e-4
_MOST_BEGINS = 64


class _Found(NamedTuple):
    """A way to call that works: the states of ``_ROWS`` rows that it was tried with, and the answer."""

    call: Call
    values: Values
    states: list[Tensor]
    answer: Any


def adapt(
    module: nn.Module, inputs: Sequence[Input], context: Sequence[Input] = (), *, in_frames: bool = False
) -> Adapter:
    """The module as one of tensors.

    Args:
        module: prepared.
        in_frames: a step of the inputs is a frame of several, which the module takes one behind the other.

    Raises:
        ExportError: no way to call it was found that works; says what it lacks, and its line where one failed.
    """
    search = _Search(module, inputs, context, in_frames=in_frames)
    begin = begin_of(module)
    return search.with_inferred_states() if begin is None else search.with_given_states(begin)


class _Search:
    def __init__(
        self, module: nn.Module, inputs: Sequence[Input], context: Sequence[Input], *, in_frames: bool
    ) -> None:
        self._module = module
        self._inputs = tuple(inputs)
        self._context = tuple(context)
        self._parameters = Parameters(
            module, tuple(part.time_axis for part in (*inputs, *context)) if in_frames else ()
        )
        self._failures: list[tuple[Sequence[Tensor], Exception]] = []
        self._odd = ""

    def with_given_states(self, begin: Callable[..., Any]) -> Adapter:
        """Where a method tells what they are."""
        is_one = takes_no_size(begin)
        try:
            begun = begin() if is_one else begin(_ROWS)
        except Exception:  # it asks for more than the size of the batch, so it is none
            return self.with_inferred_states()
        for rows in rows_of(begun) if is_one else [None]:
            several = begun if rows is None else flatten(begun)[1](iter(repeated(rows, _ROWS)))
            found = self._found_with(several, [tensor for _, tensor in flatten(several)[0]])
            if found is not None:
                return Adapter(self._module, found.call, rows, self._names(found), notes_on_joined(found.call))
        if not is_one:
            raise self._refusal()
        self._failures.clear()  # it may begin what the module keeps in itself
        return self.with_inferred_states()

    def _found_with(self, begun: Any, states: list[Tensor]) -> _Found | None:
        tensors = self._draw(_ROWS, _STEPS)
        for slots in bindings(self._parameters, self._inputs, self._context):
            for values in ways_to_give(self._parameters, self._parameters.free(slots), begun):
                found = self._try(slots, values, states, tensors)
                if found is not None:
                    return found
        return None

    def with_inferred_states(self) -> Adapter:
        """Where only a run tells: it is begun without states."""
        tensors = self._draw(_ROWS, _STEPS)
        has_states = False
        for slots in bindings(self._parameters, self._inputs, self._context):
            free = self._parameters.free(slots)
            has_states = has_states or bool(free)
            nothing = {name: Slot((), lambda _tensors: None) for name in free if self._parameters.needed(name)}
            bare = self._parameters.call({**slots, **nothing})
            answer = self._ask(bare, tensors)
            if answer is None:
                continue
            self._check_axes(bare, answer)
            for values in states_in(answer, free, has_rest=self._parameters.has_rest):
                states = [tensor for value in values.values() for _, tensor in flatten(value)[0]]
                found = self._try(slots, values, states, tensors) if states else None
                if found is not None:
                    return self._begun(found, bare, tensors)
        blank = self._blank(tensors)
        if blank is not None:
            return blank
        if not self._failures or not has_states:
            self._check_remembers(tensors)
        raise self._refusal()

    def _blank(self, tensors: list[Tensor]) -> Adapter | None:
        """Where states are wanted and nothing tells what they begin with: zeros of the shapes in which they return."""
        failures = self._failures[:]
        for slots in bindings(self._parameters, self._inputs, self._context):
            wanted = [name for name in self._parameters.free(slots) if self._parameters.needed(name)]
            for values in blanks(self._module, wanted, _ROWS) if wanted else []:
                states = [tensor for value in values.values() for _, tensor in flatten(value)[0]]
                found = self._try(slots, dict(values), states, tensors)
                if found is not None:
                    begin = [(state.narrow(axis, 0, 1), axis) for state in states for axis in [state.dim() - 2]]
                    names = self._names(found)
                    note = (
                        f"{name_of(self._module)} has no initial_state and does not begin without states: it is begun "
                        f"with zeros; its states are {', '.join(names[1])}"
                    )
                    return Adapter(self._module, found.call, begin, names, (note, *notes_on_joined(found.call)))
        self._failures = failures
        return None

    def _try(
        self, slots: dict[str, Slot], values: Values, states: list[Tensor], tensors: list[Tensor]
    ) -> _Found | None:
        call = with_states(self._parameters, slots, values, len(tensors))
        answer = self._ask(call, [*tensors, *states])
        if answer is None:
            return None
        for outputs, after in places_of_states(answer, states, values):
            for joined in self._ways_to_part(answer, outputs):
                found = replace(call, outputs=outputs, states=after, joined=joined)
                if self._carries(found, states, tensors):
                    return _Found(found, values, states, answer)
        return None

    def _ways_to_part(self, answer: Any, outputs: Sequence[int]) -> list[dict[int, tuple[int, int]]]:
        """Outputs of batch and steps in one axis, and how they lie in it: as in the input, or the other way round."""
        first = self._inputs[0]
        leaves = [tensor for _, tensor in flatten(answer)[0]]
        places = [place for place in outputs if leaves[place].shape[:1] == (_ROWS * _STEPS,)]
        if not places or first.time_axis is None:
            return [{}]
        axes = sorted((first.shape.index("B"), first.time_axis))
        return [dict.fromkeys(places, (axes[0], axes[1])), dict.fromkeys(places, (axes[1], axes[0]))]

    def _carries(self, call: Call, states: list[Tensor], tensors: list[Tensor]) -> bool:
        """Whether two chunks answer as the whole."""
        if self._inputs[0].time_axis is None:
            return True
        whole = self._leaves(call, [*tensors, *states])
        first = self._leaves(call, [*self._cut(tensors, 0, _CUT), *states])
        if first is None or whole is None or [s.shape for s in first[1]] != [s.shape for s in whole[1]]:
            return False
        second = self._leaves(call, [*self._cut(tensors, _CUT, _STEPS), *first[1]])
        if second is None:
            return False
        same = all(map(_is_close, second[1], whole[1]))
        for one, other, all_of_it in zip(first[0], second[0], whole[0], strict=True):
            axes = [axis for axis, size in enumerate(all_of_it.shape) if size != one.shape[axis]]
            same &= _is_close(torch.cat([one, other], axes[0]) if axes else other, all_of_it)
        if not same:
            self._odd = (
                "cut into chunks it answers differently from one run over the whole sequence: its states do not carry "
                "all that its output depends on"
            )
        return same

    def _begun(self, found: _Found, bare: Call, tensors: list[Tensor]) -> Adapter:
        """With the states with which it begins where it is given none: zeros, or tensors of its own."""
        shaped = [self._row_of(found, place, bare) for place in range(len(found.states))]
        wanted = self._leaves(
            replace(bare, outputs=found.call.outputs, states=found.call.states, joined=found.call.joined), tensors
        )
        assert wanted is not None
        own = [tensor.detach() for tensor in (*self._module.parameters(), *self._module.buffers())]
        options = [[torch.zeros_like(row), *alike(own, row)] for row, _ in shaped]
        for firsts in itertools.islice(itertools.product(*options), _MOST_BEGINS):
            begin = [(first, axis) for first, (_, axis) in zip(firsts, shaped, strict=True)]
            states = repeated(begin, _ROWS)
            made = self._leaves(found.call, [*tensors, *states])
            if made is not None and all(map(_is_close, (*made[0], *made[1]), (*wanted[0], *wanted[1]))):
                names = self._names(found)
                are_zeros = not any(bool(first.any()) for first in firsts)
                begins = "zeros" if are_zeros else "tensors of its own"
                note = (
                    f"{name_of(self._module)} has no initial_state: run without states it begins with {begins}, as was "
                    f"measured; its states are {', '.join(names[1])}"
                )
                return Adapter(self._module, found.call, begin, names, (note, *notes_on_joined(found.call)))
        raise ExportError(
            f"{name_of(self._module)} begins with something else than zeros where it is given no state: add an "
            "initial_state(batch_size) that returns what it begins with"
        )

    def _row_of(self, found: _Found, place: int, bare: Call) -> tuple[Tensor, int]:
        """Zeros of the shape of one row's state, and the axis of the batch."""
        state = found.states[place]
        other = self._ask(bare, self._draw(_ROWS + 1, _STEPS))
        leaves = flatten(other)[0] if other is not None else []
        at = found.call.states[place]
        shape = leaves[at][1].shape if at < len(leaves) else state.shape
        axes = [axis for axis, size in enumerate(shape) if size != state.shape[axis]]
        if len(axes) != 1:
            raise ExportError(
                f"a state of {name_of(self._module)} has shape {list(state.shape)} for a batch of {_ROWS}: exactly one "
                "axis must have the size of the batch"
            )
        return torch.zeros_like(state.narrow(axes[0], 0, 1)), axes[0]

    def _check_axes(self, bare: Call, answer: Any) -> None:
        """Refuse a module whose batch lies where the input says that its steps do.

        Raises:
            ExportError: it does.
        """
        first = self._inputs[0]
        if first.time_axis is None:
            return
        wider, longer = (self._ask(bare, self._draw(*sizes)) for sizes in ((_ROWS + 1, _STEPS), (_ROWS, _STEPS + 1)))
        shapes = [[tuple(t.shape) for _, t in flatten(each)[0]] for each in (answer, wider, longer) if each is not None]
        if len(shapes) < 3 or len({len(each) for each in shapes}) != 1:
            return
        for one, by_batch, by_steps in list(zip(*shapes, strict=True))[1:]:
            if one == by_batch and one != by_steps and len(one) > 1:
                raise ExportError(swapped(self._module, first))

    def _check_remembers(self, tensors: list[Tensor]) -> None:
        """Tell one that keeps its state in itself from one that has none.

        Raises:
            ExportError: it does.
        """
        for slots in bindings(self._parameters, self._inputs, self._context):
            call = self._parameters.call(slots)
            if self._ask(call, tensors) is not None:
                check_repeats(self._module, lambda call=call: self._tensors(call, tensors))  # type: ignore[misc]
                return

    def _tensors(self, call: Call, tensors: list[Tensor]) -> list[Tensor]:
        with torch.no_grad():
            return [tensor for _, tensor in flatten(call.ask(self._module, tensors))[0]]

    def _refusal(self) -> ExportError:
        if self._odd:
            self._check_remembers(self._draw(_ROWS, _STEPS))
            return ExportError(f"{name_of(self._module)}: {self._odd}; {what_looks_ahead(self._module)}")
        answer, failures = None, self._failures[:1]
        has_begin = callable(getattr(self._module, "initial_state", None))
        with begun_anew(self._module) as layers:
            if not has_begin:
                answer = self._first_answer()
        if answer is None and self._failures:
            tensors, error = (failures or self._failures)[0]
            return failure(self._module, tensors, error)
        if has_begin:
            return ExportError(
                f"{name_of(self._module)}.forward{signature_words(self._module)} was not found to return the states "
                "that initial_state gives, in their shapes, with its outputs: return (y, states) with all of them"
            )
        ways = bindings(self._parameters, self._inputs, self._context)
        free = {name for slots in ways for name in self._parameters.free(slots)}
        if not free:
            return without_states(self._module, [part.name for part in (*self._inputs, *self._context)], layers)
        state = sorted(free, key=[*self._parameters.positional, *self._parameters.named].index)[0]
        return with_lost_state(self._module, state, flatten(answer)[0], _STEPS)

    def _first_answer(self) -> Any:
        """What the first call that works returns; None where none does."""
        tensors = self._draw(_ROWS, _STEPS)
        ways = bindings(self._parameters, self._inputs, self._context)
        answers = (self._ask(self._parameters.call(slots), tensors) for slots in ways)
        return next((answer for answer in answers if answer is not None), None)

    def _leaves(self, call: Call, tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]] | None:
        answer = self._ask(call, tensors)
        if answer is None:
            return None
        return call.parts(answer, tensors[0])

    def _ask(self, call: Call, tensors: Sequence[Tensor]) -> Any:
        try:
            with torch.no_grad():
                return call.ask(self._module, tensors)
        except Exception as error:  # a user's module may raise anything
            self._failures.append((tensors, error))
            return None

    def _draw(self, batch_size: int, num_steps: int) -> list[Tensor]:
        generator = np.random.default_rng(0)
        made = []
        for part in (*self._inputs, *self._context):
            steps = num_steps if part.time_axis is not None else 1
            drawn = to_axes(draw_sequences(part, generator, batch_size, steps), part)
            made.append(torch.from_numpy(np.ascontiguousarray(drawn)))
        return made

    def _names(self, found: _Found) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return names_of(found.call, found.answer, found.values, [part.name for part in (*self._inputs, *self._context)])

    def _cut(self, tensors: list[Tensor], start: int, end: int) -> list[Tensor]:
        parts = (*self._inputs, *self._context)
        return [
            tensor if part.time_axis is None else tensor.narrow(part.time_axis, start, end - start).contiguous()
            for part, tensor in zip(parts, tensors, strict=True)
        ]


def _is_close(given: Tensor, wanted: Tensor) -> bool:
    if given.shape != wanted.shape:
        return False
    return torch.allclose(given.double(), wanted.double(), rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
