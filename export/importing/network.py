"""A foreign graph as a network: what a manifest calls a step goes in, whatever axes the file has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ostinato.export.importing.layouts import AxisRoles, normal, timed
from ostinato.export.importing.ports import Port
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.graphs import without_messages
from ostinato.service.artifact.tensors import State


class ForeignNetwork:
    """The file's own graph under onnxruntime, given and giving tensors in the axes of the manifest.

    Args:
        session: an ``InferenceSession`` of the file.
        roles, made: of each input and output in order, states behind the others, its axes in the file.
        rows: that the graph takes; None = any number. Else each row is run by itself, next to copies of it.
        constants: what is the same in each run.
        lengths: inputs for how many steps there are.
        begun: states that are not carried, their axes, and the row that each sequence begins with.
        in_file: an output that was added -> the one that it is the same as.
    """

    def __init__(
        self,
        session: Any,
        roles: Mapping[str, AxisRoles],
        made: Sequence[tuple[str, AxisRoles]],
        rows: int | None,
        constants: Mapping[str, NDArray[Any]],
        lengths: Sequence[Port] = (),
        begun: Mapping[str, tuple[AxisRoles, NDArray[Any]]] | None = None,
        in_file: Mapping[str, str] | None = None,
    ) -> None:
        self._session = session
        self._given, self._made = dict(roles), tuple(made)
        self._rows = rows
        self._constants = dict(constants)
        self._options = without_messages()
        self._lengths = tuple(lengths)
        self._in_file = dict(in_file or {})
        self._begun = dict(begun or {})

    @property
    def made_names(self) -> list[str]:
        """What a run gives, in order: outputs, then states."""
        return [name for name, _ in self._made]

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """One run: outputs and next states, in the order of ``made_roles``."""
        if self._rows is None:
            feeds = {
                name: _with_units(tensor, roles)
                for (name, roles), tensor in zip(self._given.items(), tensors, strict=True)
            }
            answers = self._run(feeds)
            return [_without(answer, roles) for answer, (_, roles) in zip(answers, self._made, strict=True)]
        batch_axes = [normal(roles).index("B") for roles in self._given.values()]
        num_rows = tensors[0].shape[batch_axes[0]]
        rows = [
            self._row([np.take(tensor, row, axis) for tensor, axis in zip(tensors, batch_axes, strict=True)])
            for row in range(num_rows)
        ]
        axes = [normal(roles).index("B") for _, roles in self._made]
        return [np.stack(parts, axis) for parts, axis in zip(zip(*rows, strict=True), axes, strict=True)]

    def _row(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """One row, tensors without their batch."""
        feeds = {}
        for (name, roles), tensor in zip(self._given.items(), tensors, strict=True):
            axes = [axis for axis, role in enumerate(roles) if role in ("B", "1")]
            wide = np.expand_dims(tensor, axes)
            if "B" in roles:
                wide = np.repeat(wide, self._rows or 1, roles.index("B"))
            feeds[name] = wide
        answers = []
        for answer, (_, roles) in zip(self._run(feeds), self._made, strict=True):
            part = np.take(answer, [0], roles.index("B")) if "B" in roles else answer
            answers.append(np.squeeze(part, tuple(axis for axis, role in enumerate(roles) if role in ("B", "1"))))
        return answers

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        feeds = {name: np.require(array, requirements="C") for name, array in feeds.items()}
        for port in self._lengths:
            feeds[port.name] = self._steps(port, feeds)
        for name, (roles, row) in self._begun.items():
            feeds[name] = self._beginning(roles, row, feeds)
        names = [self._in_file.get(name, name) for name in self.made_names]
        wanted = list(dict.fromkeys(names))
        made = dict(zip(wanted, self._session.run(wanted, {**feeds, **self._constants}, self._options), strict=True))
        return [made[name] for name in names]

    def _steps(self, port: Port, feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """How many steps a run has, for each of its rows."""
        name, roles, axis = timed(self._given)
        rows = feeds[name].shape[roles.index("B")] if "B" in roles else 1
        return np.full((rows,) * len(port.sizes or ()), feeds[name].shape[axis], port.dtype)

    def _beginning(self, roles: AxisRoles, row: NDArray[Any], feeds: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        if "B" not in roles:
            return row
        sizes = (feeds[name].shape[axes.index("B")] for name, axes in self._given.items() if "B" in axes)
        axis = roles.index("B")
        return np.repeat(np.expand_dims(row, axis), next(sizes, self._rows or 1), axis)


class FramedNetwork:
    """A network that is given windows, given frames: each is put behind the past that it shares with the one before.

    Args:
        windows: of each input the axes of its windows, once served: ``B``, ``W`` and sizes.
        num_outputs, num_states: of the network.
    """

    def __init__(
        self,
        network: ForeignNetwork,
        windows: Sequence[tuple[int | str, ...]],
        num_outputs: int,
        num_states: int,
        framing: Framing,
    ) -> None:
        self._network = network
        self._windows = tuple(windows)
        self._num_outputs, self._num_states = num_outputs, num_states
        self._framing = framing

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """One run: outputs, next states, next pasts."""
        frames, rest = tensors[: len(self._windows)], tensors[len(self._windows) :]
        states, pasts = rest[: self._num_states], rest[self._num_states :]
        framing, windows = self._framing, []
        for place, frame in enumerate(frames):
            whole = np.concatenate([pasts[place], frame], axis=1) if framing.past else frame
            windows.append(whole[:, -framing.window :])
        given = [_in_order(window, axes) for window, axes in zip(windows, self._windows, strict=True)]
        made = self._network([*given, *states])
        return [*made, *(window[:, framing.hop :] for window in windows if framing.past)]


Network: TypeAlias = ForeignNetwork | FramedNetwork


def _in_order(window: NDArray[Any], axes: tuple[int | str, ...]) -> NDArray[Any]:
    """A window ``[B, W, ...]`` in the axes of an input."""
    sizes = iter(range(2, len(axes)))
    return window.transpose([{"B": 0, "W": 1}[axis] if isinstance(axis, str) else next(sizes) for axis in axes])


class ForeignModule(nn.Module):
    """A foreign network that keeps the exporter's contract: ``forward(x, *state) -> (y, *state)``."""

    def __init__(self, network: Network, states: Sequence[State]) -> None:
        super().__init__()
        self._network = network
        self._states = tuple(states)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """One run."""
        made = self._network([tensor.numpy() for tensor in tensors])
        return tuple(torch.from_numpy(np.ascontiguousarray(each)) for each in made)

    def initial_state(self, batch_size: int) -> tuple[Tensor, ...]:
        """The states of ``batch_size`` sequences that have not begun."""
        rows = [np.stack([state.initial_row()] * batch_size, state.batch_axis) for state in self._states]
        return tuple(torch.from_numpy(each) for each in rows)


def _with_units(tensor: NDArray[Any], roles: AxisRoles) -> NDArray[Any]:
    return np.expand_dims(tensor, tuple(axis for axis, role in enumerate(roles) if role == "1"))


def _without(tensor: NDArray[Any], roles: AxisRoles) -> NDArray[Any]:
    return np.squeeze(tensor, tuple(axis for axis, role in enumerate(roles) if role == "1"))
