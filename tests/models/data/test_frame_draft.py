from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
