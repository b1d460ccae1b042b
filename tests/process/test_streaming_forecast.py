"""Forecasts of live sessions, by the Beijing forecaster with attention: those of the whole sequence, to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import onnxruntime
import pytest

from ostinato.models.data.series import load_dataset
from ostinato.models.networks.forecaster_recipe import Recipe
from ostinato.service.artifact.manifest import Manifest
from tests.networks import Array
from tests.server import CHECKOUT, ServerProcess, running_server

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("streaming_forecast")

EXAMPLE = CHECKOUT / "examples" / "beijing_pm25"
MODEL = "beijing-seq2seq"
RELEASE = EXAMPLE / "repository" / MODEL / "1"
MEMORY_STEPS = 168
HORIZON = 24
# Lengths of chunks, over and over: single hours, and more of them than the memory has places.
CHUNKS = (1, 1, 5, 23, 1, 2, 180, 1, 64)


@pytest.fixture(scope="module")
def hours() -> Array:
    """420 hours from June 4, 2014 on, ``[T, F]``; 17 lack their PM2.5, 14 of them among the first 200."""
    dataset = load_dataset(Recipe.read(EXAMPLE / "seq2seq.toml").data)
    return dataset.only.values[dataset.only.test_start + 3700 :][:420]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home = tmp_path_factory.mktemp("server")
    with running_server(EXAMPLE / "repository", home, state=f"lmdb://{home}/state") as running:
        yield running


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


def as_json(rows: Array) -> list[list[float | None]]:
    return [[None if np.isnan(number) else float(number) for number in row] for row in rows]


def begin(http: httpx2.Client, rows: Array) -> str:
    """A session that has been sent the rows in chunks; its path."""
    path = f"/v1/sessions/{http.post(f'/v1/models/{MODEL}/sessions', json={}).json()['session_id']}"
    go_on(http, path, rows, 0)
    return path


def go_on(http: httpx2.Client, path: str, rows: Array, steps: int) -> None:
    start = chunk = 0
    while start < len(rows):
        part = rows[start : start + CHUNKS[chunk % len(CHUNKS)]]
        answer = http.post(f"{path}/step", json={"inputs": as_json(part), "seq": steps + start})
        assert answer.status_code == 200, answer.text
        start, chunk = start + len(part), chunk + 1


def forecast(http: httpx2.Client, path: str) -> bytes:
    return exact(http.post(f"{path}/forecast", json={"horizon": HORIZON}))


def read_again(http: httpx2.Client, rows: Array) -> bytes:
    """``generate`` over the whole sequence."""
    body = {"inputs": [as_json(rows)], "max_steps": HORIZON}
    answer = http.post(f"/v1/models/{MODEL}/generate", json=body)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["outputs"][0], np.float32).tobytes()


def exact(answer: httpx2.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    outputs = np.array(answer.json()["outputs"], np.float32)
    assert outputs.shape == (HORIZON, 3)
    return outputs.tobytes()


@cache
def graph(role: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(RELEASE / Manifest.read(RELEASE).graphs[role].file)


def offline(rows: Array) -> bytes:
    """Plain onnxruntime: the graph ``step`` over all rows in one run, and ``decode`` for each step of the forecast."""
    manifest = Manifest.read(RELEASE)
    decoder = manifest.decoder
    assert decoder is not None
    step, decode = graph("step"), graph("decode")
    begun = {state.input: np.moveaxis(state.initial_row()[None], 0, state.batch_axis) for state in manifest.states}
    fetched = step.run([state.output for state in manifest.states], {"inputs": rows[None], **begun})
    session: dict[str, Any] = dict(zip((state.name for state in manifest.states), fetched, strict=True))
    kept = {memory.name: session[memory.made_by] for memory in decoder.memory}
    kept[decoder.lengths] = session[decoder.lengths_made_by]
    carried = [session[decoder.begun_by[state.name]] for state in decoder.states]
    steps = []
    for _ in range(HORIZON):
        feeds = dict(zip((state.input for state in decoder.states), carried, strict=True))
        outputs, *carried = decode.run([decoder.output.name, *(s.output for s in decoder.states)], {**feeds, **kept})
        steps.append(outputs[0])
    made: bytes = np.stack(steps).tobytes()
    return made


@pytest.mark.parametrize("num_hours", [1, 30, MEMORY_STEPS - 1, MEMORY_STEPS, MEMORY_STEPS + 1, 420])
def test_a_session_fed_in_chunks_forecasts_what_the_whole_sequence_does(
    http: httpx2.Client, hours: Array, num_hours: int
) -> None:
    rows = hours[:num_hours]
    path = begin(http, rows)
    made = forecast(http, path)
    assert made == read_again(http, rows)
    assert made == offline(rows)
    assert forecast(http, path) == made
    assert http.get(path).json()["steps"] == num_hours


def test_hour_by_hour_each_forecast_is_that_of_all_hours_so_far(http: httpx2.Client, hours: Array) -> None:
    path = begin(http, hours[:160])
    for num_hours in range(161, 177):
        go_on(http, path, hours[num_hours - 1 : num_hours], num_hours - 1)
        assert forecast(http, path) == offline(hours[:num_hours])


def test_a_fork_keeps_its_own_memory(http: httpx2.Client, hours: Array) -> None:
    path = begin(http, hours[:200])
    fork = f"/v1/sessions/{http.post(f'{path}/fork').json()['session_id']}"
    before = forecast(http, path)
    go_on(http, path, hours[200:240], 200)
    assert forecast(http, fork) == before == offline(hours[:200])
    assert forecast(http, path) == offline(hours[:240]) != before
    other = hours[300:420]
    go_on(http, fork, other, 200)
    assert forecast(http, fork) == offline(np.concatenate([hours[:200], other]))


def test_a_session_that_outlived_its_server_forecasts_the_same(tmp_path: Path, hours: Array) -> None:
    state = f"lmdb://{tmp_path}/state"
    with running_server(EXAMPLE / "repository", tmp_path, state=state) as server:
        with server.client() as http:
            paths = {begin(http, hours[:num_hours]): num_hours for num_hours in (30, 250)}
            made = {path: forecast(http, path) for path in paths}
        server.kill()
        server.start()
        server.wait_until_ready()
        with server.client() as http:
            for path, num_hours in paths.items():
                assert forecast(http, path) == made[path] == offline(hours[:num_hours])
                go_on(http, path, hours[num_hours : num_hours + 100], num_hours)
                assert forecast(http, path) == offline(hours[: num_hours + 100])
