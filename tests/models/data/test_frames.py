from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.models.data.frame_files import FrameFilesRecipe
from ostinato.models.data.frames import FrameForm, FrameParts, load_frames
from ostinato.models.data.parts import PARTS
from ostinato.models.errors import DataError


def load(folder: Path, frames: Any, labels: Any = None, **keys: Any) -> FrameParts:
    arrays = {"frames": frames} if labels is None else {"frames": frames, "labels": labels}
    np.savez(folder / "frames.npz", **arrays)
    predict = "next_frame" if labels is None else "label"
    return load_frames(FrameFilesRecipe.model_validate({"file": folder / "frames.npz", "predict": predict, **keys}))


def numbered(num_sequences: int, num_frames: int) -> Any:
    """Each frame full of its number."""
    numbers = np.arange(num_sequences * num_frames, dtype=np.float32).reshape(num_sequences, num_frames, 1, 1)
    return np.broadcast_to(numbers, (num_sequences, num_frames, 4, 5))


def firsts(data: FrameParts, part: Any) -> list[int]:
    return [int(one.frames[0, 0, 0]) for one in data.parts[part]]


def test_each_sequence_is_in_one_part_and_each_class_in_every_part(tmp_path: Path) -> None:
    labels = np.repeat(["b", "a"], [20, 20])
    data = load(tmp_path, numbered(40, 2), labels)
    assert sorted(first for part in PARTS for first in firsts(data, part)) == list(range(0, 80, 2))
    assert data.classes == ("a", "b")
    for part, wanted in (("training", 14), ("validation", 3), ("test", 3)):
        counts = np.bincount([int(one.answers[0]) for one in data.parts[part]])  # type: ignore[index]
        np.testing.assert_array_equal(counts, wanted)


def test_one_long_sequence_is_cut_into_pieces_whose_parts_follow_each_other(tmp_path: Path) -> None:
    data = load(tmp_path, numbered(1, 100))
    # A tenth of the sequence is a piece; 15 % of ten pieces are two.
    assert [firsts(data, part) for part in PARTS] == [[0, 10, 20, 30, 40, 50], [60, 70], [80, 90]]
    assert {len(one.frames) for one in data.parts["test"]} == {10}
    assert data.horizon == 5


def test_a_window_cuts_frames_with_their_labels(tmp_path: Path) -> None:
    labels = np.arange(50).reshape(10, 5) % 5 % 2
    data = load(tmp_path, numbered(10, 5), labels, window=2)
    for one in (one for part in PARTS for one in data.parts[part]):
        np.testing.assert_array_equal(one.answers, one.frames[:, 0, 0] % 5 % 2)
        assert len(one.frames) <= 2


def test_statistics_are_of_the_training_part_and_the_files_range_by_channel(tmp_path: Path) -> None:
    frames = np.stack([numbered(10, 4), -2 * numbered(10, 4)], axis=2)
    data = load(tmp_path, frames)
    training = np.concatenate([one.frames for one in data.parts["training"]])
    np.testing.assert_allclose(data.statistics.mean, training.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(data.statistics.std, training.std(axis=0), rtol=1e-6)
    least, most = training[:, 0].min(), training[:, 0].max()
    assert data.statistics.channel_range(data.form) == ((least, -2 * most), (most, -2 * least))


@pytest.mark.parametrize(
    ("form", "shape", "second"),
    [
        (FrameForm(1, 2, 3, "none"), (2, 3), "pixel_0_1"),
        (FrameForm(2, 2, 3, "first"), (2, 2, 3), "channel_0_0_1"),
        (FrameForm(2, 2, 3, "last"), (2, 3, 2), "channel_1_0_0"),
    ],
)
def test_a_form_names_numbers_in_the_order_that_they_are_sent(
    form: FrameForm, shape: tuple[int, ...], second: str
) -> None:
    assert form.shape == shape
    assert FrameForm.of(shape, form.layout) == form
    assert form.names[1] == second
    assert len(set(form.names)) == np.prod(shape)
    assert form.channels_first(np.zeros((7, *shape), np.float32)).shape == (7, form.channels, 2, 3)


@pytest.mark.parametrize(
    ("frames", "labels", "keys", "words"),
    [
        (numbered(2, 2), None, {"window": 2}, "too few for a part to learn from"),
        (np.ones((9, 4, 4, 4)), None, {}, "all frames of the training part are the same"),
        (numbered(9, 4), np.zeros(9), {}, "the one class '0'"),
        (numbered(9, 4), None, {"predict": "label"}, "has no label: name the array or column"),
        (numbered(9, 4), None, {"horizon": 4}, "data.horizon: 4 frames ahead"),
    ],
)
def test_what_cannot_be_learned_is_told(frames: Any, labels: Any, keys: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        load(tmp_path, frames, labels, **keys)
