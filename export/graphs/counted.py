"""Loops over the steps of a whole sequence, traced as they run: so many times round, and every step by its number.

torch's tracer makes a number of an axis that Python counts by. Here it stays open: ``range(x.shape[1])`` gives as many
steps as are traced, what is taken of a step becomes the operator ``STEP``, and what is put together again out of all
of them ``STEPS``, which has the open axis. ``rerolled.py`` makes one ``Scan`` of the rounds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

STEP, STEPS = "ostinato::Step", "ostinato::Steps"
NUM_TRACED = 11
"""Steps that are traced: as many as nothing else in a network is likely to have."""

_GETITEM, _SETITEM = Tensor.__getitem__, Tensor.__setitem__
_SELECTS = (torch.select, Tensor.select)
_UNBINDS = (torch.unbind, Tensor.unbind)
_SPLITS = (torch.split, Tensor.split)
_CHUNKS = (torch.chunk, Tensor.chunk)
_STACKS = (torch.stack,)
_CATS = (torch.cat, torch.concat, torch.concatenate)
_LARGEST = (torch.max, Tensor.max, torch.amax, Tensor.amax)
_NUMBERS = (Tensor.item, Tensor.__int__, Tensor.__index__)
_ELSEWHERE = {"cpu", "to", "long", "int", "clone", "detach", "contiguous"}


class _Written:
    """A tensor over all steps into which each step was put by its number."""

    def __init__(self, tensor: Tensor, axis: int) -> None:
        self.tensor, self.axis = tensor, axis
        self.values: dict[int, Tensor] = {}


class CountedSteps(TorchFunctionMode):
    """While it is entered, loops over the steps are traced as they run.

    Args:
        axes: of what is traced: the place of a tensor, and its axis of the steps.
        lengths: the place of the sequences' lengths, whose largest is the number of steps; None where there are none.
    """

    def __init__(self, axes: Sequence[tuple[int, int]], lengths: int | None = None) -> None:
        super().__init__()
        self._axes, self._lengths_place = tuple(axes), lengths
        self._num_steps: Any = None
        self._symbols: set[Any] = set()
        self._lengths: list[Tensor] = []
        self._longest: list[Tensor] = []
        self._written: list[_Written] = []
        self._parts: list[tuple[Tensor, int, list[Tensor]]] = []

    @property
    def time(self) -> tuple[int, int]:
        """Place and axis of a tensor that has the steps."""
        return self._axes[0]

    @contextlib.contextmanager
    def run(self, tensors: Sequence[Tensor]) -> Iterator[Callable[[Any], Any]]:
        """Within it the module runs on these; gives what puts its answer together."""
        self._begin(tensors)
        with self._open(), self:
            yield self._settled

    def _begin(self, tensors: Sequence[Tensor]) -> None:
        sizes: list[Any] = [tensors[place].shape[axis] for place, axis in self._axes]
        self._num_steps = sizes[0]
        self._symbols = {
            symbol for size in sizes if not isinstance(size, int) for symbol in size.node.expr.free_symbols
        }
        self._lengths = [] if self._lengths_place is None else [tensors[self._lengths_place]]
        self._longest, self._written, self._parts = [], [], []

    @contextlib.contextmanager
    def _open(self) -> Iterator[None]:
        """Within it, numbers that Python makes of the open axis leave it open."""
        kept: Any = torch.SymInt.__index__, torch.SymInt.__int__, torch.SymBool.__bool__

        def number(size: torch.SymInt) -> int:
            counted = self._counted(size)
            return kept[0](size) if counted is None else counted

        def truth(size: torch.SymBool) -> bool:
            counted = self._counted(size)
            return kept[2](size) if counted is None else bool(counted)

        torch.SymInt.__index__ = torch.SymInt.__int__ = number  # type: ignore[method-assign]
        torch.SymBool.__bool__ = truth  # type: ignore[method-assign]
        try:
            yield
        finally:
            torch.SymInt.__index__, torch.SymInt.__int__, torch.SymBool.__bool__ = kept  # type: ignore[method-assign]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if not self._symbols or getattr(func, "__name__", "") == "__get__":
            return func(*args, **(kwargs or {}))
        made = self._special(func, args, kwargs or {})
        if made is not NotImplemented:
            return made
        made = func(*self._settled(args), **self._settled(kwargs or {}))
        if args and isinstance(made, Tensor) and getattr(func, "__name__", "") in _ELSEWHERE:
            for known in (self._lengths, self._longest):
                if _is_in(args[0], known):
                    known.append(made)
        return made

    def _special(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a function gives that meets the steps; ``NotImplemented`` of all others."""
        if func is _GETITEM:
            return self._got(*args)
        if func is _SETITEM:
            return self._set(*args)
        if func in _STACKS:
            return self._stacked(args[0], kwargs.get("dim", args[1] if len(args) > 1 else 0))
        if func in _CATS:
            dim = kwargs.get("dim", kwargs.get("axis", args[1] if len(args) > 1 else 0))
            return self._joined(kwargs.get("tensors", args[0] if args else ()), dim)
        if func in _LARGEST and len(args) == 1 and not kwargs and _is_in(args[0], self._lengths):
            made = func(*args)
            self._longest.append(made)
            return made
        if func in _NUMBERS and _is_in(args[0], self._longest):
            return self._num_steps if func is Tensor.item else int(self._num_steps)
        x = args[0] if args else None
        if not isinstance(x, Tensor):
            return NotImplemented
        if func in _SELECTS:
            dim, index = (*args[1:], *kwargs.values())
            return self._got(x, (*[slice(None)] * (dim % x.dim()), index))
        if func in _UNBINDS:
            axis = kwargs.get("dim", args[1] if len(args) > 1 else 0) % x.dim()
            return self._each(x, axis) if self._is_open(x.shape[axis]) else NotImplemented
        if func in _SPLITS or func in _CHUNKS:
            number, axis = (*args[1:], kwargs.get("dim", 0))[:2]
            wanted = 1 if func in _SPLITS else NUM_TRACED
            if isinstance(number, torch.SymInt):
                number = self._counted(number)
            if number == wanted and self._is_open(x.shape[axis]):
                return tuple(each.unsqueeze(axis) for each in self._each(x, axis % x.dim()))
        return NotImplemented

    def _each(self, x: Tensor, axis: int) -> tuple[Tensor, ...]:
        before = (slice(None),) * axis
        return tuple(self._got(x, (*before, index)) for index in range(NUM_TRACED))

    def _counted(self, size: Any) -> int | None:
        """The number of an expression of the steps alone."""
        expression = size.node.expr
        if not expression.free_symbols or not expression.free_symbols <= self._symbols:
            return None
        value = expression.subs(dict.fromkeys(self._symbols, NUM_TRACED))
        return int(bool(value) if value.is_Boolean else value)

    def _is_open(self, size: Any) -> bool:
        return not isinstance(size, int) and size.node.expr in self._symbols

    def _got(self, x: Any, index: Any) -> Any:
        if not isinstance(x, Tensor):
            return NotImplemented
        found = self._place(x, index)
        if found is None:
            return NotImplemented
        axis, number, rest = found
        written = self._written_of(x)
        if (
            written is not None
            and written.axis == axis
            and (known := written.values.get(number % NUM_TRACED)) is not None
        ):
            return _taken(known, rest)
        return _taken(_step(self._settled(x), axis, number), rest)

    def _set(self, x: Tensor, index: Any, value: Any) -> Any:
        found = self._place(x, index)
        if found is None:
            return NotImplemented
        axis, number, rest = found
        written = self._written_of(x)
        if written is None or written.axis != axis:
            written = _Written(self._settled(x).clone() if written is not None else x, axis)
            self._written.append(written)
            written.tensor = x
        before = written.values.get(number % NUM_TRACED)
        value = self._settled(value)
        if before is None:
            before = _step(x, axis, number)
        if all(each == slice(None) for each in rest) and isinstance(value, Tensor):
            whole = value.to(x.dtype)
            made = whole if whole.shape == before.shape else whole.expand(before.shape)
        else:
            made = before.clone()
            made[rest or ...] = value
        written.values[number % NUM_TRACED] = made
        return None

    def _place(self, x: Tensor, index: Any) -> tuple[int, int, tuple[Any, ...]] | None:
        """The axis and the number of the step that an index takes, and what else it takes of that step."""
        if not any(self._is_open(size) for size in x.shape):
            return None
        entries = list(index) if isinstance(index, tuple) else [index]
        if any(not isinstance(each, int | torch.SymInt | slice | None | type(...)) for each in entries):
            return None
        taken = sum(each is not None and each is not ... for each in entries)
        if ... in entries:
            place = entries.index(...)
            entries[place : place + 1] = [slice(None)] * (x.dim() - taken)
        axis = 0
        for place, entry in enumerate(entries):
            if entry is None:
                continue
            number = self._number(entry)
            if number is not None and self._is_open(x.shape[axis]):
                rest = list(entries)
                rest[place : place + 1] = [None] if isinstance(entry, slice) else []
                return axis, number, tuple(rest)
            axis += 1
        return None

    def _number(self, entry: Any) -> int | None:
        """The one step that an entry of an index takes; from the end where the number of steps is in it."""
        if isinstance(entry, slice):
            start, stop = self._end(entry.start), self._end(entry.stop)
            if start is None or entry.step not in (None, 1):
                return None
            width = NUM_TRACED - start if stop is None else (stop - start)
            return start if width == 1 or (start == -1 and stop is None) else None
        return self._end(entry)

    def _end(self, number: Any) -> int | None:
        if not isinstance(number, torch.SymInt):
            return number if isinstance(number, int) else None
        counted = self._counted(number)
        return None if counted is None else counted - NUM_TRACED

    def _stacked(self, values: Any, axis: int) -> Any:
        if isinstance(values, Tensor) or len(values) != NUM_TRACED:
            return NotImplemented
        return self._steps([self._settled(value) for value in values], axis)

    def _joined(self, values: Any, axis: int) -> Any:
        """Pieces of the steps, one behind the other."""
        if isinstance(values, Tensor) or not values:
            return NotImplemented
        values = [self._settled(value) for value in values]
        axis %= values[0].dim()
        parts: list[Tensor] = []
        for value in values:
            known = next((kept for tensor, at, kept in self._parts if tensor is value and at == axis), None)
            size = value.shape[axis] if value.dim() > axis else None
            if known is None and (not isinstance(size, int) or size > 1):
                return NotImplemented
            parts += known if known is not None else [value.squeeze(axis)] * int(size or 0)
        if len(parts) == NUM_TRACED:
            return self._steps(parts, axis)
        made = torch.cat(values, dim=axis)
        self._parts.append((made, axis, parts))
        return made

    def _steps(self, values: Sequence[Tensor], axis: int) -> Tensor:
        shape = list(values[0].shape)
        axis %= len(shape) + 1
        shape.insert(axis, self._num_steps)
        dtype = values[0].dtype
        return torch.onnx.ops.symbolic(STEPS, list(values), {"axis": axis}, dtype=dtype, shape=shape, version=1)

    def _written_of(self, x: Any) -> _Written | None:
        return next((each for each in reversed(self._written) if each.tensor is x), None)

    def _settled(self, value: Any) -> Any:
        """What was written step by step, put together."""
        if isinstance(value, Tensor):
            written = self._written_of(value)
            if written is None:
                return value
            steps = range(NUM_TRACED)
            parts = [written.values.get(t) for t in steps]
            found = [
                _step(value, written.axis, t) if part is None else part for t, part in zip(steps, parts, strict=True)
            ]
            return self._steps(found, written.axis)
        if isinstance(value, dict):
            return {key: self._settled(each) for key, each in value.items()}
        if type(value) in (list, tuple):
            return type(value)(self._settled(each) for each in value)
        return value


def _step(x: Tensor, axis: int, number: int) -> Tensor:
    shape = [size for place, size in enumerate(x.shape) if place != axis]
    return torch.onnx.ops.symbolic(STEP, [x], {"axis": axis, "number": number}, dtype=x.dtype, shape=shape, version=1)


def _taken(step: Tensor, index: tuple[Any, ...]) -> Tensor:
    return step if all(entry == slice(None) for entry in index) else step[index]


def _is_in(tensor: Any, known: Sequence[Tensor]) -> bool:
    return any(tensor is each for each in known)
