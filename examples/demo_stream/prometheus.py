"""Prometheus for the demo: it scrapes service and connector each second, and is asked what it saw."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from examples.demo_stream.processes import program_at
from ostinato.tools.child_process import ChildProcess
from ostinato.tools.server_process import free_port

QUERIES = {
    "steps of the service": 'sum(ostinato_steps_total{{model="{model}"}})',
    "anomalies that it told": 'sum(ostinato_anomalies_total{{model="{model}"}})',
    "readings of the connector": "sum(ostinato_connect_readings_total)",
    "answers of the connector": "sum(ostinato_connect_answers_total)",
    "late, duplicates": "sum(ostinato_connect_late_total) + sum(ostinato_connect_duplicates_total)",
    "most messages that waited (lag)": "max(max_over_time(ostinato_connect_lag[1h]))",
    "scrapes, of both": "sum(count_over_time(up[1h]))",
    "scrapes that found nobody": "sum(count_over_time(up[1h])) - sum(sum_over_time(up[1h]))",
}
"""Counts are those since the last start of who counts."""


class PrometheusProcess(ChildProcess):
    """A Prometheus on a port of its own. ``targets``: job -> port of this machine."""

    def __init__(self, program: str, folder: Path, targets: Mapping[str, int]) -> None:
        self._url = f"http://127.0.0.1:{(port := free_port())}"
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
            for job, target in targets.items()
        ]
        config = folder / "prometheus.json"
        # JSON is YAML, too.
        content = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}
        config.write_text(json.dumps(content))
        super().__init__(
            [
                program,
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'prometheus'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--log.level=error",
            ],
            folder / "prometheus.log",
        )

    def is_ready(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def value(self, query: str) -> float | None:
        """What a query comes to now; None = nothing."""
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{self._url}/api/v1/query?query={quote(query)}", timeout=5) as answer,
        ):
            found = json.load(answer)["data"]["result"]
            return float(found[0]["value"][1]) if found else None
        return None

    def shown(self, model: str) -> dict[str, str]:
        """What it saw, for people."""
        values = {name: self.value(query.format(model=model)) for name, query in QUERIES.items()}
        return {name: "none" if value is None else f"{value:.0f}" for name, value in values.items()}


def prometheus(folder: Path, targets: Mapping[str, int]) -> PrometheusProcess | None:
    """A Prometheus, not yet started; None = none is installed."""
    program = program_at("prometheus")
    return None if program is None else PrometheusProcess(program, folder, targets)
