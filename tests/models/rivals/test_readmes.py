from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ostinato.models.data.labelled import load_labelled
from ostinato.models.data.pictures import load_pictures
from ostinato.models.data.series import Floats, load_dataset
from ostinato.models.data.text import load_text
from ostinato.models.kinds.captions import CaptionsRecipe
from ostinato.models.kinds.labels import LabelsRecipe
from ostinato.models.kinds.text import TextRecipe
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.models.rivals import forecasts, pictures, sequences
from ostinato.models.rivals.lag_table import ForecastTask
from ostinato.models.rivals.rival import answers_of
from ostinato.models.rivals.texts import best_ngram
from ostinato.models.scores.forecaster import mean_absolute_errors
from ostinato.models.training.forecasting import futures, origins_of

EXAMPLES = Path(__file__).parents[3] / "examples"
pytestmark = pytest.mark.long


def figures(example: str, begin: str) -> list[float]:
    """The numbers in the cells of the only row that begins so."""
    (row,) = rows_of_figures(example, begin)
    return row


def rows_of_figures(example: str, begin: str) -> list[list[float]]:
    """The numbers in the cells of each row that begins so, of one table after another."""
    lines = (EXAMPLES / example / "README.md").read_text(encoding="utf-8").splitlines()
    return [_numbers(line) for line in lines if line.startswith(f"| {begin}")]


def _numbers(row: str) -> list[float]:
    return [float(found[1]) for cell in row.split("|")[2:-1] if (found := re.match(r"\W*(-?[\d.]+)", cell))]


def task_of(name: str) -> ForecastTask:
    recipe = Recipe.read(EXAMPLES / "beijing_pm25" / f"{name}.toml")
    dataset, num_steps = load_dataset(recipe.data), recipe.training.horizon_steps
    levels = recipe.network.quantiles if recipe.training.loss == "pinball" else ()
    found = origins_of(dataset, "test", num_steps)
    season, known = recipe.data.season_steps, recipe.data.cycles
    return ForecastTask(dataset, 0, found, num_steps, season, levels, recipe.data.least, known)


def maes(task: ForecastTask, answers: Floats) -> tuple[float, ...]:
    ((series, origins),) = task.tested
    truth = futures(series.truth, task.num_steps)[list(origins), :, 0].numpy()
    return mean_absolute_errors(answers[..., answers.shape[-1] // 2], truth, ~np.isnan(truth))


def test_the_rivals_one_hour_ahead() -> None:
    task = task_of("gru")
    found, missing = answers_of(forecasts.RIVALS, task)
    assert missing == ""
    errors = {name: maes(task, answers)[0] for name, answers in found.items()}
    rows = {
        "LightGBM": "LightGBM over lags",
        "ridge regression": "ridge regression over lags",
        "persistence": "persistence (",
        "linear autoregression": "linear autoregression (",
    }
    # Of the trees the last digit may be another processor's.
    for name, row in rows.items():
        assert errors[name] == pytest.approx(figures("beijing_pm25", row)[0], abs=0.02 if name == "LightGBM" else 6e-4)


def test_the_rivals_a_day_ahead_that_need_no_minutes() -> None:
    task = task_of("seq2seq")
    cheap = [rival for rival in forecasts.RIVALS if not rival.library]
    found, _ = answers_of(cheap, task)
    # The table of the decoder, and that of the nine networks, which has no seasonal column.
    for name, columns in {"ridge regression": (2, 3), "persistence": (3, 4), "seasonal naive": (4,)}.items():
        errors = maes(task, found[name])
        for ahead in (1, 12, 24):
            rows = rows_of_figures("beijing_pm25", f"{ahead} | ")
            assert len(rows) == 2
            for row, column in zip(rows, columns, strict=False):
                assert errors[ahead - 1] == pytest.approx(row[column], abs=0.006), (name, ahead)


def test_the_rivals_of_the_digits() -> None:
    data = load_pictures(CaptionsRecipe.read(EXAMPLES / "digits" / "captions.toml").data)
    found, missing = answers_of(pictures.RIVALS, data)
    assert missing == ""
    rows = {
        "nearest picture": "the nearest digit's name",
        "3 nearest pictures": "the name that most of the 3",
        "support vector machine": "a support vector machine",
        "nearest mean picture": "the digit whose mean",
        "most frequent": "always the most frequent",
    }
    truth = data.parts["test"].texts
    for name, row in rows.items():
        right = 100 * float(np.mean([one == two for one, two in zip(found[name], truth, strict=True)]))
        assert right == pytest.approx(figures("digits", row)[0], abs=0.051), name


def test_the_nearest_neighbour_of_the_vowels() -> None:
    data = load_labelled(LabelsRecipe.read(EXAMPLES / "japanese_vowels" / "speakers.toml").data, tagged=False)
    found, _ = answers_of(sequences.RIVALS, data)
    truth = np.array([int(sequence.answers[0]) for sequence in data.parts["test"]])
    right = 100 * float((found["nearest neighbour (DTW)"] == truth).mean())
    assert right == pytest.approx(figures("japanese_vowels", "nearest neighbour")[0], abs=0.051)


@pytest.mark.parametrize(
    ("example", "recipe", "columns"), [("cmudict", "spelling", (0, 1)), ("python_topics", "topics", (None, 0))]
)
def test_the_ngrams(example: str, recipe: str, columns: tuple[int | None, int]) -> None:
    order, found = best_ngram(load_text(TextRecipe.read(EXAMPLES / example / f"{recipe}.toml").data))
    row = figures(example, f"{order}-gram, modified")
    for column, perplexity in zip(columns, (found.validation, found.test), strict=True):
        if column is not None:
            assert perplexity == pytest.approx(row[column], abs=6e-4)
