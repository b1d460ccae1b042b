"""A panel of one's own: a recipe by ``--init``, trained, exported, served; live answers are offline ones."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.export.runs.registry import export_run
from ostinato.models.data.series import Dataset, Series, load_dataset
from ostinato.models.kinds.registry import write_draft
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.engine.recurrent.runner import Runner
from tests.export.writers import small_proofs
from tests.networks import Array
from tests.server import ServerProcess, running_server
from tests.training import train_run

pytestmark = [pytest.mark.xdist_group("trained-forecasters"), pytest.mark.long]

SHOPS = (("hill-1", "hills", 120), ("hill-2", "hills", 80), ("port", "coast", 300), ("lake", "", 150))
NUM_SESSIONS, NUM_STEPS = 8, 60


def panel(folder: Path) -> Path:
    """Hours of four shops, their rows mixed up: some hours missing, some cells, some stamps late by some seconds."""
    generator = np.random.default_rng(7)
    rows = []
    for shop, region, size in SHOPS:
        for hour in range(int(generator.integers(360, 420))):
            if generator.random() < 0.02:
                continue
            time = datetime(2024, 3, 4) + timedelta(hours=hour)
            visitors = size / 10 * (2 + np.sin(2 * np.pi * time.hour / 24)) + generator.normal()
            price = 2.0 + 0.25 * (time.weekday() // 2 % 2)
            sales = round(max(0.0, visitors * (3 - price) * 0.5 + generator.normal()))
            late = time + timedelta(seconds=20 * int(generator.random() < 0.2))
            cells = [f"{visitors:.2f}", str(sales)]
            known = [cell if generator.random() > 0.03 else "" for cell in cells]
            rows.append((hour, f"{late.isoformat()};{shop};{region};{size};{price};{known[0]};{known[1]};{time.hour}"))
    rows.sort(key=lambda row: row[0])
    text = "when;shop;region;area;price;visitors;sales;hour\n" + "\n".join(line for _, line in rows) + "\n"
    (folder / "panel.csv").write_text(text, encoding="utf-8")
    return folder / "panel.csv"


def trained(file: Path, folder: Path, name: str, changes: dict[str, str]) -> tuple[Recipe, Path]:
    """The run of a recipe that ``--init`` writes, with a few keys changed."""
    recipe = folder / f"{name}.toml"
    text = write_draft("forecaster", file, recipe)
    for old, new in {
        **changes,
        "batch_size = 1": "batch_size = 4",
        "hidden_size = 32": "hidden_size = 8",
        "max_epochs = 30": "max_epochs = 2",
    }.items():
        assert old in text, text
        text = text.replace(old, new)
    recipe.write_text(text, encoding="utf-8")
    directory, _ = train_run(recipe, folder / name)
    return Recipe.read(recipe), directory


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return panel(tmp_path_factory.mktemp("panel"))


@pytest.fixture(scope="module")
def runs(file: Path) -> dict[str, tuple[Recipe, Path]]:
    two = {'target = "sales"': 'target = ["visitors", "sales"]'}
    fed_back = {**two, '"absolute"': '"gaussian"', "horizon_steps = 1": "horizon_steps = 4"}
    direct = {
        **two,
        'features = ["price", "visitors", "sales", "hour"]': 'features = ["price", "sales", "hour"]',
        '"fed_back"': '"direct"',
        '"absolute"': '"pinball"',
        "horizon_steps = 1": "horizon_steps = 3",
        'cell = "gru"': 'cell = ["clockwork", "lstm"]',
    }
    return {
        "fed-back": trained(file, file.parent, "fed-back", fed_back),
        "direct": trained(file, file.parent, "direct", direct),
        "echoes": trained(file, file.parent, "echoes", {**two, 'cell = "gru"': 'cell = "echo_state"\nridge = 0.01'}),
    }


@pytest.fixture(scope="module")
def repository(runs: dict[str, tuple[Recipe, Path]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    with small_proofs():
        for name, (_, run) in runs.items():
            export_run(run, folder, name=name)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(repository, tmp_path_factory.mktemp("server"), require_models=True) as running:
        yield running


def plain(rows: Array) -> Any:
    return [[None if np.isnan(value) else float(value) for value in row] for row in rows]


def context_of(series: Series) -> dict[str, list[float | None]]:
    return {"static": plain(series.static[None])[0]}


def offline(repository: Path, name: str, series: Series, rows: Array) -> Array:
    """The answers ``[T, O]`` to a whole sequence, by itself."""
    manifest = Manifest.read(repository / name / "1")
    runner = Runner(manifest, repository / name / "1", max_batch_size=256, max_iteration_steps=NUM_STEPS)
    states = runner.initial_states(1)[: len(manifest.states)]
    outputs, _ = run_offline(runner, manifest.given.pack([rows[None]]), begin=(*states, series.static[None]))
    answers: Array = manifest.made.unpack(outputs)[0][0]
    return answers


def test_a_draft_finds_what_each_column_is(file: Path) -> None:
    data = tomllib.loads(write_draft("forecaster", file, None))["data"]
    assert data["target"] == "sales"
    assert data["features"] == ["price", "visitors", "sales", "hour"]
    assert (data["series"], data["static"], data["time"]) == ("shop", ["region", "area"], ["when"])
    assert (data["categorical"], data["cycles"], data["season_steps"]) == (["hour", "region"], ["hour"], 24)


@pytest.mark.parametrize("name", ["fed-back", "direct", "echoes"])
def test_eight_sessions_in_random_chunks_answer_as_offline(
    name: str, runs: dict[str, tuple[Recipe, Path]], repository: Path, server: ServerProcess
) -> None:
    dataset = load_dataset(runs[name][0].data)

    def live(number: int) -> None:
        series = dataset.series[number % len(dataset.series)]
        rows = series.values[number * 20 :][:NUM_STEPS]
        generator, done, answered = np.random.default_rng(number), 0, []
        with server.client() as client:
            body = {"context": context_of(series), "session_id": f"{name}-{number}"}
            opened = client.post(f"/v1/models/{name}/sessions", json=body)
            assert opened.status_code == 201, opened.text
            while done < NUM_STEPS:
                chunk = rows[done : done + int(generator.integers(1, 9))]
                answer = client.post(f"/v1/sessions/{name}-{number}/step", json={"seq": done, "inputs": plain(chunk)})
                assert answer.status_code == 200, answer.text
                answered += answer.json()["outputs"]
                done += len(chunk)
        assert np.array(answered, np.float32).tobytes() == offline(repository, name, series, rows).tobytes()

    with ThreadPoolExecutor(NUM_SESSIONS) as pool:
        list(pool.map(live, range(NUM_SESSIONS)))


def test_a_forecast_feeds_both_targets_back_and_takes_what_is_known_of_the_future(
    runs: dict[str, tuple[Recipe, Path]], repository: Path, server: ServerProcess
) -> None:
    dataset: Dataset = load_dataset(runs["fed-back"][0].data)
    series = dataset.series[2]
    assert Manifest.read(repository / "fed-back" / "1").outputs[0].features == (
        *("visitors_mean", "visitors_std", "sales_mean", "sales_std"),
    )
    rows = series.values[:30]
    with server.client() as client:
        opened = client.post("/v1/models/fed-back/sessions", json={"context": {"static": ["coast", 300]}})
        path = f"/v1/sessions/{opened.json()['session_id']}"
        client.post(f"{path}/step", json={"seq": 0, "inputs": plain(rows)})
        known = {"price": [2.0, 2.25, 2.0]}
        answer = client.post(f"{path}/forecast", json={"horizon": 4, "known_future": known})
    assert answer.status_code == 200, answer.text
    forecast = np.array(answer.json()["outputs"], np.float32)
    # The hour is left out: the network counts on by itself. A row is price, visitors, sales, hour.
    fed = [[price, *means, np.nan] for price, means in zip(known["price"], forecast[:3, ::2], strict=True)]
    whole = offline(repository, "fed-back", series, np.concatenate([rows, np.array(fed, np.float32)]))
    assert forecast.tobytes() == whole[-4:].tobytes()
    hours = rows[-1, 3] + np.arange(1, 4)
    told = np.array([[*row[:3], hour % 24] for row, hour in zip(fed, hours, strict=True)], np.float32)
    with_hours = offline(repository, "fed-back", series, np.concatenate([rows, told]))
    assert with_hours.tobytes() == whole.tobytes()


def test_what_was_trained_is_told_for_each_target_and_series(runs: dict[str, tuple[Recipe, Path]]) -> None:
    content = json.loads((runs["fed-back"][1] / "run.json").read_text())
    assert set(content["metrics"]["targets"]) == {"visitors", "sales"}
    # LightGBM is among them where it is installed.
    assert set(content["metrics"]["targets"]["sales"]["mean_mae"]) - {"LightGBM"} == {
        *("network", "persistence", "seasonal naive", "linear autoregression", "ridge regression"),
    }
    assert content["data"]["num_series"] == 4
    page = (runs["fed-back"][1] / "report.html").read_text()
    for title in ("MAE of each of 4 series", "error by hour of the day", "error by its level", "residuals", "spread"):
        assert f"sales{', ' if title[0] in 'Ms' else ': '}{title}" in page
