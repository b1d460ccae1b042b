"""Messages to many sessions, against a real server: mixed with single steps, they fold to the bit as well."""

from __future__ import annotations

from asyncio import gather
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from pyarrow import ipc

from ostinato.service.edge.arrow.columns import ARROW
from tests.networks import offline
from tests.server import LIMITS, ServerProcess, running_server

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("server")

NUM_CLIENTS = 6
SESSIONS_EACH = 20
NUM_STEPS = 40

Row = tuple[str, list[float | None], int]


async def post_json(http: httpx2.AsyncClient, model: str, rows: Sequence[Row]) -> list[tuple[Any, str | None]]:
    """One message; of each row the output and the error's code."""
    session_ids, inputs, seq = zip(*rows, strict=True)
    body = {"session_ids": session_ids, "inputs": inputs, "seq": seq, "create_missing": True}
    answer = await http.post(f"/v1/models/{model}/step", json=body)
    assert answer.status_code == 200, answer.text
    content = answer.json()
    codes = {error["row"]: error["code"] for error in content["errors"]}
    for row, said in enumerate(content["seq"]):
        assert said == (None if row in codes else seq[row])
    return [(as_float32(output), codes.get(row)) for row, output in enumerate(content["outputs"])]


async def post_arrow(http: httpx2.AsyncClient, model: str, rows: Sequence[Row]) -> list[tuple[Any, str | None]]:
    """The same as ``post_json``, in Arrow."""
    session_ids, inputs, seq = zip(*rows, strict=True)
    columns = {
        "session_id": pa.array(session_ids),
        "inputs": pa.array(inputs, pa.list_(pa.float32(), len(inputs[0]))),
        "seq": pa.array(seq, pa.int64()),
    }
    batch = pa.record_batch(columns)
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    answer = await http.post(
        f"/v1/models/{model}/step",
        params={"create_missing": "true"},
        content=bytes(sink.getvalue()),
        headers={"content-type": ARROW},
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == ARROW
    content = ipc.open_stream(answer.content).read_all().to_pydict()
    assert content["session_id"] == list(session_ids)
    return list(zip(content["outputs"], content["code"], strict=True))


def as_float32(output: list[float] | None) -> list[float] | None:
    """Numbers as the model gave them: JSON has them in as few digits as tell them from their neighbours."""
    return None if output is None else [float(np.float32(number)) for number in output]


class Player:
    """A client with sessions of its own, of which it plays one sequence each, in messages and in single steps."""

    def __init__(self, number: int, seed: int) -> None:
        self.generator = np.random.default_rng([seed, number])
        self.ids = [f"columns-{seed}-{number}-{index}" for index in range(SESSIONS_EACH)]
        self.sequences = self.generator.normal(size=(SESSIONS_EACH, NUM_STEPS, 3)).astype(np.float32)
        self.outputs: list[list[float]] = [[] for _ in self.ids]
        self.codes: set[str | None] = set()

    def next_row(self, index: int) -> Row:
        applied = len(self.outputs[index])
        return self.ids[index], self.sequences[index, applied].tolist(), applied

    async def play(self, url: str) -> None:
        """Until every sequence is at its end."""
        async with httpx2.AsyncClient(base_url=url, timeout=60, limits=LIMITS) as http:
            # The first steps open the sessions.
            self.keep(range(SESSIONS_EACH), await post_json(http, "lstm", self.rows(range(SESSIONS_EACH))))
            while left := [index for index, made in enumerate(self.outputs) if len(made) < NUM_STEPS]:
                size = int(self.generator.integers(1, len(left) + 1))
                chosen = self.generator.choice(left, size, replace=False).tolist()
                kind = self.generator.random()
                if kind < 0.15:
                    await gather(*(self.single(http, index) for index in chosen[:5]))
                else:
                    await self.message(http, chosen, post_json if kind < 0.5 else post_arrow)

    def rows(self, indices: Sequence[int]) -> list[Row]:
        return [self.next_row(index) for index in indices]

    def keep(self, indices: Sequence[int], made: Sequence[tuple[Any, str | None]]) -> None:
        for index, (output, code) in zip(indices, made, strict=True):
            assert code is None
            self.outputs[index].append(output[0])

    async def message(self, http: httpx2.AsyncClient, chosen: list[int], post: Any) -> None:
        """The next step of each, among rows that fail; sometimes sent again."""
        rows = self.rows(chosen)
        bad: list[Row] = [
            (self.ids[chosen[0]], [0.0, 0.0, 0.0], NUM_STEPS + 7),
            (self.ids[chosen[0]], [None, 0.0, 0.0], 0),
            ("no id", [0.0, 0.0, 0.0], 0),
        ]
        at = int(self.generator.integers(0, len(rows) + 1))
        num_bad = int(self.generator.integers(0, len(bad) + 1))
        made = await post(http, "lstm", [*rows[:at], *bad[:num_bad], *rows[at:]])
        self.codes |= {code for _, code in made[at : at + num_bad]}
        if num_bad == 0 and self.generator.random() < 0.3:
            assert await (post_arrow if post is post_json else post_json)(http, "lstm", rows) == made
        self.keep(chosen, made[:at] + made[at + num_bad :])

    async def single(self, http: httpx2.AsyncClient, index: int) -> None:
        session_id, inputs, seq = self.next_row(index)
        answer = await http.post(f"/v1/sessions/{session_id}/step", json={"inputs": [inputs], "seq": seq})
        assert answer.status_code == 200, answer.text
        content = answer.json()
        assert (content["seq"], content["steps"]) == (seq, seq + 1)
        self.keep([index], [(content["outputs"][0], None)])


async def fold(url: str, repository: Path, seed: int) -> None:
    """Play, and compare each session with one offline run of its whole sequence."""
    players = [Player(number, seed) for number in range(NUM_CLIENTS)]
    await gather(*(player.play(url) for player in players))
    for player in players:
        assert player.codes == {"seq_conflict", "invalid_input"}
        for session_id, sequence, made in zip(player.ids, player.sequences, player.outputs, strict=True):
            expected = offline(repository / "lstm" / "1", sequence)[:, 0]
            assert np.array(made, np.float32).tobytes() == expected.tobytes(), session_id
    async with httpx2.AsyncClient(base_url=url, timeout=60, limits=LIMITS) as http:
        for player in players:
            for session_id in player.ids:
                assert (await http.delete(f"/v1/sessions/{session_id}")).status_code == 204


@pytest.mark.parametrize("seed", [31])
async def test_messages_in_both_forms_and_single_steps_fold_to_one_offline_run_each(
    seed: int, server: ServerProcess, repository: Path
) -> None:
    await fold(server.url, repository, seed)


@pytest.mark.parametrize("seed", [32])
async def test_messages_fold_where_graphs_run_in_a_thread_and_batches_are_small(
    seed: int, repository: Path, tmp_path: Path
) -> None:
    with running_server(repository, tmp_path, inline_run_seconds=0, max_batch_size=7) as server:
        assert "run in a thread" in server.log()
        await fold(server.url, repository, seed)


@pytest.mark.parametrize("post", [post_json, post_arrow], ids=["JSON", "Arrow"])
async def test_a_row_whose_output_is_not_finite_fails_alone(post: Any, server: ServerProcess) -> None:
    """The accumulator's total overflows beyond 1e30; every other session goes on from where it was."""
    ids = [f"overflow-{post.__name__}-{index}" for index in range(40)]

    def rows(values: Sequence[float], seq: int) -> list[Row]:
        return [(session_id, [value], seq) for session_id, value in zip(ids, values, strict=True)]

    async with server.async_client() as http:
        values: NDArray[np.float64] = np.arange(40.0)
        assert await post(http, "accumulator", rows(values.tolist(), 0)) == [([value], None) for value in values]
        second = values.copy()
        second[[3, 17]] = 3e38
        made = await post(http, "accumulator", rows(second.tolist(), 1))
        assert [code for _, code in made] == ["run_failed" if row in (3, 17) else None for row in range(40)]
        assert [output for output, code in made if code is None] == [
            [2.0 * row] for row in range(40) if row not in (3, 17)
        ]
        third = [row for row in rows([1.0] * 40, 1) if row[0] in (ids[3], ids[17])]
        assert await post(http, "accumulator", third) == [([4.0], None), ([18.0], None)]
        for session_id in ids:
            assert (await http.delete(f"/v1/sessions/{session_id}")).status_code == 204
