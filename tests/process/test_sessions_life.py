"""Forks, resets, and states that move between real servers, on each store: to the bit what an offline run gives."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import numpy as np
import pytest
from safetensors.numpy import load, save
from typer.testing import CliRunner, Result

from ostinato import AsyncClient, Client
from ostinato.cli import app
from ostinato.errors import ServiceError
from tests import networks
from tests.networks import offline
from tests.server import LIMITS, ServerProcess, running_server
from tests.stores import stores

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("sessions_life")

STORES = stores("lmdb", of=("memory", "lmdb"))
ODD_MODELS = ("time-first", "one-step", "tokens", "whole-tokens", "accumulator")


class Pair(NamedTuple):
    """Two servers over the same models, each with a store of its own."""

    here: ServerProcess
    there: ServerProcess


@pytest.fixture(scope="module")
def models(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository of all tests, and tokens counted in whole numbers."""
    folder = Path(shutil.copytree(repository, tmp_path_factory.mktemp("models") / "repository"))
    counter = networks.token_counter(dtype="int64").named("whole-tokens")
    counter.write(folder, np.random.default_rng(0).integers(0, 7, (3, 5, 1)))
    return folder


@pytest.fixture(scope="module", params=STORES)
def pair(request: pytest.FixtureRequest, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        servers = []
        for _ in range(2):
            home = tmp_path_factory.mktemp("server")
            state = f"lmdb://{home}/state" if request.param == "lmdb" else "memory://"
            servers.append(stack.enter_context(running_server(models, home, state=state, max_body_bytes=100_000)))
        yield Pair(*servers)


@pytest.fixture
def here(pair: Pair) -> Iterator[Client]:
    with Client(pair.here.url) as client:
        yield client


@pytest.fixture
def there(pair: Pair) -> Iterator[Client]:
    with Client(pair.there.url) as client:
        yield client


def sequence(num_steps: int, seed: int = 0) -> networks.Array:
    """For ``lstm``."""
    return np.random.default_rng(seed).normal(size=(num_steps, 3)).astype(np.float32)


def inputs_of(model: str, num_steps: int) -> networks.Array:
    """For any model."""
    generator = np.random.default_rng(3)
    if "tokens" in model:
        return generator.integers(0, 7, (num_steps, 1))
    if model == "accumulator":
        return generator.integers(0, 9, (num_steps, 1)).astype(np.float32)
    return generator.normal(size=(num_steps, 5 if model == "one-step" else 3)).astype(np.float32)


def test_both_branches_of_a_fork_go_on_to_the_bit(models: Path, here: Client) -> None:
    trunk, left, right = sequence(7), sequence(9, 1), sequence(5, 2)
    with here.session("lstm") as session:
        session.step(trunk)
        with session.fork() as branch:
            assert (branch.steps, branch.model, branch.session_id != session.session_id) == (7, "lstm", True)
            made_right = [branch.step(right[:2]), session.step(left[:4]), branch.step(right[2:])]
            made_left = np.concatenate([made_right.pop(1), session.step(left[4:])])
    for made, tail in ((made_left, left), (np.concatenate(made_right), right)):
        expected = offline(models / "lstm" / "1", np.concatenate([trunk, tail]))[len(trunk) :]
        np.testing.assert_array_equal(made, expected)


def test_a_reset_session_is_as_a_new_one(here: Client) -> None:
    with here.session("lstm") as session, here.session("lstm") as new:
        session.step(sequence(7))
        session.reset()
        assert session.steps == session.look().steps == 0
        assert {name: row.tobytes() for name, row in load(session.state()).items()} == {
            name: row.tobytes() for name, row in load(new.state()).items()
        }
        np.testing.assert_array_equal(session.step(sequence(5, 1)), new.step(sequence(5, 1)))


def test_a_session_goes_on_on_another_server_to_the_bit(models: Path, here: Client, there: Client) -> None:
    whole = sequence(20)
    with here.session("lstm") as session, there.session("lstm") as other:
        made = [session.step(whole[:11])]
        other.step(sequence(3, 9))
        other.put_state(session.state())
        assert other.steps == other.look().steps == 11
        made.append(other.step(whole[11:]))
    np.testing.assert_array_equal(np.concatenate(made), offline(models / "lstm" / "1", whole))


@pytest.mark.parametrize("model", ODD_MODELS)
def test_odd_models_go_on_on_another_server_to_the_bit(model: str, here: Client, there: Client) -> None:
    inputs = inputs_of(model, 12)
    with here.session(model) as session, here.session(model) as undisturbed, there.session(model) as other:
        session.step(inputs[:7])
        undisturbed.step(inputs[:7])
        state = session.state()
        other.put_state(state)
        expected = undisturbed.step(inputs[7:])
        np.testing.assert_array_equal(other.step(inputs[7:]), expected)
        manifest = here.model(model)["manifest"]
        shapes = {name: (row.dtype.name, list(row.shape)) for name, row in load(state).items()}
        assert shapes == {
            each["name"]: (each["dtype"], [axis for axis in each["shape"] if axis != "B"])
            for each in manifest["states"]
        }


def test_a_forecast_is_the_same_on_another_server(here: Client, there: Client) -> None:
    with here.session("accumulator") as session, there.session("accumulator") as other:
        session.step([[1], [2]])
        other.put_state(session.state())
        np.testing.assert_array_equal(session.forecast(4), other.forecast(4))
        other.put_state(save({"total": np.array([5], np.float32)}))
        assert other.steps == 2
        with pytest.raises(ServiceError, match="apply a step first"):
            other.forecast(2)
        assert other.step([[1]]).tolist() == [[6.0]]
        assert other.forecast(2).tolist() == [[6.0], [12.0]]


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b"", 422, None),
        (save({"total": np.zeros(1, np.float64)}), 422, "total"),
        (save({"total": np.zeros(1, np.float32)}, {"model": "lstm"}), 422, "__metadata__.model"),
        (save({"total": np.zeros(1, np.float32)}, {"steps": "x"}), 422, "__metadata__.steps"),
        (bytes(100_001), 413, None),
    ],
    ids=["empty", "dtype", "model", "steps", "large"],
)
def test_a_put_that_is_refused_leaves_the_session_as_it_was(
    content: bytes, status: int, field: str | None, pair: Pair, here: Client
) -> None:
    with here.session("accumulator") as session:
        session.step([[1], [2]])
        answer = pair.here.request("PUT", f"/v1/sessions/{session.session_id}/state", content=content)
        assert (answer.status_code, answer.json().get("field")) == (status, field)
        again = {"inputs": [[1], [2]], "seq": 0}
        sent = pair.here.post(f"/v1/sessions/{session.session_id}/step", json=again)
        assert sent.json()["outputs"] == [[1.0], [3.0]]
        assert session.step([[4]]).tolist() == [[7.0]]


def test_routes_of_a_life_answer_as_the_others(pair: Pair) -> None:
    with pair.here.client() as http:
        path = f"/v1/sessions/{http.post('/v1/models/accumulator/sessions').json()['session_id']}"
        fork = http.post(f"{path}/fork", json={"session_id": f"{path.rpartition('/')[2]}-copy"})
        assert (fork.status_code, fork.headers["location"]) == (201, f"{path}-copy")
        assert http.post(f"{path}/fork", json={"session_id": f"{path.rpartition('/')[2]}-copy"}).status_code == 409
        state = http.get(f"{path}/state")
        assert (state.status_code, state.headers["content-type"]) == (200, "application/octet-stream")
        head = http.head(f"{path}/state")
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(state.content)))
        assert http.put(f"{path}/state", json={}).status_code == 415
        assert http.get(f"{path}/reset").headers["allow"] == "OPTIONS, POST"
        for each in (path, f"{path}-copy"):
            assert http.delete(each).status_code == 204
        assert [http.post(f"{path}/{action}").status_code for action in ("fork", "reset")] == [410, 410]


async def test_what_is_taken_while_chunks_are_under_way_is_taken_between_them(pair: Pair) -> None:
    # Every input is 1, so the total is the number of steps, whenever one looks.
    ones = [[1]] * 40

    async def totals_match(client: AsyncClient, session_id: str) -> None:
        session = await client.resume(session_id).open()
        [[total]] = (await session.step([[0]])).tolist()
        assert total == session.steps - 1

    async with AsyncClient(pair.here.url) as client, client.session("accumulator") as session:
        path = f"{pair.here.url}/v1/sessions/{session.session_id}"
        async with httpx2.AsyncClient(timeout=60, limits=LIMITS) as http:
            chunks = [http.post(f"{path}/step", json={"inputs": ones}) for _ in range(60)]
            lives: list[Any] = [http.post(f"{path}/fork") for _ in range(10)]
            lives += [http.get(f"{path}/state") for _ in range(10)]
            lives += [http.post(f"{path}/reset") for _ in range(3)]
            work = [each for number in range(60) for each in (chunks[number], *lives[number : number + 1])]
            answers = await asyncio.gather(*work)
        assert {answer.status_code for answer in answers} <= {200, 201}
        stepped = [answer.json() for answer in answers if answer.url.path.endswith("/step")]
        assert all(content["outputs"][-1] == [float(content["steps"])] for content in stepped)
        forks = [answer.json() for answer in answers if answer.status_code == 201]
        assert len(forks) == 10
        for fork in forks:
            assert fork["steps"] % 40 == 0  # never within a chunk
            await totals_match(client, fork["session_id"])
            await client.close_session(fork["session_id"])
        for answer in answers:
            if answer.headers["content-type"] == "application/octet-stream":
                assert load(answer.content)["total"].tolist()[0] % 40 == 0
        await totals_match(client, session.session_id)


def test_a_server_that_was_killed_has_what_was_put_forked_and_reset(models: Path, tmp_path: Path) -> None:
    whole = sequence(12)
    with running_server(models, tmp_path, state=f"lmdb://{tmp_path}/state") as server, Client(server.url) as client:
        source = client.session("lstm", session_id="source", keep=True)
        source.step(whole[:5])
        source.fork("forked")
        client.session("lstm", session_id="put", keep=True).put_state(source.state())
        client.session("lstm", session_id="unknown", keep=True).put_state(save(load(source.state())))
        source.reset()
        server.kill()
        server.start()
        server.wait_until_ready()
        expected = offline(models / "lstm" / "1", whole)
        for name in ("forked", "put"):
            session = client.resume(name)
            assert session.steps == 5
            np.testing.assert_array_equal(session.step(whole[5:]), expected[5:])
        source = client.resume("source")
        assert source.steps == 0
        np.testing.assert_array_equal(source.step(whole), expected)
        plain = client.resume("unknown")
        assert plain.steps == 0
        np.testing.assert_array_equal(plain.step(whole[5:]), expected[5:])


class TestCommandLine:
    def run(self, *arguments: object) -> Result:
        runner = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
        return runner.invoke(app, ["sessions", *(str(argument) for argument in arguments)])

    def test_sessions_move_to_another_server_and_go_on_to_the_bit(
        self, models: Path, pair: Pair, here: Client, there: Client, tmp_path: Path
    ) -> None:
        whole = {name: sequence(15, seed) for seed, name in enumerate(("move:1", ".move", "...", "m" * 128))}
        made = {}
        for name, inputs in whole.items():
            made[name] = here.session("lstm", session_id=name, keep=True).step(inputs[:9])
        exported = self.run("export", "--all", "--model", "lstm", "--output", tmp_path, "--url", pair.here.url)
        assert exported.exit_code == 0, exported.output
        files = [tmp_path / f"{name}.safetensors" for name in whole]
        assert sorted(tmp_path.iterdir()) == sorted(files)
        imported = self.run("import", *files, "--url", pair.there.url)
        assert imported.exit_code == 0, imported.output
        for name, inputs in whole.items():
            assert f"{name}: lstm/1, 9 steps" in imported.output
            outputs = there.resume(name).step(inputs[9:])
            np.testing.assert_array_equal(np.concatenate([made[name], outputs]), offline(models / "lstm" / "1", inputs))
        for server in pair:
            closed = self.run("close", "--all", "--model", "lstm", "--yes", "--url", server.url)
            assert (closed.exit_code, closed.output) == (0, "4 sessions closed\n")
