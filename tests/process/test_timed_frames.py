"""Data frames with a column of times, of a model whose steps have times: both kinds of client, a real server.

What was answered is compared to the bit with the offline run over the table with its missing steps filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2
import numpy as np
import pandas as pd
import polars as pl
import pytest

from ostinato.errors import InputError, RowsFailed, ServiceUnreachable
from tests.networks import Array, offline
from tests.ostinato.fake_service import KINDS, FakeService, Network, make_client
from tests.process.test_times import filled_table, told_by_hand, write
from tests.server import ServerProcess, running_server
from tests.timed_networks import HOURLY

FRAMES: dict[str, Callable[[dict[str, Any]], Any]] = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
BEGIN, ZONE = datetime(2025, 10, 24, tzinfo=UTC), ZoneInfo("Europe/Berlin")
"""Shortly before clocks are set back."""
Hours = dict[str, dict[int, float]]
"""Id -> hour after ``BEGIN`` -> load."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("timed_frames")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    write(folder / "repository")
    write(folder / "repository", {**HOURLY, "max_fill_steps": 3}, model="few", version="1")
    write(folder / "repository", {**HOURLY, "max_fill_steps": 3}, model="few", version="2")
    with running_server(folder / "repository", folder) as running:
        yield running


_beginnings = iter(range(10_000))


@pytest.fixture
def name() -> str:
    """A beginning of ids that no other test has."""
    return f"f{next(_beginnings)}-"


class RealService(FakeService):
    """The server behind the network, in the place of the fake one."""

    def __init__(self, http: httpx2.Client) -> None:
        super().__init__()
        self._http = http

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append((request.method, request.url.path))
        path = request.url.raw_path.decode()
        headers = {name: value for name, value in request.headers.items() if name == "content-type"}
        answer = self._http.request(request.method, path, content=request.content, headers=headers)
        return httpx2.Response(answer.status_code, content=answer.content, headers={"content-type": "application/json"})


def hours_of(name: str, num_ids: int, num_rows: int, seed: int, first: int = 0) -> Hours:
    """Loads of each id, with gaps."""
    random = np.random.default_rng(seed)
    return {
        f"{name}{owner}": {
            first + int(hour): float(np.float32(random.normal()))
            for hour in np.cumsum(random.choice([1, 1, 1, 2, 7], num_rows))
        }
        for owner in range(num_ids)
    }


def frame_of(library: str, hours: Hours, seed: int = 0, **columns: list[Any]) -> Any:
    """A long frame, its rows in no order; without what the calendar tells."""
    rows = [(owner, hour, load) for owner, loads in hours.items() for hour, load in loads.items()]
    chosen = [rows[place] for place in np.random.default_rng(seed).permutation(len(rows))]
    made = {
        "station": [owner for owner, _, _ in chosen],
        "at": [BEGIN + timedelta(hours=hour) for _, hour, _ in chosen],
        "load": [load for _, _, load in chosen],
    }
    return FRAMES[library]({**made, **columns})


def answers_of(answered: Any) -> dict[tuple[str, int], bytes]:
    """(id, hour) -> what was answered."""
    made: Array = np.stack([answered["y0"].to_numpy(), answered["y1"].to_numpy()], axis=1)
    hours = [round((moment - BEGIN) / timedelta(hours=1)) for moment in answered["at"].to_list()]
    owners = answered["station"].to_list()
    return {(owner, hour): row.tobytes() for owner, hour, row in zip(owners, hours, made, strict=True)}


def expected_of(directory: Path, hours: Hours) -> dict[tuple[str, int], bytes]:
    found: dict[tuple[str, int], bytes] = {}
    for owner, loads in hours.items():
        made = offline(directory, filled_table(BEGIN, loads))
        found |= {(owner, hour): made[hour - min(loads)].tobytes() for hour in loads}
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize("num_ids", [2, 40])  # in chunks, and in waves
async def test_steps_go_by_their_times_with_gaps_filled_and_no_step_twice(
    server: ServerProcess, folder: Path, name: str, kind: str, library: str, num_ids: int
) -> None:
    first = hours_of(name, num_ids, 30, seed=num_ids)
    second = hours_of(name, num_ids, 5, seed=1, first=230)
    async with make_client(kind, url=server.url) as client:
        made = answers_of(await client.step_frame("load", frame_of(library, first), time="at"))
        made |= answers_of(await client.step_frame("load", frame_of(library, second), time="at"))
        with pytest.raises(RowsFailed) as refused:
            await client.step_frame("load", frame_of(library, first), time="at")
        steps = {info.session_id: info.steps async for info in client.sessions("load")}
    assert {error.code for error in refused.value.errors} == {"time_conflict", "not_answered"}
    assert len(refused.value.rows) == num_ids * 30
    assert refused.value.seq == {}
    last = {owner: BEGIN + timedelta(hours=max(loads)) for owner, loads in second.items()}
    told = [error.last_at for error in refused.value.errors if error.code == "time_conflict"]
    assert sorted(map(datetime.fromisoformat, filter(None, told))) == sorted(last.values())
    whole = {owner: first[owner] | second[owner] for owner in first}
    assert made == expected_of(folder / "repository" / "load" / "1", whole)
    for owner, loads in whole.items():
        assert steps[owner] == max(loads) - min(loads) + 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("num_ids", "num_rows"), [(3, 3), (2, 300)])
async def test_what_is_lost_on_the_way_is_sent_again_and_a_call_that_broke_off_is_finished_by_its_rows(
    server: ServerProcess, folder: Path, name: str, kind: str, num_ids: int, num_rows: int
) -> None:
    hours = hours_of(name, num_ids, num_rows, seed=7)
    frame = frame_of("pandas", hours)
    # Behind the manifest, a look at each, and in chunks the opening of the first session: the first answer to steps is
    # lost and asked for again; that to the second request is lost, and then nobody answers.
    faults = ["", *[""] * num_ids, *([""] if num_rows == 300 else []), "after", "", "after", *["before"] * 50]
    with server.client() as http:
        service = RealService(http)
        client = make_client(kind, Network(service, faults), patience_seconds=1)
        with pytest.raises(RowsFailed) as caught:
            await client.step_frame("load", frame, time="at")
        broken = caught.value
        client = make_client(kind, Network(service))
        rest = await client.step_frame("load", frame.iloc[broken.rows], time="at", seq=broken.seq)
    assert isinstance(broken.__cause__, ServiceUnreachable)
    assert 0 < len(broken.rows) < len(frame)
    answers = broken.frame.copy()
    answers.iloc[broken.rows] = rest
    assert answers_of(answers) == expected_of(folder / "repository" / "load" / "1", hours)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_gap_that_is_too_long_stops_its_session_at_that_row(
    server: ServerProcess, folder: Path, name: str, kind: str
) -> None:
    # One id, so one chunk: the rows before the gap are answered all the same.
    hours: Hours = {f"{name}a": {hour: float(hour) for hour in (0, 1, 2, 6, 11, 12)}}
    frame = frame_of("pandas", hours)
    async with make_client(kind, url=server.url) as client:
        with pytest.raises(RowsFailed) as caught:
            await client.step_frame("few", frame, time="at")
    times = frame["at"].iloc[caught.value.rows].tolist()
    codes = {error.code: times[place] for place, error in enumerate(caught.value.errors)}
    assert codes == {"time_conflict": BEGIN + timedelta(hours=11), "not_answered": BEGIN + timedelta(hours=12)}
    made = {each: row for each, row in answers_of(caught.value.frame).items() if each[1] < 11}
    hours = {owner: {hour: load for hour, load in loads.items() if hour < 11} for owner, loads in hours.items()}
    assert made == expected_of(folder / "repository" / "few" / "2", hours)


@pytest.mark.parametrize("kind", KINDS)
async def test_columns_of_the_calendar_are_taken_where_the_frame_has_them_and_numbers_are_no_times(
    server: ServerProcess, folder: Path, name: str, kind: str
) -> None:
    loads = [0.5, 1.5, 2.5]
    told = {"hour": [0.5, 0.25, 0.125], "weekday": [1.0, 2.0, 3.0]}
    times = [BEGIN + timedelta(hours=hour) for hour in range(3)]
    expected = offline(folder / "repository" / "load" / "1", np.array([loads, *told.values()], np.float32).T)
    async with make_client(kind, url=server.url) as client:
        frame = pd.DataFrame({"station": f"{name}a", "at": times, "load": loads, **told})
        answered = await client.step_frame("load", frame, time="at")
        with pytest.raises(InputError, match="has no column 'weekday'"):
            await client.step_frame("load", frame.drop(columns="weekday"), time="at")
        # By numbers rows are ordered, and sent with their seq; the session has no time then.
        counted = frame.assign(station=f"{name}b", at=[3, 1, 2]).iloc[[1, 2, 0]]
        numbered = await client.step_frame("load", counted.assign(load=loads, **told), time="at")
        with pytest.raises(InputError, match="has no column 'hour'"):
            await client.step_frame("load", counted[["station", "at", "load"]], time="at")
    for made in (answered, numbered):
        assert made[["y0", "y1"]].to_numpy().tobytes() == expected.tobytes()
    with server.client() as http:
        last_at = [http.get(f"/v1/sessions/{name}{owner}").json()["last_at"] for owner in "ab"]
    assert last_at == ["2025-10-24T04:00:00+02:00", None]


@pytest.mark.parametrize("kind", KINDS)
async def test_with_seq_steps_are_counted_and_have_no_times(
    server: ServerProcess, folder: Path, name: str, kind: str
) -> None:
    told = [told_by_hand(BEGIN + timedelta(hours=hour)) for hour in (0, 5)]
    frame = pd.DataFrame(
        {
            "station": f"{name}a",
            "at": [BEGIN, BEGIN + timedelta(hours=5)],
            "load": [1.0, 2.0],
            "hour": [hour for hour, _ in told],
            "weekday": [day for _, day in told],
        }
    )
    async with make_client(kind, url=server.url) as client:
        answered = await client.step_frame("load", frame, time="at", seq=0)
    rows = np.array([[load, *each] for load, each in zip((1.0, 2.0), told, strict=True)], np.float32)
    expected = offline(folder / "repository" / "load" / "1", rows)
    assert answered[["y0", "y1"]].to_numpy().tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_of_another_version_with_the_same_columns_is_stepped(
    server: ServerProcess, folder: Path, name: str, kind: str
) -> None:
    hours: Hours = {f"{name}0": {0: 0.5, 1: 1.5, 3: -1.0, 4: 2.0}}
    async with make_client(kind, url=server.url) as client:
        await client.session("few", session_id=f"{name}0", version="1", keep=True).__aenter__()
        made = answers_of(await client.step_frame("few", frame_of("pandas", hours), time="at"))
    assert made == expected_of(folder / "repository" / "few" / "1", hours)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("library", FRAMES)
async def test_forecasts_of_all_sessions_are_one_request_with_the_times_of_their_steps(
    server: ServerProcess, name: str, kind: str, library: str
) -> None:
    hours: Hours = {f"{name}{owner}": {owner: 1.0, owner + 1: owner / 8} for owner in range(5)}
    ids = FRAMES[library]({"station": [*hours, f"{name}none"]})
    with server.client() as http:
        service = RealService(http)
        client = make_client(kind, Network(service))
        await client.step_frame("load", frame_of(library, hours), time="at")
        service.requests.clear()
        with pytest.raises(RowsFailed, match="1 of 6 sessions gave no forecast") as caught:
            await client.forecast_frame("load", ids, 3, time="at")
        assert service.requests == [("POST", "/v1/models/load/forecast")]
        frame, alone = (
            caught.value.frame,
            [http.post(f"/v1/sessions/{each}/forecast", json={"horizon": 3}).json() for each in hours],
        )
    made = np.stack([frame["y0"].to_numpy(), frame["y1"].to_numpy()], axis=1)
    told = np.array([each["outputs"] for each in alone], np.float32).reshape(-1, 2)
    assert made[:15].tobytes() == told.tobytes()
    assert np.isnan(made[15:]).all()
    at = frame["at"].to_list()
    # The clock of the model's zone, on the day on which it goes back.
    assert [moment.isoformat() for moment in at[:15]] == [time for each in alone for time in each["at"]]
    assert [moment is None or moment is pd.NaT for moment in at[15:]] == [True] * 3


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_known_of_other_hours_than_those_ahead_is_refused(
    server: ServerProcess, name: str, kind: str
) -> None:
    hours: Hours = {f"{name}a": {0: 1.0}, f"{name}b": {0: 1.0, 1: 2.0}, f"{name}c": {0: 1.0, 1: 2.0}}
    ahead = [BEGIN + timedelta(hours=hour) for hour in (2, 3)]
    known = pd.DataFrame({"at": ahead, "hour": [0.5, 0.25], "weekday": [1.0, 2.0]})
    with server.client() as http:
        service = RealService(http)
        client = make_client(kind, Network(service))
        await client.step_frame("load", frame_of("pandas", hours), time="at")
        service.requests.clear()
        with pytest.raises(
            RowsFailed, match=r"2025-10-24 02:00:00.* for the step 1 ahead .* 2025-10-24 03:00:00"
        ) as caught:
            await client.forecast_frame("load", list(hours), 2, known_future=known, time="at")
        assert len(service.requests) == 1
        # By the zone's own clock, and each session by what is known of it.
        late = timedelta(minutes=5)  # as a session itself takes it
        each = [
            known.assign(
                station=owner, hour=hour, at=[time.astimezone(ZONE).replace(tzinfo=None) + late for time in ahead]
            )
            for owner, hour in zip("bc", (0.5, 0.75), strict=True)
        ]
        apart = pd.concat(each).assign(station=lambda rows: name + rows["station"])
        one = await client.forecast_frame("load", [f"{name}b", f"{name}c"], 2, known_future=apart, time="at")
        assert len(service.requests) == 3
    assert [(error.row, error.code) for error in caught.value.errors] == [(0, "time_conflict")]
    made = caught.value.frame[["y0", "y1"]].to_numpy()
    assert np.isnan(made[:2]).all()
    assert made[2] == pytest.approx(made[4])
    assert (one["y0"][1] != one["y0"][3], one["ahead"].tolist()) == (True, [1, 2, 1, 2])


@pytest.mark.parametrize("kind", KINDS)
async def test_many_sessions_are_found_in_a_page_of_all_and_not_one_by_one(
    server: ServerProcess, folder: Path, name: str, kind: str
) -> None:
    first, second = (hours_of(name, 50, 2, seed=seed, first=100 * seed) for seed in (0, 1))
    closed = f"{name}7"
    with server.client() as http:
        service = RealService(http)
        client = make_client(kind, Network(service))
        made = answers_of(await client.step_frame("load", frame_of("polars", first), time="at"))
        http.delete(f"/v1/sessions/{closed}").raise_for_status()
        service.requests.clear()
        with pytest.raises(RowsFailed) as caught:
            await client.step_frame("load", frame_of("polars", second), time="at")
        # What is not in it is asked for by itself: a session that was closed is not opened again by the way.
        gets = [path for method, path in service.requests if method == "GET"]
        assert gets == ["/v1/sessions", f"/v1/sessions/{closed}"]
    assert {error.code for error in caught.value.errors} == {"session_closed", "not_answered"}
    assert len(caught.value.rows) == 2
    made |= {each: row for each, row in answers_of(caught.value.frame).items() if each[0] != closed}
    whole = {owner: first[owner] | (second[owner] if owner != closed else {}) for owner in first}
    assert made == expected_of(folder / "repository" / "load" / "1", whole)
