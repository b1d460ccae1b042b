"""Structures of tensors, as tuples, dicts and dataclasses of states are: taken apart and put together again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias, cast

from torch import Tensor, nn

Rebuild: TypeAlias = Callable[[Iterator[Tensor]], Any]
"""Puts a structure together from its tensors, in their order."""


def flatten(value: object, name: str = "") -> tuple[list[tuple[str, Tensor]], Rebuild]:
    """The tensors of a structure, each with its name, and what puts it together.

    A name is the way to the tensor, joined by underscores: keys, names of fields, and places where there are no names.
    What is no tensor and holds none stays as it is.
    """
    if isinstance(value, Tensor):
        return [(name, value)], next
    parts = parts_of(value)
    if parts is None:
        return [], lambda _tensors: value
    each = {key: flatten(part, f"{name}_{key}".strip("_")) for key, part in parts.items()}
    leaves = [leaf for found, _ in each.values() for leaf in found]

    def rebuild(tensors: Iterator[Tensor]) -> Any:
        return _like(value, {key: make(tensors) for key, (_, make) in each.items()})

    return leaves, rebuild


def parts_of(value: object) -> dict[str, Any] | None:
    """What a structure holds, by name or place; None of what is none."""
    if isinstance(value, Mapping):
        return {str(key): part for key, part in value.items()}
    if isinstance(value, tuple | list):
        names = getattr(value, "_fields", map(str, range(len(value))))
        return dict(zip(names, value, strict=True))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is_plain(value):
        return dict(vars(value))
    return None


def _is_plain(value: object) -> bool:
    """Whether a value is of a class of one's own that holds tensors as its attributes."""
    own = getattr(value, "__dict__", {})
    return not isinstance(value, nn.Module | type) and any(isinstance(part, Tensor) for part in own.values())


def is_named(value: object) -> bool:
    """Whether a structure's parts have names, as those of a dict have."""
    return parts_of(value) is not None and (not isinstance(value, tuple | list) or hasattr(value, "_fields"))


def _like(value: object, parts: dict[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return cast("Any", type(value))(zip(value, parts.values(), strict=True))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*parts.values())
    if isinstance(value, tuple | list):
        return type(value)(parts.values())
    if not dataclasses.is_dataclass(value):
        plain = copy.copy(value)
        vars(plain).update(parts)
        return plain
    made = [field.name for field in dataclasses.fields(cast("Any", value)) if field.init]
    return cast("Any", type(value))(**{name: parts[name] for name in made})
