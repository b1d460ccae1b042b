"""Models of several inputs, outputs and contexts, of nested shapes and of words, over every way in: each gives what one
plain run of the graph gives, to the bit.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import ipc
from safetensors.numpy import save_file
from typer.testing import CliRunner, Result
from websockets.sync.client import connect

from ostinato import AsyncClient, Client, ServiceError
from ostinato.cli import app
from ostinato.service.artifact.manifest import Manifest
from tests import networks, tensor_networks
from tests.live_sequences import draw
from tests.server import ServerProcess, running_server
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.xdist_group("tensor_ways")

Array = NDArray[Any]
Arrays = dict[str, Array]
ROOT = Path(__file__).parents[2]
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
NUM_STEPS = 12
WEATHER = ("dry", "wet", "snow")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    tensor_networks.panel().write(folder)
    tensor_networks.frames().write(folder)
    for network, name, delays in (
        (tensor_networks.panel(), "late", (2, 1, 0)),
        (tensor_networks.frames(), "late-frames", (3,)),
    ):
        outputs = zip(network.manifest["outputs"], delays, strict=True)
        late = tuple(part.model_copy(update={"delay": delay}) for part, delay in outputs)
        replace(network, manifest={**network.manifest, "name": name, "outputs": late, "feedback": {}}).write(folder)
    words = networks.token_counter(len(WEATHER), "int64")
    part = words.manifest["inputs"][0].model_copy(update={"num_codes": None})
    part = part.model_copy(update={"categories": {part.features[0]: WEATHER}})
    words.named("weather", inputs=(part,)).write(folder, np.array([[[0], [1], [2]]]))
    networks.identifiers().write(folder, np.array([[[0, 1], [2**53 + 1, -5]]]))
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(repository, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


class Drawn:
    """A sequence that a model takes, its context, and what one run of the graph gives for it."""

    def __init__(self, repository: Path, model: str, seed: int, num_steps: int = NUM_STEPS) -> None:
        directory = repository / model / "1"
        self.manifest = Manifest.read(directory)
        inputs, context = draw(self.manifest, np.random.default_rng(seed), 1, num_steps)
        self.inputs: Arrays = {name: array[0] for name, array in inputs.items()}
        self.context: Arrays = {name: array[0] for name, array in context.items()}
        self.golden = tensor_networks.offline(directory, self.inputs, self.context)

    def given(self, steps: slice) -> Any:
        """Steps as a client gives them."""
        part = {name: array[steps] for name, array in self.inputs.items()}
        return part if len(part) > 1 else next(iter(part.values()))

    def check(self, made: list[Any]) -> None:
        """Hold outputs of all steps, in their order, to the golden ones."""
        for part in self.manifest.outputs:
            arrays = [each[part.name] if isinstance(each, dict) else each for each in made]
            whole = np.concatenate(arrays if part.time_axis is not None else arrays[-1:])
            golden = self.golden[part.name]
            assert whole.dtype == golden.dtype
            assert whole.reshape(golden.shape).tobytes() == golden.tobytes(), part.name


def struct(arrays: Arrays) -> Any:
    """Steps as a column of Arrow: a struct by name, or the only tensor's column."""
    columns = {name: tensor_column(array) for name, array in arrays.items()}
    return (
        pa.StructArray.from_arrays(list(columns.values()), list(columns)) if len(columns) > 1 else columns.popitem()[1]
    )


def tensor_column(array: Array) -> pa.Array:
    column = pa.array(array.ravel())
    for size in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def message(**columns: Any) -> bytes:
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def outputs_of(answer: bytes, manifest: Manifest, row: int) -> Any:
    """One row's outputs in an answer in Arrow, as the client has them."""
    value = ipc.open_stream(answer).read_all()["outputs"][row].as_py()
    if len(manifest.outputs) > 1:
        return {part.name: np.array(value[part.name], part.dtype) for part in manifest.outputs}
    return np.array(value, manifest.outputs[0].dtype)


def opened(http: httpx2.Client, drawn: Drawn, session_id: str) -> str:
    body: dict[str, Any] = {"session_id": session_id}
    if drawn.context:
        body["context"] = drawn.context
    content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    path = f"/v1/models/{drawn.manifest.name}/sessions"
    answer = http.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 201, answer.text
    return session_id


@pytest.mark.parametrize("model", ["panel", "frames"])
def test_a_client_s_session_its_fork_and_a_stream_answer_as_one_run(
    model: str, repository: Path, server: ServerProcess
) -> None:
    drawn = Drawn(repository, model, 1)
    with Client(server.url) as client:
        session = client.session(model, context=drawn.context or None, keep=True)
        made = [session.step(drawn.given(slice(0, 3))), session.step(drawn.given(slice(3, 4)))]
        last = session.step(drawn.given(slice(4, 6)), return_sequences=False)
        fork = session.fork()
        with client.stream(model) as stream:
            tail = [stream.step(session.session_id, drawn.given(slice(6, NUM_STEPS)))]
        forked = [fork.step(drawn.given(slice(6, NUM_STEPS)))]
        names = [part.name for part in drawn.manifest.outputs]
        pairs = zip(tail, forked, strict=True)
        assert all(np.array_equal(_named(a, names)[name], _named(b, names)[name]) for a, b in pairs for name in names)
        resumed = client.resume(session.session_id)
        assert resumed.steps == NUM_STEPS
        for name in names:
            part = next(part for part in drawn.manifest.outputs if part.name == name)
            if part.time_axis is not None:
                whole = [_named(each, names)[name] for each in [*made, last, *tail]]
                golden = np.delete(drawn.golden[name], 4, axis=0)  # of the chunk that was answered by its last step
                assert np.concatenate(whole).tobytes() == golden.tobytes()
        assert _named(last, names)[names[-1]].shape[0] == 1


def _named(made: Any, names: list[str]) -> Arrays:
    return made if isinstance(made, dict) else {names[0]: made}


async def test_a_client_predicts_steps_many_and_forecasts(repository: Path, server: ServerProcess) -> None:
    panels = [Drawn(repository, "panel", seed, 4 + seed) for seed in range(3)]
    frames = Drawn(repository, "frames", 5)
    async with AsyncClient(server.url) as client:
        contexts = [each.context for each in panels]
        made = await client.predict("panel", [each.given(slice(None)) for each in panels], context=contexts)
        for drawn, outputs in zip(panels, made, strict=True):
            drawn.check([outputs])
        last = await client.predict(
            "panel", [panels[0].given(slice(None))], context=contexts[0], return_sequences=False
        )
        assert last[0]["level"].tolist() == made[0]["level"][-1].tolist()
        assert last[0]["summary"].tolist() == made[0]["summary"][0].tolist()
        [pictures] = await client.predict("frames", [frames.given(slice(None))])
        frames.check([pictures])
        handles = [await client.session("panel", context=each.context, keep=True).open() for each in panels]
        ids = [handle.session_id for handle in handles]
        rows = {name: np.stack([each.inputs[name][0] for each in panels]) for name in panels[0].inputs}
        stepped = await client.step_many(
            "panel", [*ids, "nobody"], {n: [*a, a[0]] for n, a in rows.items()}, seq=[0] * 4
        )
        assert [error.row for error in stepped.errors] == [3]
        assert stepped.outputs["level"][:3].tolist() == [outputs["level"][0].tolist() for outputs in made]
        assert np.isnan(stepped.outputs["level"][3]).all()
        session = client.resume(ids[0])
        async with session:
            future = {"price": [1.0, 2.0], "weekday": [3, 4]}
            ahead = await session.forecast(3, known_future=future)
        assert {name: len(array) for name, array in ahead.items()} == {"level": 3, "kind": 3, "summary": 1}


@pytest.mark.parametrize("model", ["panel", "frames"])
def test_steps_in_arrow_over_http_and_a_stream_answer_as_one_run(
    model: str, repository: Path, server: ServerProcess, http: httpx2.Client
) -> None:
    drawn = [Drawn(repository, model, 10 + seed) for seed in range(3)]
    ids = [opened(http, each, f"arrow-{model}-{seed}") for seed, each in enumerate(drawn)]
    made: list[list[Any]] = [[] for _ in drawn]
    url = f"ws://127.0.0.1:{server.port}/v1/models/{model}/stream"
    with connect(url, close_timeout=PATIENCE_SECONDS, open_timeout=PATIENCE_SECONDS) as stream:
        for step in range(NUM_STEPS):
            rows = {name: np.stack([each.inputs[name][step] for each in drawn]) for name in drawn[0].inputs}
            content = message(session_id=pa.array(ids), inputs=struct(rows), seq=pa.array([step] * len(ids)))
            if step % 2:
                stream.send(content)
                answer: Any = stream.recv(PATIENCE_SECONDS)
            else:
                answer = http.post(f"/v1/models/{model}/step", content=content, headers=ARROW).content
            assert ipc.open_stream(answer).read_all()["code"].null_count == len(ids), answer
            for row, each in enumerate(drawn):
                outputs = outputs_of(answer, each.manifest, row)
                made[row].append(
                    {name: array[None] for name, array in outputs.items()}
                    if isinstance(outputs, dict)
                    else outputs[None]
                )
    for each, outputs in zip(drawn, made, strict=True):
        each.check(outputs)


def test_a_row_in_arrow_fails_alone(repository: Path, http: httpx2.Client) -> None:
    drawn = Drawn(repository, "panel", 3)
    ids = [opened(http, drawn, f"alone-{row}") for row in range(2)]
    inputs = struct({"load": np.ones((2, 2), np.float32), "weekday": np.array([1, 9])})
    answer = http.post(
        "/v1/models/panel/step", content=message(session_id=pa.array(ids), inputs=inputs), headers=ARROW
    ).content
    table = ipc.open_stream(answer).read_all()
    assert table["code"].to_pylist() == [None, "invalid_input"]
    assert "codes are 0 to 6" in table["detail"][1].as_py()
    assert table["outputs"][1].as_py() is None
    assert [http.get(f"/v1/sessions/{each}").json()["steps"] for each in ids] == [1, 0]


@pytest.mark.parametrize("model", ["panel", "frames"])
def test_sequences_in_arrow_answer_as_one_run(model: str, repository: Path, http: httpx2.Client) -> None:
    drawn = [Drawn(repository, model, 20 + seed, 3 + 2 * seed) for seed in range(3)]
    names = list(drawn[0].inputs)
    bounds = pa.array(np.cumsum([0] + [len(each.inputs[names[0]]) for each in drawn]), pa.int32())
    lists = {
        name: pa.ListArray.from_arrays(bounds, tensor_column(np.concatenate([each.inputs[name] for each in drawn])))
        for name in names
    }
    columns = {"inputs": pa.StructArray.from_arrays(list(lists.values()), names) if len(names) > 1 else lists[names[0]]}
    if drawn[0].context:
        columns["context"] = struct(
            {name: np.stack([each.context[name] for each in drawn]) for name in drawn[0].context}
        )
    path = f"/v1/models/{model}/predict"
    answer = http.post(path, content=message(**columns), headers=ARROW)
    assert answer.status_code == 200, answer.text
    for row, each in enumerate(drawn):
        each.check([outputs_of(answer.content, each.manifest, row)])
    last = http.post(f"{path}?return_sequences=false", content=message(**columns), headers=ARROW)
    for row, each in enumerate(drawn):
        outputs = outputs_of(last.content, each.manifest, row)
        for part in each.manifest.outputs:
            made = outputs[part.name] if isinstance(outputs, dict) else outputs
            golden = each.golden[part.name]
            assert made.tobytes() == (golden[-1] if part.time_axis is not None else golden).tobytes()


@pytest.mark.parametrize("model", ["panel", "frames"])
def test_sequences_turned_round_answer_as_one_run_of_what_was_turned(
    model: str, repository: Path, server: ServerProcess, http: httpx2.Client
) -> None:
    """Keras' ``go_backwards`` in JSON, in Arrow and by the client; alone, and with ``return_sequences`` off."""
    drawn = Drawn(repository, model, 40)
    turned = {name: array[::-1].copy() for name, array in drawn.inputs.items()}
    golden = tensor_networks.offline(repository / model / "1", turned, drawn.context)
    names = list(drawn.inputs)
    lists = {
        name: pa.ListArray.from_arrays(pa.array([0, len(array)], pa.int32()), tensor_column(array))
        for name, array in drawn.inputs.items()
    }
    columns = {"inputs": pa.StructArray.from_arrays(list(lists.values()), names) if len(names) > 1 else lists[names[0]]}
    columns |= (
        {"context": struct({name: array[None] for name, array in drawn.context.items()})} if drawn.context else {}
    )
    body: dict[str, Any] = {"sequences": [drawn.given(slice(None))], "go_backwards": True}
    body |= {"context": drawn.context} if drawn.context else {}
    path = f"/v1/models/{model}/predict"
    with Client(server.url) as client:
        for whole in (True, False):
            content = orjson.dumps({**body, "return_sequences": whole}, option=orjson.OPT_SERIALIZE_NUMPY)
            in_json = http.post(path, content=content, headers={"content-type": "application/json"}).json()
            query = f"go_backwards=true&return_sequences={str(whole).lower()}"
            in_arrow = http.post(f"{path}?{query}", content=message(**columns), headers=ARROW)
            by_client = client.predict(
                model, body["sequences"], context=drawn.context or None, go_backwards=True, return_sequences=whole
            )
            for made in (in_json["outputs"][0], outputs_of(in_arrow.content, drawn.manifest, 0), by_client[0]):
                for part in drawn.manifest.outputs:
                    array = np.array(made[part.name] if isinstance(made, dict) else made, part.dtype)
                    wanted = golden[part.name] if whole or part.time_axis is None else golden[part.name][-1]
                    assert array.tobytes() == wanted.tobytes(), part.name


@pytest.mark.parametrize("model", ["panel", "frames"])
def test_the_state_of_one_predict_begins_the_next_and_a_session(
    model: str, repository: Path, server: ServerProcess
) -> None:
    """Keras' ``return_state``, ``initial_state`` and ``stateful``, cut anywhere, for several inputs and a context."""
    drawn = Drawn(repository, model, 41)
    context = drawn.context or None
    with Client(server.url) as client:
        [first], [states] = client.predict(model, [drawn.given(slice(3))], context=context, return_state=True)
        [second] = client.predict(model, [drawn.given(slice(3, None))], context=context, initial_state=states)
        drawn.check([first, second])
        with client.session(model, context=context) as session, client.session(model, context=context) as other:
            session.step(drawn.given(slice(3)))
            other.put_state(session.state())
            drawn.check([first, other.step(drawn.given(slice(3, None)))])
            other.reset()
            drawn.check([other.step(drawn.given(slice(None)))])


def test_a_context_that_is_absent_in_arrow_is_refused_with_the_way_out(http: httpx2.Client) -> None:
    inputs = pa.StructArray.from_arrays(
        [pa.array([[[1.0, 2.0]]], pa.list_(pa.list_(pa.float32(), 2))), pa.array([[1]])], ["load", "weekday"]
    )
    answer = http.post("/v1/models/panel/predict", content=message(inputs=inputs), headers=ARROW)
    assert (answer.status_code, answer.json()["field"]) == (422, "context")
    assert "a column 'context', of structs" in answer.json()["detail"]


def test_words_stand_for_codes_over_every_way(server: ServerProcess, http: httpx2.Client) -> None:
    wanted = http.post("/v1/models/weather/predict", json={"sequences": [[[1], [2], [1]]]}).json()["outputs"][0]
    words = ["wet", "snow", "wet"]
    with Client(server.url) as client:
        assert client.predict("weather", [[[word] for word in words]])[0].tolist() == wanted
        with client.session("weather") as session:
            assert session.step([[word] for word in words]).tolist() == wanted
            with pytest.raises(ServiceError, match="'fog' is no word"):
                session.step([["fog"]])
    assert http.post("/predict", json={"model": "weather", "sequences": [[[word] for word in words]]}).json()[
        "outputs"
    ] == [wanted]
    http.post("/v1/models/weather/sessions", json={"session_id": "words"})
    for word in words:
        column = pa.array([word]).dictionary_encode()
        content = message(session_id=pa.array(["words"]), inputs=column)
        answer = http.post("/v1/models/weather/step", content=content, headers=ARROW)
        assert answer.status_code == 200, answer.text
    assert ipc.open_stream(answer.content).read_all()["outputs"].to_pylist() == wanted  # the counts behind all of them


IDS = [[9007199254740993, 1610521604143693812], [2**63 - 1, -(2**63)]]
NUM_IDS = 4000


def test_whole_numbers_stay_as_they_are_over_every_way_in_json(server: ServerProcess, http: httpx2.Client) -> None:
    many = (IDS * NUM_IDS)[:NUM_IDS]
    seq = {"ids": 0}

    def step(path: str, rows: Any, **members: Any) -> Any:
        answer = http.post(path, json={"inputs": rows, "seq": seq["ids"], **members})
        assert answer.status_code == 200, answer.text
        seq["ids"] += len(rows)
        return answer.json()["outputs"]

    http.post("/v1/models/ids/sessions", json={"session_id": "ids"})
    for rows in (IDS, many):
        assert step("/v1/sessions/ids/step", rows) == rows
        assert step("/step", rows, session_id="ids") == rows
        frame = orjson.dumps({"session_id": "ids", "inputs": rows, "seq": seq["ids"]}).decode()
        url = f"ws://127.0.0.1:{server.port}/v1/models/ids/stream"
        with connect(url, close_timeout=PATIENCE_SECONDS, open_timeout=PATIENCE_SECONDS) as stream:
            stream.send(frame)
            assert orjson.loads(stream.recv(PATIENCE_SECONDS))["outputs"] == rows
        seq["ids"] += len(rows)
        for path, members in (("/v1/models/ids/predict", {}), ("/predict", {"model": "ids"})):
            body = {"sequences": [rows, [[1e3, 3.0]]], "return_state": True, **members}
            predicted = http.post(path, json=body).json()
            assert predicted["outputs"] == [rows, [[1000, 3]]]
            assert predicted["states"][0] == {"last": rows[-1]}
            body |= {"initial_state": {"last": rows[-1]}}
            assert http.post(path, json=body).status_code == 200
    names = [f"ids-{row}" for row in range(NUM_IDS)]
    columns = {"session_ids": names, "inputs": many, "create_missing": True}
    made = http.post("/v1/models/ids/step", json=columns).json()
    assert (made["outputs"], made["errors"]) == (many, [])
    # A row that is refused takes none of the digits of those beside it.
    made = http.post("/v1/models/ids/step", json={**columns, "inputs": [[0.5, 1], *many[1:]]}).json()
    assert ([error["row"] for error in made["errors"]], made["outputs"][1:]) == ([0], many[1:])


@pytest.mark.parametrize(
    ("number", "detail"),
    [(2**63, "9223372036854775808 does not fit int64"), (True, "got `bool`"), (1e16, "may be another number")],
)
def test_what_is_no_whole_number_of_64_bits_is_refused_by_its_place(
    http: httpx2.Client, number: float, detail: str
) -> None:
    rows = [[1, 2]] * 9000
    for steps in (rows[:2], rows):
        http.post("/v1/models/ids/sessions", json={"session_id": "unfit"})
        given = [*steps[:-1], [2**53 + 1, number]]
        for path, body, field in (
            ("/v1/sessions/unfit/step", {"inputs": given}, "inputs"),
            ("/v1/models/ids/predict", {"sequences": [given]}, "sequences[0]"),
            ("/predict", {"model": "ids", "sequences": [given]}, "sequences[0]"),
        ):
            problem = http.post(path, json=body).json()
            assert detail in problem["detail"]
            assert problem["field"] == f"{field}[{len(given) - 1}][1]"


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()], ids=str)
def test_whole_numbers_stay_as_they_are_in_arrow(http: httpx2.Client, kind: pa.DataType) -> None:
    rows = [[9007199254740993, 1610521604143693812], [2**63 - 1, 1]]
    path = "/v1/models/ids"
    ids = pa.array([f"arrow-{kind}-{row}" for row in range(2)])
    for name in ids.to_pylist():
        http.post(f"{path}/sessions", json={"session_id": name})
    content = message(session_id=ids, inputs=pa.array(rows, pa.list_(kind, 2)))
    made = ipc.open_stream(http.post(f"{path}/step", content=content, headers=ARROW).content).read_all()
    assert made["outputs"].to_pylist() == rows
    content = message(inputs=pa.array([rows], pa.list_(pa.list_(kind))))
    made = ipc.open_stream(http.post(f"{path}/predict", content=content, headers=ARROW).content).read_all()
    assert made["outputs"].to_pylist() == [rows]
    if kind == pa.uint64():
        content = message(session_id=ids, inputs=pa.array([[2**63, 0], rows[0]], pa.list_(kind, 2)))
        made = ipc.open_stream(http.post(f"{path}/step", content=content, headers=ARROW).content).read_all()
        assert "9223372036854775808 does not fit int64" in made["detail"][0].as_py()
        assert made["outputs"][1].as_py() == rows[0]


def test_whole_numbers_stay_as_they_are_in_the_client_and_in_files(
    repository: Path, server: ServerProcess, tmp_path: Path
) -> None:
    with Client(server.url) as client, client.session("ids") as session, client.stream("ids") as stream:
        for given in (IDS, np.array(IDS), np.array(IDS, object), [np.array(row) for row in IDS]):
            for made in (
                session.step(given),
                stream.step(session.session_id, given),
                client.predict("ids", [given])[0],
            ):
                assert (made.dtype, made.tolist()) == (np.int64, IDS)
        many = client.step_many("ids", [session.session_id], np.array(IDS[:1]))
        assert many.outputs.tolist() == IDS[:1]
    table, body = tmp_path / "ids.csv", tmp_path / "ids.json"
    table.write_text("user,item\n" + "".join(f"{user},{item}\n" for user, item in IDS))
    body.write_bytes(orjson.dumps({"sequences": [IDS]}))
    for file in (table, body):
        result = run_command("run", repository / "ids", file, "--json")
        assert result.exit_code == 0, result.output
        assert orjson.loads(result.stdout) == {"outputs": [IDS]}
    replayed = run_command("replay", table, "--model", "ids", "--url", server.url)
    assert replayed.exit_code == 0, replayed.output


def test_bentomls_own_client_sends_objects_by_name_and_nested_lists(
    repository: Path, server: ServerProcess, http: httpx2.Client
) -> None:
    drawn = Drawn(repository, "panel", 7, 2)
    session = opened(http, drawn, "bento")
    plain = orjson.loads(orjson.dumps([drawn.inputs, drawn.context], option=orjson.OPT_SERIALIZE_NUMPY))
    program = (
        "import bentoml, json\n"
        f"inputs, context = {plain!r}\n"
        f"with bentoml.SyncHTTPClient({server.url!r}) as client:\n"
        f"    print(json.dumps(client.step({session!r}, inputs)['outputs']))\n"
        "    print(json.dumps(client.predict('panel', [inputs], context=context)['outputs'][0]))\n"
        "    print(json.dumps(client.predict('frames', [[[[[0.5] * 4] * 3] * 2]])['outputs'][0]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    stepped, predicted, frame = map(orjson.loads, ran.stdout.splitlines())
    assert stepped == predicted
    drawn.check([{part.name: np.array(stepped[part.name], part.dtype) for part in drawn.manifest.outputs}])
    assert frame == [[[[4.0] * 4] * 3] * 2]
    [shown] = [route for route in http.get("/schema.json").json()["routes"] if route["route"] == "/step"]
    assert [form["type"] for form in shown["input"]["properties"]["inputs"]["oneOf"]] == ["array", "object"]


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/step", {"session_id": "typed", "inputs": [[1, 2]]}, 422, "inputs"),
        ("/step", {"session_id": "typed", "inputs": {"load": [[1, 2]], "weekday": [[9]]}}, 422, "inputs.weekday[0][0]"),
        ("/step", {"session_id": "never", "inputs": {"load": [[1, 2]], "weekday": [[1]]}}, 404, None),
        ("/predict", {"model": "never", "sequences": [{}]}, 404, None),
        ("/predict", {"model": "frames", "sequences": [{"frames": 1}]}, 422, "sequences[0]"),
        ("/predict", {"model": "panel", "sequences": [{"load": [[1, 2]], "weekday": [[1]]}]}, 422, "context"),
        ("/predict", {"model": "weather", "sequences": [[["fog"]]]}, 422, "sequences[0][0][0]"),
    ],
)
def test_typed_routes_refuse_by_the_place(
    repository: Path, http: httpx2.Client, path: str, body: dict[str, Any], status: int, field: str | None
) -> None:
    if http.get("/v1/sessions/typed").status_code != 200:
        opened(http, Drawn(repository, "panel", 1), "typed")
    answer = http.post(path, json=body)
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text


def test_a_large_body_by_name_is_taken_by_the_typed_routes(repository: Path, http: httpx2.Client) -> None:
    drawn = Drawn(repository, "panel", 9, 4000)
    body = {"model": "panel", "sequences": [drawn.inputs], "context": drawn.context}
    content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    answer = http.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    outputs = answer.json()["outputs"][0]
    drawn.check([{part.name: np.array(outputs[part.name], part.dtype) for part in drawn.manifest.outputs}])


def run_command(*arguments: object) -> Result:
    """Call the command line in this process."""
    runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
    return runner.invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("model", ["panel", "frames"])
def test_bench_draws_inputs_and_contexts_and_compares_all_outputs(
    model: str, repository: Path, server: ServerProcess
) -> None:
    load = ("--sessions", 2, "--seconds", 0.1, "--repository", repository)
    result = run_command("bench", "--model", model, "--url", server.url, *load)
    assert result.exit_code == 0, result.output
    assert "equal an offline run, to the bit" in result.output


def test_an_offline_run_takes_words_as_predict_does(repository: Path, tmp_path: Path) -> None:
    made = []
    for steps in ([["wet"], ["snow"]], [[1], [2]]):
        file = tmp_path / "body.json"
        file.write_bytes(orjson.dumps({"sequences": [steps]}))
        result = run_command("run", repository / "weather", file, "--json")
        assert result.exit_code == 0, result.output
        made.append(orjson.loads(result.stdout))
    assert made[0] == made[1] == {"outputs": [[[0, 1, 1]]]}


def test_a_replay_reads_all_inputs_from_one_table_and_forecasts_by_the_output_that_is_fed_back(
    server: ServerProcess, tmp_path: Path
) -> None:
    file = tmp_path / "days.csv"
    rows = [f"{step / 8},{step / 4},{step % 7}" for step in range(12)]
    file.write_text("\n".join(["load,price,weekday", *rows]) + "\n")
    context = '{"customer": [0.5, -1, 2], "region": 3}'
    options = ("--horizon", 2, "--known", "price,weekday", "--context", context)
    result = run_command("replay", file, "--model", "panel", "--url", server.url, *options)
    assert result.exit_code == 0, result.output
    assert "load" in result.output
    refused = run_command("replay", file, "--model", "panel", "--url", server.url)
    assert refused.exit_code == 1
    assert "'customer' is absent" in " ".join(refused.output.split())


def test_a_session_with_a_context_moves_by_its_file(
    repository: Path, server: ServerProcess, http: httpx2.Client, tmp_path: Path
) -> None:
    drawn = Drawn(repository, "panel", 30)
    opened(http, drawn, "moved")
    with Client(server.url) as client:
        before = client.resume("moved").step(drawn.given(slice(0, 5)))
        exported = run_command("sessions", "export", "moved", "--output", tmp_path, "--url", server.url)
        assert exported.exit_code == 0, exported.output
        file = tmp_path / "moved.safetensors"
        imported = run_command("sessions", "import", file, "--session-id", "moved-again", "--url", server.url)
        assert imported.exit_code == 0, imported.output
        after = client.resume("moved-again").step(drawn.given(slice(5, NUM_STEPS)))
    drawn.check([before, after])


def test_verify_checks_models_of_several_tensors(repository: Path) -> None:
    result = run_command("verify", repository)
    assert result.exit_code == 0, result.output
    assert result.output.count("ok") == 6


def test_the_page_s_sequences_are_taken(http: httpx2.Client) -> None:
    """All else that the page shows is typed by tests/docs."""
    page = (ROOT / "docs" / "inputs.md").read_text()
    [sequences] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    answer = http.post("/v1/models/panel/predict", content=sequences, headers={"content-type": "application/json"})
    assert answer.status_code == 200, answer.text
    assert [len(each["level"]) for each in answer.json()["outputs"]] == [1, 2]


def test_an_output_with_a_delay_is_as_ever_and_what_it_speaks_of_is_said(
    repository: Path, server: ServerProcess, http: httpx2.Client, tmp_path: Path
) -> None:
    late, frames = Drawn(repository, "late", 3), Drawn(repository, "late-frames", 4)
    described = http.get("/v1/models/late").json()["manifest"]["outputs"]
    assert {part["name"]: part.get("delay") for part in described} == {"level": 2, "kind": 1, "summary": None}
    for each, spoken_of in ((late, {"level": 3, "kind": 4}), (frames, 2)):
        path = f"/v1/sessions/{opened(http, each, each.manifest.name)}/step"
        for steps in (slice(0, 5), slice(5, NUM_STEPS)):
            content = orjson.dumps({"inputs": each.given(steps)}, option=orjson.OPT_SERIALIZE_NUMPY)
            answer = http.post(path, content=content, headers={"content-type": "application/json"}).json()
        assert (answer["seq"], answer["speaks_of"]) == (5, spoken_of)
    with Client(server.url) as client:
        [plain] = client.predict("late", [late.given(slice(None))], context=late.context)
        late.check([plain])
        [aligned] = client.predict("late", [late.given(slice(None))], context=late.context, align=True)
        [pictures] = client.predict("late-frames", [frames.given(slice(None))], align=True)
        assert [len(made) for made in client.predict("late-frames", [frames.given(slice(2))], align=True)] == [0]
    is_spoken_of = {"level": late.golden["level"][2:], "kind": late.golden["kind"][1:-1].reshape(-1, 1)}
    is_spoken_of["summary"] = late.golden["summary"][None]
    assert {name: made.tolist() for name, made in aligned.items()} == {n: a.tolist() for n, a in is_spoken_of.items()}
    assert pictures.tolist() == frames.golden["so_far"][3:].tolist()
    columns = {"inputs": pa.ListArray.from_arrays([0, NUM_STEPS], tensor_column(frames.given(slice(None))))}
    made = http.post("/v1/models/late-frames/predict?align=true", content=message(**columns), headers=ARROW).content
    assert ipc.open_stream(made).read_all()["outputs"].to_pylist() == [pictures.tolist()]

    given = {name: np.asarray(array) for name, array in {**late.inputs, **late.context}.items()}
    save_file(given, tmp_path / "given.safetensors")
    offline = run_command(
        "run", repository / "late", tmp_path / "given.safetensors", "--align", "-o", tmp_path / "made.npz"
    )
    assert offline.exit_code == 0, offline.output
    with np.load(tmp_path / "made.npz") as arrays:
        assert arrays["level"].tolist() == is_spoken_of["level"].tolist()
    table = run_command("run", repository / "late", tmp_path / "given.safetensors", "--align").stdout.splitlines()
    assert [line.partition(",")[0] for line in table[1:]] == [str(step + 1) for step in range(NUM_STEPS - 2)]
    assert table[1].split(",")[1] == str(late.golden["level"][2, 0])
    unaligned = run_command("run", repository / "late", tmp_path / "given.safetensors")
    assert "level 2 steps, kind 1 step" in unaligned.output
