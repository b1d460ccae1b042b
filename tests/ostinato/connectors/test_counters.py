"""Counters, as Prometheus reads them."""

from __future__ import annotations

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from ostinato.connectors.counters import Counters, MetricsPort


def test_prometheus_reads_every_series_and_the_lag_of_each_partition() -> None:
    counters = Counters()
    counters.add("readings_total", 7)
    counters.put("held_readings", 2)
    counters.put_lags({'odd "name"\\/0': 3})
    port = MetricsPort(counters, "127.0.0.1", 0)
    try:
        answer = httpx2.get(f"http://127.0.0.1:{port.port}/metrics", trust_env=False)
        elsewhere = httpx2.get(f"http://127.0.0.1:{port.port}/", trust_env=False)
    finally:
        port.close()
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
    told = {sample.name.removeprefix("ostinato_connect_"): sample.value for sample in samples}
    assert (told["readings_total"], told["held_readings"], told["lag"]) == (7, 2, 3)
    assert samples[-1].labels == {"partition": 'odd "name"\\/0'}
    assert elsewhere.status_code == 404
