from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ostinato.models.errors import DataError, RecipeError
from ostinato.models.kinds.captions import CaptionsRecipe, CaptionTrainingRecipe, load_run, varied
from tests.training import train_run

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits" / "captions.toml"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    text = EXAMPLE.read_text().replace("digits.csv.xz", str(EXAMPLE.parent / "digits.csv.xz"))
    (tmp_path / "captions.toml").write_text(
        text.replace("max_epochs = 120", "max_epochs = 8").replace("members = 5", "members = 1"), encoding="utf-8"
    )
    return tmp_path / "captions.toml"


def test_a_little_training_lowers_the_loss_is_repeatable_and_loads_as_it_was_trained(
    recipe: Path, tmp_path: Path
) -> None:
    directory, (table,) = train_run(recipe, tmp_path / "run", 3)
    again, _ = train_run(recipe, tmp_path / "again", 3)
    assert (directory / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()
    # Support vectors are among them where their library is installed.
    assert [row[0] for row in table.rows if row[0] != "support vector machine"] == [
        "network",
        "nearest picture",
        "3 nearest pictures",
        "nearest mean picture",
        "most frequent",
    ]
    content = json.loads((directory / "run.json").read_text())
    losses = [past["validation"] for past in content["history"]]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]
    assert content["metrics"]["most_frequent"]["right"] < 0.2 < content["metrics"]["network"]["right"]
    assert (content["kind"], content["recipe"]["training"]["seed"]) == ("captions", 3)
    assert content["recipe"]["data"]["file"] == "digits.csv.xz"
    run = load_run(directory)
    assert run.content == content
    assert set("zeroneight") < set(content["vocabularies"]["target"]["symbols"])


def test_a_picture_is_varied_as_the_recipe_has_it_each_anew() -> None:
    pixels = torch.zeros(200, 1, 8, 8)
    pixels[:, 0, 3:5, 3:5] = 16.0
    torch.manual_seed(1)
    still = CaptionTrainingRecipe(max_shift=0)
    assert torch.equal(varied(pixels, still), pixels)
    moved = varied(pixels, CaptionTrainingRecipe(max_shift=1))
    assert set(moved.flatten().tolist()) == {0.0, 16.0}
    assert len(set(map(tuple, moved.flatten(1).tolist()))) == 9
    # Of a square around the middle, turned by up to a right angle and made up to half as large again, or half as large.
    turned = varied(pixels, CaptionTrainingRecipe(max_shift=0, max_turn_degrees=90.0, max_resize=0.5))
    assert len(set(map(tuple, turned.flatten(1).tolist()))) == 200
    ink = turned.flatten(1).sum(dim=1) / 64.0
    assert 0.1 < ink.min() < 0.5 < 1.8 < ink.max() < 2.5


def test_a_wrong_recipe_is_refused_with_its_key(recipe: Path) -> None:
    recipe.write_text(recipe.read_text().replace("hidden_size = 64", "hidden = 64"), encoding="utf-8")
    with pytest.raises(RecipeError, match=r"captions\.toml: network\.hidden: is no key of network; did you mean '"):
        CaptionsRecipe.read(recipe)


def test_a_symbol_that_no_text_of_the_training_part_has_is_named(recipe: Path, tmp_path: Path) -> None:
    text = 'kind = "captions"\nname = "t"\n[data]\nfile = "t.csv"\ntext = "text"\nheight = 4\nwidth = 4\n'
    wide = ["p" + str(place) for place in range(16)]
    rows = [",".join([*wide, "text"]), *[",".join([*["1"] * 16, "x" if number < 30 else "y"]) for number in range(40)]]
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    recipe.write_text(text + "validation_from = 20\ntest_from = 35\n", encoding="utf-8")
    with pytest.raises(DataError, match="'y' in 'y' is in no text of the training part"):
        train_run(recipe, tmp_path / "run")
