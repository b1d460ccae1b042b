"""The steps of CONTRIBUTING.md that add a kind, taken for a toy: nothing that is there has to be changed.

Its files lie under ``tests/toy_kind``, and their folders are put next to those in which kinds and their exporters are
looked for.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from ostinato.commands.export import export
from ostinato.commands.train import train
from ostinato.commands.verify import verify
from ostinato.export import runs
from ostinato.models import kinds
from ostinato.models.errors import RecipeError, RunError
from ostinato.models.kinds.registry import kind_names, kind_of
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.loading import load_version
from ostinato.service.catalogue.recurrent_checks import LoadedModel
from ostinato.service.config import Settings
from tests.toy_kind.kinds.next_number import load_run

TESTS = Path(__file__).parents[1]
TOY = TESTS / "toy_kind"
CONTRIBUTING = TESTS.parent / "CONTRIBUTING.md"
RECIPE = """
kind = "next_number"
name = "waves"
description = "The next number of a wave"
[data]
file = "wave.txt"
licence = "CC0"
[network]
hidden_size = 6
[training]
seed = 3
num_streams = 4
window_steps = 12
max_epochs = 15
learning_rate = 2e-2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "wave.txt").write_text("\n".join(f"{math.sin(step / 3):.5f}" for step in range(400)), encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path / "recipe.toml"


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's folders, next to the real ones."""
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(TOY / "kinds")])
    monkeypatch.setattr(runs, "__path__", [*runs.__path__, str(TOY / "runs")])


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    for command in (train, export, verify):
        app.command()(command)
    return app


def run(app: typer.Typer, *arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.usefixtures("added", "quick")
def test_a_kind_added_by_the_steps_is_trained_exported_verified_and_answers(
    app: typer.Typer, recipe: Path, tmp_path: Path
) -> None:
    shown = run(app, "train", recipe, "--output", tmp_path / "run", "--seed", 5)
    assert "the next number" in shown
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (content["kind"], content["recipe"]["training"]["seed"]) == ("next_number", 5)
    assert content["metrics"]["mae"] < 0.5 * content["metrics"]["persistence_mae"]
    assert "to the bit" in run(app, "export", tmp_path / "run", "--repository", tmp_path / "repository")
    version = tmp_path / "repository" / "waves" / "1"
    assert re.search(r"waves .* yes .* ok ", run(app, "verify", version))
    manifest = Manifest.read(version)
    assert manifest.description == "The next number of a wave"
    assert manifest.provenance["licence"] == "CC0"
    assert manifest.provenance["metrics"] == content["metrics"]
    loaded = load_version(version, Settings())
    assert isinstance(loaded, LoadedModel)
    x = np.linspace(-1, 1, 7, dtype=np.float32).reshape(1, 7, 1)
    network = load_run(tmp_path / "run").network
    with torch.no_grad():
        wanted, _ = network(torch.from_numpy(x), *network.initial_state(1))
    answer, _ = loaded.runner.run(x, loaded.runner.initial_states(1))
    np.testing.assert_allclose(answer, wanted.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("added")
def test_a_toy_keeps_what_every_kind_promises(recipe: Path, tmp_path: Path) -> None:
    assert kind_of(recipe) == "next_number"
    assert "next_number" in kind_names()
    with pytest.raises(RunError, match="is not a run directory"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "next_number", "recipe": {}}')
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        load_run(tmp_path)


def test_without_its_file_a_kind_is_none(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="kind: 'next_number' is none of captions, forecaster, "):
        kind_of(recipe)


def test_the_steps_are_ten_and_name_folders_that_there_are() -> None:
    text = CONTRIBUTING.read_text(encoding="utf-8")
    [section] = re.findall(r"\*\*A network and its kind\.\*\*(.*?)\n\*\*", text, re.DOTALL)
    steps = re.findall(r"^(\d+)\. ", section, re.MULTILINE)
    assert steps == [str(number) for number in range(1, 11)]
    folders = set(re.findall(r"`((?:models|export|tests|examples)/[\w/]*?)(?:<\w+>[^`]*)?`", section))
    assert {"models/networks/", "models/kinds/", "export/runs/"} <= folders
    assert [folder for folder in folders if not (CONTRIBUTING.parent / folder).exists()] == []
