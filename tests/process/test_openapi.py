"""The document of the routes, held by a real server: its examples, its answers, and clients made from it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import msgspec
import pytest
from openapi_spec_validator import validate

from ostinato.service.edge.oip import answer_schemas as oip_answers
from ostinato.service.edge.openapi.document import OPERATIONS
from ostinato.service.edge.openapi.oip import OIP_REFUSED
from ostinato.service.edge.v1 import answer_schemas as answers
from ostinato.service.edge.v1 import forecast_schemas
from tests import generation_networks
from tests.conftest import PutNetworks
from tests.process.contract import hold_contract, write_repository
from tests.server import ServerProcess, running_server

pytestmark = pytest.mark.xdist_group("openapi")


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory, put_networks: PutNetworks) -> Iterator[ServerProcess]:
    """A server with a model of each kind."""
    repository = tmp_path_factory.mktemp("repository")
    write_repository(repository)
    put_networks(repository, generation_networks.export_letter_model, generation_networks.export_hours_ahead)
    with running_server(repository, tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def http(described: ServerProcess) -> Iterator[httpx2.Client]:
    """A client that holds each answer in JSON to be a line of its own, so that no prompt is glued to it."""
    with described.client() as client:
        client.event_hooks = {"response": [assert_is_line]}
        yield client


def assert_is_line(answer: httpx2.Response) -> None:
    content = answer.read()
    if answer.headers.get("content-type", "").partition(";")[0].endswith("json") and answer.request.method != "HEAD":
        assert content.endswith((b"}\n", b"]\n")), (answer.request.method, answer.url, content[-20:])


@pytest.fixture
def document(http: httpx2.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/openapi.json").json()
    return found


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_bentomls_page_gives_place_to_ours(http: httpx2.Client) -> None:
    for path, place in (("/", "docs"), ("/docs.json", "openapi.json")):
        answer = http.get(path, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (307, place)
    page = http.get("/", follow_redirects=True)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith("default-src 'none'; ")
    assert "googletagmanager" not in page.text
    assert http.get("/static_content/index.html").json()["code"] == "unknown_route"
    assert {route["name"] for route in http.get("/schema.json").json()["routes"]} >= {"predict", "step"}


def test_every_example_succeeds_and_every_answer_is_of_its_type(http: httpx2.Client, document: dict[str, Any]) -> None:
    kinds = {name: kind for each in (answers, forecast_schemas, oip_answers) for name, kind in vars(each).items()}
    tried: dict[str, int] = {}
    for operation in OPERATIONS_IN_ORDER:
        if operation.id in NO_EXAMPLES or operation.tag == OIP_REFUSED:
            continue
        shown = document["paths"][operation.place][operation.method.lower()]
        named = {part["name"]: part.get("examples", {}) for part in shown.get("parameters", ()) if part["in"] == "path"}
        content = shown.get("requestBody", {}).get("content", {}).get("application/json", {})
        models = content.get("examples") or next(iter(named.values()), {"": None})
        for model in models:
            path = operation.place.format_map({name: each[model]["value"] for name, each in named.items()})
            body = content["examples"][model]["value"] if "examples" in content else {}
            answer = http.request(operation.method, path, json=body if content else None)
            assert str(answer.status_code) in shown["responses"], (path, answer.text)
            assert answer.status_code < 300, (path, body, answer.text)
            response = shown["responses"][str(answer.status_code)]
            media_type = answer.headers.get("content-type", "").partition(";")[0]
            schema = response.get("content", {}).get(media_type, {}).get("schema", {})
            if "$ref" in schema:
                msgspec.json.decode(answer.content, type=kinds[schema["$ref"].rpartition("/")[2]])
            tried[operation.id] = tried.get(operation.id, 0) + 1
    assert set(tried) == {each.id for each in OPERATIONS if each.tag != OIP_REFUSED} - NO_EXAMPLES
    assert tried["stepSession"] == tried["predict"] == 4
    assert tried["generate"] == 2


NO_EXAMPLES = {"streamSteps", "putSessionState", "rollBack", "unloadVersion"}
"""A WebSocket; a file, which another operation gives; what there may be nothing to do for; and what the others need."""
OPERATIONS_IN_ORDER = sorted(OPERATIONS, key=lambda each: each.id == "closeSession")
"""What closes sessions comes last."""


def test_events_are_of_their_types(http: httpx2.Client) -> None:
    body = {"model": "letters", "max_steps": 3, "method": "sample", "seed": 1, "num_return": 2}
    text = http.post("/generate_stream", json=body).text
    events = [part.splitlines() for part in text.strip().split("\n\n")]
    kinds = {"event: step": answers.OutputStep, "event: done": answers.GeneratedOutputs}
    for name, data in events:
        msgspec.json.decode(data.removeprefix("data: "), type=kinds[name])
    assert events[-1][0] == "event: done"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/livez", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/v1/nowhere", 404),
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/static_content/index.html", 404),
        ("PUT", "/livez", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/predict", 422),
        ("GET", "/v1/models/accumulator/stream", 426),
        ("GET", "/schema.json", 200),  # BentoML's
    ],
)
def test_what_is_answered_outside_of_the_examples_ends_its_line_too(
    http: httpx2.Client, method: str, path: str, status: int
) -> None:
    http.post("/v1/models/accumulator/sessions", json={"session_id": "kept"})
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"].partition(";")[0].endswith("json")  # and so it was looked at


def test_a_large_answer_and_one_that_bentoml_words_end_their_lines(http: httpx2.Client) -> None:
    large = http.post("/v1/models/accumulator/predict", json={"sequences": [[[1]] * 4000] * 8})
    assert large.status_code == 200
    assert len(large.content) > 100_000  # it is written in slices
    assert http.get("/nowhere").content == b"Not Found\n"
    head = http.head("/schema.json")
    assert int(head.headers["content-length"]) == len(http.get("/schema.json").content)


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/models/panel/predict", {"sequences": [], "return_state": True}, answers.InvalidInputProblem),
        ("/v1/models/nobody/predict", {"sequences": []}, answers.ProblemDetails),
        ("/v1/sessions/kept/step", {"inputs": [[1]], "seq": 7}, answers.SeqConflictProblem),
    ],
)
def test_problems_are_of_their_types(http: httpx2.Client, path: str, body: object, kind: type) -> None:
    http.post("/v1/models/accumulator/sessions", json={"session_id": "kept"})
    msgspec.json.decode(http.post(path, json=body).content, type=kind)


def test_answers_with_all_options_are_of_their_types(http: httpx2.Client) -> None:
    def held(path: str, body: object, kind: type) -> Any:
        answer = http.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return msgspec.json.decode(answer.content, type=kind)

    held("/v1/models/framed/sessions", {"session_id": "f"}, answers.SessionFacts)
    frame = held("/v1/sessions/f/step", {"inputs": [[1], [2], [3]]}, answers.StepOutputs)
    assert frame.output_steps == [3]
    rows = {"session_ids": ["f", "absent"], "inputs": [[1], [2]], "seq": [3, None]}
    columns = held("/v1/models/framed/step", rows, answers.ColumnOutputs)
    assert [each.code for each in columns.errors] == ["unknown_session"]
    sequences = {"sequences": [[[1], [2], [3]]], "return_state": True}
    assert held("/v1/models/framed/predict", sequences, answers.Predictions).output_steps == [[3]]
    asked = {"max_steps": 3, "method": "sample", "num_return": 2, "return_log_probs": True}
    made = held("/v1/models/letters/generate", asked, answers.GeneratedOutputs)
    assert isinstance(made.seed, int)
    assert len(made.log_probs[0]) == 2


def test_a_generated_client_gets_typed_answers_and_typed_problems(
    described: ServerProcess, document: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    (tmp_path / "config.yml").write_text("post_hooks: []\n")
    generate = ["-m", "openapi_python_client", "generate", "--meta", "none", "--config", "config.yml"]
    command = [sys.executable, *generate, "--path", "openapi.json", "--output-path", "ostinato_api"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # Of each body the form in JSON is generated; the other one is for those who make Arrow themselves.
    unsupported = "Unsupported content type application/vnd.apache.arrow.stream"
    assert ran.stdout.count("WARNING") == ran.stdout.count(unsupported)
    monkeypatch.syspath_prepend(tmp_path)

    def part(name: str) -> ModuleType:
        return importlib.import_module(f"ostinato_api.{name}")

    def operation(name: str) -> ModuleType:
        return part(f"api.{name}")

    models = part("models")
    with part("client").Client(described.url) as client:
        opened = operation("sessions.open_session").sync(
            "accumulator", client=client, body=models.OpenBody(session_id="typed", ttl_seconds=60)
        )
        assert isinstance(opened, models.SessionFacts)
        assert opened.expires_at - opened.opened_at
        step = operation("sessions.step_session")
        stepped = step.sync("typed", client=client, body=models.StepBody(inputs=[[1], [2]], seq=0))
        assert isinstance(stepped, models.StepOutputs)
        assert (stepped.seq, stepped.steps, stepped.outputs) == (0, 2, [[1.0], [3.0]])
        conflict = step.sync_detailed("typed", client=client, body=models.StepBody(inputs=[[1]], seq=7))
        assert isinstance(conflict.parsed, models.SeqConflictProblem)
        assert (conflict.status_code, conflict.parsed.code, conflict.parsed.expected_seq) == (409, "seq_conflict", 2)
        unfit = step.sync("typed", client=client, body=models.StepBody(inputs=[[1, 2]]))
        assert isinstance(unfit, models.InvalidInputProblem)
        assert (unfit.code, unfit.field) == ("invalid_input", "inputs[0]")
        absent = step.sync("nobody", client=client, body=models.StepBody(inputs=[[1]]))
        assert isinstance(absent, models.ProblemDetails)
        assert (absent.status, absent.code) == (404, "unknown_session")
        page = operation("sessions.list_sessions").sync(client=client, model="accumulator")
        assert "typed" in [each.session_id for each in page.sessions]
        state = operation("sessions.get_session_state").sync("typed", client=client)
        put = operation("sessions.put_session_state").sync("typed", client=client, body=state)
        assert put.steps == 2
        sequences = models.PredictBody(sequences=[[[1], [2]]])
        predicted = operation("whole_sequences.predict").sync("accumulator", client=client, body=sequences)
        assert predicted.outputs == [[[1.0], [3.0]]]
        written = operation("generation.generate").sync("letters", client=client, body=models.GenerateBody(max_steps=4))
        assert isinstance(written, models.GeneratedOutputs)
        tensor = models.TensorHeader(name="inputs", shape=[1, 1, 1], datatype="FP32", data=[3.0])
        inferred = operation("open_inference_protocol.oip_infer")
        answered = inferred.sync("accumulator", client=client, body=models.InferHeader(inputs=[tensor]))
        assert isinstance(answered, models.OipInferAnswer)
        assert answered.outputs[0].data == [3.0]
        assert isinstance(inferred.sync("nobody", client=client, body=models.InferHeader(inputs=[])), models.OipError)
        assert operation("operation.ready").sync(client=client).status == models.ReadinessStatus.READY
        assert operation("sessions.close_session").sync_detailed("typed", client=client).status_code == 204


def test_what_it_promises_is_kept_whatever_is_sent(described: ServerProcess, tmp_path: Path) -> None:
    # What is refused whatever comes, and what differs by a version in its path, is in the long form.
    fewer = ("--exclude-tag", OIP_REFUSED, "--exclude-operation-id-regex", "^oipVersion")
    told = hold_contract(described.url, tmp_path, seed=1, max_examples=1, options=fewer)
    assert told.returncode == 0, told.stdout
