"""Both kinds of client and a real server, with frames of both libraries."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from ostinato.client.async_client import AsyncClient
from ostinato.client.client import Client
from ostinato.errors import InputError, RowsFailed
from tests.networks import Array, offline
from tests.ostinato.fake_service import Awaited
from tests.server import ServerProcess

# One server for all tests that ask it.
pytestmark = pytest.mark.xdist_group("ostinato_server")

FRAMES: dict[str, Callable[[dict[str, Any]], Any]] = {"pandas": pd.DataFrame, "polars": pl.DataFrame}
HOUR = timedelta(hours=1)
BEGIN = datetime(2026, 1, 1)


@pytest.fixture(params=["async", "blocking"])
def client(request: pytest.FixtureRequest, server: ServerProcess) -> Any:
    return AsyncClient(server.url) if request.param == "async" else Awaited(Client(server.url))


@pytest.fixture
def name(server: ServerProcess) -> Iterator[str]:
    """A beginning of ids that no other test has; their sessions are closed."""
    beginning = f"{secrets.token_hex(4)}-"
    yield beginning
    with Client(server.url) as blocking:
        for info in list(blocking.sessions()):
            if info.session_id.startswith(beginning):
                blocking.close_session(info.session_id)


def columns(frame: Any) -> dict[str, list[Any]]:
    """Column -> its values, NaN as None."""
    names = list(frame.columns)
    values = {each: frame[each].to_list() for each in names}
    return {each: [None if value != value else value for value in values[each]] for each in names}


def gusts(num_rows: int, seed: int = 0) -> dict[str, list[Any]]:
    random = np.random.default_rng(seed)
    return {
        "hour": [int(hour) for hour in random.integers(0, 24, num_rows)],
        "other": ["passed over"] * num_rows,
        "level": random.normal(size=num_rows).tolist(),
        "wind": random.choice(["N", "SE"], num_rows).tolist(),
    }


def encoded(given: dict[str, list[Any]], rows: list[int]) -> Array:
    """What ``gusts`` are to the model: level, wind, hour."""
    codes = {"N": 0.0, "SE": 1.0}
    steps = [[given["level"][row], codes[given["wind"][row]], given["hour"][row]] for row in rows]
    return np.array(steps, np.float32)


@pytest.mark.parametrize("library", FRAMES)
@pytest.mark.parametrize("num_ids", [1, 3, 40])
async def test_each_id_is_a_session_whose_answers_are_the_offline_run_to_the_bit(
    client: Any, models: Path, name: str, library: str, num_ids: int
) -> None:
    # 1 and 3 ids go in chunks, 40 in waves. The rows of the ids are mixed, and out of their order in time.
    given, num_rows = gusts(120, seed=num_ids), 120
    random = np.random.default_rng(num_ids)
    owners = random.integers(0, num_ids, num_rows).tolist()
    times = [BEGIN + HOUR * int(hour) for hour in random.permutation(num_rows)]
    frame = FRAMES[library]({"at": times, "station": [f"{name}{owner}" for owner in owners], **given})
    async with client:
        answered = await client.step_frame("gusts", frame, time="at")
        again = await client.step_frame("gusts", frame, time="at", seq=None)
    assert type(answered) is type(frame)
    assert list(answered.columns) == ["station", "at", "y0", "y1"]
    assert columns(answered)["station"] == columns(frame)["station"]
    assert columns(answered)["at"] == columns(frame)["at"]
    made = np.stack([answered["y0"].to_numpy(), answered["y1"].to_numpy()], axis=1)
    more = np.stack([again["y0"].to_numpy(), again["y1"].to_numpy()], axis=1)
    assert made.dtype == np.float32
    for owner in set(owners):
        rows = sorted((row for row in range(num_rows) if owners[row] == owner), key=lambda row: times[row])
        steps = encoded(given, rows)
        # The second call goes on from where the first one ended.
        whole = offline(models / "gusts" / "1", np.concatenate([steps, steps]))
        assert made[rows].tobytes() == whole[: len(rows)].tobytes()
        assert more[rows].tobytes() == whole[len(rows) :].tobytes()


@pytest.mark.parametrize("library", FRAMES)
async def test_predict_frame_runs_a_whole_sequence_for_each_id(client: Any, models: Path, library: str) -> None:
    given = gusts(50)
    owners = [row % 7 for row in range(50)]
    async with client:
        answered = await client.predict_frame("gusts", FRAMES[library]({"key": owners, **given}), id="key")
        assert not [info async for info in client.sessions("gusts") if info.session_id in set(map(str, owners))]
    made = np.stack([answered["y0"].to_numpy(), answered["y1"].to_numpy()], axis=1)
    for owner in range(7):
        rows = list(range(owner, 50, 7))
        assert made[rows].tobytes() == offline(models / "gusts" / "1", encoded(given, rows)).tobytes()
    assert columns(answered)["key"] == owners


@pytest.mark.parametrize("library", FRAMES)
async def test_a_forecast_is_a_long_frame_of_each_session_s_next_steps(client: Any, name: str, library: str) -> None:
    # The total of the loads is said to be the next load: after 1, 2 and 4 the totals ahead are 7, 14, 28.
    loads = {"station": [f"{name}a", f"{name}a", f"{name}b", f"{name}a"], "load": [1.0, 2.0, 5.0, 4.0]}
    frame = FRAMES[library](loads)
    ahead = {"at": [BEGIN, BEGIN + HOUR, BEGIN + 2 * HOUR, BEGIN + 3 * HOUR]}
    async with client:
        await client.step_frame("loads", frame)
        found = await client.forecast_frame(
            "loads", frame["station"], 3, known_future=FRAMES[library](ahead), time="at"
        )
        plain = await client.forecast_frame("loads", frame, 1)
    assert type(found) is type(frame)
    assert columns(found) == {
        "station": [f"{name}a"] * 3 + [f"{name}b"] * 3,
        "at": [BEGIN, BEGIN + HOUR, BEGIN + 2 * HOUR] * 2,
        "ahead": [1, 2, 3, 1, 2, 3],
        "total": [7.0, 14.0, 28.0, 5.0, 10.0, 20.0],
    }
    assert columns(plain)["total"] == [7.0, 5.0]


MISSING: dict[str, Callable[[], Any]] = {
    "floats of pandas": lambda: pd.Series([1.0, np.nan, 2.0]),
    "nullable floats of pandas": lambda: pd.array([1.0, None, 2.0], dtype="Float64"),
    "nullable whole numbers of pandas": lambda: pd.array([1, None, 2], dtype="Int64"),
    "objects of pandas": lambda: pd.Series([1, None, 2], dtype=object),
    "texts of pandas": lambda: pd.Series(["1", "NA", "2.0"]),
    "categories of pandas": lambda: pd.Categorical([1, None, 2]),
    "arrow floats of pandas": lambda: pd.array([1.0, None, 2.0], dtype="float64[pyarrow]"),
}


@pytest.mark.parametrize("kind", MISSING)
async def test_what_is_missing_is_so_whatever_pandas_calls_it(client: Any, name: str, kind: str) -> None:
    frame = pd.DataFrame({"station": [name] * 3, "load": MISSING[kind]()})
    async with client:
        answered = await client.step_frame("loads", frame)
    assert answered["total"].tolist() == [1.0, 1.0, 3.0]


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32, pl.Int64, pl.Decimal(10, 1), pl.String])
async def test_what_is_missing_is_so_whatever_polars_calls_it(client: Any, name: str, dtype: Any) -> None:
    load = pl.Series("load", [1, None, 2]).cast(dtype)
    async with client:
        answered = await client.step_frame("loads", pl.DataFrame({"station": [name] * 3, "load": load}))
    assert answered["total"].to_list() == [1.0, 1.0, 3.0]


async def test_a_named_index_is_a_column_and_stays_the_index(client: Any, name: str) -> None:
    times = pd.date_range("2026-01-01", periods=3, freq="h", tz="Asia/Shanghai")[::-1]
    index = pd.MultiIndex.from_arrays([[name] * 3, times], names=["station", "at"])
    frame = pd.DataFrame({"load": [4.0, 2.0, 1.0]}, index=index)
    async with client:
        answered = await client.step_frame("loads", frame, time="at")
    assert answered.index.equals(frame.index)
    assert columns(answered) == {"total": [7.0, 3.0, 1.0]}


async def test_an_empty_frame_has_an_empty_answer(client: Any) -> None:
    frame = pd.DataFrame({"station": pd.Series([], dtype=str), "load": pd.Series([], dtype=float)})
    async with client:
        for answered in (await client.step_frame("loads", frame), await client.predict_frame("loads", frame)):
            assert (len(answered), list(answered.columns)) == (0, ["station", "total"])


async def test_a_row_that_fails_holds_up_its_own_session_alone(client: Any, name: str) -> None:
    a, b = f"{name}a", f"{name}b"
    frame = pd.DataFrame({"station": [a, b, a, b], "load": [1.0, 2.0, 4.0, 8.0]})
    async with client:
        async with client.session("loads", session_id=b, keep=True) as session:
            await session.step([[16.0]])
        with pytest.raises(RowsFailed, match="2 of 4 rows were not answered; row 1") as caught:
            await client.step_frame("loads", frame, seq={b: 7})
        failed = caught.value
        assert columns(failed.frame)["total"] == [1.0, None, 5.0, None]
        assert [(error.row, error.code, error.expected_seq) for error in failed.errors] == [
            (1, "seq_conflict", 1),
            (3, "not_answered", None),
        ]
        assert (failed.rows, failed.seq) == ([1, 3], {b: 7})
        rest = await client.step_frame("loads", frame.iloc[failed.rows])
    assert rest["total"].tolist() == [18.0, 26.0]


async def test_sessions_that_there_are_not_are_refused_where_none_is_to_be_opened(client: Any, name: str) -> None:
    frame = pl.DataFrame({"station": [name, name], "load": [1.0, 2.0]})
    async with client:
        with pytest.raises(RowsFailed) as caught:
            await client.step_frame("loads", frame, create_missing=False)
    assert [error.code for error in caught.value.errors] == ["unknown_session", "not_answered"]


WRONG: dict[str, tuple[dict[str, list[Any]], str]] = {
    "a column of a name that is nearly right": ({"lode": [1.0]}, r"no column 'load' \(did you mean 'lode'\?\)"),
    "no id": ({"load": [1.0], "Station": ["x"]}, r"no column 'station' \(did you mean 'Station'\?\)"),
    "a missing id": ({"load": [1.0], "station": [None]}, "row 0 has no 'station'"),
    "an infinity": ({"load": [1.0, np.inf], "station": ["x", "x"]}, "row 1, column 'load': an infinity"),
    "a word": ({"load": ["many"], "station": ["x"]}, "row 0, column 'load': 'many' is not a number"),
    "a time": ({"load": [BEGIN], "station": ["x"]}, "row 0, column 'load': .* is no number"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("library", FRAMES)
async def test_a_frame_that_does_not_fit_is_refused_before_anything_is_sent(
    client: Any, name: str, case: str, library: str
) -> None:
    given, words = WRONG[case]
    given = {"station": [name], **given} if case.startswith("a column") else given
    async with client:
        with pytest.raises(InputError, match=words):
            await client.step_frame("loads", FRAMES[library](given))


async def test_a_word_that_the_model_does_not_know_is_told_with_the_nearest(client: Any, name: str) -> None:
    given = {"station": [name] * 2, "level": [0.0, 1.0], "wind": ["N", "SEE"], "hour": [7, 8]}
    async with client:
        with pytest.raises(InputError, match=r"row 1, column 'wind': 'SEE' is none .*; did you mean 'SE'\?"):
            await client.step_frame("gusts", pd.DataFrame(given))


async def test_two_rows_of_one_time_are_refused(client: Any, name: str) -> None:
    frame = pl.DataFrame({"station": [name] * 3, "at": [BEGIN, BEGIN + HOUR, BEGIN], "load": [1.0, 2.0, 3.0]})
    async with client:
        with pytest.raises(InputError, match=f"station {name!r}: rows 0 and 2 are of the same time"):
            await client.step_frame("loads", frame, time="at")


async def test_a_forecast_of_a_session_that_there_is_not_hides_no_other(client: Any, name: str) -> None:
    async with client:
        await client.step_frame("loads", pd.DataFrame({"station": [name], "load": [3.0]}))
        ids = pd.Series([f"{name}none", name])
        with pytest.raises(RowsFailed, match="1 of 2 sessions gave no forecast") as caught:
            await client.forecast_frame("loads", ids, 2)
    assert columns(caught.value.frame)["total"] == [None, None, 3.0, 6.0]
    assert caught.value.rows == [0]
