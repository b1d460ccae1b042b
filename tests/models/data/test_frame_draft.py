from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ostinato.models.data.frame_draft import draft_of_frames
from ostinato.models.data.frames import load_frames
from ostinato.models.errors import DataError
from ostinato.models.kinds.frames import FramesRecipe, build


def drafted(file: Path) -> dict[str, Any]:
    """The recipe as a file, held to what a recipe may say."""
    content = tomllib.loads(draft_of_frames(file).text("frames", "own", str(file)))
    recipe = FramesRecipe.model_validate(content)
    data = load_frames(recipe.data)
    build(recipe, data.form, data.statistics.channel_range(data.form), len(data.classes))
    return content


def save(folder: Path, *shape: int, **labels: Any) -> Path:
    frames = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    np.savez(folder / "own.npz", movie=frames, **labels)
    return folder / "own.npz"


def test_arrays_without_labels_are_asked_for_the_next_frame(tmp_path: Path) -> None:
    content = drafted(save(tmp_path, 20, 6, 12, 10))
    data = content["data"]
    assert (data["predict"], data["frames"], data["horizon"]) == ("next_frame", "movie", 3)
    assert "cell" not in content["network"]
    assert "window" not in data


def test_arrays_with_labels_are_asked_for_them(tmp_path: Path) -> None:
    content = drafted(save(tmp_path, 20, 6, 12, 10, kind=np.arange(20) % 3))
    assert (content["data"]["predict"], content["data"]["label"]) == ("label", "kind")
    assert content["network"]["cell"] == "lstm"
    assert "loss" not in content["training"]


def test_labels_that_are_all_the_same_are_not_learned(tmp_path: Path) -> None:
    assert drafted(save(tmp_path, 20, 6, 12, 10, kind=np.zeros(20)))["data"]["predict"] == "next_frame"


def test_large_frames_are_cut_into_patches_that_divide_them_and_long_ones_into_windows(tmp_path: Path) -> None:
    content = drafted(save(tmp_path, 4, 60, 64, 48))
    assert (content["network"]["patch_size"], content["data"]["window"]) == (4, 20)
    assert drafted(save(tmp_path, 1, 60, 31, 37))["network"]["patch_size"] == 1


def test_the_more_there_is_to_learn_the_fewer_are_the_epochs(tmp_path: Path) -> None:
    few, many = (drafted(save(tmp_path, count, 10, 16, 16))["training"]["max_epochs"] for count in (10, 3000))
    assert 3 <= many < few <= 40


def test_pictures_are_read_in_colour_where_they_have_any(tmp_path: Path) -> None:
    lines = ["who,file,mood"]
    for number in range(12):
        Image.new("RGB", (8, 8), (number, 0, 9)).save(tmp_path / f"{number}.png")
        lines.append(f"{number},{number}.png,{'glad' if number % 2 else 'sad'}")
    (tmp_path / "list.csv").write_text("\n".join(lines), encoding="utf-8")
    data = drafted(tmp_path / "list.csv")["data"]
    assert {key: data[key] for key in ("id", "picture", "label", "colour", "predict")} == {
        "id": "who",
        "picture": "file",
        "label": "mood",
        "colour": True,
        "predict": "label",
    }


def test_a_file_that_has_no_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "load.csv").write_text("time,load\n1,2\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for name, words in (("load.csv", "no column names pictures"), ("empty", "has no folder with pictures")):
        with pytest.raises(DataError, match=words):
            draft_of_frames(tmp_path / name)


def squares(num: int, num_frames: int = 8) -> NDArray[np.uint8]:
    """Sequences ``[N, T, 10, 10]`` of a bar that moves down by a row a frame, each before noise of its own."""
    noise = np.random.default_rng(0).integers(0, 200, (num, 1, 10, 10)).astype(np.uint8)
    frames = noise.repeat(num_frames, axis=1)
    for step in range(num_frames):
        frames[:, step, step % 10, 3:6] = 250
    return frames


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("labels", [None, "of sequences", "of frames"])
def test_the_axis_along_which_frames_change_less_is_that_of_the_steps(
    tmp_path: Path, is_first: bool, labels: str | None
) -> None:
    frames = squares(20)
    given = {"of sequences": np.arange(20) % 3, "of frames": np.tile(np.arange(8) // 4, (20, 1)), None: None}[labels]
    if is_first:
        frames = frames.swapaxes(0, 1)
        given = given.T if given is not None and given.ndim == 2 else given
    arrays: dict[str, Any] = {"frames": frames} if given is None else {"frames": frames, "labels": given}
    np.savez(tmp_path / "own.npz", **arrays)
    content = drafted(tmp_path / "own.npz")
    assert content["data"].get("time_first", False) == is_first
    recipe = FramesRecipe.model_validate(content)
    assert {len(one.frames) for one in load_frames(recipe.data).parts["training"]} == {8}


def test_one_sequence_in_colour_has_its_channels_last(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", np.stack([squares(1, 90)[0]] * 3, axis=-1))
    assert drafted(tmp_path / "own.npy")["data"]["channels"] == "last"


def animated(file: Path, frames: NDArray[np.uint8]) -> None:
    first, *others = map(Image.fromarray, frames)
    first.save(file, save_all=True, append_images=others, duration=40)


@pytest.mark.parametrize("form", ["gif", "tiff", "npy"])
@pytest.mark.parametrize("has_labels", [False, True])
def test_a_file_of_frames_is_a_sequence(tmp_path: Path, form: str, has_labels: bool) -> None:
    for place, frames in enumerate(squares(12)):
        folder = tmp_path / "clips" / ("odd" if place % 2 else "even") if has_labels else tmp_path / "clips"
        folder.mkdir(parents=True, exist_ok=True)
        if form == "npy":
            np.save(folder / f"{place}.npy", frames)
        else:
            animated(folder / f"{place}.{form}", frames)
    content = drafted(tmp_path / "clips")
    assert content["data"]["predict"] == ("label" if has_labels else "next_frame")
    data = load_frames(FramesRecipe.model_validate(content).data)
    assert sum(map(len, data.parts.values())) == 12
    assert {len(one.frames) for own in data.parts.values() for one in own} == {8}
    assert data.classes == (("even", "odd") if has_labels else ())


def test_one_animation_is_one_long_sequence(tmp_path: Path) -> None:
    animated(tmp_path / "long.gif", squares(1, 80)[0])
    data = load_frames(FramesRecipe.model_validate(drafted(tmp_path / "long.gif")).data)
    assert sum(len(one.frames) for own in data.parts.values() for one in own) == 80


def test_pictures_in_one_folder_are_sequences_by_the_beginnings_of_their_names(tmp_path: Path) -> None:
    for place, frames in enumerate(squares(4)):
        for step, frame in enumerate(frames):
            Image.fromarray(frame).save(tmp_path / f"clip{place}_{step}.png")
    data = load_frames(FramesRecipe.model_validate(drafted(tmp_path)).data)
    assert sorted(one.name for own in data.parts.values() for one in own) == ["clip0", "clip1", "clip2", "clip3"]


def test_sequences_of_unlike_sizes_and_videos_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", squares(1)[0])
    np.save(tmp_path / "b.npy", squares(1)[0][:, :8])
    with pytest.raises(DataError, match=r"frames of 'b' are \[8, 10\], and of 'a' \[10, 10\]: all frames"):
        draft_of_frames(tmp_path)
    (tmp_path / "clip.mp4").write_bytes(b"0")
    with pytest.raises(DataError, match=r"is a video, and pictures are read: ffmpeg -i clip\.mp4 frames/%05d\.png"):
        draft_of_frames(tmp_path / "clip.mp4")
