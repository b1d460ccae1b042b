from __future__ import annotations

from ostinato.service.metrics.series import Metrics, ModelMetrics


def busy() -> Metrics:
    metrics = Metrics()
    model = ModelMetrics(metrics, "lstm", "1")
    model.steps.inc(6)
    model.queue_depth.set(2)
    model.run_seconds.observe_all([0.0002, 0.3, 11.0])
    metrics.rejected.labels(reason="overloaded").inc()
    return metrics


def test_numbers_are_counts_and_totals_by_the_labels() -> None:
    numbers = busy().numbers()
    assert numbers["steps_total"] == {("lstm", "1"): [6]}
    assert numbers["rejected_total"] == {("overloaded",): [1]}
    assert numbers["queue_depth"] == {("lstm", "1"): [2]}
    (seconds,) = numbers["run_seconds"].values()
    # 0.0002 is in the bucket up to 0.00025, 0.3 in that up to 0.5, and 11 beyond the last.
    assert seconds[:-1] == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
    assert seconds[-1] == 11.3002


def test_what_numbers_gave_can_be_loaded_and_is_written_the_same() -> None:
    loaded = Metrics()
    loaded.load(busy().numbers())
    assert loaded.render() == busy().render()


def test_one_worker_writes_its_own_numbers_and_several_what_was_gathered() -> None:
    metrics = busy()
    assert 'ostinato_steps_total{model="lstm",version="1"} 6.0' in metrics.render().decode()
    metrics.gather = lambda: {"steps_total": {("lstm", "1"): [10.0]}, "workers": {(): [2.0]}}
    text = metrics.render().decode()
    assert 'ostinato_steps_total{model="lstm",version="1"} 10.0' in text
    assert "ostinato_workers 2.0" in text


def test_series_without_labels_are_there_from_the_start() -> None:
    text = Metrics().render().decode()
    assert "ostinato_store_errors_total 0.0" in text
    assert "ostinato_workers 1.0" in text


def test_the_events_of_a_models_sessions_begin_at_0() -> None:
    metrics = Metrics()
    model = ModelMetrics(metrics, "lstm", "1")
    model.evicted.inc()
    model.loaded.inc(2)
    model.commit_conflicts.inc(3)
    events = {labels[-1]: value for labels, [value] in metrics.numbers()["sessions_total"].items()}
    assert events == {"opened": 0, "closed": 0, "expired": 0, "evicted": 1, "loaded": 2}
    assert metrics.numbers()["commit_conflicts_total"] == {("lstm", "1"): [3]}
