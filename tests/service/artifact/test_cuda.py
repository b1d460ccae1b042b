from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact import cuda
from ostinato.service.artifact.cuda import PROVIDER, CudaDevice, check_cuda
from ostinato.service.artifact.graphs import open_graph
from ostinato.service.errors import ModelRejected, RunFailed
from tests import networks
from tests.service.devices import DeviceHouse, use_device
from tests.service.far_arrays import FarLibrary, far_library
from tests.tensor_networks import panel

INPUTS = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)


@pytest.fixture
def library() -> Iterator[FarLibrary]:
    with far_library() as made:
        yield made


def test_what_is_missing_for_a_gpu_is_said_with_what_to_do(
    library: FarLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_cuda()
    library.num_devices = 0
    with pytest.raises(ValueError, match="no GPU that CUDA sees"):
        check_cuda()
    library.num_devices = None
    with pytest.raises(ValueError, match="cudaErrorInsufficientDriver: is there a GPU"):
        check_cuda()
    monkeypatch.setattr(cuda, "available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="pip uninstall -y onnxruntime onnxruntime-gpu"):
        check_cuda()


def test_a_graph_that_would_run_elsewhere_than_was_asked_is_refused(tmp_path: Path) -> None:
    graph = networks.lstm().write(tmp_path, INPUTS) / "model.onnx"
    with pytest.warns(UserWarning, match=PROVIDER), pytest.raises(ModelRejected, match=f"could not begin {PROVIDER}"):
        open_graph(graph, (PROVIDER, "CPUExecutionProvider"))


def house_of(directory: Path, library: FarLibrary, monkeypatch: pytest.MonkeyPatch) -> DeviceHouse:
    """A house on the CUDA device, whose runs fail where anything is asked that was not waited for."""
    use_device(monkeypatch, CudaDevice())
    house = DeviceHouse(directory)
    session = house.runner.graph.session

    class Watched:
        def run_with_iobinding(self, *given: Any) -> None:
            assert not library.is_pending
            session.run_with_iobinding(*given)

    monkeypatch.setattr(house.runner.graph, "session", Watched())
    return house


async def test_a_life_of_sessions_asks_nothing_that_cupy_refuses_and_waits_before_each_run(
    tmp_path: Path, library: FarLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = house_of(networks.lstm().write(tmp_path, INPUTS[:2]), library, monkeypatch)
    assert house.engine.made_on == "cuda Far 1, 8 x 1"
    sessions = [await house.open(f"s{row}") for row in range(6)]
    answers = await asyncio.gather(*(house.ledger.step(each, INPUTS[row]) for row, each in enumerate(sessions)))
    for row, answer in enumerate(answers):
        assert np.asarray(answer.outputs).tobytes() == house.offline(INPUTS[row]).tobytes()
    fork = await house.sessions.fork(sessions[0], session_id="fork")
    await house.sessions.put(sessions[1], await house.sessions.snapshot(fork))
    await house.sessions.reset(sessions[2])
    after = [await house.ledger.step(each, INPUTS[3, :1]) for each in (sessions[0], fork, sessions[1])]
    assert len({np.asarray(answer.outputs).tobytes() for answer in after}) == 1


async def test_states_that_are_not_finite_come_to_the_host_to_be_looked_at(
    tmp_path: Path, library: FarLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = networks.accumulator().write(tmp_path, np.arange(6, dtype=np.float32).reshape(2, 3, 1))
    house = house_of(directory, library, monkeypatch)
    good, bad = await house.open("good"), await house.open("bad")
    failed = house.ledger.step(bad, np.array([[np.inf]], np.float32))
    answer = await house.ledger.step(good, np.array([[2]], np.float32))
    with pytest.raises(RunFailed):
        await failed
    assert answer.outputs.tolist() == [[2]]
    assert (await house.ledger.step(bad, np.array([[3]], np.float32))).outputs.tolist() == [[3]]


async def test_several_inputs_and_a_context_are_taken(
    tmp_path: Path, library: FarLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = house_of(panel().write(tmp_path), library, monkeypatch)
    rows = house.engine.given.zeros(3)
    session = await house.sessions.open(house.model, context={"customer": [30, 1, 2], "region": 4})
    answer = await house.ledger.step(session, rows)
    assert len(answer.outputs) == 3
