"""Moving digits: frames in which a handwritten digit flies and bounces off the edges; writes ``moving.npz`` here.

In the manner of Srivastava et al. (2015, "Unsupervised Learning of Video Representations using LSTMs"), from the digits
of ``digits.csv.xz``. No digit is in two sequences. The same file comes out each time.
"""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).parent
NUM_SEQUENCES, NUM_FRAMES = 300, 12
DIGIT_SIDE, SIDE = 8, 16
MAX_SPEED = 2


def moving_digits(digits: NDArray[np.uint8], seed: int = 0) -> NDArray[np.uint8]:
    """Frames ``[N, T, 16, 16]`` from digits ``[M, 8, 8]``."""
    generator = np.random.default_rng(seed)
    drawn = generator.permutation(len(digits))[:NUM_SEQUENCES]
    frames = np.zeros((NUM_SEQUENCES, NUM_FRAMES, SIDE, SIDE), np.uint8)
    for sequence, digit in zip(frames, digits[drawn], strict=True):
        ways = [path(generator) for _axis in range(2)]
        for frame, row, column in zip(sequence, *ways, strict=True):
            frame[row : row + DIGIT_SIDE, column : column + DIGIT_SIDE] = digit
    return frames


def path(generator: np.random.Generator) -> list[int]:
    """Where a digit begins along one axis, frame by frame, at a constant speed between the edges."""
    room = SIDE - DIGIT_SIDE
    place, speed = int(generator.integers(0, room + 1)), int(generator.integers(-MAX_SPEED, MAX_SPEED + 1))
    places = []
    for _ in range(NUM_FRAMES):
        places.append(place)
        if not 0 <= place + speed <= room:
            speed = -speed
        place += speed
    return places


def read_digits() -> NDArray[np.uint8]:
    """The digits of the table beside this file, ``[M, 8, 8]``."""
    with lzma.open(FOLDER / "digits.csv.xz", "rt", encoding="utf-8") as file:
        rows = np.loadtxt(file, np.uint8, delimiter=",", skiprows=1)
    return rows[:, : DIGIT_SIDE**2].reshape(-1, DIGIT_SIDE, DIGIT_SIDE)


if __name__ == "__main__":
    np.savez_compressed(FOLDER / "moving.npz", frames=moving_digits(read_digits()))
