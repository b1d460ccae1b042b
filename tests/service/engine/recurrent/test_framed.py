from __future__ import annotations

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from ostinato.service.artifact.framing import MAX_TOGETHER, Framing
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.catalogue.recurrent_checks import load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import Draining, RunFailed, SeqConflict
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.rows import Columns, step_columns
from tests.networks import build_network
from tests.service.engine.recurrent.test_offline import engine_in
from tests.service.puppet import MANIFEST, House, PuppetRunner, column, until


def answered(answer: StepAnswer) -> list[float]:
    return [float(value) for value in answer.outputs[:, 0]]


async def test_a_chunk_answers_the_frames_that_it_completes() -> None:
    house = House(hop=3)
    session = await house.sessions.open("sum")
    answers = [
        await house.ledger.step(session, column(*[1.0] * n), seq) for n, seq in ((2, 0), (1, 2), (7, 3), (1, 10))
    ]
    assert [answered(answer) for answer in answers] == [[], [3], [6, 9], []]
    assert [(answer.seq, answer.steps) for answer in answers] == [(0, 2), (2, 3), (3, 10), (10, 11)]


async def test_a_chunk_that_completes_no_frame_runs_nothing_and_is_committed() -> None:
    house = House(hop=5)
    session = await house.sessions.open("sum")
    await asyncio.gather(*(house.ledger.step(session, column(1)) for _ in range(4)))
    assert house.runner.iterations == []
    assert (session.steps, int(session.arena.busy.sum())) == (4, 0)
    assert session.arena.left_over[0][session.slot].ravel().tolist() == [1, 1, 1, 1]
    assert answered(await house.ledger.step(session, column(1))) == [5]


@pytest.mark.parametrize("values", [(1.0,), (1.0,) * 3, (1.0,) * 8])
async def test_a_chunk_sent_again_is_answered_as_the_first_time_and_applied_once(values: tuple[float, ...]) -> None:
    house = House(hop=3)
    session = await house.sessions.open("sum")
    await house.ledger.step(session, column(1))
    first = await house.ledger.step(session, column(*values), 1)
    again = await house.ledger.step(session, column(*values), 1)
    assert answered(first) == answered(again)
    assert (again.seq, again.steps, session.steps) == (1, 1 + len(values), 1 + len(values))
    with pytest.raises(SeqConflict):
        await house.ledger.step(session, column(*(2 * value for value in values)), 1)


async def test_sessions_of_one_message_answer_where_their_frame_is_complete() -> None:
    house = House(hop=3)
    names = [f"s{number}" for number in range(12)]
    for number, name in enumerate(names):
        session = await house.sessions.open("sum", session_id=name)
        if number % 3:
            await house.ledger.step(session, column(*[1.0] * (number % 3)))
    house.runner.iterations.clear()
    columns = Columns.of(names, column(*range(12)), None, {})
    answers = await step_columns(house.sessions, house.ledger, house.engine, columns)
    assert not answers.errors
    assert answers.seqs.tolist() == [0, 1, 2] * 4
    made = house.engine.made.has_answer(answers.seqs)
    assert made.tolist() == [False, False, True] * 4
    assert answers.outputs[made, 0].tolist() == [2 + number for number in (2, 5, 8, 11)]
    assert [(len(slots), steps) for slots, steps in house.runner.iterations] == [(4, 1)]
    # And what is left over is as it would be of a session that had been sent all steps at once.
    left_over = house.engine.arena.left_over[0][:12, :, 0]
    assert left_over.tolist() == [[n, 0] if n % 3 == 0 else [1, n] if n % 3 == 1 else [0, 0] for n in range(12)]


@pytest.mark.parametrize("seed", range(4))
async def test_every_answer_is_that_of_the_frames_of_all_steps_whatever_is_sent_together(seed: int) -> None:
    house = House(hop=4)
    generator = random.Random(seed)
    values = {f"s{number}": [float(generator.randint(1, 9)) for _ in range(60)] for number in range(9)}
    made: dict[str, list[float]] = {name: [] for name in values}
    at = dict.fromkeys(values, 0)
    sessions = {name: await house.sessions.open("sum", session_id=name) for name in values}

    async def chunk(name: str) -> None:
        start, n = at[name], generator.choice([1, 1, 2, 3, 5, 11])
        at[name] = min(start + n, 60)
        answer = await house.ledger.step(sessions[name], column(*values[name][start : at[name]]), start)
        made[name] += answered(answer)

    async def message(names: list[str]) -> None:
        rows = column(*(values[name][at[name]] for name in names))
        for name in names:
            at[name] += 1
        answers = await step_columns(house.sessions, house.ledger, house.engine, Columns.of(names, rows, None, {}))
        assert not answers.errors
        for row in house.engine.made.has_answer(answers.seqs).nonzero()[0]:
            made[names[row]].append(float(answers.outputs[row, 0]))

    while any(count < 60 for count in at.values()):
        free = [name for name, count in at.items() if count < 60]
        picked = generator.sample(free, generator.randint(1, len(free)))
        half = generator.randint(0, len(picked))
        await asyncio.gather(message(picked[:half]) if half else asyncio.sleep(0), *map(chunk, picked[half:]))
    for name, numbers in values.items():
        assert made[name] == np.cumsum(numbers)[3::4].tolist()
    assert (house.engine.num_rows, int(house.engine.arena.busy.sum())) == (0, 0)
    assert house.engine.arena.num_used == 9


async def test_a_frame_that_fails_leaves_its_session_as_it_was_and_those_beside_it_unharmed() -> None:
    house = House(hop=2)
    sessions = {name: await house.sessions.open("sum", session_id=name) for name in "abc"}
    for session in sessions.values():
        await house.ledger.step(session, column(1))
    broken = sessions["b"].slot
    house.runner.fails = lambda iteration: any(broken in work.slots for work in iteration.works)
    columns = Columns.of(list("abc"), column(1, 1, 1), None, {})
    answers = await step_columns(house.sessions, house.ledger, house.engine, columns)
    assert list(answers.errors) == [1]
    assert isinstance(answers.errors[1], RunFailed)
    assert [session.steps for session in sessions.values()] == [2, 1, 2]
    house.runner.fails = lambda _: False
    assert answered(await house.ledger.step(sessions["b"], column(5), 1)) == [6]


async def test_a_chunk_whose_caller_has_gone_before_its_turn_is_not_applied() -> None:
    house = House(hop=4)
    session = await house.sessions.open("sum")
    future = house.ledger.step(session, column(1))
    future.cancel()
    assert answered(await house.ledger.step(session, column(2))) == []
    assert (session.steps, house.engine.num_rows) == (1, 0)


async def test_what_waits_to_be_committed_fails_where_the_engine_ends() -> None:
    house = House(hop=4)
    session = await house.sessions.open("sum")
    future = house.ledger.step(session, column(1))
    house.engine.close()
    with pytest.raises(Draining):
        await future
    await until(lambda: not house.engine.num_rows)
    assert session.steps == 0


async def test_a_reset_forgets_the_steps_of_an_incomplete_frame_and_a_fork_keeps_them() -> None:
    house = House(hop=3)
    session = await house.sessions.open("sum")
    await house.ledger.step(session, column(1, 1, 1, 7))
    copy = await house.sessions.fork(session)
    await house.sessions.reset(session)
    assert answered(await house.ledger.step(session, column(2, 2, 2))) == [6]
    assert answered(await house.ledger.step(copy, column(2, 2))) == [14]


async def test_frames_that_overlap_hold_a_chunk_to_fewer_steps() -> None:
    house = House(max_chunk_steps=1_000_000)
    overlapping = Framing(window=MAX_TOGETHER // 50, hop=1, begin="full", many=True)
    members = {**MANIFEST.model_dump(), "name": "wide", "feedback": {}, "framing": overlapping.model_dump()}
    manifest = Manifest.model_validate(members)
    metrics = ModelMetrics(house.metrics, "wide", "1")
    engine = Engine(manifest, PuppetRunner(), house.ledger, house.settings, metrics, max_resident=1)
    assert engine.max_chunk_steps == 50
    assert House(hop=3, max_chunk_steps=1_000_000).engine.max_chunk_steps == 1_000_000


async def test_a_graph_that_remembers_nothing_streams_frames(tmp_path: Path) -> None:
    weights = np.arange(8, dtype=np.float32).reshape(4, 2)
    inputs = (Input(name="x", dtype="float32", shape=("B", 4), features=tuple("abcd")),)
    outputs = (Output(name="y", dtype="float32", shape=("B", 2), features=("s", "t")),)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    network = build_network("still", nodes, inputs, outputs, (), {"w": weights}, lambda steps: (steps @ weights, {}))
    steps = (Input(name="x", dtype="float32", shape=("B", "T"), features=("x",)),)
    network = network.named("still", inputs=steps, framing=Framing(window=4, hop=4))
    loaded = load_model(network.write(tmp_path, np.ones((2, 1, 4), np.float32)), Settings())
    house = House()
    engine_in(house, loaded)
    session = await house.sessions.open("still")
    numbers = np.arange(10, dtype=np.float32)[:, None]
    answers = [await house.ledger.step(session, numbers[start:end], start) for start, end in ((0, 3), (3, 9), (9, 10))]
    assert [len(answer.outputs) for answer in answers] == [0, 2, 0]
    assert answers[1].outputs.tolist() == (numbers[:8].reshape(2, 4) @ weights).tolist()
