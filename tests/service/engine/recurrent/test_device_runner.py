from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import Promise
from ostinato.service.artifact.tensors import Input, Output, State
from ostinato.service.engine.recurrent.offline import run_offline, run_sequence
from ostinato.service.errors import RunFailed
from ostinato.service.state.arena import session_bytes
from tests import networks, rounding_networks
from tests.live_sequences import draw, plain
from tests.service.devices import CountingDevice, DeviceHouse, joined, use_device
from tests.service.state.places import STORES, PlaceOf
from tests.tensor_networks import panel

Array = NDArray[Any]
NETWORKS = [
    networks.lstm(),
    networks.lstm(time_first=True).named("time-first"),
    networks.one_step(),
    networks.token_counter(),
]


@pytest.fixture(autouse=True)
def device(monkeypatch: pytest.MonkeyPatch) -> CountingDevice:
    device = CountingDevice()
    use_device(monkeypatch, device)
    return device


def sequences(network: networks.Network, num_rows: int, num_steps: int, seed: int = 3) -> Array:
    """Random inputs ``[B, T, F]`` in the network's own dtype."""
    part = network.manifest["inputs"][0]
    generator = np.random.default_rng(seed)
    shape = (num_rows, num_steps, part.num_features)
    return generator.integers(0, 7, shape) if part.dtype == "int64" else generator.normal(size=shape).astype(part.dtype)


def written(network: networks.Network, folder: Path) -> Path:
    golden_steps = 1 if network.manifest["inputs"][0].time_axis is None else 5
    return network.write(folder, sequences(network, 2, golden_steps))


async def step_all(house: DeviceHouse, inputs: Array, seed: int = 7) -> list[Array]:
    """Step a session for each sequence ``[B, T, F]``, all at once, in chunks of one to three steps; their outputs."""
    sessions = [await house.open(f"s{row}") for row in range(len(inputs))]
    generator = np.random.default_rng(seed)

    async def client(row: int) -> Array:
        parts, done = [], 0
        while done < len(inputs[row]):
            size = int(generator.integers(1, 4))
            answer = await house.ledger.step(sessions[row], inputs[row, done : done + size], seq=done)
            parts.append(np.array(answer.outputs))
            done += size
            await asyncio.sleep(0)
        return joined(parts)

    return await asyncio.gather(*(client(row) for row in range(len(inputs))))


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.manifest["name"])
async def test_runs_of_any_axes_and_dtypes_are_the_reference_s(network: networks.Network, tmp_path: Path) -> None:
    house = DeviceHouse(written(network, tmp_path))
    inputs = sequences(network, 5, 6)
    outputs, states = run_sequence(house.runner, inputs, 1)
    expected, expected_states = network.reference(inputs)
    np.testing.assert_allclose(outputs, expected, atol=2e-6)
    for state, made in zip(house.runner.manifest.states, states, strict=True):
        np.testing.assert_allclose(np.asarray(made), expected_states[state.name], atol=2e-6)


@pytest.mark.parametrize("store", STORES)
async def test_live_answers_are_the_offline_run_s_to_the_bit(store: str, place_of: PlaceOf, tmp_path: Path) -> None:
    network = networks.lstm()
    house = DeviceHouse(written(network, tmp_path), place_of(store)())
    inputs = sequences(network, 18, 12)  # more sessions than rows of a run, so that some wait for the next
    for row, answers in enumerate(await step_all(house, inputs)):
        assert answers.tobytes() == house.offline(inputs[row]).tobytes()


async def test_numbers_that_depend_on_the_shape_are_those_of_the_one_shape(tmp_path: Path) -> None:
    whole = np.arange(12, dtype=np.float32).reshape(1, 12, 1)
    directory = rounding_networks.planted("batch").named("batch").write(tmp_path, whole)
    house = DeviceHouse(directory)
    inputs = np.random.default_rng(0).integers(0, 9, (12, 10, 1)).astype(np.float32)
    at_four = house.runner.promising(Promise(holds="fixed", rows=4, steps=1))
    for row, answers in enumerate(await step_all(house, inputs)):
        assert answers.tobytes() == house.offline(inputs[row]).tobytes()
        assert answers.tobytes() != run_offline(at_four, inputs[[row]])[0][0].tobytes()


async def test_states_stay_on_the_device_where_no_store_wants_them(
    tmp_path: Path, device: CountingDevice, caplog: pytest.LogCaptureFixture
) -> None:
    network = networks.lstm()
    caplog.set_level(logging.INFO)
    house = DeviceHouse(written(network, tmp_path))
    assert "promise fixed on counted, 8 x 1, run" in caplog.text
    before = device.num_downloads
    await step_all(house, sequences(network, 10, 9))
    run_sequence(house.runner, sequences(network, 3, 9), 1)
    assert device.num_downloads == before


async def test_several_inputs_and_a_context_go_the_same_way(tmp_path: Path) -> None:
    house = DeviceHouse(panel().write(tmp_path))
    manifest = house.engine.manifest
    inputs, context = draw(manifest, np.random.default_rng(0), 3, 7)
    rows = manifest.given.pack([inputs[part.name] for part in manifest.inputs])
    known = [context[part.name] for part in manifest.context]
    begin = (*house.runner.initial_states(3)[: len(manifest.states)], *known)
    wanted, _ = run_offline(house.runner, rows, begin=begin)
    for row in range(3):
        given = plain({name: array[row] for name, array in context.items()})
        session = await house.sessions.open(house.model, context=given)
        answer = await house.ledger.step(session, rows[row])
        answered = manifest.made.settle(np.array(answer.outputs))  # what is made once a run is the last step's
        assert answered.tobytes() == wanted[row].tobytes()


def sums_of_frames() -> networks.Network:
    """The running total of frames of four steps, answered once a frame."""
    inputs = (Input(name="x", dtype="float32", shape=("B", 4), features=tuple("abcd")),)
    outputs = (Output(name="y", dtype="float32", shape=("B", 1), features=("total",)),)
    states = (State(name="total", input="total", output="total_n", shape=("B", 1), dtype="float32"),)
    nodes = [
        helper.make_node("ReduceSum", ["x", "one"], ["sum"]),
        helper.make_node("Add", ["total", "sum"], ["total_n"]),
        helper.make_node("Identity", ["total_n"], ["y"]),
    ]

    def reference(frames: Array) -> tuple[Array, dict[str, Array]]:
        totals = frames.sum(axis=2).cumsum(axis=1)
        return totals[..., None], {"total": totals[:, -1:]}

    network = networks.build_network(
        "frames", nodes, inputs, outputs, states, {"one": np.array([1], np.int64)}, reference
    )
    steps = (Input(name="x", dtype="float32", shape=("B", "T"), features=("x",)),)
    return network.named("frames", inputs=steps, framing=Framing(window=4, hop=4))


@pytest.mark.parametrize("store", ["memory", "lmdb"])
async def test_what_is_left_over_of_frames_is_on_the_host_and_the_rest_on_the_device(
    store: str, place_of: PlaceOf, tmp_path: Path
) -> None:
    directory = sums_of_frames().write(tmp_path, np.arange(8, dtype=np.float32).reshape(2, 1, 4))
    house = DeviceHouse(directory, place_of(store)())
    sessions = [await house.open(f"s{row}") for row in range(5)]
    steps = np.arange(5 * 11, dtype=np.float32).reshape(5, 11, 1)
    for cut in (range(2), range(2, 3), range(3, 10), range(10, 11)):
        chunk = slice(cut.start, cut.stop)
        answers = await asyncio.gather(
            *(house.ledger.step(each, steps[row, chunk]) for row, each in enumerate(sessions))
        )
        ends = [end for end in (4, 8) if cut.start < end <= cut.stop]
        for row, answer in enumerate(answers):
            assert np.asarray(answer.outputs)[:, 0].tolist() == [steps[row, :end].sum() for end in ends]


async def test_runs_in_a_thread_are_the_same(tmp_path: Path) -> None:
    network = networks.lstm()
    house = DeviceHouse(written(network, tmp_path), inline_run_seconds=0)
    inputs = sequences(network, 18, 12)
    for row, answers in enumerate(await step_all(house, inputs)):
        assert answers.tobytes() == house.offline(inputs[row]).tobytes()
    house.engine.close()


async def test_a_step_without_an_answer_leaves_its_session_as_it_was_and_the_others_go_on(tmp_path: Path) -> None:
    house = DeviceHouse(networks.accumulator().write(tmp_path, np.arange(6, dtype=np.float32).reshape(2, 3, 1)))
    good, bad = await house.open("good"), await house.open("bad")
    step = house.ledger.step
    for session in (good, bad):
        await step(session, np.array([[2]], np.float32))
    answers = await asyncio.gather(
        step(good, np.array([[3]], np.float32)),
        step(bad, np.array([[1e35]], np.float32)),  # times 2^27 it is infinite
        return_exceptions=True,
    )
    assert isinstance(answers[1], RunFailed)
    assert not isinstance(answers[0], BaseException)
    assert answers[0].outputs.tolist() == [[5]]
    assert (good.steps, bad.steps) == (2, 1)
    assert (await step(bad, np.array([[4]], np.float32))).outputs.tolist() == [[6]]


async def test_a_fork_and_a_state_that_is_taken_out_and_put_back_go_on_to_the_bit(tmp_path: Path) -> None:
    network = networks.lstm()
    house = DeviceHouse(written(network, tmp_path))
    inputs = sequences(network, 1, 10)[0]
    wanted = house.offline(inputs)
    session = await house.open("a")
    await house.ledger.step(session, inputs[:4])
    taken = await house.sessions.snapshot(session)
    fork = await house.sessions.fork(session, session_id="b")
    other = await house.open("c")
    await house.ledger.step(other, inputs[5:9])  # another's numbers, until the state is put
    await house.sessions.put(other, taken)
    for each in (session, fork, other):
        answer = await house.ledger.step(each, inputs[4:])
        assert np.asarray(answer.outputs).tobytes() == wanted[4:].tobytes()
    await house.sessions.reset(other)
    assert np.asarray((await house.ledger.step(other, inputs)).outputs).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("store", ["lmdb", "redis"])
async def test_sessions_that_leave_the_device_for_others_come_back_to_the_bit(
    store: str, place_of: PlaceOf, tmp_path: Path
) -> None:
    network = networks.lstm()
    directory = written(network, tmp_path)
    two = 2 * session_bytes(DeviceHouse(directory).engine.manifest)
    house = DeviceHouse(directory, place_of(store)(memory_budget=two))
    inputs = sequences(network, 6, 8)
    for row in range(6):
        await house.open(f"s{row}")
    for start in range(0, 8, 2):
        for row in range(6):
            session = await house.sessions.find(f"s{row}")
            answer = await house.ledger.step(session, inputs[row, start : start + 2], seq=start)
            wanted = house.offline(inputs[row])[start : start + 2]
            assert np.asarray(answer.outputs).tobytes() == wanted.tobytes()
    assert house.engine.arena.num_sessions <= 2


@pytest.mark.parametrize("name", ["lmdb", "redis"])
async def test_a_copy_that_another_worker_has_made_old_is_not_believed(
    name: str, place_of: PlaceOf, tmp_path: Path
) -> None:
    network = networks.lstm()
    directory, place = written(network, tmp_path), place_of(name)
    one, other = (DeviceHouse(directory, place()) for _ in range(2))
    inputs = sequences(network, 1, 6)[0]
    wanted = one.offline(inputs)
    session = await one.open("a")
    for start, house in enumerate((one, other, one, other, other, one)):
        session = await house.sessions.find("a")
        answer = await house.ledger.step(session, inputs[start : start + 1], seq=start)
        assert np.asarray(answer.outputs).tobytes() == wanted[start : start + 1].tobytes()


async def test_records_that_were_made_at_another_shape_go_on_and_the_log_says_it_once(
    place_of: PlaceOf, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = networks.lstm()
    directory, place = written(network, tmp_path), place_of("lmdb")
    inputs = sequences(network, 2, 6)
    at_eight, again = DeviceHouse(directory, place()), DeviceHouse(directory, place())
    for row in range(2):
        await at_eight.ledger.step(await at_eight.open(f"s{row}"), inputs[row, :3])
        await again.ledger.step(await again.sessions.find(f"s{row}"), inputs[row, 3:4])
    assert "another device" not in caplog.text
    at_four = DeviceHouse(directory, place(), rows=4)
    for row in range(2):
        answer = await at_four.ledger.step(await at_four.sessions.find(f"s{row}"), inputs[row, 4:])
        np.testing.assert_allclose(answer.outputs, at_four.offline(inputs[row])[4:], atol=1e-6)
    assert caplog.text.count("sessions of lstm/1 continue here from states that were made on another device") == 1


async def test_a_row_is_the_same_in_any_place_and_with_any_mates(tmp_path: Path) -> None:
    network = networks.lstm()
    runner = DeviceHouse(written(network, tmp_path)).runner
    inputs = sequences(network, 8, 5)
    together, _ = run_sequence(runner, inputs, 1)
    turned, _ = run_sequence(runner, inputs[::-1], 1)
    alone, _ = run_sequence(runner, inputs[3:4], 1)
    assert together.tobytes() == turned[::-1].tobytes()
    assert together[3].tobytes() == alone[0].tobytes()
    assert runner.made_on == "counted, 8 x 1"
    assert runner.promising(Promise(holds="fixed", rows=3, steps=1)).made_on == "counted, 3 x 1"
