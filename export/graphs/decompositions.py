"""Decompositions of operators that ONNX lacks, or that torch translates less exactly, into those that it has.

Along an axis of a known size: what accumulates does so by doubling, so a graph has few nodes. Along the steps, whose
number is open, there is no such form; one step has a size, so there a ``Scan`` over the steps is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ostinato.export.errors import ExportError
from ostinato.export.graphs.untraced import place_in


class WithoutShortcuts(TorchFunctionMode):
    """While it is entered, what torch computes in one of several ways by the sizes is computed in one way."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.cdist:
            return _cdist(*args, **{name: value for name, value in (kwargs or {}).items() if name != "compute_mode"})
        return func(*args, **(kwargs or {}))


def decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """A program without these operators; the same one where it has none.

    Raises:
        ExportError: one accumulates along an axis of open size; has its line.
    """
    found = [node for node in program.graph.nodes if node.target in _TABLE]
    for node in found:
        if node.target in _ALONG_AN_AXIS and not isinstance(node.args[0].meta["val"].shape[node.args[1]], int):
            name, place = str(node.target).removesuffix(".default"), place_in(str(node.meta.get("stack_trace") or ""))
            raise ExportError(
                f"ONNX has no operator for {name}{place} along an axis of open size: "
                "write what it carries from step to step as a state, in a loop over the steps"
            )
    return program.run_decompositions(_TABLE) if found else program


def _accumulated(x: Tensor, dim: int, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """What stands before and at each place, combined."""
    size, shift = x.shape[dim], 1
    while shift < size:
        ends = size - shift
        combined = combine(x.narrow(dim, 0, ends), x.narrow(dim, shift, ends))
        x = torch.cat([x.narrow(dim, 0, shift), combined], dim)
        shift *= 2
    return x


def _cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Tensor:
    return _accumulated(x if dtype is None else x.to(dtype), dim, torch.mul)


def _logcumsumexp(x: Tensor, dim: int) -> Tensor:
    return _accumulated(x, dim, _logaddexp)


def _logaddexp(x: Tensor, y: Tensor) -> Tensor:
    # torch's own translation is the sum itself, which overflows. Two that are infinite alike are not subtracted.
    apart = torch.where(x == y, torch.zeros_like(x), (x - y).abs())
    return torch.maximum(x, y) + torch.log1p(torch.exp(-apart))


def _logaddexp2(x: Tensor, y: Tensor) -> Tensor:
    log_2 = math.log(2.0)
    return _logaddexp(x * log_2, y * log_2) / log_2


def _log_sigmoid(x: Tensor) -> Tensor:
    # torch's own translation is the logarithm of what is 0 below -88.
    return -torch.nn.functional.softplus(-x)


def _cummax(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _extreme(x, dim, torch.maximum)


def _cummin(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    return _extreme(x, dim, torch.minimum)


def _extreme(x: Tensor, dim: int, combine: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The values, and the last place so far where each stands."""
    values = _accumulated(x, dim, combine)
    axis = dim % x.dim()
    places = torch.arange(x.shape[dim]).reshape([-1 if each == axis else 1 for each in range(x.dim())])
    return values, _accumulated(torch.where(x == values, places, torch.zeros_like(places)), dim, torch.maximum)


def _kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    values, places = (each.narrow(dim, k - 1, 1) for each in torch.sort(x, dim))
    return (values, places) if keepdim else (values.squeeze(dim), places.squeeze(dim))


def _median(x: Tensor, dim: int, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    values, places = _kthvalue(x, (x.shape[dim] + 1) // 2, dim, keepdim)
    if x.is_floating_point():
        values = torch.where(x.isnan().any(dim, keepdim), torch.full_like(values, torch.nan), values)
    return values, places


def _hypot(x: Tensor, y: Tensor) -> Tensor:
    return torch.sqrt(x * x + y * y)


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0) -> Tensor:
    """``[..., P, M]``, ``[..., R, M]`` to the distances ``[..., P, R]``."""
    apart = (x1.unsqueeze(-2) - x2.unsqueeze(-3)).abs()
    if p == 2.0:
        return (apart * apart).sum(-1).sqrt()
    if p == 1.0:
        return apart.sum(-1)
    if p == 0.0:
        return (apart != 0).to(apart.dtype).sum(-1)
    return apart.amax(-1) if p == torch.inf else apart.pow(p).sum(-1).pow(1.0 / p)


_ATEN = torch.ops.aten
_TABLE: Mapping[Any, Callable[..., Any]] = {
    _ATEN.cumprod.default: _cumprod,
    _ATEN.logcumsumexp.default: _logcumsumexp,
    _ATEN.logaddexp.default: _logaddexp,
    _ATEN.logaddexp2.default: _logaddexp2,
    _ATEN.log_sigmoid.default: _log_sigmoid,
    _ATEN.cummax.default: _cummax,
    _ATEN.cummin.default: _cummin,
    _ATEN.kthvalue.default: _kthvalue,
    _ATEN.median.dim: _median,
    _ATEN.hypot.default: _hypot,
}
_ALONG_AN_AXIS = {_ATEN.cumprod.default, _ATEN.logcumsumexp.default, _ATEN.cummax.default, _ATEN.cummin.default}
