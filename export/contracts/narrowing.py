"""Networks in other floats than float32, as the same network in float32: in that onnxruntime runs recurrent layers.

float32 holds what float16 and bfloat16 hold, so such weights stay what they are. Those in float64 are rounded, and it
is measured what that changes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ostinato.export.contracts.adapter import Adapter
from ostinato.export.contracts.contract import Contract
from ostinato.export.contracts.forward import attempt, initial_states
from ostinato.export.contracts.module import Tensors
from ostinato.export.contracts.preparation import unwrapped
from ostinato.export.errors import ExportError
from ostinato.service.artifact.numbers import largest_difference

MAX_DIFFERENCE = 1e-4
"""Of a network in float64 from the same in float32, relative as parity is: what a proof lets pass at most."""
_OTHERS = (torch.float64, torch.float16, torch.bfloat16)
_CASTS = {Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.float}
_METHODS = ("forward", "encode", "decode")
PROBES = (8, 40)
"""Sequences, and their steps."""
Probing: TypeAlias = Callable[[nn.Module, Callable[[Any], Any]], Tensors]


def in_float32(module: nn.Module) -> nn.Module:
    """The same module in float32; itself where onnxruntime runs it as it is.

    Its ``forward`` takes any float, and what it says of dtypes within means float32.
    """
    module = unwrapped(module)
    if _dtype_to_leave(module) is None:
        return module
    narrow = copy.deepcopy(module).float()
    kind = type(narrow)
    members: dict[str, Any] = {name: _narrowed(getattr(kind, name)) for name in _METHODS if hasattr(kind, name)}
    if hasattr(kind, "initial_state"):
        members["initial_state"] = _narrowed(kind.initial_state)
    narrow.__class__ = type(kind.__name__, (kind,), members)
    return narrow


def check_float32(module: nn.Module, contract: Contract) -> tuple[str, ...]:
    """What to tell of a recurrent network that was put into float32, if it was.

    Raises:
        ExportError: it was in float64, and answers differently.
    """
    return float32_notes(module, lambda wide, dtype: _difference(wide, contract, dtype))


def check_answers_in_float32(module: nn.Module, narrow: nn.Module, run: Probing) -> tuple[str, ...]:
    """The same of a network without states.

    Args:
        narrow: the network in float32.
        run: what a network answers to likely sequences, whose floats are first put into another dtype.
    """
    return float32_notes(module, lambda wide, dtype: _difference_of_answers(wide, narrow, run, dtype))


def float32_notes(module: nn.Module, measure: Callable[[nn.Module, torch.dtype], float | None]) -> tuple[str, ...]:
    """What to tell of a network that was put into float32, if it was.

    Args:
        measure: how far the one in float32 is from a copy of the module, in its dtype; None where that does not run.

    Raises:
        ExportError: it was in float64, and answers differently.
    """
    module = unwrapped(module)
    dtype = _dtype_to_leave(module)
    if dtype is None:
        return ()
    name = str(dtype).removeprefix("torch.")
    held = "rounded" if dtype == torch.float64 else "which holds them exactly"
    told = f"the network's weights are {name}; it is exported in float32, {held}"
    difference = measure(copy.deepcopy(module).eval(), dtype)
    if difference is None:
        return (f"{told}, and was not compared with itself in {name}, in which it does not run here",)
    if dtype == torch.float64 and not difference <= MAX_DIFFERENCE:
        raise ExportError(
            f"the network's weights are float64, onnxruntime runs LSTM and GRU in float32 only, and in float32 it "
            f"answers differently by {difference:.2g}, over {MAX_DIFFERENCE:g}: scale what it is given and carries so "
            "that float32 holds it, or train it in float32"
        )
    return (f"{told}; over {PROBES[1]} steps its answers differ from those in {name} by {difference:.1e} at most",)


def _dtype_to_leave(module: nn.Module) -> torch.dtype | None:
    """The float that onnxruntime does not run the module in; None where it does."""
    floats = {tensor.dtype for tensor in (*module.parameters(), *module.buffers())} & set(_OTHERS)
    narrow = floats - {torch.float64}
    if narrow:
        return narrow.pop()
    layers = (part for part in module.modules() if isinstance(part, nn.RNNBase | nn.RNNCellBase))
    has_wide_layers = any(weight.dtype == torch.float64 for layer in layers for weight in layer.parameters())
    return torch.float64 if has_wide_layers else None


class _Dtypes(TorchFunctionMode):
    """While it is entered, every float dtype that is named is ``target``."""

    def __init__(self, target: torch.dtype) -> None:
        super().__init__()
        self._target = target

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _CASTS:
            return args[0].to(self._target)
        given = {name: self._meant(value) for name, value in (kwargs or {}).items()}
        return func(*map(self._meant, args), **given)

    def _meant(self, value: Any) -> Any:
        return self._target if isinstance(value, torch.dtype) and value.is_floating_point else value


def _narrowed(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method with floats of the module's own dtype in and out."""

    @functools.wraps(method)
    def call(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        target = next(weight.dtype for weight in self.parameters() if weight.is_floating_point())
        with _Dtypes(target):
            answer = method(self, *_cast(args, target), **_cast(kwargs, target))
        return _cast(answer, target)

    return call


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Every float tensor within in that dtype."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() and value.dtype != dtype else value
    if isinstance(value, Mapping):
        return {key: _cast(each, dtype) for key, each in value.items()}
    if isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        return type(value)(_cast(each, dtype) for each in value)
    return value


def _difference(module: nn.Module, contract: Contract, dtype: torch.dtype) -> float | None:
    """How far the two are from each other over likely sequences; None where the module does not run in its dtype."""
    narrow, batch_size = contract.module, PROBES[0]
    if isinstance(narrow, Adapter):
        module = narrow.around(module)
    drawn = contract.example(*PROBES)
    tensors = drawn[: len(drawn) - len(contract.states)]
    begin, num_outputs = initial_states(module, batch_size), len(contract.made)
    ways = ((tensors, begin), (_cast(tensors, dtype), begin), (_cast(tensors, dtype), _cast(begin, dtype)))
    answers = (_answer(module, given, states, num_outputs) for given, states in ways)
    wanted = next((answer for answer in answers if answer is not None), None)
    if wanted is None:
        return None
    made = attempt(narrow, tensors, initial_states(narrow, batch_size), num_outputs)
    pairs = zip(made, wanted, strict=True)
    return max(largest_difference(ours.numpy(), theirs.to(torch.float64).numpy()) for ours, theirs in pairs)


def _answer(module: nn.Module, given: Tensors, states: Tensors, num_outputs: int) -> Tensors | None:
    try:
        return attempt(module, given, states, num_outputs)
    except ExportError:
        return None


def _difference_of_answers(wide: nn.Module, narrow: nn.Module, run: Probing, dtype: torch.dtype) -> float | None:
    with torch.no_grad():
        made = run(narrow, lambda value: value)
        for cast in (lambda value: value, lambda value: _cast(value, dtype)):
            try:
                wanted = run(wide, cast)
            except Exception:  # a user's module may raise anything where it meets another dtype
                continue
            pairs = zip(made, wanted, strict=True)
            return max(largest_difference(ours.numpy(), theirs.to(torch.float64).numpy()) for ours, theirs in pairs)
    return None
