from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import equal

from ostinato.models.errors import RecipeError, RunError
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.report import ScoreTable
from ostinato.models.scores import forecaster
from ostinato.models.trainer import Wishes, train_recipe
from ostinato.models.training.checkpoints import CHECKPOINT_FILE
from tests.training import silent

RECIPE = """
name = "wave"
description = "a wave & its <level>"
[data]
file = "wave.csv"
target = "level"
features = ["level", "wind"]
categorical = ["wind"]
time = ["time"]
validation_from = 2024-01-11
test_from = 2024-01-14
[network]
cell = "gru"
hidden_size = 4
[training]
batch_size = 4
window_steps = 12
max_epochs = {max_epochs}
"""


@pytest.fixture
def recipe(wave_recipe: Recipe, tmp_path: Path) -> Path:
    assert wave_recipe.data.file.parent == tmp_path
    (tmp_path / "recipe.toml").write_text(RECIPE.format(max_epochs=3), encoding="utf-8")
    return tmp_path / "recipe.toml"


class Addresses(HTMLParser):
    """What a page would load or go to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Each element."""
        if tag in ("script", "link", "iframe", "image", "img"):
            self.found.append(tag)
        self.found += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "data")]


def test_a_report_holds_curves_and_scores_and_loads_nothing(recipe: Path, tmp_path: Path) -> None:
    directory, tables = train_recipe(recipe, Wishes(tmp_path / "run"), silent)
    page = (directory / "report.html").read_text(encoding="utf-8")
    # What a drawing refers to is within it.
    assert {address[0] for address in Addresses(page).found} <= {"#"}
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)
    assert "a wave &amp; its &lt;level&gt;" in page
    assert page.count("<svg") >= 3
    facts = page[page.index("<dl>") : page.index("</dl>")]
    assert "cell gru" in facts
    assert "reset_after True" in facts
    assert "periods" not in facts
    for words in ("loss by epoch", "persistence", "learning rate", *(cell for row in tables[0].rows for cell in row)):
        assert words in page
    told = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    [curve] = [part for part in told["sections"] if part["title"] == "loss by epoch"]
    history = json.loads((directory / "run.json").read_text())["history"]
    assert curve["lines"]["loss"] == [[1, 2, 3], [past["loss"] for past in history]]


def test_several_seeds_are_compared_and_the_best_is_the_run(recipe: Path, tmp_path: Path) -> None:
    directory, tables = train_recipe(recipe, Wishes(tmp_path / "run", seed=5, num_seeds=3), silent)
    runs = [json.loads((directory / "seeds" / str(seed) / "run.json").read_text()) for seed in (5, 6, 7)]
    assert [run["recipe"]["training"]["seed"] for run in runs] == [5, 6, 7]
    validations = [run["validation"] for run in runs]
    assert len(set(validations)) == 3
    best = 5 + validations.index(min(validations))
    assert json.loads((directory / "run.json").read_text())["recipe"]["training"]["seed"] == best
    weights = [load_file(place / "model.safetensors") for place in (directory, directory / "seeds" / str(best))]
    assert all(equal(weight, weights[1][name]) for name, weight in weights[0].items())
    compared = tables[0]
    assert [row[0] for row in compared.rows] == ["5", "6", "7", "mean", "standard deviation"]
    # The kind's own word for it, validation_mae, says the same.
    assert [float(row[1]) for row in compared.rows[:3]] == [pytest.approx(each, rel=1e-3) for each in validations]
    assert not [name for name in compared.columns[2:] if "validation" in name]
    assert compared.note == f"the run is that of seed {best}, whose validation error is the least"
    mean = float(compared.rows[3][1])
    assert mean == pytest.approx(sum(validations) / 3, rel=1e-3)


def test_a_finished_training_is_not_repeated_and_a_kind_without_time_has_no_backtest(
    recipe: Path, tmp_path: Path
) -> None:
    first, tables = train_recipe(recipe, Wishes(tmp_path / "run"), silent)
    before = (first / "report.html").stat().st_mtime_ns
    told: list[str] = []
    _, again = train_recipe(
        recipe, Wishes(tmp_path / "run", resume=True), lambda _done, _total, text: told.append(text)
    )
    assert told == [f"{first}: is trained already, by this recipe: nothing was left to resume"]
    assert again == tables
    assert (first / "report.html").stat().st_mtime_ns == before
    assert all(isinstance(table, ScoreTable) for table in again)


def test_a_read_out_in_closed_form_has_seeds_and_resumes_like_any_training(recipe: Path, tmp_path: Path) -> None:
    text = RECIPE.format(max_epochs=3).replace('"gru"', '"echo_state"').replace("size = 4", "size = 30")
    recipe.write_text(text.replace("[training]", "ridge = 1e-3\n[training]"), encoding="utf-8")
    directory, tables = train_recipe(recipe, Wishes(tmp_path / "run", num_seeds=2), silent)
    content = json.loads((directory / "run.json").read_text())
    assert (content["num_epochs"], content["history"]) == (0, [])
    assert [row[0] for row in tables[0].rows] == ["0", "1", "mean", "standard deviation"]
    assert "by ridge regression" in tables[1].note
    assert "loss by epoch" not in (directory / "report.html").read_text(encoding="utf-8")
    told: list[str] = []
    again = Wishes(tmp_path / "run", num_seeds=2, resume=True)
    train_recipe(recipe, again, lambda _done, _total, text: told.append(text))
    assert len(told) == 2
    assert all("is trained already" in sentence for sentence in told)


def test_what_is_said_of_the_data_is_said_once_by_several_trainings(recipe: Path, tmp_path: Path) -> None:
    rows = (tmp_path / "wave.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "wave.csv").write_text("\n".join(rows[:20] + rows[21:]), encoding="utf-8")
    told: list[str] = []
    train_recipe(recipe, Wishes(tmp_path / "run", num_seeds=2), lambda _done, _total, text: told.append(text))
    assert len([text for text in told if "have no row" in text or "has no row" in text]) == 1


def test_a_run_of_another_recipe_is_not_written_over_by_resuming(recipe: Path, tmp_path: Path) -> None:
    train_recipe(recipe, Wishes(tmp_path / "run"), silent)
    before = (tmp_path / "run" / "run.json").read_bytes()
    recipe.write_text(RECIPE.format(max_epochs=2), encoding="utf-8")
    with pytest.raises(RunError, match="holds a run of another recipe, seed or data, and nothing to resume"):
        train_recipe(recipe, Wishes(tmp_path / "run", resume=True), silent)
    assert (tmp_path / "run" / "run.json").read_bytes() == before


KILLED = """
import os, signal, sys
from pathlib import Path
from ostinato.models.trainer import Wishes, train_recipe

def report(done, total, text):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

train_recipe(Path(sys.argv[1]), Wishes(Path(sys.argv[2])), report)
"""


def test_a_killed_training_is_resumed_to_the_weights_it_would_have_had(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE.format(max_epochs=5), encoding="utf-8")
    whole, _ = train_recipe(recipe, Wishes(tmp_path / "whole"), silent)
    killed = tmp_path / "killed"
    ended = subprocess.run([sys.executable, "-c", KILLED, recipe, killed], check=False, env=os.environ)
    assert ended.returncode == -signal.SIGKILL
    assert [file.name for file in killed.iterdir()] == [CHECKPOINT_FILE]
    told: list[str] = []
    train_recipe(recipe, Wishes(killed, resume=True), lambda _done, _total, text: told.append(text))
    assert told[0].startswith("resumed after epoch ")
    assert not (killed / CHECKPOINT_FILE).exists()
    weights = [load_file(place / "model.safetensors") for place in (whole, killed)]
    assert all(equal(weight, weights[1][name]) for name, weight in weights[0].items())
    histories = [json.loads((place / "run.json").read_text())["history"] for place in (whole, killed)]
    assert histories[0] == histories[1]


def test_what_fails_behind_the_last_epoch_costs_no_epoch(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room for the scores")

    with monkeypatch.context() as patched:
        patched.setattr(forecaster, "judge", fail)
        with pytest.raises(MemoryError):
            train_recipe(recipe, Wishes(tmp_path / "run"), silent)
    told: list[str] = []
    train_recipe(recipe, Wishes(tmp_path / "run", resume=True), lambda _done, _total, text: told.append(text))
    assert told[0] == "resumed after epoch 3 of 3"
    assert not [text for text in told if text.startswith("batch")]
    whole, _ = train_recipe(recipe, Wishes(tmp_path / "whole"), silent)
    assert (whole / "model.safetensors").read_bytes() == (tmp_path / "run" / "model.safetensors").read_bytes()


def test_what_is_misspelt_is_found_before_anything_is_read(recipe: Path, tmp_path: Path) -> None:
    text = RECIPE.format(max_epochs=3).replace("max_epochs", "max_epoch").replace('"gru"', '"gruu"')
    recipe.write_text(text.replace("target =", "targets ="), encoding="utf-8")
    with pytest.raises(RecipeError) as told:
        train_recipe(recipe, Wishes(tmp_path / "run"), silent)
    for sentence in (
        "training.max_epoch: is no key of training; did you mean 'max_epochs'?",
        "data.targets: is no key of data; did you mean 'target'?",
        "did you mean 'gru'?",
    ):
        assert sentence in str(told.value)
    recipe.write_text('kind = "forcaster"\n', encoding="utf-8")
    with pytest.raises(RecipeError, match=r"did you mean 'forecaster'\?"):
        train_recipe(recipe, Wishes(tmp_path / "run"), silent)
