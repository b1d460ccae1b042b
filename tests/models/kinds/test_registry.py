from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest

from ostinato.models.data.series_recipe import Recipe
from ostinato.models.errors import RecipeError
from ostinato.models.kinds.registry import FORECASTER, kind_names, kind_of, load_kind
from tests.training import train_run

RECIPE = """
name = "wave"
[data]
file = "wave.csv"
target = "level"
features = ["level"]
time = ["time"]
validation_from = 2024-01-11
test_from = 2024-01-14
[network]
cell = "gru"
hidden_size = 4
[training]
num_streams = 4
window_steps = 12
max_epochs = 2
"""


def recipe_of(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_without_a_kind_is_a_forecasters(tmp_path: Path) -> None:
    assert kind_of(recipe_of(tmp_path, RECIPE)) == FORECASTER


def test_a_recipes_kind_is_the_one_it_names(tmp_path: Path) -> None:
    assert kind_of(recipe_of(tmp_path, 'kind = "pronunciation"')) == "pronunciation"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kind = "translation"', r"recipe\.toml: kind: 'translation' is none of caption, forecaster, "),
        ("kind = 3", r"kind: 3 is none of"),
        ('kind = ["forecaster"]', r"kind: \['forecaster'\] is none of"),
        # Modules that are near the kinds, and are none.
        ('kind = "registry"', r"kind: 'registry' is none of"),
        ('kind = "__init__"', r"kind: '__init__' is none of"),
        ("kind = ", r"recipe\.toml: is not TOML"),
    ],
)
def test_a_kind_that_there_is_not_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        kind_of(recipe_of(tmp_path, text))


def test_every_kind_trains_and_loads() -> None:
    assert kind_names() == [
        "caption",
        "forecaster",
        "frames",
        "labels",
        "language_model",
        "multi_horizon",
        "pronunciation",
        "tags",
    ]
    for name in kind_names():
        module = load_kind(name)
        assert callable(module.train)
        assert get_args(module.RECIPE.model_fields["kind"].annotation) == (name,)
        assert callable(getattr(module, "load_run", None))


def test_an_absent_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.toml: cannot be read"):
        kind_of(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("line", ["", 'kind = "forecaster"\n'])
def test_a_forecaster_is_trained_by_its_kind(tmp_path: Path, wave_recipe: Recipe, line: str) -> None:
    assert wave_recipe.data.file.parent == tmp_path
    recipe = recipe_of(tmp_path, line + RECIPE)
    seen: list[tuple[int, int]] = []

    def report(done: int, total: int, text: str) -> None:
        assert "loss" in text
        seen.append((done, total))

    directory, (table,) = train_run(recipe, tmp_path / "run", 5, report)
    assert directory == tmp_path / "run"
    assert json.loads((directory / "run.json").read_text())["recipe"]["training"]["seed"] == 5
    assert [row[0] for row in table.rows] == ["network", "persistence", "seasonal naive (24 steps)"]
    assert table.note.startswith("2 epochs in ")
    assert seen == sorted(seen)
    assert seen[-1] == (2, 2)
