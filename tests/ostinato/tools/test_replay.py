from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import numpy as np
import pytest
from typer.testing import Result

from ostinato.client.arrays import Array
from ostinato.client.async_client import AsyncClient
from ostinato.errors import CommandError, SeqConflict
from ostinato.tools.input_table import InputRow, InputTable
from ostinato.tools.model_shape import ModelShape
from ostinato.tools.replay import Arrival, ReplayOptions, replay
from tests.ostinato.conftest import RunCommand
from tests.ostinato.fake_service import FakeService, Network
from tests.server import ServerProcess

# One server for all tests that ask it.
pytestmark = pytest.mark.xdist_group("ostinato_server")

# The model says that the next load is the total so far. Totals: 1, 3, 3, 7, 13.
LOADS = "load\n1\n2\nNA\n4\n6\n"
# load   forecast  error  last seen  its error
#  2        1        1        1          1
#  NA       3      (what came is missing: not scored)
#  4        3        1        2          2
#  6        7        1        4          2
MAE, PERSISTENCE_MAE = 3 / 3, 5 / 3


@pytest.fixture
def loads(tmp_path: Path) -> Path:
    path = tmp_path / "loads.csv"
    path.write_text(LOADS)
    return path


def live_sessions(server: ServerProcess) -> int:
    return len(httpx2.get(f"{server.url}/v1/sessions").json()["sessions"])


def scores(result: Result) -> list[str]:
    """The cells of the last row of the summary."""
    row = [line for line in result.output.splitlines() if line.startswith("│")][-1]
    return [cell.strip() for cell in row.strip("│").split("│")]


async def test_each_row_is_compared_with_the_forecast_made_before_it(server: ServerProcess, loads: Path) -> None:
    arrivals: list[Arrival] = []
    async with AsyncClient(server.url) as client:
        shape = ModelShape.of(await client.model("loads"))
        rows = InputTable(loads, shape.model_input).read().rows
        result = await replay(client, shape, rows, ReplayOptions(), arrivals.append)
    seen = [(arrival.comparisons["load"].forecast, arrival.comparisons["load"].persistence) for arrival in arrivals]
    assert seen == [(None, None), (1.0, 1.0), (3.0, 2.0), (3.0, 2.0), (7.0, 4.0)]
    assert [arrival.outputs for arrival in arrivals] == [[1.0], [3.0], [3.0], [7.0], [13.0]]
    score = result.scores["load"]
    assert (score.num_scored, score.mae, score.persistence_mae) == (3, MAE, PERSISTENCE_MAE)
    assert (result.num_rows, result.steps) == (5, [5])


async def test_a_warm_up_brings_the_state_up_and_is_not_scored(server: ServerProcess, loads: Path) -> None:
    async with AsyncClient(server.url) as client:
        shape = ModelShape.of(await client.model("loads"))
        read = InputTable(loads, shape.model_input).read(first="4", before=2)
        result = await replay(client, shape, read.rows, ReplayOptions(warm_up_rows=read.num_ahead))
    # Warmed up with 2 and NA: the total is 2, then 6. Errors |2 - 4| and |6 - 6|; persistence |2 - 4| and |4 - 6|.
    score = result.scores["load"]
    assert (score.num_scored, score.mae, score.persistence_mae) == (2, 1.0, 2.0)
    assert (result.num_rows, result.steps) == (2, [4])


async def test_a_longer_horizon_is_scored_where_it_lands(server: ServerProcess, loads: Path) -> None:
    async with AsyncClient(server.url) as client:
        shape = ModelShape.of(await client.model("loads"))
        rows = InputTable(loads, shape.model_input).read().rows
        result = await replay(client, shape, rows, ReplayOptions(horizon=2))
    # Two steps ahead the total is fed back: twice 1, 3 and 3 for the loads NA, 4 and 6. Errors 2 and 0, 2 and 4.
    score = result.scores["load"]
    assert (score.num_scored, score.mae, score.persistence_mae) == (2, 1.0, 3.0)


class Handle:
    """A session that answers (noise, next b, next a) by the last row it was sent, and keeps what it was asked."""

    session_id = "one"

    def __init__(self) -> None:
        self.steps = 0
        self.chunks: list[int] = []
        self.known: list[dict[str, list[float | None]]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def step(self, rows: list[list[float | None]], *, return_sequences: bool) -> Array:
        assert not return_sequences
        self.chunks.append(len(rows))
        self.steps += len(rows)
        _, a, b = rows[-1]
        return np.array([[-1, (b or 0) + 0.5, (a or 0) + 0.25]], np.float32)

    async def forecast(self, horizon: int, known: dict[str, list[float | None]]) -> Array:
        self.known.append(known)
        return np.array([[-1, 100 * step, step] for step in range(1, horizon + 1)], np.float32)


SHAPE = ModelShape("two", "1", {}, ("temp", "a", "b"), ("noise", "next_b", "next_a"), {"next_a": "a", "next_b": "b"})


async def replayed(inputs: list[list[float | None]], options: ReplayOptions) -> tuple[list[Arrival], list[Handle]]:
    handles: list[Handle] = []

    def session(*_: object, **__: object) -> Handle:
        handles.append(Handle())
        return handles[-1]

    arrivals: list[Arrival] = []
    client: Any = SimpleNamespace(session=session)
    rows = [InputRow(number, number, "", given) for number, given in enumerate(inputs, start=1)]
    await replay(client, SHAPE, rows, options, arrivals.append)
    return arrivals, handles


def compared(arrivals: list[Arrival], target: str) -> list[tuple[float | None, float | None, float | None]]:
    found = [arrival.comparisons[target] for arrival in arrivals]
    return [(each.forecast, each.actual, each.persistence) for each in found]


async def test_each_target_has_its_own_output_and_its_own_column() -> None:
    arrivals, _ = await replayed([[1, 10, 20], [2, 11, 22], [3, None, 24], [4, 13, 26]], ReplayOptions())
    nothing_yet = [(None, 10, None)], [(None, 20, None)]
    assert compared(arrivals, "a") == [*nothing_yet[0], (10.25, 11, 10), (11.25, None, 11), (0.25, 13, 11)]
    assert compared(arrivals, "b") == [*nothing_yet[1], (20.5, 22, 20), (22.5, 24, 22), (24.5, 26, 24)]


async def test_a_forecast_knows_of_the_future_what_stands_behind_its_row_and_lands_where_it_ends() -> None:
    inputs: list[list[float | None]] = [[float(hour), 10.0 + hour, 20.0 + hour] for hour in range(6)]
    arrivals, [handle] = await replayed(inputs, ReplayOptions(horizon=3, known=("temp",)))
    assert handle.known == [{"temp": [1, 2]}, {"temp": [2, 3]}, {"temp": [3, 4]}]
    assert compared(arrivals, "a")[3:] == [(3, 13, 10), (3, 14, 11), (3, 15, 12)]
    assert compared(arrivals, "b")[3:] == [(300, 23, 20), (300, 24, 21), (300, 25, 22)]


async def test_a_long_warm_up_goes_in_chunks_and_each_session_begins_some_rows_later() -> None:
    inputs: list[list[float | None]] = [[0.0, 10.0 + hour, 20.0 + hour] for hour in range(454)]
    options = ReplayOptions(sessions=2, offset_rows=2, warm_up_rows=450)
    arrivals, [first, second] = await replayed(inputs, options)
    assert first.chunks == [200, 200, 50, 1, 1, 1, 1]
    assert second.chunks == [200, 200, 50, 1, 1]
    places = {session: [arrival.row.number for arrival in arrivals if arrival.session == session] for session in (0, 1)}
    assert places == {0: [451, 452, 453, 454], 1: [453, 454]}
    begun = {arrival.session: arrival for arrival in reversed(arrivals)}
    assert compared([begun[0]], "a") == [(459.25, 460, 459)]
    assert compared([begun[1]], "a") == [(461.25, 462, 461)]


def test_the_command_shows_rows_and_a_summary_and_closes_its_sessions(
    server: ServerProcess, loads: Path, run_command: RunCommand
) -> None:
    result = run_command("replay", loads, "--model", "loads", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert "loads: load, one step ahead" in result.output
    assert "missing" in result.output
    assert "loads/1: 5 rows in 1 session" in result.output
    assert scores(result) == ["load", "3", f"{MAE:.3f}", f"{PERSISTENCE_MAE:.3f}", "-40.0%"]
    assert live_sessions(server) == 0


def test_many_sessions_replay_at_once_each_some_rows_later(
    server: ServerProcess, loads: Path, run_command: RunCommand
) -> None:
    result = run_command("replay", loads, "-m", "loads", "--url", server.url, "--sessions", "2", "--offset", "1")
    # The second begins with the load 2: totals 2, 2, 6. Errors |2 - 4| and |6 - 6|; persistence 2 and 2.
    assert "9 rows in 2 sessions" in result.output
    assert [(3 + 2) / (3 + 2), (5 + 4) / (3 + 2)] == [1.0, 1.8]
    assert "1.000" in result.output
    assert "1.800" in result.output


def test_outputs_are_shown_where_nothing_is_forecast(
    server: ServerProcess, tmp_path: Path, run_command: RunCommand
) -> None:
    path = tmp_path / "gusts.csv"
    path.write_text("hour,wind,level\n07,SE,0.5\n8,N,1\n")
    result = run_command("replay", path, "-m", "gusts", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert "gusts: outputs" in result.output
    assert "y0" in result.output
    assert "forecast none of its inputs" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "nobody"), "nobody"),
        (("-m", "loads", "--column", "wind=W"), "'wind' is no input of the model; its inputs are load"),
        (("-m", "loads", "--from", "9"), "there is no row from 9 on; the file has 5"),
        (("-m", "loads", "--horizon", "3", "--known", "wind"), "--known wind: the model's inputs are load"),
        (("-m", "gusts"), "has no column 'level'"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: tuple[str, ...], message: str, server: ServerProcess, loads: Path, run_command: RunCommand
) -> None:
    result = run_command("replay", loads, "--url", server.url, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_refused_row_is_named_and_the_sessions_are_closed(
    server: ServerProcess, tmp_path: Path, run_command: RunCommand
) -> None:
    path = tmp_path / "loads.csv"
    path.write_text("load\n1\n1e35\n")  # the network's answer to it is not finite
    result = run_command("replay", path, "-m", "loads", "--url", server.url, "--sessions", "2")
    assert result.exit_code == 1
    assert "row 2: " in result.stderr
    assert "run_failed" in result.stderr
    assert live_sessions(server) == 0


async def test_a_refusal_keeps_its_class_and_what_it_carries() -> None:
    service = FakeService()

    def stepped_by_another(_: Arrival) -> None:
        for kept in service.sessions.values():
            kept.steps = 9

    shape = ModelShape("half", "1", {}, ("x",), ("y",), {})
    rows = [InputRow(number + 1, number, "", [1.0]) for number in (1, 2)]
    async with AsyncClient("http://service", transport=Network(service)) as client:
        with pytest.raises(SeqConflict, match=r"^row 2: ") as refusal:
            await replay(client, shape, rows, observe=stepped_by_another)
    assert (refusal.value.expected_seq, refusal.value.status, refusal.value.code) == (9, 409, "seq_conflict")


def test_a_model_that_is_not_served_says_why() -> None:
    with pytest.raises(CommandError, match=r"no version of .m. is served\. 1: its file is cut short"):
        ModelShape.of({"model": "m", "manifest": None, "failed": [{"version": "1", "reason": "its file is cut short"}]})


def test_rows_that_are_missing_are_told_and_replayed_as_missing_values(
    server: ServerProcess, tmp_path: Path, run_command: RunCommand
) -> None:
    path = tmp_path / "loads.csv"
    # The loads of the other tests; the hour of the missing one has no row.
    path.write_text("time,load\n2024-01-01T00:00,1\n2024-01-01T01:00,2\n2024-01-01T03:00,4\n2024-01-01T04:00,6\n")
    result = run_command("replay", path, "-m", "loads", "--url", server.url)
    assert result.exit_code == 0, result.output
    assert "1 of 5 steps of 1 hour has no row, in 1 gap, the first after line 3, 2024-01-01 02:00" in result.output
    assert "loads/1: 5 rows in 1 session" in result.output
    assert scores(result) == ["load", "3", f"{MAE:.3f}", f"{PERSISTENCE_MAE:.3f}", "-40.0%"]
    refused = run_command("replay", path, "-m", "loads", "--url", server.url, "--gaps", "refuse")
    assert (refused.exit_code, "--gaps fill puts them in" in refused.stderr) == (1, True)
    consecutive = run_command("replay", path, "-m", "loads", "--url", server.url, "--gaps", "ignore")
    assert "loads/1: 4 rows in 1 session" in consecutive.output


@pytest.mark.parametrize(
    "command",
    [
        ("replay", "nope.csv", "-m", "loads"),
        ("generate", "g2p", "--input", "nope.csv"),
        ("generate", "g2p", "--input", "nope.json"),
    ],
)
def test_a_file_that_is_not_there_is_told_before_a_service_that_is_not_there(
    command: tuple[str, ...], run_command: RunCommand
) -> None:
    result = run_command(*command, "--url", "http://127.0.0.1:1", "--patience", 0)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: nope.")
    assert "No such file" in result.stderr
