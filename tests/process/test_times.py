"""Sessions that are told times, at a real server: gaps, changes of clocks, chunks sent twice and late, and kill -9.

What was answered is compared to the bit with the offline run over the table with its missing steps filled in.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest

from ostinato.client.async_client import AsyncClient
from ostinato.client.async_session import AsyncSession
from ostinato.client.client import Client
from ostinato.errors import ServiceUnreachable, TimeConflict
from tests.networks import Array, offline
from tests.redis_server import RedisServer
from tests.server import ServerProcess, running_server
from tests.stores import stores
from tests.timed_networks import FEATURES, HOURLY, IRREGULAR, timed_lstm

BERLIN = ZoneInfo("Europe/Berlin")
BEGINS = (datetime(2025, 3, 28, tzinfo=UTC), datetime(2025, 10, 24, tzinfo=UTC), datetime(2024, 2, 27, tzinfo=UTC))
"""Shortly before clocks are set forward, before they are set back, and before a leap day."""


def write(repository: Path, time: dict[str, Any] | None = HOURLY, **options: Any) -> Path:
    golden = np.random.default_rng(0).normal(size=(2, 10, len(FEATURES))).astype(np.float32)
    return timed_lstm(time, **options).write(repository, golden)


def told_by_hand(moment: datetime) -> tuple[float, float]:
    """What the calendar of ``HOURLY`` tells of a moment."""
    wall = moment.astimezone(BERLIN)
    return (np.nan if wall.hour == 3 else (7 * wall.hour) % 24 / 8), wall.weekday() + 1


def filled_table(begin: datetime, loads: dict[int, float]) -> Array:
    """Rows of all hours from the first to the last of ``loads``, those in between missing."""
    hours = range(min(loads), max(loads) + 1)
    rows = [(loads.get(hour, np.nan), *told_by_hand(begin + timedelta(hours=hour))) for hour in hours]
    return np.array(rows, np.float32)


async def put(session: AsyncSession, rows: Any, at: Any) -> Array:
    """A chunk, sent until it is answered: its times keep it from being applied twice."""
    while True:
        try:
            made: Array = await session.step(rows, at=at)
        except ServiceUnreachable:  # all workers are killed just now
            await asyncio.sleep(0.2)
        else:
            return made


class Sender:
    """Sends one session's readings, with gaps, twice, and late; keeps what was acknowledged."""

    def __init__(self, client: AsyncClient, seed: int) -> None:
        self.client, self.name = client, f"s{seed}"
        self.random, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.begin = BEGINS[seed % len(BEGINS)]
        self.loads: dict[int, float] = {}
        self.answers: list[tuple[list[int], Array]] = []
        self.num_filled = self.num_repeated = self.num_late = 0

    def time(self, hour: int) -> str:
        moment = self.begin + timedelta(hours=hour, seconds=self.random.choice((0, 0, 59, -120)))
        return moment.astimezone(self.random.choice((UTC, BERLIN, ZoneInfo("Asia/Kathmandu")))).isoformat()

    async def send_all(self, num_chunks: int) -> None:
        session = await self.client.session("load", session_id=self.name).open()
        hour = self.random.randrange(40)
        for _ in range(num_chunks):
            hour += self.random.choice((0, 0, 0, 1, 5, 26))
            hours = []
            for _ in range(self.random.choice((1, 1, 1, 2, 3))):
                hours.append(hour)
                hour += self.random.choice((1, 1, 4))
            loads = self.numbers.normal(size=len(hours)).astype(np.float32).tolist()
            rows: list[list[Any]] = [[load] for load in loads]
            if self.random.random() < 0.5:
                rows = [
                    [load, *told_by_hand(self.begin + timedelta(hours=at))]
                    for load, at in zip(loads, hours, strict=True)
                ]
            is_run = hours == list(range(hours[0], hours[0] + len(hours)))
            at: Any = self.time(hours[0]) if is_run and self.random.random() < 0.5 else [self.time(at) for at in hours]
            made = await put(session, rows, at)
            self.num_filled += session.filled
            if self.random.random() < 0.3:  # to the bit what it was, though the client has forgotten it
                again = await put(session, rows, at)
                assert again.tobytes() == made.tobytes()
                self.num_repeated += 1
            if self.answers and self.random.random() < 0.3:
                with pytest.raises(TimeConflict) as refused:
                    await put(session, [[0.0]], self.time(self.random.choice(list(self.loads))))
                assert refused.value.last_at is not None
                last = self.begin + timedelta(hours=hours[-1])
                assert datetime.fromisoformat(refused.value.last_at) == last
                assert datetime.fromisoformat(refused.value.expected_at or "") == last + timedelta(hours=1)
                self.num_late += 1
            self.loads |= dict(zip(hours, loads, strict=True))
            self.answers.append((hours, made))

    def check(self, directory: Path) -> None:
        table = filled_table(self.begin, self.loads)
        expected, first = offline(directory, table), min(self.loads)
        for hours, made in self.answers:
            assert made.tobytes() == expected[[hour - first for hour in hours]].tobytes()
        assert self.num_filled == len(table) - len(self.loads)


async def kill_now_and_then(server: ServerProcess, work: asyncio.Future[Any]) -> int:
    generator, num_killed = random.Random(1), 0
    while not work.done():
        await asyncio.sleep(0.4)
        if not work.done() and num_killed < 6:
            generator.choice(server.workers()).kill()
            num_killed += 1
            await asyncio.to_thread(server.wait_until_ready)
    return num_killed


@pytest.mark.parametrize("store", stores("memory", "redis"))
async def test_what_is_sent_with_times_is_answered_as_the_table_with_its_gaps_filled(
    tmp_path: Path, store: str
) -> None:
    directory = write(tmp_path / "repository")
    with RedisServer() as redis:
        state = {"memory": "memory://", "lmdb": f"lmdb://{tmp_path}/state", "redis": redis.url}[store]
        workers = 1 if store == "memory" else 2
        with running_server(tmp_path / "repository", tmp_path, state=state, workers=workers) as server:
            async with AsyncClient(server.url) as client:
                senders = [Sender(client, seed) for seed in range(12)]
                work = asyncio.ensure_future(asyncio.gather(*(sender.send_all(40) for sender in senders)))
                num_killed = 0 if store == "memory" else await kill_now_and_then(server, work)
                await work
    for sender in senders:
        sender.check(directory)
    assert store == "memory" or num_killed
    for what in ("num_filled", "num_repeated", "num_late"):
        assert sum(getattr(sender, what) for sender in senders) > 12


async def test_two_writers_of_one_session_apply_each_reading_once(tmp_path: Path) -> None:
    directory = write(tmp_path / "repository")
    begin, loads = BEGINS[1], np.random.default_rng(5).normal(size=60).astype(np.float32).tolist()
    answers: dict[int, Array] = {}

    async def send(url: str) -> None:
        async with AsyncClient(url) as client, client.stream("load", create_missing=True) as stream:
            for hour, load in enumerate(loads):
                if hour % 5 == 4:
                    continue
                at = begin + timedelta(hours=hour)
                try:
                    made = await stream.step("one", [[load]], at=at)
                except TimeConflict:
                    continue  # the other one was further already
                assert answers.setdefault(hour, made).tobytes() == made.tobytes()

    with running_server(tmp_path / "repository", tmp_path, state=f"lmdb://{tmp_path}/state", workers=2) as server:
        await asyncio.gather(*(send(server.url) for _ in range(4)))
    sent = {hour: load for hour, load in enumerate(loads) if hour % 5 != 4}
    expected = offline(directory, filled_table(begin, sent))
    assert set(answers) == set(sent)
    for hour, made in answers.items():
        assert made.tobytes() == expected[hour : hour + 1].tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("times")


@pytest.fixture(scope="module")
def server(folder: Path) -> Any:
    write(folder / "repository", model="hourly")
    write(folder / "repository", keep_inputs=50)
    write(folder / "repository", keep_inputs=50, version="2")
    write(folder / "repository", None, version="3", keep_inputs=50)
    few = {**HOURLY, "max_fill_steps": 3}
    write(folder / "repository", few, version="few")
    write(folder / "repository", {"step": "1 month", "origin": "2023-01-31T00:00:00", "day": 31}, version="monthly")
    write(folder / "repository", IRREGULAR, version="irregular")
    whole = {**HOURLY, "calendar": {"weekday": {"unit": "weekday"}}}
    write(folder / "repository", whole, version="whole", missing=False)
    (part,) = timed_lstm().manifest["inputs"]
    worded = part.model_copy(update={"categories": {"load": ("low", "high")}})
    write(folder / "repository", version="words", inputs=(worded,))
    with running_server(folder / "repository", folder) as running:
        yield running


@pytest.fixture
def http(server: ServerProcess) -> Any:
    with server.client() as client:
        yield client


_ids = iter(range(10_000))


def opened(http: httpx2.Client, version: str = "1", model: str = "load") -> str:
    body = {"session_id": f"t{next(_ids)}", "version": version}
    assert http.post(f"/v1/models/{model}/sessions", json=body).status_code == 201
    return body["session_id"]


def step(http: httpx2.Client, session: str, inputs: Any, status: int = 200, **members: Any) -> Any:
    answer = http.post(f"/v1/sessions/{session}/step", json={"inputs": inputs, **members})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_answers_tell_the_times_that_they_are_about(http: httpx2.Client) -> None:
    session = opened(http)
    assert http.get(f"/v1/sessions/{session}").json()["last_at"] is None
    told = step(http, session, [[1.0], [2.0]], at="2025-10-26T02:00:00+02:00")
    assert (told["seq"], told["steps"], told["filled"]) == (0, 2, 0)
    assert told["at"] == ["2025-10-26T02:00:00+02:00", "2025-10-26T02:00:00+01:00"]
    told = step(http, session, [[1.0], [2.0]], at=["2025-10-26T02:00:00Z", "2025-10-26T05:00:00Z"])
    assert (told["seq"], told["steps"], told["filled"], len(told["outputs"])) == (2, 6, 2, 2)
    assert http.get(f"/v1/sessions/{session}").json()["last_at"] == "2025-10-26T06:00:00+01:00"
    told = step(http, session, [[1.0], [3.0]], at="2025-10-26T06:00:00Z", return_sequences=False)
    assert told["at"] == ["2025-10-26T08:00:00+01:00"]
    forecast = http.post(f"/v1/sessions/{session}/forecast", json={"horizon": 3}).json()
    assert forecast["at"] == ["2025-10-26T09:00:00+01:00", "2025-10-26T10:00:00+01:00", "2025-10-26T11:00:00+01:00"]


def test_a_chunk_without_a_time_is_the_next_step_and_one_with_seq_too_is_refused(http: httpx2.Client) -> None:
    session = opened(http)
    step(http, session, [[1.0]], at="2025-06-01T10:00:00Z")
    assert "at" not in step(http, session, [[1.0, 0.0, 1.0], [2.0, 0.0, 1.0]], seq=1)
    assert http.get(f"/v1/sessions/{session}").json()["last_at"] == "2025-06-01T14:00:00+02:00"
    assert step(http, session, [[1.0]], at="2025-06-01T13:00:00Z")["filled"] == 0
    refused = step(http, session, [[1.0]], 422, at="2025-06-01T14:00:00Z", seq=4)
    assert refused["field"] == "at"


def test_what_is_older_or_too_far_ahead_is_refused_with_what_stands(http: httpx2.Client) -> None:
    session = opened(http, "few")
    step(http, session, [[1.0]], at="2025-06-01T10:00:00Z")
    late = step(http, session, [[2.0]], 409, at="2025-06-01T10:00:00Z")
    assert (late["code"], late["last_at"], late["expected_at"]) == (
        "time_conflict",
        "2025-06-01T12:00:00+02:00",
        "2025-06-01T13:00:00+02:00",
    )
    gap = step(http, session, [[2.0]], 409, at="2025-06-01T15:00:00Z")
    assert "4 steps of 1 hour are missing" in gap["detail"]
    assert "at most 3 are filled in" in gap["detail"]
    assert http.get(f"/v1/sessions/{session}").json()["steps"] == 1
    assert step(http, session, [[2.0]], at="2025-06-01T14:00:00Z")["filled"] == 3
    for off in ("2025-06-01T14:07:00Z", "2025-06-01T16:50:00+02:00"):
        assert "it is no step of 1 hour" in step(http, session, [[2.0]], 422, at=off)["detail"]


def test_a_model_without_missing_values_is_not_filled_and_one_without_a_time_takes_none(http: httpx2.Client) -> None:
    session = opened(http, "whole")
    step(http, session, [[1.0, 0.5]], at="2025-06-01T10:00:00Z")
    assert "takes no missing values" in step(http, session, [[1.0, 0.5]], 409, at="2025-06-01T12:00:00Z")["detail"]
    assert step(http, session, [[1.0, 0.5]], at="2025-06-01T11:00:00Z")["steps"] == 2
    refused = step(http, opened(http, "3"), [[1.0, 0, 0]], 422, at="2025-06-01T10:00:00Z")
    assert "no time: export it again" in refused["detail"]


def test_months_keep_their_end(http: httpx2.Client) -> None:
    session, rows = opened(http, "monthly"), [[1.0, 0.0, 0.0]]
    for at in ("2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"):
        assert step(http, session, rows, at=at)["filled"] == 0
    assert step(http, session, rows, at="2026-06-30")["filled"] == 2
    assert "2026-06-30T00:00:00Z and 2026-07-31T00:00:00Z" in step(http, session, rows, 422, at="2026-07-30")["detail"]


def test_the_interval_of_an_irregular_series_is_made_of_its_times(folder: Path, http: httpx2.Client) -> None:
    session = opened(http, "irregular")
    times = ["2026-01-01T10:00:00Z", "2026-01-01T10:00:30Z", "2026-01-01T12:30:30Z"]
    made = step(http, session, [[1.0, 0.5], [2.0, 0.5], [3.0, 0.5]], at=times)
    last = step(http, session, [[4.0, 0.5]], at="2026-01-02T12:30:30Z")
    assert step(http, session, [[4.0, 0.5]], at="2026-01-02T12:30:30Z") == last
    assert (last["filled"], last["steps"]) == (0, 4)
    table = np.array([[1, 0.5, np.nan], [2, 0.5, 0.5], [3, 0.5, 150], [4, 0.5, 1440]], np.float32)
    expected = offline(folder / "repository" / "load" / "irregular", table)
    assert np.array([*made["outputs"], *last["outputs"]], np.float32).tobytes() == expected.tobytes()
    for members in ({}, {"seq": 4}):
        assert "irregular" in step(http, session, [[1.0, 0.5, 2.0]], 422, **members)["detail"]
    assert step(http, session, [[1.0, 0.5]], 409, at="2026-01-02T12:30:30.5+01:00")["last_at"] == last["at"][0]
    columns = {"session_ids": [session, opened(http, "irregular")], "inputs": [[1.0, 0.5, 2.0]] * 2}
    answer = http.post("/v1/models/load/step", json=columns).json()
    assert [error["row"] for error in answer["errors"]] == [0, 1]  # of another version than the default


def test_reset_forgets_and_forks_states_and_migrations_keep_the_time(server: ServerProcess) -> None:
    with Client(server.url) as client:
        session = client.session("load", version="1", keep=True)
        session.step([[1.0]], at="2025-06-01T10:00:00Z")
        state = session.state()
        with session.fork() as fork:
            fork.step([[2.0]], at="2025-06-01T13:00:00Z")
            assert fork.filled == 2
        session.migrate("2")
        session.step([[2.0]], at="2025-06-01T12:00:00Z")
        assert (session.filled, session.steps, session.version) == (1, 3, "2")
        session.migrate("3")  # which has no time
        session.migrate("2")
        assert session.look().last_at is None
        session.reset()
        assert (session.look().last_at, session.look().steps) == (None, 0)
        session.step([[1.0]], at="1999-01-01T00:00:00Z")
        session.put_state(state)
        with pytest.raises(TimeConflict, match="last step is of 2025-06-01T12:00:00"):
            session.step([[1.0]], at="2025-06-01T10:00:00Z")  # answered by another session
        session.step([[2.0]], at="2025-06-01T12:00:00Z")
        assert session.filled == 1
        session.close()


def test_a_forecast_has_the_calendar_of_its_times(http: httpx2.Client) -> None:
    session = opened(http)
    step(http, session, [[1.0], [0.5]], at="2025-03-30T00:00:00+01:00")
    path = f"/v1/sessions/{session}/forecast"
    left_out = http.post(path, json={"horizon": 6}).json()
    hours = [datetime(2025, 3, 30, hour, tzinfo=UTC) for hour in range(1, 6)]
    told = [told_by_hand(hour) for hour in hours]
    known = {"hour": [None if np.isnan(row[0]) else row[0] for row in told], "weekday": [row[1] for row in told]}
    assert http.post(path, json={"horizon": 6, "known_future": known}).json() == left_out
    assert http.post(path, json={"horizon": 6, "known_future": {"hour": [0.0] * 5}}).json() != left_out
    assert left_out["at"][0] == "2025-03-30T03:00:00+02:00"


def test_columns_take_a_time_for_each_row_in_json_and_arrow(http: httpx2.Client, folder: Path) -> None:
    sessions, hourly = [opened(http, model="hourly") for _ in range(5)], folder / "repository" / "hourly" / "1"
    times = [f"2025-06-0{day}T10:00:00Z" for day in range(1, 6)]
    loads: list[list[float]] = [[float(row)] for row in range(5)]
    body = {"session_ids": sessions, "inputs": loads, "at": times}
    first = http.post("/v1/models/hourly/step", json=body).json()
    assert (first["errors"], first["filled"]) == ([], [0] * 5)
    assert http.post("/v1/models/hourly/step", json=body).json() == first  # each is the chunk applied last
    later = [f"2025-06-0{day}T{hour}:00:00+02:00" for day, hour in zip(range(1, 6), (13, 15, 11, 13, 13), strict=True)]
    later[3] = "2025-06-04T13:30:00+02:00"
    second = http.post("/v1/models/hourly/step", json={**body, "at": later}).json()
    assert [(error["row"], error["code"]) for error in second["errors"]] == [(2, "time_conflict"), (3, "invalid_input")]
    assert second["errors"][0]["last_at"] == "2025-06-03T12:00:00+02:00"
    assert (second["filled"], second["at"][0], second["at"][2]) == ([0, 2, 0, 0, 0], later[0], None)
    for row, expected_loads in ((0, {0: 0.0, 1: 0.0}), (1, {0: 1.0, 3: 1.0}), (4, {0: 4.0, 1: 4.0})):
        begin = datetime.fromisoformat(times[row])
        expected = offline(hourly, filled_table(begin, expected_loads))
        assert np.array([first["outputs"][row], second["outputs"][row]], np.float32).tobytes() == (
            expected[[0, -1]].tobytes()
        )
    assert "give at without seq" in http.post("/v1/models/hourly/step", json={**body, "seq": [0] * 5}).json()["detail"]

    moments = [datetime.fromisoformat(f"2025-06-0{day}T20:00:00+00:00") for day in range(1, 6)]
    for column in (pa.array(moments, pa.timestamp("ms", "UTC")), pa.array([each.isoformat() for each in moments])):
        table = pa.table({"session_id": sessions, "inputs": loads, "at": column})
        told = read_arrow(http, table)
        assert told.column("code").to_pylist() == [None] * 5
        assert told.column("filled").to_pylist() == [8, 6, 9, 9, 8]  # the second message is the first again
        assert told.column("at").to_pylist()[0] == "2025-06-01T22:00:00+02:00"
    following = [moment + timedelta(hours=1) for moment in moments]
    table = pa.table({"session_id": sessions, "inputs": loads, "at": pa.array(following, pa.timestamp("us", "UTC"))})
    assert read_arrow(http, table).column("filled").to_pylist() == [0] * 5
    begin = datetime.fromisoformat(times[0])
    last = step(http, sessions[0], [[0.5]], at=(following[0] + timedelta(hours=1)).isoformat())
    whole = filled_table(begin, {0: 0.0, 1: 0.0, 10: 0.0, 11: 0.0, 12: 0.5})
    expected = offline(hourly, whole)
    assert np.array(last["outputs"], np.float32).tobytes() == expected[-1:].tobytes()


def read_arrow(http: httpx2.Client, table: pa.Table) -> pa.Table:
    sink = pa.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    headers = {"content-type": "application/vnd.apache.arrow.stream"}
    answer = http.post("/v1/models/hourly/step", content=sink.getvalue().to_pybytes(), headers=headers)
    assert answer.status_code == 200, answer.text
    return pyarrow.ipc.open_stream(answer.content).read_all()


def test_typed_routes_large_chunks_and_sequences_of_the_protocol_take_times(http: httpx2.Client, folder: Path) -> None:
    begin = datetime(2025, 6, 1, tzinfo=UTC)
    loads = np.random.default_rng(3).normal(size=9_000).astype(np.float32).tolist()
    session = opened(http)
    body = {"session_id": session, "inputs": [[load] for load in loads], "at": begin.isoformat()}
    large = http.post("/step", json={**body, "return_sequences": False})
    assert large.status_code == 200, large.text
    expected = offline(folder / "repository" / "load" / "1", filled_table(begin, dict(enumerate(loads))))
    assert np.array(large.json()["outputs"], np.float32).tobytes() == expected[-1:].tobytes()

    # Words are read otherwise, a slice at a time: by this route, of a large body, and of a session not in memory.
    words = ["low", None, "high", "low"] * 1_000
    worded = [float("nan") if word is None else float(word == "high") for word in words]
    expected = offline(folder / "repository" / "load" / "1", filled_table(begin, dict(enumerate(worded))))
    inputs = [[word] for word in words]
    for path, num_rows in (("/step", 4), ("/step", 4_000), ("/v1/sessions/{}/step", 4_000)):
        session = opened(http, "words")
        name = {"session_id": session} if path == "/step" else {}
        answer = http.post(path.format(session), json={**name, "inputs": inputs[:num_rows], "at": body["at"]})
        assert answer.status_code == 200, answer.text
        assert np.array(answer.json()["outputs"], np.float32).tobytes() == expected[:num_rows].tobytes()

    names = {"sequence_id": 7, "sequence_start": True, "at": "2025-06-01T00:00:00Z"}
    rows = filled_table(begin, {0: 1.0, 3: 2.0})
    for place, more in ((0, {"sequence_start": True}), (3, {"at": "2025-06-01T03:00:00Z"})):
        tensor = {
            "name": "inputs",
            "datatype": "FP32",
            "shape": [1, 1, 3],
            "data": [0.0 if n != n else n for n in rows[place].tolist()],
        }
        request = {"inputs": [tensor], "parameters": {**names, "sequence_start": False, **more}}
        answer = http.post("/v2/models/load/versions/1/infer", json=request)
        assert answer.status_code == 200, answer.text
    assert answer.json()["parameters"]["filled"] == 2
    assert answer.json()["parameters"]["at"] == "2025-06-01T05:00:00+02:00"
