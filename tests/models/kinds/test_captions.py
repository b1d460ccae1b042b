from __future__ import annotations

import json
from pathlib import Path

import pytest

from ostinato.models.errors import DataError, RecipeError
from ostinato.models.kinds.captions import CaptionsRecipe, load_run
from tests.training import train_run

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits" / "captions.toml"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    text = EXAMPLE.read_text().replace("digits.csv.xz", str(EXAMPLE.parent / "digits.csv.xz"))
    (tmp_path / "captions.toml").write_text(text.replace("max_epochs = 60", "max_epochs = 8"), encoding="utf-8")
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
