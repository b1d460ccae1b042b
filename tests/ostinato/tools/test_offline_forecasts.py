"""Offline forecasts and those of live sessions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from ostinato.client.client import Client
from ostinato.errors import CommandError, InputError
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.tools.offline_forecasts import OfflineForecaster
from tests import forecast_networks
from tests.networks import Array, lstm, offline
from tests.server import running_server

EXAMPLE = Path(__file__).parents[3] / "examples" / "beijing_pm25" / "repository" / "beijing-seq2seq"
GOLDEN = np.ones((2, 3, 3), np.float32)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is fed its own outputs, one that answers two steps ahead at once, and one with a decoder."""
    folder = tmp_path_factory.mktemp("forecasters")
    lstm(3, num_outputs=2).named("fed", feedback={"y1": "x0"}).write(folder, GOLDEN)
    network = lstm(3, num_outputs=2, seed=3)
    part = network.manifest["outputs"][0].model_copy(update={"features": ("x0_ahead_1", "x0_ahead_2")})
    network.named("direct", outputs=(part,), feedback={"x0_ahead_1": "x0"}).write(folder, GOLDEN)
    forecast_networks.write(folder, "gaussian", name="gaussian")
    forecast_networks.write(folder, "direct", name="at_once")
    shutil.copytree(EXAMPLE, folder / EXAMPLE.name)
    return folder


@pytest.fixture(scope="module")
def url(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(repository, tmp_path_factory.mktemp("home")) as process:
        yield process.url


def forecaster(repository: Path, name: str) -> OfflineForecaster:
    return OfflineForecaster(load_model(repository / name / "1", Settings(repository=repository)))


def steps_of(num_rows: int, num_features: int) -> list[list[float]]:
    random = np.random.default_rng(num_features)
    rows = random.normal(size=(num_rows, num_features)).round(2)
    if num_features == 9:
        rows[:, 4], rows[:, 8] = random.integers(0, 4, num_rows), np.arange(num_rows) % 24
    return [[float(value) for value in row] for row in rows]


def live(url: str, name: str, steps: list[list[Any]], origin: int, horizon: int, known: dict[str, Any]) -> Array:
    with Client(url) as client, client.session(name) as session:
        session.step(steps[: origin + 1])
        made: Array = session.forecast(horizon, known)
    return made


@pytest.mark.parametrize(("name", "width"), [("fed", 3), ("beijing-seq2seq", 9)])
def test_they_are_those_of_a_live_session_to_the_bit(repository: Path, url: str, name: str, width: int) -> None:
    steps, origins, horizon = steps_of(40, width), [0, 7, 8, 30], 6
    known = [
        {} if name != "fed" else {"x1": [row[1] for row in ahead], "x2": [row[2] for row in ahead]}
        for ahead in (steps[origin + 1 : origin + horizon] for origin in origins)
    ]
    told: list[int] = []
    made = forecaster(repository, name).forecasts(
        steps, origins, horizon, known, report=lambda done, _: told.append(done)
    )
    expected = [live(url, name, steps, origin, horizon, known[place]) for place, origin in enumerate(origins)]
    assert made.astype(np.float32).tobytes() == np.stack(expected).tobytes()
    assert told == [1, 2, 3, 4]


def test_what_is_answered_at_once_is_taken_as_it_is_and_the_rest_is_fed_back(repository: Path) -> None:
    steps = steps_of(10, 3)
    whole = offline(repository / "direct" / "1", np.array(steps, np.float32))
    made = forecaster(repository, "direct").forecasts(steps, [4, 9], 2, [{}, {}])
    # Both numbers stand in the place of the first, a step ahead each.
    assert made[:, :, 0].tolist() == whole[[4, 9]].tolist()
    known = {"x1": [0.5, 1.0], "x2": [0.0, 2.0]}
    [longer] = forecaster(repository, "direct").forecasts(steps[:5], [4], 3, [known])
    fed = np.array([*steps[:5], [whole[4, 0], 0.5, 0.0]], np.float32)
    assert longer[0, 0] == whole[4, 0]
    assert longer[1, 0] == offline(repository / "direct" / "1", fed)[-1, 0]


def test_a_model_that_feeds_nothing_back_and_answers_several_steps_is_a_forecaster(repository: Path, url: str) -> None:
    found = forecaster(repository, "at_once")
    assert found.sources == {"load": "load_p50_ahead_1"}
    steps = [
        [None if np.isnan(each) else each for each in row] for row in forecast_networks.drawn_steps(1, 12).tolist()
    ]
    made = found.forecasts(steps, [4, 11], 2, [{}, {}])
    # What is said of both steps stands in the places of the first: p10, p50, p90.
    expected = np.stack([live(url, "at_once", steps, origin, 2, {}) for origin in (4, 11)])
    assert made[:, :, :3].astype(np.float32).tobytes() == expected.tobytes()
    with pytest.raises(InputError, match="this model answers 2 steps ahead"):
        found.forecasts(steps, [4], 3, [{}])


def test_a_spread_is_told_where_the_network_speaks_of_the_step_itself(repository: Path) -> None:
    steps = forecast_networks.drawn_steps(1, 12).tolist()
    found = forecaster(repository, "gaussian")
    made = found.forecasts(steps, [4, 11], 3, [{"hour": [0.0, 1.0]}] * 2)
    levels, quantiles = found.spread("load", made)
    assert (levels, quantiles is not None) == ((0.1, 0.9), True)
    assert quantiles is not None
    reach = NormalDist().inv_cdf(0.9) * made[:, 0, 1]
    assert quantiles[:, 0] == pytest.approx(np.stack([made[:, 0, 0] - reach, made[:, 0, 0] + reach], axis=1))
    # Fed back it would be the spread around a forecast, and not around what comes.
    assert np.isnan(quantiles[:, 1:]).all()
    assert forecaster(repository, "fed").spread("x0", np.zeros((1, 1, 2))) == ((), None)


def test_a_step_that_is_none_of_the_model_s_and_a_future_that_lacks(repository: Path) -> None:
    found = forecaster(repository, "fed")
    with pytest.raises(InputError, match="rows"):
        found.forecasts([[1.0, 2.0]], [0], 1, [{}])
    with pytest.raises(InputError, match=r"needs the future of x1, x2 .* \(--known\)"):
        found.forecasts(steps_of(3, 3), [2], 2, [{}])


def test_a_model_that_forecasts_none_of_its_inputs_is_refused(models: Path) -> None:
    with pytest.raises(CommandError, match="'gusts' cannot forecast"):
        forecaster(models, "gusts")
