"""Models of several inputs, outputs and contexts, and of nested shapes, over a real server that is killed on the way.

What was acknowledged is replayed by one plain run of the graph for each session, and compared to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from websockets.sync.client import connect

from ostinato.service.artifact.manifest import Manifest
from tests import tensor_networks
from tests.live_sequences import Sequence, plain
from tests.server import ServerProcess, running_server
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.xdist_group("tensors")

NUM_SESSIONS, NUM_STEPS = 8, 30


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    tensor_networks.panel().write(folder)
    tensor_networks.frames().write(folder)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    home = tmp_path_factory.mktemp("server")
    with running_server(repository, home, state=f"lmdb://{home / 'state'}") as running:
        yield running


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


@pytest.mark.parametrize("model", ["panel", "frames"])
def test_what_sessions_answered_in_any_cut_is_one_offline_run_to_the_bit(
    model: str, repository: Path, server: ServerProcess
) -> None:
    directory = repository / model / "1"
    sequences = [Sequence(Manifest.read(directory), number, NUM_STEPS) for number in range(NUM_SESSIONS)]

    def live(number: int) -> None:
        sequence, generator = sequences[number], np.random.default_rng(100 + number)
        with server.client() as client:
            assert client.post(f"/v1/models/{model}/sessions", json=sequence.opening).status_code == 201
            while sequence.done < NUM_STEPS // 2:
                num_steps = int(generator.integers(1, 6))
                content = {"inputs": sequence.chunk(num_steps), "seq": sequence.done}
                answer = client.post(f"/v1/sessions/{sequence.session_id}/step", json=content)
                assert answer.status_code == 200, answer.text
                again = client.post(f"/v1/sessions/{sequence.session_id}/step", json=content)
                assert again.json() == answer.json()
                sequence.take(answer.json(), num_steps)

    with ThreadPoolExecutor(NUM_SESSIONS) as pool:
        list(pool.map(live, range(NUM_SESSIONS)))
    server.kill()
    server.start()
    server.wait_until_ready()
    with server.client() as client:
        while any(sequence.done < NUM_STEPS - 5 for sequence in sequences):
            left = [sequence for sequence in sequences if sequence.done < NUM_STEPS - 5]
            _step_together(client, model, left)
    _finish_over_a_stream(server, model, sequences)
    for sequence in sequences:
        assert sequence.done == NUM_STEPS
        sequence.check(tensor_networks.offline(directory, sequence.sent(), sequence.context))


def _step_together(client: httpx2.Client, model: str, sequences: list[Sequence]) -> None:
    """One step of each in one message."""
    rows = [sequence.chunk(1) for sequence in sequences]
    inputs: Any
    if isinstance(rows[0], dict):
        inputs = {name: [row[name][0] for row in rows] for name in rows[0]}
    else:
        inputs = [row[0] for row in rows]
    content = {
        "session_ids": [sequence.session_id for sequence in sequences],
        "inputs": inputs,
        "seq": [sequence.done for sequence in sequences],
    }
    answer = client.post(f"/v1/models/{model}/step", json=content)
    assert answer.status_code == 200, answer.text
    members = answer.json()
    assert not members["errors"]
    for row, sequence in enumerate(sequences):
        outputs = members["outputs"]
        made = {name: [rows[row]] for name, rows in outputs.items()} if isinstance(outputs, dict) else [outputs[row]]
        sequence.take({"seq": members["seq"][row], "outputs": made}, 1)


def _finish_over_a_stream(server: ServerProcess, model: str, sequences: list[Sequence]) -> None:
    url = f"ws://127.0.0.1:{server.port}/v1/models/{model}/stream"
    with connect(url, close_timeout=PATIENCE_SECONDS, open_timeout=PATIENCE_SECONDS) as stream:
        for sequence in sequences:
            frame = {
                "session_id": sequence.session_id,
                "inputs": sequence.chunk(NUM_STEPS - sequence.done),
                "seq": sequence.done,
            }
            stream.send(orjson.dumps(frame).decode())
        for _ in sequences:
            answer = orjson.loads(stream.recv(PATIENCE_SECONDS))
            sequence = next(each for each in sequences if each.session_id == answer["session_id"])
            sequence.take(answer, NUM_STEPS - sequence.done)


def test_predict_takes_sequences_by_name_each_with_its_context(repository: Path, http: httpx2.Client) -> None:
    directory = repository / "panel" / "1"
    manifest = Manifest.read(directory)
    sequences = [Sequence(manifest, number, NUM_STEPS) for number in range(3)]
    for number, sequence in enumerate(sequences):
        sequence.done = 5 + 7 * number
    content = {
        "sequences": [plain(each.inputs, slice(0, each.done)) for each in sequences],
        "context": [plain(each.context) for each in sequences],
    }
    answer = http.post("/v1/models/panel/predict", json=content).json()
    for sequence, outputs in zip(sequences, answer["outputs"], strict=True):
        sequence.answered = [outputs]
        sequence.check(tensor_networks.offline(directory, sequence.sent(), sequence.context))
    last = http.post("/v1/models/panel/predict", json={**content, "return_sequences": False}).json()["outputs"]
    assert [each["level"] for each in last] == [each["level"][-1] for each in answer["outputs"]]
    assert [each["summary"] for each in last] == [each["summary"][0] for each in answer["outputs"]]


def opened(http: httpx2.Client, session_id: str, **context: Any) -> str:
    context = {"customer": [0.5, -1, 2], "region": 3, **context}
    answer = http.post("/v1/models/panel/sessions", json={"session_id": session_id, "context": context})
    assert answer.status_code == 201, answer.text
    return f"/v1/sessions/{session_id}"


STEP = {"inputs": {"load": [[0.5, 1.5]], "weekday": [[2]]}}


def test_a_context_stays_in_reset_fork_and_the_state_file(http: httpx2.Client) -> None:
    path = opened(http, "kept")
    first = http.post(f"{path}/step", json=STEP).json()["outputs"]
    assert http.post(f"{path}/reset", json={}).json()["steps"] == 0
    assert http.post(f"{path}/step", json=STEP).json()["outputs"] == first
    fork = http.post(f"{path}/fork", json={"session_id": "kept-fork"})
    assert fork.status_code == 201
    second = http.post(f"{path}/step", json=STEP).json()["outputs"]
    assert http.post("/v1/sessions/kept-fork/step", json=STEP).json()["outputs"] == second
    file = http.get("/v1/sessions/kept-fork/state").content
    other = opened(http, "another", customer=[9, 9, 9], region=0)
    assert http.put(f"{other}/state", content=file).json()["steps"] == 2
    third = http.post(f"{path}/step", json=STEP).json()["outputs"]
    assert http.post(f"{other}/step", json=STEP).json()["outputs"] == third


def test_a_forecast_feeds_one_output_back_and_is_told_the_rest(repository: Path, http: httpx2.Client) -> None:
    path = opened(http, "forecast")
    last = http.post(f"{path}/step", json=STEP).json()["outputs"]
    future = {"price": [1.0, 2.0], "weekday": [3, 4]}
    answer = http.post(f"{path}/forecast", json={"horizon": 3, "known_future": future}).json()["outputs"]
    fed = {"load": [[0.5, 1.5], [answer["level"][0][0], 1.0], [answer["level"][1][0], 2.0]], "weekday": [[2], [3], [4]]}
    wanted = tensor_networks.offline(
        repository / "panel" / "1",
        {"load": np.array(fed["load"], np.float32), "weekday": np.array([2, 3, 4])},
        {"customer": np.array([0.5, -1, 2], np.float32), "region": np.array(3)},
    )
    assert np.array(answer["level"], np.float32).tobytes() == wanted["level"].tobytes()
    assert answer["level"][0] == last["level"][0]
    assert np.array(answer["summary"], np.float32).tobytes() == wanted["summary"].tobytes()


@pytest.mark.parametrize(
    ("inputs", "field", "detail"),
    [
        ([[1, 2]], "inputs", "give an object with load, weekday"),
        ({"load": [[1, 2]]}, "inputs", "input 'weekday' is absent"),
        ({"load": [[1, 2]], "weekday": [[1]], "x": []}, "inputs.x", "no input 'x'"),
        ({"load": [[1, 2], [1, 2]], "weekday": [[1]]}, "inputs", "differ in their number of steps: load 2, weekday 1"),
        ({"load": [[1, 2]], "weekday": [[7]]}, "inputs.weekday[0][0]", "codes are 0 to 6"),
        ({"load": [[1, None]], "weekday": [[1]]}, "inputs.load[0][1]", "a value is missing"),
        ({"load": [[1]], "weekday": [[1]]}, "inputs.load[0]", "1 features; a step has 2"),
        ({"load": [["1", 2]], "weekday": [[1]]}, "inputs.load[0][0]", "got `str`"),
        ({"load": [[True, 2]], "weekday": [[1]]}, "inputs.load[0][0]", "got `bool`"),
        ({"load": [], "weekday": []}, "inputs.load", "no step"),
        ({"load": 3, "weekday": [[1]]}, "inputs.load", "a list of steps"),
        (None, "inputs", "give an object"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_by_their_place(
    http: httpx2.Client, inputs: Any, field: str, detail: str
) -> None:
    path = "/v1/sessions/refused"
    if http.get(path).status_code != 200:
        opened(http, "refused")
    answer = http.post(f"{path}/step", json={"inputs": inputs})
    assert (answer.status_code, answer.json().get("field")) == (422, field), answer.text
    assert detail in answer.json()["detail"]
    assert http.get(path).json()["steps"] == 0


@pytest.mark.parametrize(
    ("context", "field", "detail"),
    [
        (None, "context", "'customer' is absent"),
        ({"customer": [1, 2, 3]}, "context", "'region' is absent"),
        ({"customer": [1, 2], "region": 1}, "context.customer", "2 features"),
        ({"customer": [1, 2, 3], "region": 5}, "context.region[0]", "codes are 0 to 4"),
        ({"customer": [1, 2, 3], "region": 1, "x": 1}, "context.x", "no context 'x'"),
        ({"customer": [1, None, 3], "region": 1}, "context.customer[1]", "missing"),
        ({"customer": "b", "region": 1}, "context.customer", "got `str`"),
    ],
)
def test_a_context_that_does_not_fit_is_refused_by_its_place(
    http: httpx2.Client, context: Any, field: str, detail: str
) -> None:
    answer = http.post("/v1/models/panel/sessions", json={"context": context} if context else {})
    assert (answer.status_code, answer.json().get("field")) == (422, field), answer.text
    assert detail in answer.json()["detail"]


def test_a_context_for_a_model_that_has_none_is_refused(http: httpx2.Client) -> None:
    answer = http.post("/v1/models/frames/sessions", json={"context": {"customer": 1}})
    assert (answer.status_code, answer.json()["field"]) == (422, "context.customer")


def test_a_session_that_needs_a_context_does_not_begin_with_a_step(http: httpx2.Client) -> None:
    content = {"session_ids": ["nobody"], "inputs": {"load": [[1, 2]], "weekday": [[1]]}, "create_missing": True}
    (error,) = http.post("/v1/models/panel/step", json=content).json()["errors"]
    assert error["code"] == "invalid_input"
    assert "needs a context (customer, region)" in error["detail"]
    assert http.get("/v1/sessions/nobody").status_code == 404


def test_rows_of_a_message_fail_alone(http: httpx2.Client) -> None:
    opened(http, "row-a")
    opened(http, "row-b")
    content = {"session_ids": ["row-a", "row-b"], "inputs": {"load": [[1, 2], [1, 2]], "weekday": [[1], [9]]}}
    answer = http.post("/v1/models/panel/step", json=content).json()
    (error,) = answer["errors"]
    assert (error["row"], error["field"]) == (1, "inputs.weekday[1][0]")
    assert answer["outputs"]["level"][1] is None
    assert len(answer["outputs"]["level"][0]) == 2
    assert http.get("/v1/sessions/row-b").json()["steps"] == 0


@pytest.mark.parametrize(
    ("frame", "field", "detail"),
    [
        ([[[1, 2, 3, 4]] * 3], "inputs[0]", "1 values where"),
        ([[[1, 2, 3, 4]] * 3, [[1, 2, 3, 4], [1, 2, 3], [1, 2, 3, 4]]], "inputs[0][1][1]", "3 values where"),
        ([[[1, 2, 3, 4]] * 3, [[1, 2, 3, None]] * 3], "inputs[0][1][0][3]", "missing"),
        ([[[1, 2, 3, 4]] * 3, [[1, 2, 3, "4"]] * 3], "inputs[0][1][0][3]", "got `str`"),
        (5, "inputs[0]", "got `int`"),
    ],
)
def test_a_frame_of_another_shape_is_refused_by_its_place(
    http: httpx2.Client, frame: Any, field: str, detail: str
) -> None:
    path = "/v1/sessions/misshapen"
    if http.get(path).status_code != 200:
        http.post("/v1/models/frames/sessions", json={"session_id": "misshapen"})
    answer = http.post(f"{path}/step", json={"inputs": [frame]})
    assert (answer.status_code, answer.json().get("field")) == (422, field), answer.text
    assert detail in answer.json()["detail"]


def test_a_frame_may_come_flat_and_goes_out_in_its_shape(http: httpx2.Client) -> None:
    http.post("/v1/models/frames/sessions", json={"session_id": "flat"})
    answer = http.post("/v1/sessions/flat/step", json={"inputs": [list(range(24))]}).json()
    assert np.array(answer["outputs"]).tolist() == (np.arange(24).reshape(1, 2, 3, 4) * 8).tolist()


def test_a_large_chunk_of_frames_is_read_in_slices_and_answered_to_the_bit(
    repository: Path, http: httpx2.Client
) -> None:
    http.post("/v1/models/frames/sessions", json={"session_id": "large"})
    frames = np.random.default_rng(1).standard_normal((2000, 2, 3, 4)).astype(np.float32)
    answer = http.post("/v1/sessions/large/step", json={"inputs": frames.tolist()})
    assert answer.status_code == 200, answer.text
    wanted = tensor_networks.offline(repository / "frames" / "1", {"frames": frames}, {})["so_far"]
    assert np.array(answer.json()["outputs"], np.float32).tobytes() == wanted.tobytes()
    frames[1234, 1, 2, 3] = np.nan
    holes = orjson.loads(orjson.dumps({"inputs": frames}, option=orjson.OPT_SERIALIZE_NUMPY))
    answer = http.post("/v1/sessions/large/step", json=holes)
    assert (answer.status_code, answer.json()["field"]) == (422, "inputs[1234][1][2][3]")
