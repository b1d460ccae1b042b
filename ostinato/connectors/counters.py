"""Counters of a connector, and the port where Prometheus reads them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SERIES = {
    "readings_total": ("counter", "Messages that were read, whatever became of them."),
    "answers_total": ("counter", "Answers that were published."),
    "corrections_total": ("counter", "Answers that were published again as a reading came late."),
    "dead_letters_total": ("counter", "Messages that cannot be applied, which went to the dead letters."),
    "late_total": ("counter", "Readings that were left out as older than one of their key that was applied."),
    "duplicates_total": ("counter", "Readings that were left out as there was one of their key and time, or offset."),
    "batches_total": ("counter", "Batches that were published and committed."),
    "begun_anew_total": ("counter", "Times when what was under way was left, and read again from the last commit."),
    "held_readings": ("gauge", "Readings that wait for older ones."),
    "webhooks_total": ("counter", "Events that a receiver of webhooks took."),
    "webhook_failures_total": ("counter", "Attempts to deliver an event that failed."),
    "webhooks_given_up_total": ("counter", "Events that are delivered no more, which go to the dead letters."),
    "webhooks_waiting": ("gauge", "Events that wait to be delivered."),
    "step_seconds_total": ("counter", "Time that batches waited for the service."),
    "publish_seconds_total": ("counter", "Time that batches were published and committed for."),
}
PREFIX = "ostinato_connect_"


class Counters:
    """What a connector has done. Each name is counted by one thread, and others may read."""

    def __init__(self) -> None:
        self._values: dict[str, float] = dict.fromkeys(SERIES, 0.0)
        self._lags: Mapping[str, int] = {}

    def add(self, name: str, amount: float = 1) -> None:
        """Count."""
        self._values[name] += amount

    def put(self, name: str, value: float) -> None:
        """Set what is no count."""
        self._values[name] = value

    def value(self, name: str) -> float:
        """One series."""
        return self._values[name]

    def put_lags(self, lags: Mapping[str, int]) -> None:
        """Set how many messages of each partition lie behind its position."""
        self._lags = dict(lags)

    def text(self) -> str:
        """All of them, in the form that Prometheus reads."""
        lines = []
        for name, (kind, words) in SERIES.items():
            lines += [f"# HELP {PREFIX}{name} {words}", f"# TYPE {PREFIX}{name} {kind}"]
            lines.append(f"{PREFIX}{name} {self._values[name]:.10g}")
        lines.append(f"# HELP {PREFIX}lag Messages of a partition that were not answered for yet.")
        lines.append(f"# TYPE {PREFIX}lag gauge")
        for partition, lag in sorted(self._lags.items()):
            shown = partition.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines.append(f'{PREFIX}lag{{partition="{shown}"}} {lag}')
        return "\n".join(lines) + "\n"


class MetricsPort:
    """A port that answers ``/metrics``; a context manager.

    Raises:
        OSError: the port is taken.
    """

    def __init__(self, counters: Counters, host: str, port: int) -> None:
        class _Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_known = self.path.partition("?")[0] == "/metrics"
                body = counters.text().encode() if is_known else b"/metrics is here\n"
                self.send_response(200 if is_known else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer((host, port), _Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
