"""Layouts: what each axis of a foreign graph's inputs may be, batch, steps or numbers of a step, likely ones first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TypeAlias

from ostinato.export.errors import ExportError
from ostinato.export.importing.ports import AxisSize, Port, is_nameless
from ostinato.service.artifact.framing import Framing

AxisRole: TypeAlias = int | str
"""``B``, ``T``, ``W`` (the steps of a window), a number of a step's numbers, or ``1`` as a string: an axis of one,
which is left out.
"""

AxisRoles: TypeAlias = tuple[AxisRole, ...]

_BATCH = frozenset({
    "b", "n", "batch", "batches", "bs", "bsz", "nb", "batchsize", "num_envs", "envs", "num_sequences", "rows",
})  # fmt: skip
_STEPS = frozenset({
    "t", "s", "l", "time", "times", "steps", "step", "seq", "seqlen", "sequence", "length", "len", "frames",
    "frame", "timesteps", "chunk", "samples", "window", "tokens",
})  # fmt: skip


def sounds_like_steps(size: AxisSize) -> bool:
    """Whether an open axis is called as steps are, by a whole word."""
    return isinstance(size, str) and size.lower() in _STEPS - {"s", "t", "l", "b"}


@dataclass(frozen=True)
class AxisLayout:
    """What the axes of a graph's inputs are.

    Attributes:
        roles: of each input that is fed or carried, its axes.
        rows: that the graph takes: None = any number; 0 = it has no axis for them.
        how: of an input, in words, how its axes were found.
        window: steps of ``W``.
    """

    roles: Mapping[str, AxisRoles]
    rows: int | None
    how: Mapping[str, str] = field(default_factory=dict)
    window: int = 0

    @property
    def has_steps(self) -> bool:
        """Whether an input has an axis of steps."""
        return any("T" in roles for roles in self.roles.values())


def normal(roles: AxisRoles) -> tuple[int | str, ...]:
    """The shape that a manifest has of axes: without those that are left out, and with a batch."""
    kept = tuple(role for role in roles if role != "1")
    return kept if "B" in kept else ("B", *kept)


def timed(roles: Mapping[str, AxisRoles]) -> tuple[str, AxisRoles, int]:
    """An input whose steps are counted, and their axis: those of its window or frame, where it has no others."""
    for symbol in ("T", "W"):
        for name, axes in roles.items():
            if symbol in axes:
                return name, axes, axes.index(symbol)
    name, axes = max(roles.items(), key=lambda item: len(item[1]))
    sizes = [axis for axis, role in enumerate(axes) if isinstance(role, int) or role == "1"]
    return name, axes, sizes[0] if sizes else 0


def left_out(roles: Sequence[AxisRole]) -> AxisRoles:
    """The same with axes of one left out; of a step that is one number its last axis stays."""
    kept = list(roles)
    if "W" in kept:
        return tuple("1" if role == 1 else role for role in kept)
    sizes = [axis for axis, role in enumerate(kept) if isinstance(role, int)]
    units = [axis for axis in sizes if kept[axis] == 1]
    last = sizes[-1:] if len(units) == len(sizes) else []
    for axis in units:
        if axis not in last:
            kept[axis] = "1"
    return tuple(kept)


def likely_layouts(
    fed: Sequence[Port],
    states: Sequence[Port],
    said: Mapping[str, Sequence[str | int]],
    framing: Framing | None = None,
    *,
    frees_steps: bool = True,
) -> Iterator[AxisLayout]:
    """Layouts that the names and sizes of axes bear out, the likeliest first.

    Args:
        fed: inputs of the steps; context is among them.
        said: of some inputs, their axes as the user says.
        framing: of a graph that is given windows.
        frees_steps: whether an axis of a fixed size may be that of the steps.

    Raises:
        ExportError: what was said does not fit, or nobody knows how many axes an input has.
    """
    known = {port.name: _said_roles(port, said[port.name]) for port in (*fed, *states) if port.name in said}
    for port in (*fed, *states):
        if port.name not in known and port.sizes is None:
            raise ExportError(
                f"input {port.name!r}: the file does not say how many axes it has; say it with "
                f"--axes {port.name}=B,T,40 (B batch, T steps, and sizes)"
            )
    open_inputs, open_states = ([port for port in ports if port.name not in known] for ports in (fed, states))
    seen: set[tuple[tuple[str, AxisRoles], ...]] = set()
    later: list[AxisLayout] = []
    frees = [port for port in fed if port.name not in known] if frees_steps else []
    for meaning in _meanings(open_inputs, open_states):
        roles = {port.name: _meant(port, meaning) for port in (*open_inputs, *open_states)} | known
        roles = {port.name: roles[port.name] for port in (*fed, *states)}
        if not all(_is_sound(each) for each in roles.values()):
            continue
        for layout in _settled(fed, states, roles):
            for each in _in_windows(layout, fed, framing) if framing is not None else _with_steps(layout, fed, frees):
                if (key := (*each.roles.items(), (str(each.rows), ()))) not in seen:
                    seen.add(key)
                    if each.rows is None:
                        yield each
                        if all("B" in each.roles[port.name][:2] for port in fed):
                            later.append(replace(each, rows=1))  # one that says any number, and takes one
                    else:
                        later.append(each)
    yield from later
    if not seen:
        raise _unclear(open_states, framing)


def _unclear(states: Sequence[Port], framing: Framing | None) -> ExportError:
    for port in states:
        is_open = [size for size in port.known_sizes if isinstance(size, str)]
        if len(is_open) > 1:
            return ExportError(
                f"state {port.name!r} is {port.words}: only the batch may be open in a state, since a session keeps "
                f"one of one size; where it has always the same, say so with --axes {port.name}=...; where it grows, "
                "as a cache of all that was ever seen, it cannot be served"
            )
    if framing is not None:
        return ExportError(f"no input has an axis of {framing.window} steps, the window that --framing says")
    return ExportError("which axes are the batch and the steps is not clear; say it with --axes NAME=B,T,40")


def _meant(port: Port, meaning: Mapping[AxisSize, AxisRole]) -> AxisRoles:
    return tuple(meaning.get(size, size) for size in port.known_sizes)


def _with_steps(layout: AxisLayout, fed: Sequence[Port], frees: Sequence[Port]) -> Iterator[AxisLayout]:
    """A layout, and before it, where it has no steps, what it is if an axis of a fixed size has them."""
    wide = [port for port in frees if len(layout.roles[port.name]) >= _least_axes(port)]
    for axis in (1, 0, 2) if wide and not layout.has_steps else ():
        if all(_may_be_steps(layout.roles[port.name], axis, is_code="int" in port.dtype) for port in wide):
            roles = {
                port.name: left_out(_put(_with_units(layout.roles[port.name]), axis, "T"))
                for port in fed
                if port in wide
            }
            how = {**layout.how, **dict.fromkeys(roles, "its steps are fixed in the file, and were freed")}
            yield AxisLayout({**layout.roles, **roles}, layout.rows, how)
    yield layout


def one_at_a_time(layout: AxisLayout, *, has_steps: bool) -> AxisLayout:
    """The same for a graph whose rows, and steps, do not share a run."""
    if has_steps:
        return replace(layout, rows=layout.rows or 1)
    roles = {name: tuple("1" if role == "T" else role for role in axes) for name, axes in layout.roles.items()}
    return replace(layout, roles=roles, rows=layout.rows or 1)


def _least_axes(port: Port) -> int:
    """Of an input with a batch and steps: codes are one number a step, and need no axis of numbers."""
    return len("BT") if "int" in port.dtype else len("BTF")


def _may_be_steps(roles: AxisRoles, axis: int, *, is_code: bool) -> bool:
    return axis < len(roles) - (0 if is_code else 1) and (isinstance(roles[axis], int) or roles[axis] == "1")


def _with_units(roles: AxisRoles) -> AxisRoles:
    return tuple(1 if role == "1" else role for role in roles)


def _in_windows(layout: AxisLayout, fed: Sequence[Port], framing: Framing) -> Iterator[AxisLayout]:
    """A layout whose steps, or whose axis of so many, are the steps of a window."""
    roles = dict(layout.roles)
    framed = False
    for port in fed:
        own = _with_units(roles[port.name])
        axes = [axis for axis, role in enumerate(own) if role == "T"]
        axes = axes or [axis for axis, role in enumerate(own) if role == framing.window]
        if axes:
            roles[port.name] = left_out(_put(own, axes[0], "W"))
            framed = True
    if framed:
        yield AxisLayout(roles, layout.rows, layout.how, framing.window)


def _said_roles(port: Port, said: Sequence[str | int]) -> AxisRoles:
    roles = tuple(said)
    where = f"--axes {port.name}={','.join(map(str, roles))}"
    if not _is_sound(roles) or not all(role in ("B", "T") or isinstance(role, int) for role in roles):
        raise ExportError(f"{where}: axes are B and T, at most once each, and sizes")
    if port.sizes is not None and len(port.sizes) != len(roles):
        raise ExportError(f"{where}: the file has {port.words}")
    for role, size in zip(roles, port.sizes or roles, strict=True):
        if isinstance(role, int) and isinstance(size, int) and role != size:
            raise ExportError(f"{where}: the file has {port.words}")
    return roles


def _is_sound(roles: AxisRoles) -> bool:
    return roles.count("B") <= 1 and roles.count("T") <= 1


def _meanings(fed: Sequence[Port], states: Sequence[Port]) -> Iterator[dict[AxisSize, AxisRole]]:
    """What the names of open axes may mean, the likeliest first."""
    of_states = {size for port in states for size in port.known_sizes if isinstance(size, str)}
    places: dict[str, list[int]] = {}
    for port in (*fed, *states):
        for axis, size in enumerate(port.known_sizes):
            if isinstance(size, str):
                places.setdefault(size, []).append(axis)
    choices = [_choices(name, axes, name in of_states) for name, axes in places.items()]
    ranked = sorted(product(*(range(len(each)) for each in choices)), key=lambda picks: (sum(picks), picks))
    for picks in ranked:
        yield dict(zip(places, (each[pick] for each, pick in zip(choices, picks, strict=True)), strict=True))


def _choices(name: str, axes: Sequence[int], is_of_states: bool) -> tuple[AxisRole, ...]:
    """What an open axis may be."""
    if is_of_states:
        return ("B",)
    if not is_nameless(name):
        words = {name.lower(), *re.split(r"[^a-z]+", name.lower())}
        if words & _BATCH and not words & (_STEPS - {"s", "t", "l"}):
            return ("B", "T")
        if words & _STEPS:
            return ("T", "B")
    return ("B", "T") if axes[0] == 0 else ("T", "B")


def _settled(fed: Sequence[Port], states: Sequence[Port], roles: Mapping[str, AxisRoles]) -> Iterator[AxisLayout]:
    """Layouts in which each input has a batch or none has: as the axes are; where some lack one, by axes of one."""
    lacking = [port for port in (*fed, *states) if "B" not in roles[port.name]]
    if not lacking:
        yield AxisLayout(_without_units(fed, states, roles), None)
        if rows := max(_fixed_rows(port, roles[port.name]) for port in (*fed, *states)):
            yield AxisLayout(_without_units(fed, states, roles), rows)
        return
    for freed in _freed(lacking, states, roles):
        yield AxisLayout(
            _without_units(fed, states, {**roles, **freed}),
            None,
            dict.fromkeys(freed, "its batch is fixed in the file, and was freed"),
        )
    told = [_fixed_rows(port, roles[port.name]) for port in (*fed, *states)]
    shared = max(told) or _shared_rows(lacking, states, roles)
    found = {port.name: _with_batch(roles[port.name], port in states, shared) for port in lacking}
    rows = shared if max(told) or any("B" in each for each in found.values()) else 0
    if any("B" in roles[port.name] for port in (*fed, *states)):
        rows = max(rows, 1)
    yield AxisLayout(_without_units(fed, states, {**roles, **found}), rows)


def _fixed_rows(port: Port, roles: AxisRoles) -> int:
    """The size that the file has for an axis that is said to be the batch; 0 = none, or it is open."""
    size = port.sizes[roles.index("B")] if port.sizes is not None and "B" in roles else 0
    return size if isinstance(size, int) else 0


def _freed(
    lacking: Sequence[Port], states: Sequence[Port], roles: Mapping[str, AxisRoles]
) -> Iterator[dict[str, AxisRoles]]:
    """Ways to take axes of one for the batch, in all inputs that lack it."""
    for prefer in (0, 1, 2):
        found = {}
        for port in lacking:
            units = [axis for axis, role in enumerate(roles[port.name]) if role == 1]
            if not units:
                return
            first = units[min(prefer, len(units) - 1)] if port in states else units[0]
            found[port.name] = _put(roles[port.name], first, "B")
        yield found


def _shared_rows(lacking: Sequence[Port], states: Sequence[Port], roles: Mapping[str, AxisRoles]) -> int:
    """The size of a fixed batch: one that all inputs have, where it is more than 1 the first of what is fed."""
    fed = [port for port in lacking if port not in states]
    first = roles[fed[0].name][:1] if fed else ()
    size = first[0] if first and isinstance(first[0], int) else 1
    return size if size > 1 and all(size in roles[port.name] for port in lacking) and len(lacking) > 1 else 1


def _with_batch(roles: AxisRoles, is_state: bool, rows: int) -> AxisRoles:
    """The same with a fixed batch of so many rows, where an axis has that size."""
    axes = [axis for axis, role in enumerate(roles) if role == rows]
    if not axes:
        return roles
    # A recurrent operator's own state is [directions, batch, units].
    axis = axes[1] if is_state and rows == 1 and len(axes) > 1 and len(roles) == 3 and axes[:2] == [0, 1] else axes[0]
    return _put(roles, axis, "B")


def _without_units(fed: Sequence[Port], states: Sequence[Port], roles: Mapping[str, AxisRoles]) -> dict[str, AxisRoles]:
    return {
        **{port.name: left_out(roles[port.name]) for port in fed},
        **{port.name: roles[port.name] for port in states},
    }


def _put(roles: AxisRoles, axis: int, role: AxisRole) -> AxisRoles:
    return (*roles[:axis], role, *roles[axis + 1 :])
