from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ostinato.models.errors import RunError
from ostinato.models.recipe import Optimizer, TrainingRecipe
from ostinato.models.training.checkpoints import CHECKPOINT_FILE, Checkpoints
from ostinato.models.training.fitting import Fitted, fit_rows, reproducible
from ostinato.models.training.job import Job

NOWHERE = Checkpoints()
ROWS = torch.linspace(-1, 1, 12).unsqueeze(1)


class Interrupted(Exception):
    """As if the process died."""


def train(
    recipe: TrainingRecipe, checkpoints: Checkpoints = NOWHERE, stop_after: int = 1000
) -> tuple[nn.Module, Fitted]:
    """A network with dropout on shuffled rows: all that is drawn at random shows in its weights."""
    with reproducible(recipe):
        network = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 1))

        def error(rows: Tensor) -> Tensor:
            answer: Tensor = network(ROWS[rows])
            return (answer - ROWS[rows].sin()).square().mean()

        epochs = 0

        def validate() -> float:
            nonlocal epochs
            epochs += 1
            if epochs > stop_after:
                raise Interrupted
            with torch.no_grad():
                return error(torch.arange(len(ROWS))).item()

        return network, fit_rows(network, len(ROWS), recipe, error, validate, Job(checkpoints=checkpoints), "error")


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [("adamw", 0.0), ("adam", 0.0), ("nadam", 0.0), ("rmsprop", 0.5), ("adagrad", 0.0), ("sgd", 0.0), ("sgd", 0.9)],
)
@pytest.mark.parametrize("after", [1, 5])
def test_a_resumed_training_ends_with_the_weights_it_would_have_had(
    optimizer: Optimizer, momentum: float, after: int, tmp_path: Path
) -> None:
    recipe = TrainingRecipe(
        optimizer=optimizer, momentum=momentum, batch_size=5, max_epochs=8, schedule="plateau", decay_epochs=1, seed=3
    )
    whole, fitted = train(recipe)
    with pytest.raises(Interrupted):
        train(recipe, Checkpoints(tmp_path, "one"), stop_after=after)
    resumed, again = train(recipe, Checkpoints(tmp_path, "one", resume=True))
    assert again.history == fitted.history
    assert (again.num_epochs, again.best_epoch, again.validation) == (8, fitted.best_epoch, fitted.validation)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name])


def test_a_resumed_training_keeps_a_best_epoch_from_before_the_interruption(tmp_path: Path) -> None:
    recipe = TrainingRecipe(batch_size=5, max_epochs=4, learning_rate=0.1, schedule="constant", seed=2)
    whole, fitted = train(recipe)
    assert fitted.best_epoch == 2
    with pytest.raises(Interrupted):
        train(recipe, Checkpoints(tmp_path, "one"), stop_after=3)
    resumed, again = train(recipe, Checkpoints(tmp_path, "one", resume=True))
    assert again.best_epoch == 2
    assert all(torch.equal(weight, resumed.state_dict()[name]) for name, weight in whole.state_dict().items())


def test_what_was_interrupted_twice_and_after_its_last_epoch_is_resumed_too(tmp_path: Path) -> None:
    recipe = TrainingRecipe(batch_size=5, max_epochs=6)
    _, fitted = train(recipe)
    for after in (2, 3):
        with pytest.raises(Interrupted):
            train(recipe, Checkpoints(tmp_path, resume=True), stop_after=after)
    train(recipe, Checkpoints(tmp_path, resume=True))
    # All epochs are done: nothing is trained again.
    _, again = train(recipe, Checkpoints(tmp_path, resume=True), stop_after=0)
    assert again.history == fitted.history


def test_of_another_recipe_or_damaged_it_is_refused_and_without_resume_begun_anew(tmp_path: Path) -> None:
    recipe = TrainingRecipe(batch_size=5, max_epochs=3)
    with pytest.raises(Interrupted):
        train(recipe, Checkpoints(tmp_path, "one"), stop_after=1)
    with pytest.raises(RunError, match=r"checkpoint\.safetensors: is of another recipe, seed or data"):
        train(recipe, Checkpoints(tmp_path, "two", resume=True))
    _, fitted = train(recipe, Checkpoints(tmp_path, "two"))
    assert fitted.history == train(recipe)[1].history
    file = tmp_path / CHECKPOINT_FILE
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(RunError, match="is damaged"):
        train(recipe, Checkpoints(tmp_path, "two", resume=True))


def test_it_holds_the_best_epoch_too_and_nothing_that_runs_code(tmp_path: Path) -> None:
    recipe = TrainingRecipe(batch_size=5, max_epochs=4, learning_rate=0.05, schedule="constant")
    _, fitted = train(recipe, Checkpoints(tmp_path))
    kept = load_file(tmp_path / CHECKPOINT_FILE)
    assert {name.partition("/")[0] for name in kept} == {"weights", "best", "optimizer"}
    assert [file.name for file in tmp_path.iterdir()] == [CHECKPOINT_FILE]
    Checkpoints(tmp_path).remove()
    assert not list(tmp_path.iterdir())
    assert fitted.num_epochs == 4
