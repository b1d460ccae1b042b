"""Sessions with times, steps that they keep, and a calibration, all at once, at a real server that is killed.

Outputs, anomalies, events and forecasts are compared to the bit with the offline run over the table with its missing
steps filled in, and with a count in plain Python.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import numpy as np

from tests import forecast_networks
from tests.forecast_networks import Count, offline
from tests.networks import Array
from tests.server import ServerProcess, running_server

BEGIN = datetime(2025, 6, 1, tzinfo=UTC)
TIME = {"step": "1 hour", "calendar": {"hour": {"unit": "hour"}}}
KEPT = 30
VERSIONS = ("1", "2")


def write(repository: Path) -> dict[str, Path]:
    changes: dict[str, Any] = {"calibration": forecast_networks.calibration(), "time": TIME, "keep_inputs": KEPT}
    return {version: forecast_networks.write(repository, version=version, **changes) for version in VERSIONS}


def text(hour: int) -> str:
    return (BEGIN + timedelta(hours=hour)).isoformat().replace("+00:00", "Z")


def row_of(hour: int, load: float) -> list[float]:
    return [load, (BEGIN + timedelta(hours=hour)).hour]


class Timed:
    """A session, the steps that the version in effect has run, and the count of those."""

    def __init__(self, name: str, directories: Mapping[str, Path], version: str = "1") -> None:
        self.name, self.directories = name, directories
        self.begin(version, np.zeros((0, 2), np.float32), steps=0, next_hour=0)

    def begin(self, version: str, rows: Array, steps: int, next_hour: int) -> None:
        """Go on by a version, which runs these rows first; ``steps`` were applied."""
        self.version, self.rows, self.steps, self.next_hour = version, rows, steps, next_hour
        self.count = Count()
        self.last: tuple[str, dict[str, Any], dict[str, Any]] | None = None
        self.num_filled = self.num_events = 0
        if len(rows):
            self.fold(self.offline(), steps - len(rows))

    def offline(self) -> Array:
        return offline(self.directories[self.version], self.rows)

    def fold(self, answers: Array, steps: int) -> tuple[list[float | None], list[dict[str, Any]]]:
        """Count the last rows, of which these are the answers, behind so many steps."""
        anomalies, events = [], []
        for row, answer in zip(self.rows[len(self.rows) - len(answers) :], answers, strict=True):
            steps += 1
            anomalies.append(self.count.step(float(row[0]), float(answer[0])))
            events += self.count.events(anomalies[-1], float(row[0]), steps)
        return anomalies, events

    def take(self, hours: list[int], loads: list[float]) -> dict[str, Any]:
        """The answer to readings of these hours."""
        begins_at = self.next_hour if self.steps else hours[0]
        known = dict(zip(hours, loads, strict=True))
        rows = [row_of(hour, known.get(hour, np.nan)) for hour in range(begins_at, hours[-1] + 1)]
        self.rows = np.concatenate([self.rows, np.array(rows, np.float32)])
        made, sent, seq = self.offline()[-len(rows) :], [hour - begins_at for hour in hours], self.steps
        anomalies, events = self.fold(made, seq)
        self.steps, self.next_hour = seq + len(rows), hours[-1] + 1
        filled = len(rows) - len(hours)
        self.num_filled += filled
        self.num_events += len(events)
        answer: dict[str, Any] = {
            "session_id": self.name,
            "seq": seq,
            "steps": self.steps,
            "outputs": made[sent].astype(np.float64).tolist(),
            "at": [text(hour) for hour in hours],
            "filled": filled,
            "anomaly": [anomalies[place] for place in sent],
        }
        return {**answer, "events": events} if events else answer


def exact(answer: Any) -> Any:
    """An answer whose outputs, numbers of float32, have the digits of float64."""
    outputs = np.array(answer["outputs"], np.float32).astype(np.float64).tolist()
    return {**answer, "outputs": outputs}


async def send(http: httpx2.AsyncClient, live: Timed, generator: random.Random, hours: list[int]) -> None:
    loads = [float(np.float32(generator.gauss(0, 1.5))) for _ in hours]
    if len(hours) == 1 and generator.random() < 0.4:
        await send_row(http, live, hours[0], loads[0])
        return
    is_whole = generator.random() < 0.5
    inputs = [row_of(*each) if is_whole else [each[1]] for each in zip(hours, loads, strict=True)]
    is_run = hours == list(range(hours[0], hours[-1] + 1))
    at = text(hours[0]) if is_run and generator.random() < 0.5 else [text(hour) for hour in hours]
    path, body = f"/v1/sessions/{live.name}/step", {"inputs": inputs, "at": at}
    answer = (await http.post(path, json=body)).raise_for_status().json()
    assert exact(answer) == live.take(hours, loads)
    live.last = path, body, answer
    if generator.random() < 0.3:
        await send_again(http, live)


async def send_row(http: httpx2.AsyncClient, live: Timed, hour: int, load: float) -> None:
    """The same as a row of a columnar message."""
    body = {"session_ids": [live.name], "inputs": [[load]], "at": [text(hour)]}
    path = "/v1/models/loads/step"
    answer = (await http.post(path, json=body)).raise_for_status().json()
    expected = live.take([hour], [load])
    told = exact(answer)
    for member in ("outputs", "at", "anomaly"):
        assert told[member] == expected[member]
    assert (told["seq"], told["filled"], told["errors"]) == ([expected["seq"]], [expected["filled"]], [])
    assert told.get("events", []) == [{"row": 0, **event} for event in expected.get("events", [])]
    live.last = path, body, answer


async def send_again(http: httpx2.AsyncClient, live: Timed) -> None:
    """The chunk applied last is answered as it was, to the bit, and nothing is counted twice."""
    if live.last is not None:
        path, body, answer = live.last
        assert (await http.post(path, json=body)).raise_for_status().json() == answer


async def check_forecast(http: httpx2.AsyncClient, live: Timed) -> None:
    body = {"horizon": 4, "level": [80]}
    told = (await http.post(f"/v1/sessions/{live.name}/forecast", json=body)).raise_for_status().json()
    rows, points = live.rows, []
    for ahead in range(4):
        points.append(float(offline(live.directories[live.version], rows)[-1, 0]))
        rows = np.concatenate([rows, np.array([row_of(live.next_hour + ahead, points[-1])], np.float32)])
    assert exact(told)["outputs"] == [[point] for point in points]
    assert told["at"] == [text(live.next_hour + ahead) for ahead in range(4)]
    expected = [live.count.interval(0.8, ahead + 1, point) for ahead, point in enumerate(points)]
    assert told["intervals"]["80"] == {"lower": [low for low, _ in expected], "upper": [high for _, high in expected]}


async def migrate(http: httpx2.AsyncClient, live: Timed) -> None:
    version = VERSIONS[live.version == "1"]
    path = f"/v1/sessions/{live.name}/migrate"
    (await http.post(path, json={"version": version})).raise_for_status()
    live.begin(version, live.rows[-KEPT:], live.steps, live.next_hour)


async def fork(http: httpx2.AsyncClient, live: Timed) -> Timed:
    path, copy = f"/v1/sessions/{live.name}/fork", Timed(f"{live.name}-fork", live.directories)
    (await http.post(path, json={"session_id": copy.name})).raise_for_status()
    copy.begin(live.version, live.rows, live.steps, live.next_hour)
    return copy


def restart(server: ServerProcess) -> None:
    server.kill()
    server.start()
    server.wait_until_ready()


async def test_times_kept_steps_and_a_calibration_go_together(tmp_path: Path) -> None:
    generator = random.Random(11)
    directories = write(tmp_path / "repository")
    state = f"lmdb://{tmp_path}/state"
    num_filled = 0
    with running_server(tmp_path / "repository", tmp_path, state=state, workers=2) as server:
        async with server.async_client() as http:
            lives = [Timed(f"s{number}", directories) for number in range(4)]
            for live in lives:
                body = {"session_id": live.name, "version": "1"}
                (await http.post("/v1/models/loads/sessions", json=body)).raise_for_status()
            for turn in range(18):
                for live in lives:
                    hours = [live.next_hour + generator.choice((0, 0, 1, 3))]
                    while generator.random() < 0.4:
                        hours.append(hours[-1] + generator.choice((1, 1, 2)))
                    before = live.num_filled
                    await send(http, live, generator, hours)
                    num_filled += live.num_filled - before
                if turn % 3 == 0:
                    await asyncio.gather(*(check_forecast(http, live) for live in lives))
                if turn % 5 == 2:
                    await migrate(http, lives[turn % len(lives)])
                if turn == 6:
                    lives.append(await fork(http, lives[0]))
                if turn == 8:
                    (await http.post(f"/v1/sessions/{lives[1].name}/reset", json={})).raise_for_status()
                    lives[1].begin(lives[1].version, np.zeros((0, 2), np.float32), steps=0, next_hour=5)
                if turn in (4, 11):
                    await asyncio.to_thread(restart, server)
                    for live in lives:
                        await send_again(http, live)
    assert num_filled > 30
    assert sum(live.num_events for live in lives) > 10


async def test_a_state_file_brings_the_time_and_not_the_count(tmp_path: Path) -> None:
    directories = write(tmp_path / "repository")
    generator = random.Random(3)
    with running_server(tmp_path / "repository", tmp_path) as server:
        async with server.async_client() as http:
            first, second = Timed("a", directories), Timed("b", directories)
            for live in (first, second):
                body = {"session_id": live.name, "version": "1"}
                (await http.post("/v1/models/loads/sessions", json=body)).raise_for_status()
            await send(http, first, generator, [0, 1, 4, 5, 9])
            file = (await http.get("/v1/sessions/a/state")).raise_for_status().content
            (await http.request("PUT", "/v1/sessions/b/state", content=file)).raise_for_status()
            second.begin("1", first.rows, first.steps, first.next_hour)
            second.count = Count()  # which begins from the validation part's numbers
            assert (await http.get("/v1/sessions/b")).json()["last_at"] == text(9)
            refused = await http.post("/v1/sessions/b/migrate", json={"version": "2"})
            assert (refused.status_code, "was put there" in refused.json()["detail"]) == (422, True)
            await send(http, second, generator, [12, 13])
            await send(http, second, generator, list(range(14, 14 + KEPT)))
            await migrate(http, second)
            await send(http, second, generator, [14 + KEPT + 2])
            await check_forecast(http, second)
