"""Networks in other floats than float32, as the same network in float32: in that onnxruntime runs recurrent layers.

float32 holds what float16 and bfloat16 hold, so such weights stay what they are. Those in float64 are rounded, and it
is measured what that changes.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ostinato.export.contracts.axes import to_axes
from ostinato.export.contracts.forward import attempt, initial_states
from ostinato.export.contracts.module import Tensors
from ostinato.export.contracts.preparation import unwrapped
from ostinato.export.contracts.probes import draw_sequences
from ostinato.export.errors import ExportError
from ostinato.service.artifact.numbers import largest_difference
from ostinato.service.artifact.tensors import Input

MAX_DIFFERENCE = 1e-4
"""Of a network in float64 from the same in float32, relative as parity is: what a proof lets pass at most."""
_OTHERS = (torch.float64, torch.float16, torch.bfloat16)
_CASTS = {Tensor.double, Tensor.half, Tensor.bfloat16, Tensor.float}
_METHODS = ("forward", "encode", "decode")
_PROBES = (8, 40)


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


def check_float32(module: nn.Module, narrow: nn.Module, inputs: Input) -> tuple[str, ...]:
    """What to tell of a network that was put into float32, if it was.

    Raises:
        ExportError: it was in float64, and answers otherwise.
    """
    module = unwrapped(module)
    dtype = _dtype_to_leave(module)
    if dtype is None:
        return ()
    name = str(dtype).removeprefix("torch.")
    held = "rounded" if dtype == torch.float64 else "which holds them exactly"
    told = f"the network's weights are {name}; it is exported in float32, {held}"
    difference = _difference(copy.deepcopy(module).eval(), copy.deepcopy(narrow).eval(), inputs, dtype)
    if difference is None:
        return (f"{told}, and was not compared with itself in {name}, in which it does not run here",)
    if dtype == torch.float64 and not difference <= MAX_DIFFERENCE:
        raise ExportError(
            f"the network's weights are float64, onnxruntime runs LSTM and GRU in float32 only, and in float32 it "
            f"answers otherwise by {difference:.2g}, over {MAX_DIFFERENCE:g}: scale what it is given and carries so "
            "that float32 holds it, or train it in float32"
        )
    return (f"{told}; over {_PROBES[1]} steps its answers differ from those in {name} by {difference:.1e} at most",)


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


def _difference(module: nn.Module, narrow: nn.Module, inputs: Input, dtype: torch.dtype) -> float | None:
    """How far the two are from each other over likely sequences; None where the module does not run in its dtype."""
    batch_size, num_steps = _PROBES
    sequence = draw_sequences(inputs, np.random.default_rng(0), batch_size, num_steps)
    x = torch.from_numpy(to_axes(sequence if inputs.time_axis is not None else sequence[:, :1], inputs))
    begin = initial_states(module, batch_size)
    ways = ((x, begin), (_cast(x, dtype), begin), (_cast(x, dtype), _cast(begin, dtype)))
    wanted = next((answer for given in ways if (answer := _answer(module, *given)) is not None), None)
    if wanted is None:
        return None
    made = attempt(narrow, x, initial_states(narrow, batch_size))
    pairs = zip(made, wanted, strict=True)
    return max(largest_difference(ours.numpy(), theirs.to(torch.float64).numpy()) for ours, theirs in pairs)


def _answer(module: nn.Module, x: Tensor, states: Tensors) -> Tensors | None:
    try:
        return attempt(module, x, states)
    except ExportError:
        return None
