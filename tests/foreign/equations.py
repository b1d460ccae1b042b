"""Equations of recurrent layers, as ONNX's own specification has them, over whole sequences in float64.

``W`` is ``[G H, F]``, ``R`` ``[G H, H]``, ``Wb`` and ``Rb`` ``[G H]``; the gates of an LSTM are i, o, f, c, those of a
GRU z, r, h.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tests.foreign.building import GraphBuilder
from tests.foreign.case import Array


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def hard_sigmoid(x: Array) -> Array:
    return np.clip(0.2 * np.asarray(x, np.float64) + 0.5, 0, 1)


class Weights(NamedTuple):
    """One direction of a layer."""

    w: Array
    r: Array
    wb: Array
    rb: Array

    @classmethod
    def drawn(cls, builder: GraphBuilder, gates: int, features: int, hidden: int) -> Weights:
        size = gates * hidden
        return cls(*(builder.drawn(*shape) for shape in ((size, features), (size, hidden), (size,), (size,))))

    @property
    def hidden(self) -> int:
        return int(self.r.shape[1])

    def of_node(self, builder: GraphBuilder, prefix: str = "") -> list[str]:
        """``W``, ``R`` and ``B`` of a node of one direction."""
        return of_directions([self], builder, prefix)


def of_directions(each: list[Weights], builder: GraphBuilder, prefix: str = "") -> list[str]:
    """``W``, ``R`` and ``B`` of a node of these directions."""
    arrays = (
        np.stack([part.w for part in each]),
        np.stack([part.r for part in each]),
        np.stack([np.concatenate([part.wb, part.rb]) for part in each]),
    )
    names = (f"{prefix}_{part}" if prefix else "" for part in "WRB")
    return [builder.weight(array, name) for array, name in zip(arrays, names, strict=True)]


def zeros(x: Array, weights: Weights) -> Array:
    """A first state, ``[B, H]``."""
    return np.zeros((x.shape[0], weights.hidden))


def lstm(
    x: Array,
    weights: Weights,
    h: Array | None = None,
    c: Array | None = None,
    gate: Callable[[Array], Array] = sigmoid,
) -> tuple[Array, Array, Array]:
    """``[B, T, F]`` to ``[B, T, H]``, and the last h and c."""
    h, c = zeros(x, weights) if h is None else h, zeros(x, weights) if c is None else c
    answers = []
    for t in range(x.shape[1]):
        gates = x[:, t] @ weights.w.T.astype(np.float64) + weights.wb + h @ weights.r.T.astype(np.float64) + weights.rb
        i, o, f, g = np.split(gates, 4, axis=-1)
        c = gate(f) * c + gate(i) * np.tanh(g)
        h = gate(o) * np.tanh(c)
        answers.append(h)
    return np.stack(answers, axis=1), h, c


def gru(
    x: Array, weights: Weights, h: Array | None = None, *, reset_after: bool = True, gate: Any = sigmoid
) -> tuple[Array, Array]:
    """``[B, T, F]`` to ``[B, T, H]``, and the last h; ``reset_after`` is ONNX's ``linear_before_reset``."""
    h = zeros(x, weights) if h is None else h
    r_z, r_r, r_h = np.split(weights.r.astype(np.float64), 3)
    b_z, b_r, b_h = np.split(weights.rb.astype(np.float64), 3)
    answers = []
    for t in range(x.shape[1]):
        x_z, x_r, x_h = np.split(x[:, t] @ weights.w.T.astype(np.float64) + weights.wb, 3, axis=-1)
        z, r = gate(x_z + h @ r_z.T + b_z), gate(x_r + h @ r_r.T + b_r)
        n = np.tanh(x_h + (r * (h @ r_h.T + b_h) if reset_after else (r * h) @ r_h.T + b_h))
        h = (1 - z) * n + z * h
        answers.append(h)
    return np.stack(answers, axis=1), h


def rnn(x: Array, weights: Weights, h: Array | None = None) -> tuple[Array, Array]:
    """``[B, T, F]`` to ``[B, T, H]``, and the last h; tanh."""
    h = zeros(x, weights) if h is None else h
    answers = []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ weights.w.T.astype(np.float64) + weights.wb + h @ weights.r.T + weights.rb)
        answers.append(h)
    return np.stack(answers, axis=1), h


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def backwards(layer: Callable[..., Any], x: Array, *arguments: Any, **options: Any) -> Array:
    """A layer from the end to the beginning, its answers in the order of the steps."""
    return np.asarray(layer(x[:, ::-1], *arguments, **options)[0][:, ::-1])


def causal(x: Array, kernel: Array, dilation: int = 1) -> Array:
    """A causal convolution over ``[B, T, C]`` by a kernel ``[O, C, K]``, zeros before the beginning."""
    width = (kernel.shape[2] - 1) * dilation
    padded = np.concatenate([np.zeros((x.shape[0], width, x.shape[2])), x], axis=1)
    parts = [padded[:, k * dilation : k * dilation + x.shape[1]] @ kernel[:, :, k].T for k in range(kernel.shape[2])]
    return np.asarray(sum(parts))
