"""Traces and logs of a server's process, as a collector and whoever reads the log get them."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import generation_networks, sequence_networks
from tests.collector import Collector, collecting
from tests.server import running_server

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REQUEST = "POST /v1/sessions/{name}/step"


def ids(span: Any) -> tuple[str, str, str]:
    return span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()


def of_request(collector: Collector, request_id: str) -> Any:
    for span in collector.spans.get(REQUEST, []):
        if any(each.key == "request.id" and each.value.string_value == request_id for each in span.attributes):
            return span
    return None


@pytest.mark.parametrize("store", ["memory", "lmdb"])
def test_a_request_is_followed_from_the_edge_to_its_commit(repository: Path, tmp_path: Path, store: str) -> None:
    state = "memory://" if store == "memory" else f"lmdb://{tmp_path}/state"
    with collecting() as (collector, endpoint):
        with running_server(repository, tmp_path, traces=endpoint, state=state) as server, server.client() as http:
            http.post("/v1/models/accumulator/sessions", json={"session_id": "a"})
            headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "x-request-id": "mine"}
            http.post("/v1/sessions/a/step", json={"inputs": [[1]]}, headers=headers)
            unsampled = {"traceparent": f"00-{'1' * 32}-{PARENT_ID}-00", "x-request-id": "unsampled"}
            http.post("/v1/sessions/a/step", json={"inputs": [[1]]}, headers=unsampled)
            http.post("/v1/sessions/a/step", json={}, headers={"x-request-id": "refused"})
        # It ends its spans before it ends itself.
        request = of_request(collector, "mine")
        trace_id, span_id, parent_id = ids(request)
        assert (trace_id, parent_id) == (TRACE_ID, PARENT_ID)
        for name in ("queue", "iteration", "commit"):
            [span] = [each for each in collector.spans[name] if ids(each)[0] == TRACE_ID]
            assert ids(span)[2] == span_id
            assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= request.end_time_unix_nano
        assert of_request(collector, "unsampled") is None
        refused = {each.key: each.value for each in of_request(collector, "refused").attributes}
        assert refused["http.response.status_code"].int_value == 422
        assert refused["error.type"].string_value == "invalid_input"
        assert collector.resources["service.name"] == "ostinato"


def test_an_iteration_is_linked_with_all_that_shared_it(repository: Path, tmp_path: Path) -> None:
    with collecting() as (collector, endpoint):
        with (
            running_server(repository, tmp_path, traces=endpoint, state="memory://") as server,
            server.client() as http,
            ThreadPoolExecutor(16) as threads,
        ):
            for number in range(16):
                http.post("/v1/models/lstm/sessions", json={"session_id": f"s{number}"})
            body = {"inputs": [[0.1, 0.2, 0.3]] * 200}

            def step(number: int) -> int:
                return server.post(f"/v1/sessions/s{number}/step", body).status_code

            for _ in range(5):
                assert set(threads.map(step, range(16))) == {200}
        requests = {ids(span)[:2]: span for span in collector.spans[REQUEST]}
        assert len(requests) == 80
        shared = [span for span in collector.spans["iteration"] if len(span.links) > 1]
        assert shared
        for span in shared:
            linked = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
            assert set(linked) <= requests.keys()
            for key in linked[1:]:
                back = [(link.trace_id.hex(), link.span_id.hex()) for link in requests[key].links]
                assert ids(span)[:2] in back


def test_whole_sequences_and_outputs_are_followed_through_the_engine(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    sequence_networks.planted(folder, "nothing")
    generation_networks.export_attention_speller(folder)
    with collecting() as (collector, endpoint):
        with running_server(folder, tmp_path, traces=endpoint, state="memory://") as server:
            sequences = np.random.default_rng(0).normal(size=(3, 5, 1)).tolist()
            assert server.post("/v1/models/planted-nothing/predict", {"sequences": sequences}).status_code == 200
            asked = {"inputs": ["ab", "c"], "max_steps": 4}
            assert server.post("/v1/models/speller/generate", asked).status_code == 200
        [predicted] = collector.spans["POST /v1/models/{name}/predict"]
        [run] = collector.spans["iteration"]
        [generated] = collector.spans["POST /v1/models/{name}/generate"]
        decodes = collector.spans["decode"]
        waits = [span for span in collector.spans["queue"] if ids(span)[2] == ids(generated)[1]]
        assert ids(run)[2] == ids(predicted)[1]
        assert {each.key: each.value.int_value for each in run.attributes}["ostinato.rows"] == 3
        assert [ids(span)[2] for span in decodes] == [ids(generated)[1]] * 2
        assert len(waits) == 2
        for span in (*decodes, *waits):
            assert generated.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= generated.end_time_unix_nano


def test_a_collector_that_is_away_holds_nothing_up(repository: Path, tmp_path: Path) -> None:
    with running_server(repository, tmp_path, traces="http://127.0.0.1:9", state="memory://") as server:
        opened = server.post("/v1/models/accumulator/sessions", {"session_id": "a"})
        assert opened.status_code == 201
        for number in range(20):
            assert server.post("/v1/sessions/a/step", {"inputs": [[1]]}).json()["steps"] == number + 1


@pytest.mark.parametrize("workers", [1, 2])
def test_every_line_of_the_log_is_an_object(repository: Path, tmp_path: Path, workers: int) -> None:
    settings: dict[str, Any] = {
        "log_format": "json",
        "access_log": 1,
        "workers": workers,
        "state": f"lmdb://{tmp_path}/state",
    }
    with running_server(repository, tmp_path, **settings) as server, server.client() as http:
        http.post("/v1/models/accumulator/sessions", json={"session_id": "a"})
        made = http.post("/v1/sessions/a/step", json={"inputs": [[1]]}).headers["x-request-id"]
        refused = http.post("/v1/sessions/a/step", json={}, headers={"x-request-id": "mine"})
        assert refused.json()["request_id"] == "mine"
        while "listens on" not in server.log():  # its parent looks now and then
            time.sleep(0.05)
    lines = [json.loads(line) for line in server.log().splitlines() if line.strip()]
    by_id = {line["request_id"]: line for line in lines if "request_id" in line}
    assert by_id[made]["status"] == 200
    assert by_id[made]["route"] == "/v1/sessions/{name}/step"
    assert by_id["mine"]["status"] == 422
    said = " ".join(line["event"] for line in lines)
    for told in ("Ostinato ", "store: ", "models: ", "limits: ", "listens on", "drained"):
        assert told in said, told
