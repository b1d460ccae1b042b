"""The promise, against a real server: what live sessions answered is what the model answers offline, to the bit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.networks import offline
from tests.server import ServerProcess, running_server

NUM_CLIENTS = 16
MAX_STEPS = 400


on_the_shared_server = pytest.mark.xdist_group("server")


def cut(generator: np.random.Generator, num_steps: int) -> Iterator[tuple[int, int]]:
    """Random chunks of a sequence, as (start, stop): many of one step, some long."""
    start = 0
    while start < num_steps:
        stop = min(num_steps, start + int(generator.choice([1, 1, 2, 5, 13, 40, 150])))
        yield start, stop
        start = stop


@on_the_shared_server
@pytest.mark.parametrize("seed", [20_261])
async def test_fold_of_200_sessions_by_16_clients_equals_one_offline_run_each(
    seed: int, server: ServerProcess, repository: Path
) -> None:
    await fold(server, repository, num_sessions=200, seed=seed)


@pytest.mark.parametrize("seed", [20_262])
async def test_fold_holds_where_graphs_run_in_a_thread(seed: int, repository: Path, tmp_path: Path) -> None:
    with running_server(repository, tmp_path, inline_run_seconds=0) as server:
        assert "run in a thread" in server.log()
        await fold(server, repository, num_sessions=60, seed=seed)


@pytest.mark.parametrize("seed", [20_263])
async def test_fold_holds_where_workers_share_sessions_and_memory_has_room_for_few(
    seed: int, repository: Path, tmp_path: Path
) -> None:
    state = f"lmdb://{tmp_path}/state"
    with running_server(repository, tmp_path, state=state, workers=2, memory_budget=16_000) as server:
        metrics = await fold(server, repository, num_sessions=100, seed=seed)
    for event in ("evicted", "loaded"):
        (line,) = (line for line in metrics.splitlines() if f'sessions_total{{event="{event}",model="lstm"' in line)
        assert float(line.rpartition(" ")[2]) > 100, line


async def fold(server: ServerProcess, repository: Path, *, num_sessions: int, seed: int) -> str:
    """Play random sequences in random chunks through sessions, and compare each with one offline run; returns the
    metrics at the end.
    """
    generator = np.random.default_rng(seed)
    sequences = [
        generator.normal(size=(int(generator.integers(1, MAX_STEPS + 1)), 3)).astype(np.float32)
        for _ in range(num_sessions)
    ]
    chunks = [list(cut(generator, len(sequence))) for sequence in sequences]
    outputs: list[list[NDArray[Any]]] = [[] for _ in sequences]
    idle = list(range(num_sessions))

    async def client() -> None:
        """Take a random idle session, send its next chunk, put it back; until all chunks are sent."""
        async with server.async_client() as http:
            while any(chunks):
                ready = [number for number in idle if chunks[number]]
                if not ready:
                    await asyncio.sleep(0.001)
                    continue
                number = int(generator.choice(ready))
                idle.remove(number)
                start, stop = chunks[number].pop(0)
                body = {"inputs": sequences[number][start:stop].tolist(), "seq": start}
                answer = await http.post(f"/v1/sessions/fold-{number}/step", json=body)
                assert answer.status_code == 200, answer.text
                content = answer.json()
                assert (content["session_id"], content["seq"], content["steps"]) == (f"fold-{number}", start, stop)
                outputs[number].append(np.array(content["outputs"], np.float32))
                idle.append(number)

    async with server.async_client() as http:
        for number in range(num_sessions):
            opened = await http.post("/v1/models/lstm/sessions", json={"session_id": f"fold-{number}"})
            assert opened.status_code == 201, opened.text
        await asyncio.gather(*(client() for _ in range(NUM_CLIENTS)))
        metrics = (await http.get("/metrics")).text
        for number in range(num_sessions):
            assert (await http.delete(f"/v1/sessions/fold-{number}")).status_code == 204

    for number, sequence in enumerate(sequences):
        expected = offline(repository / "lstm" / "1", sequence)
        assert np.concatenate(outputs[number]).tobytes() == expected.tobytes(), f"{seed=}, {number=}"
    # The sessions did share runs, or this test would have shown nothing.
    shared = [line for line in metrics.splitlines() if line.startswith('ostinato_iteration_batch_size_bucket{le="1.0"')]
    counted = [
        line for line in metrics.splitlines() if line.startswith('ostinato_iteration_batch_size_count{model="lstm')
    ]
    alone = sum(float(line.rpartition(" ")[2]) for line in shared if 'model="lstm"' in line)
    assert alone < float(counted[0].rpartition(" ")[2])
    return metrics


@on_the_shared_server
async def test_predict_of_mixed_lengths_equals_one_offline_run_each_and_computes_no_padding(
    server: ServerProcess, repository: Path
) -> None:
    generator = np.random.default_rng(7)
    sequences = [generator.normal(size=(length, 3)).astype(np.float32) for length in (5, 300, 1, 77, 32, 33, 64, 2)]
    async with server.async_client() as http:
        before = steps_computed((await http.get("/metrics")).text)
        body = {"sequences": [sequence.tolist() for sequence in sequences]}
        content = (await http.post("/v1/models/lstm/predict", json=body)).json()
        after = steps_computed((await http.get("/metrics")).text)
    for sequence, made in zip(sequences, content["outputs"], strict=True):
        assert np.array(made, np.float32).tobytes() == offline(repository / "lstm" / "1", sequence).tobytes()
    assert after - before == sum(len(sequence) for sequence in sequences)


def steps_computed(metrics: str) -> float:
    """Rows x steps that the graph of ``lstm`` has computed."""
    (line,) = (line for line in metrics.splitlines() if line.startswith('ostinato_steps_total{model="lstm"'))
    return float(line.rpartition(" ")[2])


@on_the_shared_server
async def test_fold_of_a_graph_that_answers_once_a_chunk(server: ServerProcess) -> None:
    """Each answer counts all tokens so far, whatever the chunks of the others were that shared its runs."""
    generator = np.random.default_rng(11)
    sequences = [generator.integers(0, 7, int(generator.integers(1, 200))) for _ in range(24)]

    async def play(http: httpx2.AsyncClient, tokens: NDArray[Any]) -> None:
        opened = await http.post("/v1/models/tokens/sessions")
        path = f"/v1/sessions/{opened.json()['session_id']}"
        for start, stop in cut(generator, len(tokens)):
            body = {"inputs": tokens[start:stop, None].tolist(), "seq": start}
            for _ in range(2):  # the second is a duplicate
                content = (await http.post(f"{path}/step", json=body)).json()
                assert content["outputs"] == [np.bincount(tokens[:stop], minlength=7).tolist()], (start, stop)
        await http.delete(path)

    async with server.async_client() as http:
        await asyncio.gather(*(play(http, tokens) for tokens in sequences))
