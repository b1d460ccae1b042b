"""Sequences of frames, checked and cut into parts, each with what is to be answered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ostinato.models.data.frame_files import FrameFilesRecipe, Stored, StoredSequence, read_frames
from ostinato.models.data.parts import PartName
from ostinato.models.data.picture_files import ChannelLayout
from ostinato.models.data.series import Floats
from ostinato.models.errors import DataError

_WINDOW = 20
_MAX_HORIZON = 10
# Frames whose numbers are widened at once.
_FRAMES_AT_ONCE = 256


@dataclass(frozen=True)
class FrameForm:
    """What a frame is: C channels of H x W numbers, and which axis the channels are."""

    channels: int
    height: int
    width: int
    layout: ChannelLayout

    @classmethod
    def of(cls, shape: tuple[int, ...], layout: ChannelLayout) -> Self:
        """Of a frame as it is stored."""
        channels, height, width = {
            "none": (1, *shape),
            "first": shape,
            "last": (*shape[-1:], *shape[:-1]),
        }[layout]
        return cls(channels, height, width, layout)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a frame as it is stored and sent."""
        if self.layout == "none":
            return self.height, self.width
        pixels = (self.height, self.width)
        return (self.channels, *pixels) if self.layout == "first" else (*pixels, self.channels)

    @property
    def names(self) -> tuple[str, ...]:
        """Of a frame's numbers, in the order of ``shape``."""
        if self.layout == "none":
            return tuple(f"pixel_{row}_{column}" for row, column in np.ndindex(self.height, self.width))
        first = (place if self.layout == "first" else (place[2], *place[:2]) for place in np.ndindex(*self.shape))
        return tuple(f"channel_{channel}_{row}_{column}" for channel, row, column in first)

    def channels_first(self, frames: Floats) -> Floats:
        """``[..., *shape]`` to ``[..., C, H, W]``."""
        if self.layout == "none":
            return frames[..., None, :, :]
        return frames if self.layout == "first" else np.moveaxis(frames, -1, -3)


@dataclass(frozen=True)
class FrameSequence:
    """Frames ``[T, *shape]`` of the file's dtype, and ``answers`` int64: ``[T]``, ``[1]`` for all, or none."""

    name: str
    frames: Stored
    answers: NDArray[np.int64]


@dataclass(frozen=True)
class PixelStatistics:
    """Each number of a frame in the training part; ``least`` and ``most`` are of each channel."""

    mean: Floats
    std: Floats
    minimum: Floats
    maximum: Floats

    def channel_range(self, form: FrameForm) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The least and the most of each channel."""
        least = form.channels_first(self.minimum).min(axis=(-2, -1))
        most = form.channels_first(self.maximum).max(axis=(-2, -1))
        return tuple(least.tolist()), tuple(most.tolist())

    def content(self) -> dict[str, Any]:
        """Flat, as ``run.json`` and a manifest have it."""
        names = ("mean", "std", "minimum", "maximum")
        return {name: getattr(self, name).reshape(-1).tolist() for name in names}


@dataclass(frozen=True)
class FrameParts:
    """Sequences cut into parts. ``classes``: what the answers 0, 1, ... stand for. ``horizon``: frames ahead that are
    scored.
    """

    parts: dict[PartName, tuple[FrameSequence, ...]]
    form: FrameForm
    classes: tuple[str, ...]
    statistics: PixelStatistics
    horizon: int
    sha256: str

    def content(self) -> dict[str, Any]:
        """SHA-256, and how many sequences and frames are in each part."""
        counts: dict[str, Any] = {
            part: {"num_sequences": len(own), "num_frames": sum(len(each.frames) for each in own)}
            for part, own in self.parts.items()
        }
        return {"sha256": self.sha256, **counts}


def load_frames(recipe: FrameFilesRecipe) -> FrameParts:
    """Read, check and cut into parts.

    Raises:
        DataError: a file is not what the recipe says, a part has no sequence, or there is nothing to learn.
    """
    stored = read_frames(recipe)
    sequences = stored.sequences
    if recipe.predict == "label":
        _check_labels(recipe, sequences)
    drawn = len(sequences) >= 3
    window = recipe.window
    if window is None and not drawn:
        window = max(2, min(_WINDOW, max(len(one.frames) for one in sequences) // 10))
    least = 2 if recipe.predict == "next_frame" else 1
    named: dict[PartName, list[StoredSequence]] = {"training": [], "validation": [], "test": []}
    whole = sequences if drawn else _pieces(sequences, window, least)
    for part, own in _cut(recipe, whole, drawn=drawn).items():
        named[part] = _pieces(own, window, least)
        if not named[part]:
            raise DataError(f"{recipe.file}: has no sequence of {least} frames or more for the {part} part")
    classes = sorted({label for one in named["training"] for label in one.labels}, key=_natural)
    if recipe.predict == "label" and len(classes) < 2:
        raise DataError(f"{recipe.file}: the training part has the one class {classes[0]!r}: there is nothing to learn")
    codes = {name: code for code, name in enumerate(classes)}
    parts = {
        part: tuple(
            FrameSequence(one.name, one.frames, np.array([codes[label] for label in one.labels], np.int64))
            for one in own
        )
        for part, own in named.items()
    }
    statistics = _statistics([one.frames for one in parts["training"]])
    if (statistics.minimum == statistics.maximum).all() and (statistics.std == 0).all():
        raise DataError(f"{recipe.file}: all frames of the training part are the same: there is nothing to learn")
    longest = max(len(one.frames) for one in parts["test"])
    horizon = recipe.horizon or max(1, min(_MAX_HORIZON, longest // 2))
    if recipe.predict == "next_frame" and horizon >= longest:
        raise DataError(f"data.horizon: {horizon} frames ahead are more than a held-out sequence has after its first")
    form = FrameForm.of(parts["training"][0].frames.shape[1:], stored.layout)
    return FrameParts(parts, form, tuple(classes), statistics, horizon, stored.sha256)


def _check_labels(recipe: FrameFilesRecipe, sequences: Sequence[StoredSequence]) -> None:
    for one in sequences:
        if not one.labels:
            raise DataError(
                f"{recipe.file}: the sequence {one.name!r} has no label: name the array or column of the labels as "
                'data.label, or take predict = "next_frame"'
            )


def _pieces(sequences: Sequence[StoredSequence], window: int | None, least: int) -> list[StoredSequence]:
    """Sequences cut into pieces; what is shorter than it may be is left out."""
    pieces = []
    for one in sequences:
        size = window or len(one.frames)
        for start in range(0, len(one.frames), size):
            frames = one.frames[start : start + size]
            labels = one.labels if len(one.labels) <= 1 else one.labels[start : start + size]
            name = one.name if size >= len(one.frames) else f"{one.name} from frame {start}"
            pieces.append(StoredSequence(name, frames, labels))
    return [one for one in pieces if len(one.frames) >= least]


def _cut(
    recipe: FrameFilesRecipe, sequences: Sequence[StoredSequence], *, drawn: bool
) -> dict[PartName, list[StoredSequence]]:
    """Parts in which each class (of each frame's: the first) has its share; who is where follows from the names.

    Args:
        drawn: or else parts are consecutive, as pieces of one long sequence must be.
    """
    count = len(sequences)
    num_test, num_validation = (
        max(1, round(count * own)) for own in (recipe.test_fraction, recipe.validation_fraction)
    )
    if count - num_test - num_validation < 1:
        raise DataError(
            f"{recipe.file}: has {count} sequences (or pieces of them): too few for a part to learn from, "
            f"{num_validation} to stop by and {num_test} to score"
        )
    if not drawn:
        first, second = count - num_test - num_validation, count - num_test
        return {
            "training": list(sequences[:first]),
            "validation": list(sequences[first:second]),
            "test": list(sequences[second:]),
        }
    left = sorted(sequences, key=lambda one: (one.labels[:1], hashlib.sha256(one.name.encode()).digest()))
    tests, left = _evenly(left, num_test)
    validations, training = _evenly(left, num_validation)
    known = {label for one in training for label in one.labels}
    parts: dict[PartName, list[StoredSequence]] = {"training": training, "validation": [], "test": []}
    held_out: tuple[tuple[PartName, list[StoredSequence]], ...] = (("validation", validations), ("test", tests))
    for part, own in held_out:
        for one in own:
            # What has a class that nothing else has can only teach.
            parts[part if known.issuperset(one.labels) else "training"].append(one)
        if not parts[part]:
            raise DataError(f"{recipe.file}: no sequence is left for the {part} part: classes have too few sequences")
    return parts


def _evenly(sequences: list[StoredSequence], count: int) -> tuple[list[StoredSequence], list[StoredSequence]]:
    """So many of them, as evenly apart as can be, and the others."""
    total = len(sequences)
    is_taken = [(place + 1) * count // total > place * count // total for place in range(total)]
    taken = [one for one, is_in in zip(sequences, is_taken, strict=True) if is_in]
    return taken, [one for one, is_in in zip(sequences, is_taken, strict=True) if not is_in]


def _statistics(sequences: Sequence[Stored]) -> PixelStatistics:
    count = sum(map(len, sequences))
    chunks = [
        one[start : start + _FRAMES_AT_ONCE] for one in sequences for start in range(0, len(one), _FRAMES_AT_ONCE)
    ]
    mean = sum(chunk.astype(np.float64).sum(axis=0) for chunk in chunks) / count
    variance = sum(((chunk.astype(np.float64) - mean) ** 2).sum(axis=0) for chunk in chunks) / count
    return PixelStatistics(
        np.asarray(mean, np.float32),
        np.sqrt(variance).astype(np.float32),
        np.min([chunk.min(axis=0) for chunk in chunks], axis=0).astype(np.float32),
        np.max([chunk.max(axis=0) for chunk in chunks], axis=0).astype(np.float32),
    )


def _natural(text: str) -> tuple[int, float, str]:
    """Numbers in their order, then words in theirs."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
