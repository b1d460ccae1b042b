"""What an entry of the zoo is: a function that returns a module and what its export is told of it."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from typing import Any

from torch import nn

import tests.zoo
from ostinato.service.artifact.tensors import Input

Entry = tuple[nn.Module, dict[str, Any]]


def amounts(*shape: int | str, **more: Any) -> dict[str, Any]:
    """Options with an input of this shape, ``[B, T, 3]`` where none is given, its numbers called ``x0``, ``x1``, ..."""
    shape = shape or ("B", "T", 3)
    number = math.prod(axis for axis in shape if isinstance(axis, int))
    content = {"name": "inputs", "dtype": "float32", "shape": shape, "features": [f"x{n}" for n in range(number)]}
    return {"inputs": Input.model_validate(content | more)}


def all_entries() -> dict[str, Callable[[], Entry]]:
    """Every function that returns an entry, of every file ``modules_*.py`` here, by its name."""
    found: dict[str, Callable[[], Entry]] = {}
    for module in pkgutil.iter_modules(tests.zoo.__path__):
        if not module.name.startswith("modules_"):
            continue
        for name, function in vars(importlib.import_module(f"tests.zoo.{module.name}")).items():
            if getattr(function, "__annotations__", {}).get("return") == "Entry":
                assert name not in found, f"{name} stands twice"
                found[name] = function
    return found
