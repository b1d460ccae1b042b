"""Calibrated forecasters at a real server: what sessions tell of readings and of the future, to the bit."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from tests import forecast_networks
from tests.forecast_networks import Count, drawn_steps, offline
from tests.redis_server import RedisServer
from tests.server import ServerProcess, running_server
from tests.stores import stores

ARROW = "application/vnd.apache.arrow.stream"


class Live:
    """A session and the count of what it was sent, over the whole history."""

    def __init__(self, name: str, directory: Path, seed: int) -> None:
        self.name = name
        self.steps = drawn_steps(seed, 80)
        self.answers = offline(directory, self.steps)
        self.count = Count()
        self.taken = 0

    def expected(self, num_steps: int) -> tuple[list[float | None], list[dict[str, Any]]]:
        """What the next steps' anomalies and events are."""
        anomalies, events = [], []
        for _ in range(num_steps):
            reading, point = float(self.steps[self.taken, 0]), float(self.answers[self.taken, 0])
            anomalies.append(self.count.step(reading, point))
            self.taken += 1
            events += self.count.events(anomalies[-1], reading, self.taken)
        return anomalies, events

    def body(self, num_steps: int) -> dict[str, Any]:
        """The next chunk."""
        return {"inputs": plain(self.steps[self.taken : self.taken + num_steps]), "seq": self.taken}


def plain(rows: Any) -> Any:
    return [[None if np.isnan(value) else float(value) for value in row] for row in rows]


async def check_chunk(http: httpx2.AsyncClient, live: Live, num_steps: int, *, again: bool) -> None:
    body = live.body(num_steps)
    path = f"/v1/sessions/{live.name}/step"
    answer = (await http.post(path, json=body)).raise_for_status().json()
    anomalies, events = live.expected(num_steps)
    assert answer["anomaly"] == anomalies
    assert answer.get("events", []) == events
    if again:
        assert (await http.post(path, json=body)).raise_for_status().json() == answer


async def check_forecast(http: httpx2.AsyncClient, live: Live) -> None:
    body = {"horizon": 4, "level": [80, 95], "quantiles": [0.1, 0.5, 0.9]}
    answer = (await http.post(f"/v1/sessions/{live.name}/forecast", json=body)).raise_for_status().json()
    points = np.array(answer["outputs"], np.float32)[:, 0].astype(np.float64).tolist()
    for level in (80, 95):
        expected = [live.count.interval(level / 100, step + 1, point) for step, point in enumerate(points)]
        told = answer["intervals"][str(level)]
        assert told == {"lower": [low for low, _ in expected], "upper": [high for _, high in expected]}
    assert answer["quantiles"]["0.1"] == pytest.approx(answer["intervals"]["80"]["lower"], abs=1e-12)
    assert answer["quantiles"]["0.9"] == pytest.approx(answer["intervals"]["80"]["upper"], abs=1e-12)
    assert answer["quantiles"]["0.5"] == points


async def play(server: ServerProcess, directory: Path, seed: int, *, kill: bool) -> None:
    """Sessions that are stepped in chunks, some sent twice, forked, reset, and forecast, all at once."""
    generator = random.Random(seed)
    async with server.async_client() as http:
        lives = [Live(f"s{number}", directory, seed + number) for number in range(6)]
        for live in lives:
            (await http.post("/v1/models/loads/sessions", json={"session_id": live.name})).raise_for_status()
        for turn in range(8):
            lengths = [generator.choice((1, 1, 2, 5)) for _ in lives]
            repeats = [generator.random() < 0.4 for _ in lives]
            await asyncio.gather(
                *(
                    check_chunk(http, live, length, again=again)
                    for live, length, again in zip(lives, lengths, repeats, strict=True)
                )
            )
            await asyncio.gather(*(check_forecast(http, live) for live in lives))
            if turn == 2:
                (await http.post("/v1/sessions/s0/reset", json={})).raise_for_status()
                lives[0] = Live("s0", directory, seed + 50)
                (await http.post("/v1/sessions/s1/fork", json={"session_id": "copy"})).raise_for_status()
                copy = Live("copy", directory, seed + 1)
                copy.expected(lives[1].taken)
                lives.append(copy)
            if turn == 4 and kill:
                await asyncio.to_thread(restart, server)


def restart(server: ServerProcess) -> None:
    server.kill()
    server.start()
    server.wait_until_ready()


@pytest.mark.parametrize("store", stores("lmdb"))
async def test_what_sessions_tell_is_a_function_of_their_history(tmp_path: Path, store: str) -> None:
    repository = tmp_path / "repository"
    directory = forecast_networks.write(repository, calibration=forecast_networks.calibration())
    with RedisServer() as redis:
        state = {"memory": "memory://", "lmdb": f"lmdb://{tmp_path}/state", "redis": redis.url}[store]
        workers = 1 if store == "memory" else 2
        with running_server(repository, tmp_path, state=state, workers=workers) as server:
            await play(server, directory, 100, kill=store != "memory")


async def test_columns_tell_the_same_in_json_and_in_arrow(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    directory = forecast_networks.write(repository, calibration=forecast_networks.calibration())
    with running_server(repository, tmp_path) as server:
        async with server.async_client() as http:
            lives = [Live(f"c{number}", directory, 200 + number) for number in range(5)]
            names = [live.name for live in lives]
            for turn in range(60):
                rows = np.stack([live.steps[live.taken] for live in lives])
                expected = [live.expected(1) for live in lives]
                events = [{**event, "row": row} for row, (_, told) in enumerate(expected) for event in told]
                if turn % 2:
                    table = pa.record_batch(
                        {
                            "session_id": pa.array(names),
                            "inputs": pa.FixedSizeListArray.from_arrays(
                                pa.array(rows.ravel(), mask=np.isnan(rows.ravel())), 2
                            ),
                            "seq": pa.array([live.taken - 1 for live in lives], pa.int64()),
                        }
                    )
                    sink = pa.BufferOutputStream()
                    with ipc.new_stream(sink, table.schema) as writer:
                        writer.write_batch(table)
                    answer = await http.post(
                        "/v1/models/loads/step", content=sink.getvalue().to_pybytes(), headers={"Content-Type": ARROW}
                    )
                    columns = ipc.open_stream(answer.raise_for_status().content).read_all().to_pydict()
                    assert columns["anomaly"] == [anomaly for ((anomaly,), _) in expected]
                    told = [
                        {**{key: value for key, value in event.items() if value is not None}, "row": row}
                        for row, each in enumerate(columns["events"])
                        for event in each or ()
                    ]
                    assert sorted(map(repr, map(sorted_items, told))) == sorted(map(repr, map(sorted_items, events)))
                else:
                    body = {"session_ids": names, "inputs": plain(rows), "create_missing": turn == 0}
                    told = (await http.post("/v1/models/loads/step", json=body)).raise_for_status().json()
                    assert told["anomaly"] == [anomaly for ((anomaly,), _) in expected]
                    assert told.get("events", []) == [{**event} for event in events]
            assert any(live.count.is_on for live in lives)


def sorted_items(event: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted((key, value) for key, value in event.items() if value is not None)


def test_a_state_file_does_not_carry_the_count_and_a_migration_runs_it_anew(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    changes: dict[str, Any] = {"calibration": forecast_networks.calibration(), "keep_inputs": 30}
    one = forecast_networks.write(repository, **changes)
    two = forecast_networks.write(repository, version="2", **changes)
    steps = drawn_steps(7, 31)
    with running_server(repository, tmp_path) as server, server.client() as http:
        http.post("/v1/models/loads/sessions", json={"session_id": "a", "version": "1"}).raise_for_status()
        http.post("/v1/sessions/a/step", json={"inputs": plain(steps[:30])}).raise_for_status()
        state = http.get("/v1/sessions/a/state").raise_for_status().content
        http.post("/v1/sessions/a/migrate", json={"version": "2"}).raise_for_status()
        told = http.post("/v1/sessions/a/step", json={"inputs": plain(steps[30:])}).raise_for_status().json()
        count = Count()
        for step, answer in zip(steps, offline(two, steps), strict=True):
            anomaly = count.step(float(step[0]), float(answer[0]))
        assert told["anomaly"] == [anomaly]
        http.post("/v1/models/loads/sessions", json={"session_id": "b", "version": "1"}).raise_for_status()
        http.request("PUT", "/v1/sessions/b/state", content=state).raise_for_status()
        told = http.post("/v1/sessions/b/step", json={"inputs": plain(steps[30:])}).raise_for_status().json()
        assert told["anomaly"] == [None]
        assert (np.float32(told["outputs"][0][0])) == offline(one, steps)[30, 0]


def test_metrics_tell_coverage_and_anomalies(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    directory = forecast_networks.write(repository, calibration=forecast_networks.calibration())
    live = Live("m", directory, 300)
    anomalies, events = live.expected(80)
    began = sum(event["event"] == "anomaly_began" for event in events)
    seen = sum(anomaly is not None for anomaly in anomalies)
    within = sum(anomaly is not None and anomaly <= 0.8 for anomaly in anomalies)
    with running_server(repository, tmp_path) as server, server.client() as http:
        http.post("/v1/models/loads/sessions", json={"session_id": "m"}).raise_for_status()
        body = {"inputs": plain(live.steps), "seq": 0}
        for _ in range(2):  # the second is answered and not counted again
            http.post("/v1/sessions/m/step", json=body).raise_for_status()
        series = server.get("/metrics").text
    labels = 'model="loads",version="1"'
    assert f"ostinato_interval_readings_total{{{labels}}} {seen}" in series
    assert f"ostinato_anomalies_total{{{labels}}} {began}" in series
    assert f'ostinato_interval_covered_total{{level="80",{labels}}} {within}' in series
    assert began
    assert 0 < within < seen


def test_rows_that_are_chunks_tell_each_step_of_theirs(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    directory = forecast_networks.write(repository, calibration=forecast_networks.calibration())
    lives = [Live(f"c{number}", directory, 400 + number) for number in range(4)]
    names = [live.name for live in lives]
    with running_server(repository, tmp_path) as server, server.client() as http:
        for is_arrow, lengths in ((False, (5, 1, 12, 1)), (True, (1, 20, 3, 1)), (False, (30, 30, 1, 2))):
            chunks = [plain(live.steps[live.taken :][:length]) for live, length in zip(lives, lengths, strict=True)]
            seqs = [live.taken for live in lives]
            expected = [live.expected(length) for live, length in zip(lives, lengths, strict=True)]
            if is_arrow:
                columns = {
                    "session_id": pa.array(names, pa.utf8()),
                    "inputs": pa.array(chunks, pa.list_(pa.list_(pa.float32(), 2))),
                }
                sink = pa.BufferOutputStream()
                batch = pa.record_batch(list(columns.values()), list(columns))
                with ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                content, headers = sink.getvalue().to_pybytes(), {"content-type": ARROW}
                answer = http.post("/v1/models/loads/step", content=content, headers=headers).raise_for_status()
                told = ipc.open_stream(answer.content).read_all().to_pydict()
                events = [[dict(sorted_items(event)) for event in each or ()] for each in told["events"]]
            else:
                body = {"session_ids": names, "inputs": chunks, "create_missing": True}
                told = http.post("/v1/models/loads/step", json=body).raise_for_status().json()
                events = [[] for _ in names]
                for event in told.get("events", ()):
                    row = event.pop("row")
                    events[row].append(dict(sorted_items(event)))
            assert told["seq"] == seqs
            assert told["anomaly"] == [anomalies for anomalies, _ in expected]
            assert events == [[dict(sorted_items(event)) for event in own] for _, own in expected]
