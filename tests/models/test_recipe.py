from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from ostinato.models.errors import RecipeError
from ostinato.models.kinds.captions import CaptionsRecipe
from ostinato.models.networks.forecaster_recipe import Recipe

EXAMPLES = Path(__file__).parents[2] / "examples" / "beijing_pm25"
TEXT = """
name = "load"
[data]
file = "load.csv"
target = "load"
features = ["load", "wind"]
time = ["time"]
validation_from = 2024-01-04
test_from = 2024-01-06T12:00:00Z
[network]
cell = "lstm"
"""


def read(folder: Path, text: str) -> Recipe:
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return Recipe.read(folder / "recipe.toml")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_examples_are_valid_and_their_data_lies_beside_them(cell: str) -> None:
    recipe = Recipe.read(EXAMPLES / f"{cell}.toml")
    assert recipe.name == f"beijing-{cell}"
    assert recipe.network.cell == cell
    assert recipe.data.file == EXAMPLES / "beijing_pm25_hourly.csv.xz"
    assert recipe.data.file.is_file()
    assert recipe.data.licence == "CC BY 4.0"


def test_dates_are_midnights_and_zones_become_utc(tmp_path: Path) -> None:
    recipe = read(tmp_path, TEXT)
    assert recipe.data.validation_from == datetime(2024, 1, 4)
    assert recipe.data.test_from == datetime(2024, 1, 6, 12)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('cell = "lstm"', 'cell = "lstn"', r"recipe\.toml: network\.cell: 'lstn' is none of .*; did you mean 'lstm'\?"),
        ('cell = "lstm"', 'cell = ["gru", 3]', r"network\.cell: 3 is none of rnn, jordan, "),
        ('cell = "lstm"\n', "", r"network\.cell: Field required"),
        ('cell = "lstm"', 'cell = "lstm"\nlayers = 2', r"network\.layers: is no key of network; did you mean '"),
        ('target = "load"\n', "", r"data\.target: Field required"),
        ('target = "load"', 'target = ["load", "load"]', r"data: target: a column occurs twice"),
        ('time = ["time"]', 'time = ["time"]\nstatic = ["wind"]', r"static: \['wind'\] are features or targets"),
        (
            'time = ["time"]',
            'time = ["time"]\nknown_future = ["load"]',
            r"known_future: \['load'\] are what is forecast",
        ),
        ('time = ["time"]', 'time = ["time"]\ncycles = ["wind"]', r"cycles: \['wind'\] are not among the categorical"),
        (
            'cell = "lstm"',
            'cell = "lstm"\nquantiles = [0.2, 0.5, 0.8]',
            r"quantiles: are of training\.loss = 'pinball'",
        ),
        ('cell = "lstm"', 'cell = "lstm"\nmemory_steps = 3', r"memory_steps: is of forecast = 'attention'"),
        ('cell = "lstm"', 'cell = "rnn"\nforecast = "attention"', r"by attention it is lstm or gru"),
        ('cell = "lstm"', 'cell = "lstm"\nforecast = "attention"', r"network\.forecast: by attention the quantiles"),
        ('time = ["time"]', 'time = ["time"]\ncategorical = ["sun"]', r"categorical: \['sun'\] are not among"),
        ('time = ["time"]', 'time = ["time"]\ncategorical = ["load"]', r"target: 'load' is categorical"),
        ('time = ["time"]', 'time = ["day", "hour"]', r"time: 'day' and 'hour' tell no time; give one column"),
        ('["load", "wind"]', '["load", "load"]', r"features: a column occurs twice"),
        ("2024-01-04", "2024-02-04", r"validation_from must be earlier than test_from"),
        ('name = "load"', 'name = "../load"', r"name: String should match pattern"),
        (
            "[network]",
            "[training]\nwarm_up_epochs = 5\nmax_epochs = 5\n[network]",
            r"recipe\.toml: training\.warm_up_epochs: 5 is no less than training\.max_epochs \(5\), so the learning",
        ),
        ("[network]", "least = nan\n[network]", r"data\.least: Input should be a finite number"),
        (
            "[network]",
            "[training]\nwarm_up_epochs = inf\n[network]",
            r"warm_up_epochs: Input should be a finite number",
        ),
        ("[data]", "[data", r"recipe\.toml: is not TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_with_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, TEXT.replace(old, new))


def test_a_warm_up_that_a_kind_has_by_default_is_shorter_than_the_training_too(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    text = 'kind = "captions"\nname = "own"\n[data]\nfile = "own.csv"\ntext = "text"\n[training]\nmax_epochs = {}\n'
    recipe.write_text(text.format(4), encoding="utf-8")
    with pytest.raises(
        RecipeError, match=r"warm_up_epochs: 4, its default, is no less than training\.max_epochs \(4\)"
    ):
        CaptionsRecipe.read(recipe)
    recipe.write_text(text.format(5), encoding="utf-8")
    assert CaptionsRecipe.read(recipe).training.warm_up_epochs == 4.0


def test_a_run_whose_warm_up_was_not_shorter_is_read(tmp_path: Path) -> None:
    content = read(tmp_path, TEXT).portable()
    content["training"] |= {"warm_up_epochs": 9.0, "max_epochs": 2}
    assert Recipe.model_validate(content).training.warm_up_epochs == 9.0


def test_an_absent_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.toml: cannot be read"):
        Recipe.read(tmp_path / "nowhere.toml")


def test_another_seed_stands_in_for_the_recipes_own(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(TEXT + "[training]\nseed = 3\nnum_streams = 4\n", encoding="utf-8")
    assert Recipe.read(path).training.seed == 3
    training = Recipe.read(path, seed=0).training
    assert (training.seed, training.batch_size) == (0, 4)


def test_a_portable_recipe_names_its_file_alone_and_is_a_recipe(tmp_path: Path) -> None:
    recipe = read(tmp_path, TEXT)
    content = recipe.portable()
    assert content["data"]["file"] == "load.csv"
    assert str(tmp_path) not in str(content)
    again = Recipe.model_validate(content)
    assert again.data.model_copy(update={"file": recipe.data.file}) == recipe.data


def test_gaps_are_filled_and_the_step_is_found_unless_the_recipe_says_otherwise(tmp_path: Path) -> None:
    assert (read(tmp_path, TEXT).data.gaps, read(tmp_path, TEXT).data.step) == ("fill", None)
    told = read(tmp_path, TEXT.replace("[network]", 'gaps = "refuse"\nstep = "15 minutes"\n[network]'))
    assert (told.data.gaps, told.data.step) == ("refuse", "15 minutes")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('gaps = "drop"', r"data\.gaps: Input should be 'fill', 'refuse' or 'ignore'"),
        ('step = "quarterly"', r"data: step: 'quarterly' is not a step; write it as '1 hour'"),
        ('step = "1 hour"\ngaps = "ignore"', r"data: step: gaps = 'ignore' takes rows as they come"),
    ],
)
def test_a_wrong_step_or_word_about_gaps_is_refused(lines: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        read(tmp_path, TEXT.replace("[network]", f"{lines}\n[network]"))
