"""A foreign graph as a network: what a manifest calls a step goes in, whatever axes the file has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ostinato.export.importing.layouts import AxisRoles, normal
from ostinato.service.artifact.graphs import without_messages
from ostinato.service.artifact.tensors import State


class ForeignNetwork:
    """The file's own graph under onnxruntime, given and giving tensors in the axes of the manifest.

    Args:
        session: an ``InferenceSession`` of the file.
        roles: of each input and output, its axes in the file.
        given, made: inputs and outputs in order, states behind the others.
        rows: that the graph takes; None = any number. Else each row is run by itself, beside copies of it.
        constants: what is the same in each run.
    """

    def __init__(
        self,
        session: Any,
        roles: Mapping[str, AxisRoles],
        made_roles: Mapping[str, AxisRoles],
        rows: int | None,
        constants: Mapping[str, NDArray[Any]],
    ) -> None:
        self._session = session
        self._given, self._made = dict(roles), dict(made_roles)
        self._rows = rows
        self._constants = dict(constants)
        self._options = without_messages()

    def __call__(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """One run: outputs and next states, in the order of ``made_roles``."""
        if self._rows is None:
            feeds = {
                name: _with_units(tensor, roles)
                for (name, roles), tensor in zip(self._given.items(), tensors, strict=True)
            }
            answers = self._run(feeds)
            return [_without(answer, roles) for answer, roles in zip(answers, self._made.values(), strict=True)]
        batch_axes = [normal(roles).index("B") for roles in self._given.values()]
        num_rows = tensors[0].shape[batch_axes[0]]
        rows = [
            self._row([np.take(tensor, row, axis) for tensor, axis in zip(tensors, batch_axes, strict=True)])
            for row in range(num_rows)
        ]
        axes = [normal(roles).index("B") for roles in self._made.values()]
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
        for answer, roles in zip(self._run(feeds), self._made.values(), strict=True):
            part = np.take(answer, [0], roles.index("B")) if "B" in roles else answer
            answers.append(np.squeeze(part, tuple(axis for axis, role in enumerate(roles) if role in ("B", "1"))))
        return answers

    def _run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        feeds = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        answers: list[NDArray[Any]] = self._session.run(list(self._made), {**feeds, **self._constants}, self._options)
        return answers


class ForeignModule(nn.Module):
    """A foreign network that keeps the exporter's contract: ``forward(x, *state) -> (y, *state)``."""

    def __init__(self, network: ForeignNetwork, states: Sequence[State]) -> None:
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
