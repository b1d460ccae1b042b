"""``/metrics`` of a real server: valid for Prometheus, and every series moves when its event happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ostinato.service.metrics.series import SERIES
from tests.server import ServerProcess, running_server
from tests.tools import run_tool

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("server")

PAGE = Path(__file__).parents[2] / "docs" / "reference_metrics.md"
MODEL = {"model": "accumulator", "version": "1"}


def read(server: ServerProcess) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = server.get("/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_promtool_finds_nothing_to_say(server: ServerProcess) -> None:
    server.post("/v1/models/accumulator/predict", json={"sequences": [[[1]]]})
    metrics = server.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    run_tool("promtool", "check", "metrics", input_text=metrics.text)


def test_every_documented_series_is_there(server: ServerProcess) -> None:
    text = server.get("/metrics").text
    declared = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert declared == set(SERIES)


def test_the_page_of_metrics_has_the_kinds_and_labels_of_a_server(server: ServerProcess) -> None:
    server.post("/v1/models/accumulator/predict", json={"sequences": [[[1]]]})
    rows = re.findall(r"^\| `(ostinato_\w+)` \| (\w+) \| ([^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    documented = {name: (kind, set(re.findall(r"\w+", labels))) for name, kind, labels in rows}
    served = {
        (sample.name, family.type): set(sample.labels) - {"le"}
        for family in text_string_to_metric_families(server.get("/metrics").text)
        for sample in family.samples
    }
    assert served
    for (name, kind), labels in served.items():
        of = name if name in documented else re.sub(r"_(bucket|sum|count)$", "", name)
        assert documented[of] == (kind, labels), name


def test_no_label_holds_a_session(server: ServerProcess) -> None:
    server.post("/v1/models/accumulator/sessions", json={"session_id": "very-own-id"})
    server.post("/v1/sessions/very-own-id/step", json={"inputs": [[1]]})
    server.request("DELETE", "/v1/sessions/very-own-id")
    assert "very-own-id" not in server.get("/metrics").text


def test_each_series_moves_when_its_event_happens(repository: Path, tmp_path: Path) -> None:
    with (
        running_server(repository, tmp_path) as server,
        server.client() as http,
    ):
        before = read(server)

        def moved(name: str, **labels: str) -> float:
            key = (f"ostinato_{name}", frozenset(labels.items()))
            return read(server).get(key, 0.0) - before.get(key, 0.0)

        http.post("/v1/models/accumulator/sessions", json={"session_id": "a"})
        assert moved("sessions_total", **MODEL, event="opened") == 1
        assert moved("sessions_live", **MODEL) == 1
        assert moved("state_bytes", **MODEL) == 4 + 4  # its state, and its last answer
        http.post("/v1/sessions/a/step", json={"inputs": [[1], [2], [3]], "seq": 0})
        assert moved("steps_total", **MODEL) == 3
        assert moved("iteration_batch_size_count", **MODEL) == 1
        assert moved("iteration_steps_sum", **MODEL) == 3
        for seconds in ("queue_seconds", "run_seconds", "commit_seconds"):
            assert moved(f"{seconds}_count", **MODEL) == 1
            assert moved(f"{seconds}_sum", **MODEL) > 0
        assert moved("request_seconds_count", route="/v1/sessions/{name}/step", code_class="2xx") == 1
        http.post("/v1/sessions/a/step", json={"inputs": [[1], [2], [3]], "seq": 0})
        assert moved("duplicates_total", **MODEL) == 1
        http.post("/v1/sessions/a/step", json={"inputs": [[1]], "seq": 9})
        assert moved("seq_conflicts_total", **MODEL) == 1
        assert moved("rejected_total", reason="seq_conflict") == 1
        http.post("/v1/models/tokens/predict", json={"sequences": [[[99]]]})
        assert moved("run_failures_total", model="tokens", version="1") == 1
        http.delete("/v1/sessions/a")
        assert moved("sessions_total", **MODEL, event="closed") == 1
        assert moved("sessions_live", **MODEL) == 0
        assert read(server)["ostinato_models_failed", frozenset()] == 0
        info = {**MODEL, "task": "recurrent", "batch_invariant": "true"}
        assert read(server)["ostinato_model_info", frozenset(info.items())] == 1
        assert read(server)["ostinato_queue_depth", frozenset(MODEL.items())] == pytest.approx(0)
