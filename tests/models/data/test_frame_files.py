from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ostinato.models.data.frame_files import FrameFilesRecipe, read_frames
from ostinato.models.data.picture_files import natural
from ostinato.models.errors import DataError


def recipe(file: Path, **keys: Any) -> FrameFilesRecipe:
    return FrameFilesRecipe.model_validate({"file": file, **keys})


def save(folder: Path, **arrays: Any) -> Path:
    np.savez_compressed(folder / "frames.npz", **arrays)
    return folder / "frames.npz"


def write_png(path: Path, grey: int, size: tuple[int, int] = (5, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((3, 2, 5, 6), "none"),
        ((3, 2, 1, 5, 6), "first"),
        ((3, 2, 5, 6, 3), "last"),
        ((3, 2, 8, 8, 2), "last"),
        ((3, 2, 2, 6, 4), "first"),
    ],
)
def test_sizes_tell_where_the_channels_are(shape: tuple[int, ...], layout: str, tmp_path: Path) -> None:
    stored = read_frames(recipe(save(tmp_path, clips=np.zeros(shape), note=np.zeros(7, "U3"))))
    assert stored.layout == layout
    assert [one.frames.shape for one in stored.sequences] == [shape[1:]] * 3


def test_labels_are_of_sequences_or_of_frames_and_of_any_dtype(tmp_path: Path) -> None:
    frames = np.zeros((2, 3, 4, 4), np.uint8)
    for labels, wanted in (
        (np.array(["a", "b"]), [("a",), ("b",)]),
        (np.array([[1], [2]]), [("1",), ("2",)]),
        (np.arange(6.0).reshape(2, 3), [("0", "1", "2"), ("3", "4", "5")]),
        (np.array([b"x", b"y"]), [("x",), ("y",)]),
    ):
        stored = read_frames(recipe(save(tmp_path, frames=frames, classes=labels), predict="label"))
        assert [one.labels for one in stored.sequences] == wanted


def test_a_plain_array_may_have_time_first_or_be_one_sequence(tmp_path: Path) -> None:
    frames = np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    np.save(tmp_path / "frames.npy", frames)
    stored = read_frames(recipe(tmp_path / "frames.npy", time_first=True))
    np.testing.assert_array_equal(stored.sequences[2].frames, frames[:, 2])
    np.save(tmp_path / "frames.npy", frames[0])
    (only,) = read_frames(recipe(tmp_path / "frames.npy")).sequences
    np.testing.assert_array_equal(only.frames, frames[0])


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": np.zeros((2, 3, 4, 4)), "b": np.zeros((2, 3, 4, 4))}, "data.frames; there are: a [2, 3, 4, 4], b"),
        ({"frames": np.full((2, 3, 4, 4), np.nan)}, r"frames[0, 0, 0, 0] is no finite number"),
        ({"frames": np.zeros((2, 3, 4, 4)), "labels": np.zeros(3)}, "for 2 sequences of 3 frames it is [2] or [2, 3]"),
        ({"frames": np.zeros((2, 3, 4, 4)), "labels": np.array([0.5, 1])}, "numbers that are not whole"),
        ({"frames": np.array([{}, {}], object)}, "cannot be read as NumPy arrays of numbers"),
        ({"frames": np.zeros((0, 3, 4, 4))}, "there is nothing in it"),
    ],
)
def test_what_is_wrong_with_arrays_is_named(arrays: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_frames(recipe(save(tmp_path, **arrays), predict="label"))
    assert words in str(caught.value)


def test_a_misspelt_array_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'frames'"):
        read_frames(recipe(save(tmp_path, frames=np.zeros((2, 3, 4, 4))), frames="frame"))


def test_numbers_in_names_are_numbers() -> None:
    assert sorted(["f10.png", "f9.png", "g1.png"], key=natural) == ["f9.png", "f10.png", "g1.png"]


def test_a_folder_is_a_sequence_in_the_order_of_names(tmp_path: Path) -> None:
    for name, greys in {"walk": {"2": 20, "10": 100}, "run": {"1": 7}}.items():
        for frame, grey in greys.items():
            write_png(tmp_path / name / f"{frame}.png", grey)
    (tmp_path / "labels.csv").write_text("folder,what\nwalk,slow\nrun,fast\n", encoding="utf-8")
    run, walk = read_frames(recipe(tmp_path, predict="label")).sequences
    assert (run.name, run.labels, walk.name, walk.labels) == ("run", ("fast",), "walk", ("slow",))
    assert walk.frames.shape == (2, 4, 5)
    assert walk.frames[:, 0, 0].tolist() == [20, 100]


def test_a_folder_above_is_the_label(tmp_path: Path) -> None:
    for name in ("cat/1", "dog/2"):
        write_png(tmp_path / name / "a.png", 1)
    stored = read_frames(recipe(tmp_path, predict="label"))
    assert [one.labels for one in stored.sequences] == [("cat",), ("dog",)]


def test_a_list_names_files_by_the_table_or_by_the_sequence(tmp_path: Path) -> None:
    write_png(tmp_path / "s" / "a.png", 1)
    write_png(tmp_path / "b.png", 2)
    (tmp_path / "list.csv").write_text("s,a.png,x\ns,b.png,y\n", encoding="utf-8")
    (only,) = read_frames(recipe(tmp_path / "list.csv", predict="label")).sequences
    assert (only.name, only.labels, only.frames[:, 0, 0].tolist()) == ("s", ("x", "y"), [1, 2])


def test_a_list_whose_sequences_have_one_label_each_has_labels_of_sequences(tmp_path: Path) -> None:
    for name in "abc":
        write_png(tmp_path / f"{name}.png", 1)
    (tmp_path / "list.csv").write_text("id,file,label\ns,a.png,x\ns,b.png,x\nt,c.png,y\n", encoding="utf-8")
    stored = read_frames(recipe(tmp_path / "list.csv", predict="label"))
    assert [one.labels for one in stored.sequences] == [("x",), ("y",)]


def test_a_picture_that_is_none_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture", encoding="utf-8")
    (tmp_path / "list.csv").write_text("id,file\ns,a.png\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"list\.csv: line 2: .*a\.png: is no picture"):
        read_frames(recipe(tmp_path / "list.csv"))


def test_sixteen_bits_stay_sixteen_bits_and_sizes_become_one(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 3000, np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(np.full((8, 10), 4000, np.uint16)).save(tmp_path / "b.png")
    (only,) = read_frames(recipe(tmp_path)).sequences
    assert only.frames[:, 0, 0].tolist() == [3000, 4000]


def test_large_pictures_are_made_smaller_unless_a_size_is_told(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", 9, (256, 128))
    for keys, shape in (({}, (1, 32, 64)), ({"height": 100, "width": 90}, (1, 100, 90))):
        (only,) = read_frames(recipe(tmp_path, **keys)).sequences
        assert only.frames.shape == shape
