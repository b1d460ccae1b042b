"""Poles on carts, many at once: the task of control whose velocities nobody is told.

A cart on a track is pushed left and right, in gusts, so that the pole on it stays up. Equations: A. G. Barto, R. S.
Sutton and C. W. Anderson, "Neuronlike adaptive elements that can solve difficult learning control problems", IEEE
Transactions on Systems, Man, and Cybernetics 13 (1983).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

GRAVITY, CART_MASS, POLE_MASS, HALF_LENGTH = 9.8, 1.0, 0.1, 0.5  # m/s2, kg, kg, m
FORCE, GUST, SECONDS = 10.0, 3.0, 0.02  # newtons of a full push and of the wind, and how long a step is
TRACK, LEAN = 2.4, np.radians(12)  # an episode is over beyond these
MAX_STEPS = 500


class Poles:
    """``num_poles`` carts with poles, each ``[position, velocity, angle, angular velocity]``, begun near rest."""

    def __init__(self, num_poles: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.states = np.zeros((num_poles, 4))
        self.steps = np.zeros(num_poles, np.int64)
        self.restart(np.ones(num_poles, np.bool_))

    def restart(self, which: NDArray[np.bool_]) -> None:
        """Put some upright again, not quite, and not quite at rest."""
        self.states[which] = self._random.uniform(-0.2, 0.2, (int(which.sum()), 4)) * [1, 1, 0.5, 1]
        self.steps[which] = 0

    def seen(self) -> NDArray[np.float32]:
        """What a policy is told: position and angle, ``[N, 2]``, each as a part of what is allowed."""
        return np.asarray(self.states[:, [0, 2]] / [TRACK, LEAN], np.float32)

    def push(self, actions: NDArray[np.floating]) -> NDArray[np.bool_]:
        """One step with pushes ``[N]`` in [-1, 1]; returns which episodes are over, fallen or at their end."""
        x, v, angle, spin = self.states.T
        force = FORCE * np.clip(actions, -1, 1) + GUST * self._random.normal(size=len(x))
        total = CART_MASS + POLE_MASS
        sine, cosine = np.sin(angle), np.cos(angle)
        pushed = (force + POLE_MASS * HALF_LENGTH * spin**2 * sine) / total
        twist = (GRAVITY * sine - cosine * pushed) / (HALF_LENGTH * (4 / 3 - POLE_MASS * cosine**2 / total))
        drive = pushed - POLE_MASS * HALF_LENGTH * twist * cosine / total
        self.states = np.stack(
            [x + SECONDS * v, v + SECONDS * drive, angle + SECONDS * spin, spin + SECONDS * twist], 1
        )
        self.steps += 1
        return self.fallen() | (self.steps >= MAX_STEPS)

    def fallen(self) -> NDArray[np.bool_]:
        """Which are off the track or have fallen over, ``[N]``."""
        return np.asarray((np.abs(self.states[:, 0]) > TRACK) | (np.abs(self.states[:, 2]) > LEAN))


def teacher(states: Array) -> Array:
    """What one pushes who sees the velocities, too, ``[N]``: so much of each number that the pole comes to rest."""
    return np.clip(states @ [0.2, 0.4, 4.0, 0.8], -1, 1)
