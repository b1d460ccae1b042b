"""The HTTP contract, row by row, against a real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.networks import one_step, token_counter
from tests.server import ServerProcess, running_server
from tests.waiting import until

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("server")


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="module")
def strict_server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that has room for little and forgets at once."""
    limits = {"tombstone_seconds": 0, "max_sessions": 2, "max_queue_rows": 3}
    with running_server(repository, tmp_path_factory.mktemp("strict"), **limits) as running:
        yield running


@pytest.fixture
def session(http: httpx2.Client, request: pytest.FixtureRequest) -> Iterator[str]:
    """A live session of ``accumulator`` to which nothing was applied."""
    session_id = f"s{abs(hash(request.node.nodeid)):x}"
    assert http.post("/v1/models/accumulator/sessions", json={"session_id": session_id}).status_code == 201
    yield session_id
    http.delete(f"/v1/sessions/{session_id}")


def problem(answer: httpx2.Response) -> tuple[int, str, str | None]:
    """(status, code, field) of an answer that must be a problem document."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    content = answer.json()
    assert content["status"] == answer.status_code
    assert {"type", "title", "detail", "code"} <= set(content)
    return answer.status_code, content["code"], content.get("field")


class TestSessions:
    def test_a_session_lives_from_opening_to_closing(self, http: httpx2.Client) -> None:
        opened = http.post("/v1/models/accumulator/sessions", json={"ttl_seconds": 0})
        content = opened.json()
        assert opened.status_code == 201
        assert (content["model"], content["version"], content["steps"], content["expires_at"]) == (
            "accumulator",
            "1",
            0,
            None,
        )
        path = f"/v1/sessions/{content['session_id']}"
        assert opened.headers["location"] == path
        first = http.post(f"{path}/step", json={"inputs": [[1], [2]], "seq": 0}).json()
        assert first == {"session_id": content["session_id"], "seq": 0, "steps": 2, "outputs": [[1.0], [3.0]]}
        last = http.post(f"{path}/step", json={"inputs": [[3], [4]], "seq": 2, "return_sequences": False}).json()
        assert (last["steps"], last["outputs"]) == (4, [[10.0]])
        assert http.get(path).json()["steps"] == 4
        assert http.delete(path).status_code == 204
        assert problem(http.get(path)) == (410, "session_closed", None)
        assert problem(http.post(f"{path}/step", json={"inputs": [[1]]})) == (410, "session_closed", None)
        assert problem(http.delete(path)) == (410, "session_closed", None)

    def test_a_body_may_be_absent(self, http: httpx2.Client) -> None:
        opened = http.post("/v1/models/accumulator/sessions").json()
        assert opened["expires_at"].startswith("20")
        http.delete(f"/v1/sessions/{opened['session_id']}")

    def test_a_session_expires(self, http: httpx2.Client) -> None:
        http.post("/v1/models/accumulator/sessions", json={"session_id": "brief", "ttl_seconds": 0.1})
        until(lambda: http.get("/v1/sessions/brief").status_code != 200, "its end")
        assert problem(http.get("/v1/sessions/brief")) == (410, "session_expired", None)

    def test_an_expired_session_is_forgotten(self, strict_server: ServerProcess) -> None:
        with strict_server.client() as client:
            client.post("/v1/models/accumulator/sessions", json={"session_id": "brief", "ttl_seconds": 0.1})
            until(lambda: client.get("/v1/sessions/brief").status_code == 404, "its being forgotten")
            assert problem(client.get("/v1/sessions/brief")) == (404, "unknown_session", None)
            expired = 'ostinato_sessions_total{event="expired",model="accumulator",version="1"} 1.0'
            until(lambda: expired in client.get("/metrics").text, "the count")

    def test_sessions_are_listed_in_pages(self, http: httpx2.Client) -> None:
        ids = {f"page-{number}" for number in range(5)}
        for session_id in ids:
            http.post("/v1/models/tokens/sessions", json={"session_id": session_id})
        seen, cursor = [], ""
        while True:
            page = http.get("/v1/sessions", params={"model": "tokens", "limit": 2, "cursor": cursor or None}).json()
            assert len(page["sessions"]) <= 2
            seen += [each["session_id"] for each in page["sessions"]]
            if (cursor := page["next_cursor"]) is None:
                break
        assert sorted(seen) == sorted(ids)
        for session_id in ids:
            http.delete(f"/v1/sessions/{session_id}")
        assert problem(http.get("/v1/sessions?limit=0")) == (422, "invalid_input", "limit")
        assert problem(http.get("/v1/sessions?cursor=x")) == (422, "invalid_input", "cursor")

    def test_a_taken_id_is_refused(self, http: httpx2.Client, session: str) -> None:
        answer = http.post("/v1/models/lstm/sessions", json={"session_id": session})
        assert problem(answer) == (409, "session_exists", None)

    def test_a_duplicate_gets_the_same_answer_and_is_applied_once(self, http: httpx2.Client, session: str) -> None:
        path = f"/v1/sessions/{session}/step"
        answers = [http.post(path, json={"inputs": [[5], [6]], "seq": 0}).json() for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
        assert http.get(f"/v1/sessions/{session}").json()["steps"] == 2

    def test_a_wrong_seq_is_told_the_right_one(self, http: httpx2.Client, session: str) -> None:
        path = f"/v1/sessions/{session}/step"
        http.post(path, json={"inputs": [[5]], "seq": 0})
        answer = http.post(path, json={"inputs": [[5]], "seq": 7})
        assert problem(answer) == (409, "seq_conflict", None)
        assert answer.json()["expected_seq"] == 1


class TestBadInput:
    @pytest.mark.parametrize(
        ("body", "status", "code", "field"),
        [
            ('{"inputs": [[1, 2]]}', 422, "invalid_input", "inputs[0]"),
            ('{"inputs": [[1], []]}', 422, "invalid_input", "inputs[1]"),
            ('{"inputs": [[NaN]]}', 422, "invalid_input", "inputs[0][0]"),
            ('{"inputs": [[Infinity]]}', 422, "invalid_input", "inputs[0][0]"),
            ('{"inputs": [[1e999]]}', 422, "invalid_input", "inputs[0][0]"),
            ('{"inputs": [[1e39]]}', 422, "invalid_input", "inputs[0][0]"),
            ('{"inputs": [[null]]}', 422, "invalid_input", "inputs[0][0]"),
            ('{"inputs": [["1"]]}', 422, "invalid_input", "inputs[0][0]"),
            ('{"inputs": []}', 422, "invalid_input", "inputs"),
            ('{"inputs": 1}', 422, "invalid_input", "inputs"),
            ('{"inputs": [[1]', 422, "invalid_input", None),
            ("{}", 422, "invalid_input", "inputs"),
            ('{"inputs": [[1]], "seq": "0"}', 422, "invalid_input", "seq"),
            ('{"inputs": [[1]], "seq": -1}', 422, "invalid_input", "seq"),
            ('{"inputs": [[1]], "seq": 1' + "0" * 30 + "}", 422, "invalid_input", "seq"),
            ('{"inputs": ' + "[" * 5000 + "]" * 5000 + "}", 422, "invalid_input", "inputs[0][0]"),
            ('{"inputs": [' + "[1]," * 500 + "[1]]}", 413, "too_large", None),
            ('{"inputs": [' + "[1]," * 60_000 + "[1]]}", 413, "too_large", None),
        ],
        ids=lambda value: str(value)[:24],
    )
    def test_a_bad_chunk_is_refused_and_nothing_is_lost(
        self, http: httpx2.Client, session: str, body: str, status: int, code: str, field: str | None
    ) -> None:
        path = f"/v1/sessions/{session}/step"
        http.post(path, json={"inputs": [[5]], "seq": 0})
        answer = http.post(path, content=body, headers={"content-type": "application/json"})
        assert problem(answer) == (status, code, field)
        assert http.post(path, json={"inputs": [[1]], "seq": 1}).json()["outputs"] == [[6.0]]

    def test_another_media_type_is_refused(self, http: httpx2.Client, session: str) -> None:
        answer = http.post(f"/v1/sessions/{session}/step", content="1,2", headers={"content-type": "text/csv"})
        assert problem(answer) == (415, "unsupported_media_type", None)

    def test_what_is_unknown_is_named(self, http: httpx2.Client) -> None:
        assert problem(http.get("/v1/sessions/never")) == (404, "unknown_session", None)
        assert problem(http.post("/v1/sessions/never/step", json={"inputs": [[1]]})) == (404, "unknown_session", None)
        assert problem(http.get("/v1/models/never")) == (404, "unknown_model", None)
        assert problem(http.post("/v1/models/never/sessions")) == (404, "unknown_model", None)
        assert problem(http.post("/v1/models/lstm/sessions", json={"version": "7"})) == (404, "unknown_model", None)
        assert problem(http.post("/v1/models/never/predict", json={"sequences": []})) == (404, "unknown_model", None)

    def test_a_session_id_of_other_characters_is_refused(self, http: httpx2.Client) -> None:
        answer = http.post("/v1/models/lstm/sessions", json={"session_id": "a/b"})
        assert problem(answer) == (422, "invalid_input", "session_id")

    def test_a_time_to_live_beyond_all_calendars_is_refused(self, http: httpx2.Client) -> None:
        answer = http.post("/v1/models/lstm/sessions", json={"ttl_seconds": 1e12})
        assert problem(answer) == (422, "invalid_input", "ttl_seconds")
        assert http.get("/v1/sessions").status_code == 200

    @pytest.mark.parametrize("query", ["limit=" + "9" * 5000, "cursor=" + "9" * 5000 + ".1", "cursor=٣.٣", "limit=0"])
    def test_a_page_that_cannot_be_is_refused(self, http: httpx2.Client, query: str) -> None:
        assert problem(http.get(f"/v1/sessions?{query}"))[:2] == (422, "invalid_input")

    @pytest.mark.parametrize("state", ["[1e39]", '["inf"]', "[null]", "[true]", "1" + "0" * 400, "[" * 600 + "]" * 600])
    def test_an_initial_state_that_is_none_is_refused(self, http: httpx2.Client, state: str) -> None:
        body = f'{{"sequences": [[[1]]], "initial_state": {{"total": {state}}}}}'
        headers = {"content-type": "application/json"}
        answer = http.post("/v1/models/accumulator/predict", content=body, headers=headers)
        assert problem(answer)[:2] == (422, "invalid_input")

    def test_odd_methods_and_paths_are_answered(self, http: httpx2.Client) -> None:
        assert http.head("/v1/models").status_code == 200
        assert problem(http.get("/v1")) == (404, "unknown_route", None)
        assert problem(http.post("/metrics")) == (405, "method_not_allowed", None)
        assert problem(http.get("/v1/sessions/" + "x" * 5000)) == (404, "unknown_session", None)
        assert problem(http.get("/v1/sessions/%2e%2e%2fmodels"))[0] == 404

    def test_a_token_that_breaks_the_run_fails_alone(self, http: httpx2.Client) -> None:
        for name in ("bad", "good"):
            http.post("/v1/models/tokens/sessions", json={"session_id": name})
        assert problem(http.post("/v1/sessions/bad/step", json={"inputs": [[99]]}))[:2] == (500, "run_failed")
        assert http.get("/v1/sessions/bad").json()["steps"] == 0
        answer = http.post("/v1/sessions/good/step", json={"inputs": [[3], [3]]}).json()
        assert answer["outputs"] == [[0, 0, 0, 2, 0, 0, 0]]
        for name in ("bad", "good"):
            http.delete(f"/v1/sessions/{name}")


class TestLimits:
    def test_too_many_sessions_and_a_full_queue_are_refused_with_a_time_to_come_back(
        self, strict_server: ServerProcess
    ) -> None:
        with strict_server.client() as client:
            ids = []
            for _ in range(2):
                opened = client.post("/v1/models/accumulator/sessions")
                assert opened.status_code == 201
                ids.append(opened.json()["session_id"])
            full = client.post("/v1/models/accumulator/sessions")
            assert problem(full) == (429, "overloaded", None)
            assert int(full.headers["retry-after"]) >= 1
            queued = client.post("/v1/models/accumulator/predict", json={"sequences": [[[1]]] * 4})
            assert problem(queued) == (413, "too_large", None)
            metrics = client.get("/metrics").text
            assert 'ostinato_rejected_total{reason="overloaded"} 1.0' in metrics
            for session_id in ids:
                assert client.delete(f"/v1/sessions/{session_id}").status_code == 204


class TestModels:
    def test_models_are_listed_and_shown(self, http: httpx2.Client) -> None:
        models = {each["model"]: each for each in http.get("/v1/models").json()["models"]}
        assert set(models) == {"accumulator", "lstm", "one-step", "time-first", "tokens"}
        assert {(each["task"], each["status"]) for each in models.values()} == {("recurrent", "ready")}
        shown = http.get("/v1/models/lstm").json()
        assert (shown["model"], shown["versions"], shown["status"]) == ("lstm", ["1"], "ready")
        assert shown["manifest"]["inputs"][0]["shape"] == ["B", "T", 3]

    def test_other_axes_and_extra_inputs_are_served_alike(self, http: httpx2.Client) -> None:
        inputs = np.random.default_rng(5).normal(size=(9, 5)).astype(np.float32)
        made = predict(http, "one-step", inputs)
        np.testing.assert_allclose(made, one_step().reference(inputs[None])[0][0], atol=1e-6)
        tokens = np.array([[1], [1], [6]])
        assert predict(http, "tokens", tokens).tolist() == token_counter().reference(tokens[None])[0][0].tolist()
        assert predict(http, "tokens", np.full((33, 1), 3)).tolist() == [[0, 0, 0, 33, 0, 0, 0]]
        lengths = (3, 40, 17)
        sequences = [np.random.default_rng(1).normal(size=(length, 3)).astype(np.float32) for length in lengths]
        together = http.post(
            "/v1/models/time-first/predict", json={"sequences": [each.tolist() for each in sequences]}
        ).json()["outputs"]
        for each, made_together in zip(sequences, together, strict=True):
            assert predict(http, "time-first", each).tolist() == made_together

    def test_predict_returns_what_is_asked_for(self, http: httpx2.Client) -> None:
        path = "/v1/models/accumulator/predict"
        body: dict[str, Any] = {"sequences": [[[1], [2]], [[5]]]}
        assert http.post(path, json=body).json() == {
            "model": "accumulator",
            "version": "1",
            "outputs": [[[1.0], [3.0]], [[5.0]]],
        }
        last = http.post(path, json={**body, "return_sequences": False, "return_state": True}).json()
        assert (last["outputs"], last["states"]) == ([[3.0], [5.0]], [{"total": [3.0]}, {"total": [5.0]}])
        backwards = http.post(path, json={**body, "go_backwards": True}).json()
        assert backwards["outputs"] == [[[2.0], [3.0]], [[5.0]]]
        started = http.post(path, json={**body, "initial_state": [{"total": [10]}, None]}).json()
        assert started["outputs"] == [[[11.0], [13.0]], [[5.0]]]
        wrong = http.post(path, json={**body, "initial_state": {"total": [1, 2]}})
        assert problem(wrong) == (422, "invalid_input", "initial_state.total")
        assert problem(http.post(path, json={"sequences": [[[1]], []]})) == (422, "invalid_input", "sequences[1]")
        assert problem(http.post(path, json={"sequences": []})) == (422, "invalid_input", "sequences")
        assert problem(http.post(path, json={"sequences": [[[1]], [[1]] * 501]})) == (413, "too_large", None)

    def test_a_forecast_feeds_itself_and_changes_nothing(self, http: httpx2.Client, session: str) -> None:
        path = f"/v1/sessions/{session}"
        assert problem(http.post(f"{path}/forecast", json={"horizon": 2}))[:2] == (422, "invalid_input")
        http.post(f"{path}/step", json={"inputs": [[1], [2]]})
        for _ in range(2):
            forecast = http.post(f"{path}/forecast", json={"horizon": 4}).json()
            assert forecast["outputs"] == [[3.0], [6.0], [12.0], [24.0]]
        assert http.get(path).json()["steps"] == 2
        assert problem(http.post(f"{path}/forecast", json={"horizon": 51})) == (413, "too_large", None)
        assert problem(http.post(f"{path}/forecast", json={"horizon": 0})) == (422, "invalid_input", "horizon")
        unknown = http.post(f"{path}/forecast", json={"horizon": 2, "known_future": {"wind": [1]}})
        assert problem(unknown) == (422, "invalid_input", "known_future")


class TestTypedApis:
    def test_bentomls_own_routes_answer_alike(self, http: httpx2.Client, session: str) -> None:
        step = http.post("/step", json={"session_id": session, "inputs": [[1], [2]], "seq": 0})
        assert step.json() == {"session_id": session, "seq": 0, "steps": 2, "outputs": [[1.0], [3.0]]}
        forecast = http.post("/forecast", json={"session_id": session, "horizon": 2})
        assert forecast.json()["outputs"] == [[3.0], [6.0]]
        predict_ = http.post("/predict", json={"model": "accumulator", "sequences": [[[4]]]})
        assert predict_.json()["outputs"] == [[[4.0]]]

    def test_their_errors_keep_code_and_status(self, http: httpx2.Client, session: str) -> None:
        missing = http.post("/step", json={"session_id": "never", "inputs": [[1]]})
        assert problem(missing) == (404, "unknown_session", None)
        http.post("/step", json={"session_id": session, "inputs": [[1]]})
        conflict = http.post("/step", json={"session_id": session, "inputs": [[1]], "seq": 9})
        assert conflict.json()["expected_seq"] == 1
        assert problem(http.post("/predict", json={"model": "never", "sequences": []})) == (404, "unknown_model", None)
        below = http.post("/step", json={"session_id": session, "inputs": [[1]], "seq": -1})
        assert problem(below) == (422, "invalid_input", "seq")
        for horizon in (0, -5):
            nowhere = http.post("/forecast", json={"session_id": session, "horizon": horizon})
            assert problem(nowhere) == (422, "invalid_input", "horizon")
        large = http.post("/predict", json={"model": "accumulator", "sequences": [[[1]] * 60_000]})
        assert problem(large) == (413, "too_large", None)

    def test_they_take_every_option_of_v1_and_no_other(self, http: httpx2.Client, session: str) -> None:
        body = {"model": "accumulator", "sequences": [[[1], [2]]]}
        backwards = http.post("/predict", json={**body, "go_backwards": True, "return_state": True}).json()
        assert (backwards["outputs"], backwards["states"]) == ([[[2.0], [3.0]]], [{"total": [3.0]}])
        for path, content in (("/predict", body), ("/step", {"session_id": session, "inputs": [[1]]})):
            misspelt = http.post(path, json={**content, "Seq": 5})
            assert problem(misspelt) == (422, "invalid_input", "Seq")
            assert "`Seq`" in misspelt.json()["detail"]
        assert http.get(f"/v1/sessions/{session}").json()["steps"] == 0
        for bad, field in ((b"{", None), (b"[]", None), (b"{}", "session_id")):
            broken = http.post("/step", content=bad, headers={"content-type": "application/json"})
            assert problem(broken) == (422, "invalid_input", field)

    def test_they_are_counted_by_route(self, http: httpx2.Client) -> None:
        def counted() -> tuple[float, float]:
            lines = dict(line.rsplit(" ", 1) for line in http.get("/metrics").text.splitlines() if line[0] != "#")
            answered = 'ostinato_request_seconds_count{code_class="4xx",route="/predict"}'
            refused = 'ostinato_rejected_total{reason="unknown_model"}'
            return float(lines.get(answered, 0)), float(lines.get(refused, 0))

        before = counted()
        http.post("/predict", json={"model": "never", "sequences": [[[1]]]})
        assert counted() == (before[0] + 1, before[1] + 1)

    def test_bentomls_own_client_works(self, server: ServerProcess, http: httpx2.Client, session: str) -> None:
        # In a process of its own: BentoML's client leaves a temporary folder to the garbage collector.
        program = (
            f"import bentoml\n"
            f"with bentoml.SyncHTTPClient({server.url!r}) as client:\n"
            f"    print(client.step({session!r}, [[1.0], [2.0]], return_sequences=False)['outputs'])\n"
            f"    print(client.forecast(session_id={session!r}, horizon=2)['outputs'])\n"
            f"    sequences, state = [[[1], [2]]], [{{'total': [10]}}]\n"
            f"    print(client.predict('accumulator', sequences, go_backwards=True, initial_state=state)['outputs'])\n"
        )
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert ran.stdout.splitlines() == ["[[3.0]]", "[[3.0], [6.0]]", "[[[12.0], [13.0]]]"]
        [shown] = [route for route in http.get("/schema.json").json()["routes"] if route["route"] == "/predict"]
        assert shown["input"]["properties"]["go_backwards"] == {"default": False, "type": "boolean"}


def predict(http: httpx2.Client, model: str, sequence: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The outputs of one whole sequence."""
    answer = http.post(f"/v1/models/{model}/predict", json={"sequences": [sequence.tolist()]})
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["outputs"][0])


def test_a_worker_has_no_library_that_it_does_not_use(server: ServerProcess) -> None:
    [worker] = server.workers()
    loaded = Path(f"/proc/{worker.pid}/maps").read_text()
    assert "/numpy/" in loaded
    assert [name for name in ("pandas", "torch", "matplotlib") if f"/{name}/" in loaded] == []
