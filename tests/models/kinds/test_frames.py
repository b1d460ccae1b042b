from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ostinato.models.data.frames import FrameForm
from ostinato.models.errors import DataError
from ostinato.models.kinds.frames import FramesRecipe, build, load_run
from ostinato.models.recipe import RunRecipe
from tests.training import train_run

EXAMPLES = Path(__file__).parents[3] / "examples" / "digits"


def recipe(predict: str, network: dict[str, Any], **training: Any) -> FramesRecipe:
    data = {"file": "frames.npz", "predict": predict}
    return FramesRecipe.model_validate(
        {"kind": "frames", "name": "own", "data": data, "network": network, "training": training}
    )


@pytest.mark.parametrize(
    ("predict", "network", "training", "words"),
    [
        ("next_frame", {"cell": "gru"}, {}, 'network.cell: is of data.predict = "label"'),
        ("next_frame", {"hidden_size": 8}, {}, "network.hidden_size: is of"),
        ("label", {}, {"loss": "squared"}, "training.loss: squared is of next frames"),
    ],
)
def test_a_key_of_the_other_answer_is_refused(predict: str, network: Any, training: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        recipe(predict, network, **training)


@pytest.mark.parametrize(
    ("predict", "patch_size", "words"),
    [("next_frame", 3, "patch_size: 3 does not divide frames of 8 x 6"), ("label", 2, "too small for a CNN")],
)
def test_patches_that_do_not_fit_are_refused(predict: str, patch_size: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        build(recipe(predict, {"patch_size": patch_size}), FrameForm(1, 8, 6, "none"), ((0.0,), (1.0,)), 2)


@pytest.mark.parametrize("predict", ["next_frame", "label"])
def test_a_run_is_loaded_as_it_was_trained(predict: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    frames, labels = generator.random((12, 3, 4, 4)).astype(np.float32), np.arange(36).reshape(12, 3) % 2
    np.savez(tmp_path / "frames.npz", frames=frames, labels=labels)
    text = f'kind = "frames"\nname = "own"\n[data]\nfile = "frames.npz"\npredict = "{predict}"\n'
    text += "[network]\nnum_channels = 2\n[training]\nmax_epochs = 1\n"
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    directory, tables = train_run(tmp_path / "own.toml", tmp_path / "run")
    run = load_run(directory)
    assert run.form == FrameForm(1, 4, 4, "none")
    rivals = {row[0] for row in tables[0].rows}
    if predict == "label":
        assert run.content["classes"] == ["0", "1"]
        assert rivals == {"network", "nearest mean frame", "always the most frequent"}
    else:
        assert rivals == {"network", "last frame", "mean frame"}


def test_the_example_is_a_recipe_whose_data_are_what_its_script_writes() -> None:
    example = FramesRecipe.read(EXAMPLES / "moving.toml")
    assert isinstance(example, RunRecipe)
    script = runpy.run_path(str(EXAMPLES / "moving.py"))
    with np.load(example.data.file) as stored:
        np.testing.assert_array_equal(stored["frames"], script["moving_digits"](script["read_digits"]()))
