"""Beginnings of sequences: what a module's own method gives, or zeros in the sizes of its layers."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ostinato.export.contracts.structures import flatten

BEGINNERS = (
    *("initial_state", "init_hidden", "init_state", "initial_states", "get_initial_state", "zero_state"),
    *("initHidden", "begin_state", "init_states", "initial_hidden", "init_hidden_state"),
)
"""What people call the method that gives the states of so many sequences that have not begun; ours first."""
_MOST_AXES = 16
_MOST_SIZES = 8


def begin_of(module: nn.Module) -> Callable[[int], Any] | None:
    """A module's method for the states of so many sequences that have not begun; None where it has none.

    What it asks for in addition to their number is given by name: ``device``, ``dtype``.
    """
    method: Callable[..., Any] | None = next(
        (found for name in BEGINNERS if callable(found := getattr(module, name, None))), None
    )
    if method is None:
        return None
    needed = [each.name for each in inspect.signature(method).parameters.values() if each.default is each.empty]
    known = {name: value for name in needed if (value := _known(name)) is not None}
    first = next((name for name in needed if name not in known), None)
    if not known or first is None:
        return method
    return lambda batch_size: method(**known, **{first: batch_size})


def rows_of(begun: Any) -> Iterator[list[tuple[Tensor, int]]]:
    """Of the states of a single sequence, ways to tell which axis of each is the batch's."""
    tensors = [tensor for _, tensor in flatten(begun)[0]]
    # Behind the layers, as torch has it, where there are two of size 1.
    axes = [[axis for axis, size in reversed(list(enumerate(tensor.shape[:-1]))) if size == 1] for tensor in tensors]
    if tensors:
        for chosen in itertools.islice(itertools.product(*axes), _MOST_AXES):
            yield list(zip(tensors, chosen, strict=True))


def takes_no_size(begin: Callable[..., Any]) -> bool:
    """Whether such a method gives the states of one sequence, and cannot be asked for more."""
    return not inspect.signature(begin).parameters


def blanks(module: nn.Module, names: Sequence[str], batch_size: int) -> Iterator[Mapping[str, Any]]:
    """Zeros that a module may begin with, by the names of the parameters that want them, the likeliest first."""
    every = [tuple(each) for each in _of_layers(module, batch_size)]
    flat = [tensor for each in every for tensor in each]
    if len(names) == len(flat):
        yield dict(zip(names, flat, strict=True))
    if len(names) == 1 and every:
        yield {names[0]: every[0] if len(every) == 1 and len(flat) > 1 else flat}
        yield {names[0]: [each if len(each) > 1 else each[0] for each in every]}
    for size in _sizes(module):
        zeros = torch.zeros(batch_size, size)
        yield dict.fromkeys(names, zeros)
        if len(names) == 1:
            yield {names[0]: (zeros, zeros)}
            yield {names[0]: torch.zeros(1, batch_size, size)}


def repeated(rows: Sequence[tuple[Tensor, int]], batch_size: int) -> list[Tensor]:
    """States of several sequences, from those of one and the axis of the batch in each."""
    return [row.expand([batch_size if at == axis else -1 for at in range(row.dim())]) for row, axis in rows]


def alike(tensors: Sequence[Tensor], row: Tensor) -> Iterator[Tensor]:
    """Those that could be such a row, in its shape."""
    for tensor in tensors:
        if tensor.numel() == row.numel() and tensor.dtype == row.dtype and bool(tensor.any()):
            yield tensor.reshape(row.shape)


def _known(name: str) -> Any:
    if "device" in name.lower():
        return torch.device("cpu")
    return torch.float32 if name.lower() == "dtype" else None


def _of_layers(module: nn.Module, batch_size: int) -> Iterator[list[Tensor]]:
    """What each recurrent layer and cell of torch takes."""
    for layer in module.modules():
        if isinstance(layer, nn.RNNCellBase):
            yield [torch.zeros(batch_size, layer.hidden_size)] * (1 + isinstance(layer, nn.LSTMCell))
        elif isinstance(layer, nn.RNNBase):
            number = layer.num_layers * (1 + layer.bidirectional)
            sizes = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * isinstance(layer, nn.LSTM)
            yield [torch.zeros(number, batch_size, size) for size in sizes]


def _sizes(module: nn.Module) -> list[int]:
    """The sizes of a module's own cells, as far as its weights tell: what the most of them have first."""
    sizes = [size for weight in module.parameters() for size in weight.shape if size > 1]
    return sorted(set(sizes), key=lambda size: (-sizes.count(size), size))[:_MOST_SIZES]
