"""Medians within ``forward``, traced as the middle of sorted numbers: ONNX has a sort, and no median."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class SortedMedians(TorchFunctionMode):
    """While it is entered, ``median`` and ``nanmedian`` along an axis are taken out of the sorted numbers."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == "median":
            return _median(func, *args, **(kwargs or {}))
        if name == "nanmedian":
            return _nanmedian(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _median(func: Callable[..., Any], x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        return func(x)
    numbers, places = _sorted(x, dim)
    middle = torch.zeros_like(places.narrow(dim, 0, 1)) + (x.shape[dim] - 1) // 2
    values = numbers.gather(dim, middle)
    if x.is_floating_point():  # of numbers with NaN among them it is NaN
        values = torch.where(x.isnan().any(dim=dim, keepdim=True), torch.nan, values)
    return torch.return_types.median(_with_axis((values, places.gather(dim, middle)), dim, keepdim))


def _nanmedian(func: Callable[..., Any], x: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    if dim is None:
        return func(x)
    missing = x.isnan()
    numbers, places = _sorted(torch.where(missing, torch.inf, x), dim)
    num_known = (~missing).sum(dim=dim, keepdim=True)
    middle = ((num_known - 1) // 2).clamp(min=0)
    values = torch.where(num_known == 0, torch.nan, numbers.gather(dim, middle))
    return torch.return_types.nanmedian(_with_axis((values, places.gather(dim, middle)), dim, keepdim))


def _sorted(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    numbers, places = x.sort(dim=dim)
    return numbers, places


def _with_axis(made: tuple[Tensor, Tensor], dim: int, keepdim: bool) -> tuple[Tensor, Tensor]:
    values, places = made
    return (values, places) if keepdim else (values.squeeze(dim), places.squeeze(dim))
