"""A real Prometheus over a real server: it takes what is served, evaluates the rules, and has data for every panel."""

from __future__ import annotations

import json
import math
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import yaml

from ostinato.service.artifact.tensors import Input, Statistics
from tests import forecast_networks, generation_networks, networks
from tests.conftest import PutNetworks
from tests.forecast_networks import drawn_steps
from tests.sequence_networks import planted
from tests.server import PLAIN, ServerProcess, free_port, running_server
from tests.tools import tool
from tests.waiting import until

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana").glob("*.json"))
JOB = "a-job-of-mine"

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("prometheus")


class Prometheus:
    """A Prometheus that scrapes one server every half second; it is asked over HTTP."""

    def __init__(self, http: httpx2.Client) -> None:
        self._http = http

    def ask(self, path: str, **parameters: str) -> Any:
        answer = self._http.get(f"/{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def is_up(self) -> bool:
        try:
            answer = self._http.get("/targets")
        except httpx2.TransportError:
            return False
        # It listens before it is ready, and says so.
        targets = answer.json()["data"]["activeTargets"] if answer.status_code == 200 else []
        return any(target["health"] == "up" for target in targets)

    def values(self, query: str) -> list[float]:
        """What a query gives now, without what is no number, as a quantile of nothing."""
        values = [float(sample["value"][1]) for sample in self.ask("query", query=query)["result"]]
        return [value for value in values if not math.isnan(value)]


@contextmanager
def prometheus_of(server: ServerProcess, home: Path) -> Iterator[Prometheus]:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (scrape,) = config["scrape_configs"]
    scrape.update(job_name=JOB, static_configs=[{"targets": [f"127.0.0.1:{server.port}"]}])
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["rule_files"] = [str(DEPLOY / "prometheus" / "rules.yml")]
    (home / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        tool("prometheus"),
        f"--config.file={home / 'prometheus.yml'}",
        f"--storage.tsdb.path={home / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (home / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=home, stdout=log, stderr=subprocess.STDOUT)
    try:
        with httpx2.Client(base_url=f"http://{address}/api/v1", timeout=30, trust_env=False, **PLAIN) as http:
            prometheus = Prometheus(http)
            until(prometheus.is_up, "a scrape")
            yield prometheus
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, put_networks: PutNetworks) -> Iterator[ServerProcess]:
    """Of a model that forecasts and knows its training, one of whole sequences, one that generates, and one that fails;
    its sessions are in files.
    """
    home = tmp_path_factory.mktemp("scraped")
    repository = home / "repository"
    known = Statistics(mean=(4.0,), std=(3.0,), minimum=(0.0,), maximum=(9.0,), missing_fraction=(0.0,))
    given = Input(name="inputs", dtype="float32", shape=("B", "T", 1), features=("x",), statistics=known)
    cases = np.arange(18, dtype=np.float32).reshape(3, 6, 1)
    for version in ("1", "2"):
        networks.accumulator().named("accumulator", version, inputs=(given,)).write(repository, cases)
    broken = networks.accumulator().named("broken").write(repository, cases)
    (broken / "model.onnx").write_bytes(b"no graph")
    planted(repository, "nothing")
    forecast_networks.write(repository, calibration=forecast_networks.calibration())
    put_networks(repository, generation_networks.export_letter_model)
    # Everything in a thread, so that the table of what is has a row.
    with running_server(repository, home, state=f"lmdb://{home / 'state'}", inline_run_seconds=0) as running:
        shadow = running.request("PUT", "/v1/admin/models/accumulator/shadow", json={"version": "1", "share": 1})
        assert shadow.status_code == 200, shadow.text
        yield running


def work(server: ServerProcess, turn: int) -> None:
    """Something of everything."""
    with server.client() as http:
        name = f"session-{turn}"
        http.post("/v1/models/accumulator/sessions", json={"session_id": name})
        for inputs in ([[1], [2]], [[3]], [[40]]):
            assert http.post(f"/v1/sessions/{name}/step", json={"inputs": inputs}).status_code == 200
        http.post("/v1/models/loads/sessions", json={"session_id": f"load-{turn}"})
        steps = [[None if math.isnan(each) else each for each in step] for step in drawn_steps(turn, 40).tolist()]
        assert http.post(f"/v1/sessions/load-{turn}/step", json={"inputs": steps}).status_code == 200
        http.get("/v1/sessions/nobody")
        answer = http.post("/v1/models/planted-nothing/predict", json={"sequences": [[[1], [2], [3]], [[4]]]})
        assert answer.status_code == 200
        assert http.post("/v1/models/letters/generate", json={"inputs": ["a"]}).status_code == 200


def test_every_panel_has_data_and_every_rule_can_be_evaluated(server: ServerProcess, tmp_path: Path) -> None:
    assert len(DASHBOARDS) == 2
    queries = {
        (dashboard.stem, panel["title"], target["expr"])
        for dashboard in DASHBOARDS
        for panel in json.loads(dashboard.read_text())["panels"]
        for target in panel.get("targets", [])
    }
    with prometheus_of(server, tmp_path) as prometheus:
        turns = iter(range(1_000_000))

        left = set(queries)

        def all_have_data() -> bool:
            work(server, next(turns))
            for query in list(left):
                known = query[2].replace("$__rate_interval", "1m").replace("$model", ".*").replace("$version", ".*")
                if prometheus.values(known):
                    left.remove(query)
            return not left

        try:
            until(all_have_data)
        finally:
            assert left == set()
        groups = prometheus.ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) > 40
        assert [rule["lastError"] for rule in rules if rule.get("lastError")] == []
        # Of what is broken here, the rules know which, and the name of the job is nobody's business.
        failed = 'ALERTS{alertname="OstinatoModelRejected", model="broken"}'
        until(lambda: prometheus.values(failed), "the alert of the version that failed")
        assert prometheus.values('ALERTS{alertname=~"OstinatoDown|OstinatoGone|OstinatoStateStoreDown"}') == []
        assert prometheus.values(f'count(ostinato_build_info{{job="{JOB}"}})') == [1]


def test_it_answers_as_open_metrics_who_asks_for_that(server: ServerProcess) -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    with server.client() as http:
        answer = http.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"})
        plain = http.get("/metrics")
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert plain.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text.endswith("# EOF\n")
    families = {family.name for family in text_string_to_metric_families(answer.text)}  # type: ignore[no-untyped-call]
    assert {"ostinato_steps", "ostinato_ready", "ostinato_request_seconds"} <= families
