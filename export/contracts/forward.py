"""``forward`` and ``initial_state`` of a user's module, called with care: what they return is checked, every time."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ostinato.export.contracts.module import Tensors
from ostinato.export.contracts.preparation import name_of
from ostinato.export.errors import ExportError, first_line
from ostinato.export.places import place_of_error

_FIXED = (
    "a size that was fixed in __init__, as the batch or the number of steps in a buffer or a view, does not fit "
    "others: take it from x.shape"
)
_HIDDEN = re.compile(r"[Ee]xpected hidden(?:\[\d\])? size \(([\d, ]+)\), got \[([\d, ]+)\]")
# What torch says of a run that failed, and what to do about it.
_ADVICE = (
    (r"same dtype|scalar type|match weight dtype|dtype .*mismatch", "export network.float(), or say the input's dtype"),
    (
        r"same device|expected device|device type|not compiled with CUDA|NVIDIA driver",
        "make tensors where the input is, as by device=x.device: a network is exported on the CPU",
    ),
    (
        r"NoneType",
        "it was run without a state, and cannot begin so: add an initial_state(batch_size) that returns the states of "
        "that many sequences that have not begun, or let None mean zeros",
    ),
    (r"Cell: Expected input to be 1D or 2D", "a cell takes one step a run: say --input x:B,F (shape=('B', F))"),
    (r"shape '.*' is invalid for input of size|size of tensor a .* must match", _FIXED),
)


def check_signature(module: nn.Module, x: Tensor, states: Tensors) -> None:
    """Refuse a ``forward`` that cannot be called with one sequence input and the states.

    Raises:
        ExportError: the message has its signature, and what to change.
    """
    signature = inspect.signature(module.forward)
    try:
        signature.bind(x, *states)
    except TypeError as error:
        parameters = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        wanted = inspect.Signature(parameters)
        raise ExportError(
            f"{name_of(module)}.forward must take one sequence input, then the states, of which initial_state gives "
            f"{len(states)}; its signature is forward{wanted}: {error}. {_way_out(module, x, states, parameters)}"
        ) from error


def _way_out(module: nn.Module, x: Tensor, states: Tensors, parameters: list[inspect.Parameter]) -> str:
    named = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    if named:
        return (
            f"{' and '.join(named)} can be given by keyword only: make a state a positional argument, and give "
            "anything else a default or fix it in __init__"
        )
    if len(states) > 1 and _takes(module, x, states):
        given = "h, c" if len(states) == 2 else ", ".join(f"state_{index}" for index in range(len(states)))
        return f"It takes the states as one tuple; unpack the tuple: forward(x, {given}) -> (y, {given})"
    return (
        "Say of each input which it is (--input NAME:SHAPE, again for each), of what is the same in all steps "
        "--context, and give anything else a default"
    )


def _takes(module: nn.Module, *arguments: object) -> bool:
    try:
        with torch.no_grad():
            module(*arguments)
    except Exception:  # a user's module may raise anything
        return False
    return True


def initial_states(module: nn.Module, batch_size: int) -> Tensors:
    """The states of ``batch_size`` sequences that have not begun.

    Raises:
        ExportError: ``initial_state`` fails, or gives anything but tensors.
    """
    call = f"{name_of(module)}.initial_state({batch_size})"
    try:
        given = module.initial_state(batch_size)  # type: ignore[operator]
    except Exception as error:  # a user's module may raise anything
        raise ExportError(
            f"{call} fails: {type(error).__name__}: {first_line(error)}; it is called with the size of the batch "
            "alone, on the CPU"
        ) from error
    states = (given,) if isinstance(given, Tensor) else given
    if not isinstance(states, tuple | list) or not states or not all(isinstance(state, Tensor) for state in states):
        raise ExportError(f"{call} must return one tensor or more; it returned {_kind(given)}{_way_to_return(given)}")
    return tuple(state.detach().contiguous() for state in states)


def attempt(
    module: nn.Module, given: Tensor | Sequence[Tensor], states: Sequence[Tensor], num_outputs: int = 1
) -> Tensors:
    """One run without gradients: the outputs, and the states behind them.

    Args:
        given: the input, or all inputs and contexts in their order.

    Raises:
        ExportError: it fails, or returns anything else.
    """
    try:
        with torch.no_grad():
            return run(module, given, states, num_outputs)
    except ExportError:
        raise
    except Exception as error:  # a user's module may raise anything
        raise failure(module, [given] if isinstance(given, Tensor) else given, error) from error


def failure(module: nn.Module, given: Sequence[Tensor], error: Exception) -> ExportError:
    """What to raise where a run of a user's module raised ``error``: says of which sizes, in which line, what helps."""
    if isinstance(error, ExportError):
        return error
    dtype = str(given[0].dtype).removeprefix("torch.")
    said = str(error)
    advice = next((f"; {way_out}" for pattern, way_out in _ADVICE if re.search(pattern, said)), "")
    hidden = _HIDDEN.search(said)
    if hidden is not None:
        advice = f"; {_of_hidden(given[0], [int(size) for size in hidden[2].split(',')])}"
    failed = ExportError(
        f"{name_of(module)} fails on an input of shape {list(given[0].shape)} and dtype {dtype}: "
        f"{type(error).__name__}: {said}{place_of_error(error)}{advice}"
    )
    failed.__cause__ = error
    return failed


def _of_hidden(x: Tensor, sizes: Sequence[int]) -> str:
    """What to do about a state that a layer did not take: it is of the batch, or of a size that was fixed."""
    if sizes[-2:-1] and sizes[-2] in x.shape[:2]:
        return (
            "a layer without batch_first=True takes the steps first: say --input x:T,B,F (shape=('T', 'B', F)), or "
            "make it with batch_first=True"
        )
    return _FIXED


def run(module: nn.Module, given: Tensor | Sequence[Tensor], states: Sequence[Tensor], num_outputs: int = 1) -> Tensors:
    """One run, what it returns checked."""
    answer = module(*([given] if isinstance(given, Tensor) else given), *states)
    is_list = isinstance(answer, tuple | list)
    if not is_list or len(answer) != len(states) + num_outputs or not all(isinstance(part, Tensor) for part in answer):
        raise ExportError(
            f"{name_of(module)}.forward must return the output and {len(states)} states, as initial_state gives; "
            f"it returned {_kind(answer)}{_way_to_return(answer)}"
        )
    return tuple(answer)


def _kind(value: object) -> str:
    """What a value is, as types, two levels deep."""
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {', '.join(map(str, value))}"
    if isinstance(value, tuple | list):
        return f"{len(value)} values ({', '.join(map(_kind, value))})"
    return type(value).__name__


def _way_to_return(value: object) -> str:
    """What to return in place of a dict or of a tuple within a tuple, to end a sentence with."""
    if isinstance(value, Mapping):
        return f": return its values one by one, as in return {', '.join(map(str, value))}"
    if isinstance(value, tuple | list) and any(isinstance(part, tuple | list | Mapping) for part in value):
        return ": unpack what holds several, as in return y, h, c in place of return y, (h, c)"
    return ""
