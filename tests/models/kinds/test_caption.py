from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ostinato.models.data.digits import NAMES, SYMBOLS, Digits, load_digits, names_to_codes, shifted, split
from ostinato.models.data.pairs import IGNORED
from ostinato.models.errors import DataError, RecipeError
from ostinato.models.kinds.caption import (
    CaptionRecipe,
    fit,
    load_run,
    mean_loss,
    nearest_centroids,
    score,
)
from ostinato.models.training.fitting import reproducible
from ostinato.models.training.job import Job
from tests.training import train_run

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits" / "caption.toml"


@pytest.fixture(scope="module")
def digits() -> Digits:
    return load_digits(CaptionRecipe.read(EXAMPLE).data.file)


def short_recipe(max_epochs: int = 1) -> CaptionRecipe:
    recipe = CaptionRecipe.read(EXAMPLE)
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"max_epochs": max_epochs})})


def test_all_digits_are_there_and_as_they_were_published(digits: Digits) -> None:
    assert digits.pixels.shape == (1797, 64)
    assert (digits.pixels.min(), digits.pixels.max()) == (0.0, 16.0)
    assert np.bincount(digits.digits).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert digits.pixels[0, :8].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]


def test_the_parts_are_fixed_and_share_no_row(digits: Digits) -> None:
    recipe = CaptionRecipe.read(EXAMPLE).data
    parts = split(recipe, digits)
    whole = [parts.training.pixels, parts.validation.pixels, parts.test.pixels]
    assert [len(part) for part in whole] == [1197, 200, 400]
    np.testing.assert_array_equal(np.concatenate(whole), digits.pixels)


def test_names_are_given_behind_the_edge_and_wanted_before_it() -> None:
    given, wanted = names_to_codes(np.array([1, 7]))
    letters = {symbol: code for code, symbol in enumerate(SYMBOLS)}
    one, seven = [letters[letter] for letter in "one"], [letters[letter] for letter in "seven"]
    assert given.tolist() == [[0, *one, 0, 0], [0, *seven]]
    assert wanted.tolist() == [[*one, 0, IGNORED, IGNORED], [*seven, 0]]


def test_pictures_are_moved_each_its_own_way_and_nothing_comes_in() -> None:
    pixels = torch.zeros(3, 8, 8)
    pixels[:, 0, 7] = 5.0
    moved = shifted(pixels.flatten(1), torch.tensor([[1, -2], [0, 0], [0, 1]])).reshape(3, 8, 8)
    assert moved[0].nonzero().tolist() == [[1, 5]]
    assert moved[1].nonzero().tolist() == [[0, 7]]
    assert moved[2].sum() == 0


def test_the_nearest_mean_picture_is_found() -> None:
    pixels = np.zeros((4, 64), np.float32)
    pixels[2:, 0] = (10.0, 14.0)
    training = Digits(pixels, np.array([3, 3, 8, 8]))
    asked = np.zeros((2, 64), np.float32)
    # The means are 0 and 12: 5.9 is nearer to the one, 6.1 to the other.
    asked[:, 0] = (5.9, 6.1)
    assert nearest_centroids(training, asked).tolist() == [3, 8]


def test_a_little_training_lowers_the_loss_and_scores_are_fractions(digits: Digits) -> None:
    training, test = digits.part(0, 300), digits.part(1700, 1797)
    recipe = short_recipe(max_epochs=8)
    shown: list[str] = []
    with reproducible(recipe.training):
        network, _ = fit(recipe, training, digits.part(300, 360), Job(lambda _done, _total, text: shown.append(text)))
    losses = [float(text.split()[-1]) for text in shown if text.startswith("validation")]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]
    # The weights of the best epoch are kept.
    assert mean_loss(network, digits.part(300, 360)) == pytest.approx(min(losses), abs=1e-4)
    scores = score(network, training, test)
    assert scores.num_scored == 97
    assert 0.0 <= scores.spelled_right <= 1.0
    assert scores.most_frequent < 0.2 < scores.nearest_centroid


def test_a_run_is_repeatable_and_loads_as_it_was_trained(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("digits.csv.xz", str(EXAMPLE.parent / "digits.csv.xz"))
    recipe = tmp_path / "caption.toml"
    recipe.write_text(text.replace("max_epochs = 60", "max_epochs = 1"))
    directory, (table,) = train_run(recipe, tmp_path / "run", 3)
    again, _ = train_run(recipe, tmp_path / "again", 3)
    assert (directory / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    assert [len(row) for row in table.rows] == [len(table.columns)] * 3
    content = json.loads((directory / "run.json").read_text())
    assert (content["kind"], content["recipe"]["training"]["seed"]) == ("caption", 3)
    assert content["recipe"]["data"]["file"] == "digits.csv.xz"
    assert len(content["data"]["sha256"]) == 64
    run = load_run(directory)
    assert run.content == content
    assert set("".join(NAMES)) < set(content["vocabularies"]["target"]["symbols"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hidden_size = 64", "hidden = 64", r"caption\.toml: network\.hidden: is no key of network; did you mean '"),
        ("max_shift = 1", "max_shift = 8", r"training\.max_shift: Input should be less than 8"),
        ("test_from = 1397", "test_from = 1197", r"data: validation_from must be smaller than test_from"),
        ('kind = "caption"', 'kind = "picture"', r"kind: Input should be 'caption'"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "caption.toml"
    path.write_text(EXAMPLE.read_text().replace(old, new))
    with pytest.raises(RecipeError, match=message):
        CaptionRecipe.read(path)


def test_a_pixel_with_too_much_ink_is_named(tmp_path: Path) -> None:
    header = ",".join([f"pixel_{row}_{column}" for row in range(8) for column in range(8)] + ["digit"])
    path = tmp_path / "digits.csv"
    path.write_text(f"{header}\n{'0,' * 63}17,3\n")
    with pytest.raises(DataError, match=r"line 2, column 'pixel_7_7': '17' is no whole number up to 16"):
        load_digits(path)
