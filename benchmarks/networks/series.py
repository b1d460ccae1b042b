"""Series that networks are compared on: chaotic, and of a system with a long memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
MACKEY_GLASS_AHEAD = 10
_WASHOUT_STEPS = 100


@dataclass(frozen=True)
class Task:
    """What goes in and what should come out, ``x [T, F]`` and ``y [T, O]``; what was ``y`` is tested behind ``split``.

    ``lagged``: what a linear model may look at, ``[T, K]``, in whose place a rival is made of it.
    """

    name: str
    x: Floats
    y: Floats
    split: int

    def nrmse(self, made: Floats) -> float:
        """Root of the mean squared error over the standard deviation of what was true, behind the split."""
        true = self.y[self.split :]
        return float(np.sqrt(np.mean((made[-len(true) :] - true) ** 2)) / true.std())

    def linear_rival(self, taps: int = 30) -> float:
        """NRMSE of least squares over the last inputs, which a time-delay layer without hidden units is."""
        padded = np.concatenate([np.zeros((taps - 1, self.x.shape[1]), np.float32), self.x])
        seen = np.hstack([padded[tap : tap + len(self.x)] for tap in range(taps)])
        seen = np.hstack([seen, np.ones((len(seen), 1), np.float32)]).astype(np.float64)
        training = slice(_WASHOUT_STEPS, self.split)
        weights, *_ = np.linalg.lstsq(seen[training], self.y[training], rcond=None)
        return self.nrmse((seen @ weights).astype(np.float32))


def mackey_glass(num_steps: int = 6000, split: int = 4000, ahead: int = MACKEY_GLASS_AHEAD) -> Task:
    """A chaotic series, ten steps ahead (Mackey and Glass, 1977, "Oscillation and chaos in physiological control").

    ``dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x``, by Euler's steps of 0.1, a number for each unit of time.
    """
    per_step, lag = 10, 170
    total = (num_steps + ahead + 500) * per_step + lag
    x = np.empty(total)
    x[: lag + 1] = 1.2
    for index in range(lag, total - 1):
        late = x[index - lag]
        x[index + 1] = x[index] + 0.1 * (0.2 * late / (1 + late**10) - 0.1 * x[index])
    series = x[lag + 500 * per_step :: per_step][: num_steps + ahead].astype(np.float32) - np.float32(0.9)
    return Task("Mackey-Glass, 10 ahead", series[:num_steps, None], series[ahead:, None][:num_steps], split)


def narma10(num_steps: int = 6000, split: int = 4000, seed: int = 0) -> Task:
    """A system of the tenth order with noise as its input (Atiya and Parlos, 2000, "New results on recurrent network
    training").

    ``y_{t+1} = 0.3 y_t + 0.05 y_t (y_t + ... + y_{t-9}) + 1.5 u_{t-9} u_t + 0.1``, ``u`` uniform from 0 to 0.5. At step
    t the network is given ``u_t`` and asked for ``y_{t+1}``.
    """
    u = np.random.default_rng(seed).uniform(0.0, 0.5, num_steps + 10)
    y = np.zeros(num_steps + 11)
    for t in range(9, num_steps + 10):
        y[t + 1] = 0.3 * y[t] + 0.05 * y[t] * y[t - 9 : t + 1].sum() + 1.5 * u[t - 9] * u[t] + 0.1
    return Task("NARMA-10", u[10:, None].astype(np.float32), y[11:, None].astype(np.float32), split)


def gaps(num_steps: int = 12000, split: int = 8000, seed: int = 0) -> Task:
    """The chaotic series of which 9 steps in 10 are hidden; asked for is what it was at every step.

    The input is the value, 0 where it is hidden, and whether it was seen.
    """
    clean = mackey_glass(num_steps, split, ahead=0).x
    seen = (np.random.default_rng(seed).random(clean.shape) < 0.1).astype(np.float32)
    return Task("Mackey-Glass, 9 of 10 steps hidden", np.hstack([clean * seen, seen]), clean, split)


def interpolated(task: Task) -> Floats:
    """Straight lines between what is seen of ``gaps``."""
    places = np.flatnonzero(task.x[:, 1])
    made: Floats = np.interp(np.arange(len(task.x)), places, task.x[places, 0]).astype(np.float32)[:, None]
    return made


def filtered(constants: Floats, num_steps: int = 3000, split: int = 2000, seed: int = 0) -> Task:
    """A linear system of which constants are part: ``y_t = 0.9 y_{t-1} + 0.3 x_t + 0.1 (k_1 - k_2)``."""
    x = np.random.default_rng(seed).standard_normal((num_steps, 1)).astype(np.float32)
    y = np.zeros((num_steps, 1), np.float32)
    for t in range(num_steps):
        before = y[t - 1] if t > 0 else 0.0
        y[t] = 0.9 * before + 0.3 * x[t] + 0.1 * (constants[0] - constants[1])
    return Task("a linear system with constants", x, y, split)


def bouncing(num_steps: int = 6000, split: int = 4000, size: int = 8, seed: int = 0) -> Task:
    """Frames ``[1, P, P]`` of a soft dot that bounces off the walls; asked for is the next frame."""
    generator = np.random.default_rng(seed)
    place, speed = generator.uniform(1, size - 2, 2), generator.uniform(0.4, 0.9, 2)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"))
    frames = np.empty((num_steps + 1, 1, size, size), np.float32)
    for step in range(num_steps + 1):
        frames[step, 0] = np.exp(-((grid - place[:, None, None]) ** 2).sum(axis=0))
        place = place + speed
        speed = np.where((place < 0) | (place > size - 1), -speed, speed)
        place = np.clip(place, 0, size - 1)
    return Task("the next frame of a bouncing dot", frames[:-1], frames[1:], split)
