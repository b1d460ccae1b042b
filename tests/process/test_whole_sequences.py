"""Models of whole sequences against a real server: ragged requests of many clients, and what such a model has not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.edge.arrow.columns import ARROW
from ostinato.service.engine.sequence.runner import SequenceRunner, run_alone
from tests.server import ServerProcess, running_server
from tests.zoo.entries import all_entries
from tests.zoo.keeper import export_entry, predict_entry

pytestmark = pytest.mark.xdist_group("whole-sequences")

FEW = ("whole_tagger", "whole_attention_pooling", "whole_two_inputs_and_context", "whole_lstm_concat")
PLAIN = "whole-lstm-concat"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    for name in FEW:
        export_entry(name, all_entries()[name], folder)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(repository, tmp_path_factory.mktemp("server"), require_models=True) as running:
        yield running


def sequences(seed: int, number: int = 12) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.normal(size=(n, 3)).astype(np.float32) for n in generator.integers(1, 65, number).tolist()]


def offline(repository: Path, given: list[np.ndarray], model: str = PLAIN) -> list[np.ndarray]:
    directory = repository / model / "1"
    runner = SequenceRunner(Manifest.read(directory), directory, max_batch_size=256)
    return [run_alone(runner, rows) for rows in given]


@pytest.mark.parametrize("name", FEW)
def test_ragged_requests_of_concurrent_clients_are_answered_as_offline(
    name: str, repository: Path, server: ServerProcess
) -> None:
    predict_entry(repository / name.replace("_", "-") / "1", server)


async def test_requests_share_runs_and_each_is_answered_as_alone(repository: Path, server: ServerProcess) -> None:
    given = [sequences(seed) for seed in range(30)]

    async def ask(each: list[np.ndarray]) -> list[list[list[float]]]:
        async with server.async_client() as http:
            answer = await http.post(
                f"/v1/models/{PLAIN}/predict", json={"sequences": [rows.tolist() for rows in each]}
            )
            assert answer.status_code == 200, answer.text
            outputs: list[list[list[float]]] = answer.json()["outputs"]
            return outputs

    answered = await asyncio.gather(*map(ask, given))
    for each, made in zip(given, answered, strict=True):
        for rows, wanted in zip(made, offline(repository, each), strict=True):
            assert np.array(rows, np.float32).tobytes() == wanted.tobytes()
    metrics = server.get("/metrics").text
    assert f'ostinato_padding_steps_total{{model="{PLAIN}",version="1"}}' in metrics
    assert f'ostinato_model_info{{batch_invariant="true",model="{PLAIN}",task="sequence",version="1"}} 1.0' in metrics


def test_every_way_to_predict_gives_the_same(repository: Path, server: ServerProcess) -> None:
    given = sequences(7, 5)
    wanted = [made.tobytes() for made in offline(repository, given)]
    lists = [rows.tolist() for rows in given]
    typed = server.post("/predict", json={"model": PLAIN, "sequences": lists}).json()["outputs"]
    assert [np.array(rows, np.float32).tobytes() for rows in typed] == wanted
    table = pa.table({"inputs": pa.array(lists, pa.list_(pa.list_(pa.float32(), 3)))})
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = {"content-type": ARROW}
    answer = server.request(
        "POST", f"/v1/models/{PLAIN}/predict", content=sink.getvalue().to_pybytes(), headers=headers
    )
    assert answer.status_code == 200, answer.text
    columns = ipc.open_stream(answer.content).read_all().column("outputs").to_pylist()
    assert [np.array(rows, np.float32).tobytes() for rows in columns] == wanted


def test_the_last_step_alone_and_backwards(repository: Path, server: ServerProcess) -> None:
    given = sequences(8, 3)
    backwards = offline(repository, [np.ascontiguousarray(rows[::-1]) for rows in given])
    body = {"sequences": [rows.tolist() for rows in given], "return_sequences": False, "go_backwards": True}
    outputs = server.post(f"/v1/models/{PLAIN}/predict", json=body).json()["outputs"]
    assert np.array(outputs, np.float32).tobytes() == np.stack([made[-1] for made in backwards]).tobytes()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"return_state": True}, "return_state"),
        ({"initial_state": {"h": [0.0]}}, "initial_state"),
        ({"initial_state": [{"h": [0.0]}]}, "initial_state"),
        ({"sequences": [[[0.0, 1.0]]]}, "sequences[0][0]"),
        ({"sequences": [[[0.0, None, 1.0]]]}, "sequences[0][0][1]"),
        ({"sequences": [[]]}, "sequences[0]"),
    ],
)
def test_what_it_does_not_take_is_refused_by_name(server: ServerProcess, body: dict[str, Any], field: str) -> None:
    answer = server.post(f"/v1/models/{PLAIN}/predict", json={"sequences": [[[0.0, 0.0, 0.0]]]} | body)
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (422, "invalid_input", field)


def test_codes_beyond_the_table_are_refused_at_the_door(server: ServerProcess) -> None:
    answer = server.post("/v1/models/whole-tagger/predict", json={"sequences": [[[3], [30]]]})
    assert (answer.status_code, answer.json()["field"]) == (422, "sequences[0][1][0]")
    assert "30 is no code" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/v1/models/{PLAIN}/sessions", {}),
        (f"/v1/models/{PLAIN}/step", {"session_ids": ["a"], "inputs": [[0, 0, 0]]}),
        (f"/v1/models/{PLAIN}/step", {"session_ids": ["a"], "inputs": [[0, 0, 0]], "create_missing": True}),
        (f"/v1/models/{PLAIN}/generate", {"inputs": [[[0, 0, 0]]]}),
        ("/generate", {"model": PLAIN, "inputs": [[[0, 0, 0]]]}),
    ],
)
def test_what_it_has_none_of_is_refused_with_its_task(server: ServerProcess, path: str, body: dict[str, Any]) -> None:
    answer = server.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert "of the task 'sequence'" in answer.json()["detail"]


def test_a_columnar_step_and_a_stream_are_refused_with_its_task(server: ServerProcess) -> None:
    table = pa.table({"session_id": pa.array(["a"]), "inputs": pa.array([[0.0, 0.0, 0.0]], pa.list_(pa.float32(), 3))})
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    answer = server.request(
        "POST",
        f"/v1/models/{PLAIN}/step?create_missing=true",
        content=sink.getvalue().to_pybytes(),
        headers={"content-type": ARROW},
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.url.replace('http', 'ws')}/v1/models/{PLAIN}/stream?create_missing=true")
    assert refused.value.response.status_code == 422
    assert b"of the task 'sequence'" in refused.value.response.body


def test_the_catalogue_tells_its_task_and_promise(server: ServerProcess) -> None:
    listed = {each["model"]: each["task"] for each in server.get("/v1/models").json()["models"]}
    assert set(listed.values()) == {"sequence"}
    manifest = server.get("/v1/models/whole-attention-pooling").json()["manifest"]
    assert manifest["promise"]["holds"] == "any"
