"""Imported files behind a real server: a policy that drives 32 carts, in float and in int8, and a model of Triton's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from examples.control_policy.drive import drive, is_as_offline
from examples.control_policy.poles import MAX_STEPS, Poles
from ostinato.client.client import Client
from ostinato.export.importing.importer import import_graph
from ostinato.export.importing.triton import triton_models
from ostinato.export.importing.triton_import import import_triton
from ostinato.service.artifact.graphs import open_graph
from tests.export.writers import small_proofs
from tests.foreign.building import INT32
from tests.foreign.triton import START, STATE, accumulator, control, put, sequence
from tests.server import ServerProcess, running_server

POLICY = Path(__file__).resolve().parents[2] / "examples" / "control_policy" / "policy.onnx"

pytestmark = pytest.mark.xdist_group("imported")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    repository, models = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("triton")
    with small_proofs():
        import_graph(POLICY, repository, name="control-policy")
        for quantize in ("int8", "int8-rows"):
            import_graph(POLICY, repository, name=f"control-policy-{quantize}", quantize=quantize)
    config = sequence(START + control("READY", "int32_false_true: [ 0, 1 ]") + STATE % "")
    put(models, config, accumulator(ready=INT32))
    with small_proofs():
        for found in triton_models(models):
            import_triton(found, repository)
    with running_server(repository, tmp_path_factory.mktemp("server"), require_models=True) as running:
        yield running


@pytest.mark.parametrize("model", ["control-policy", "control-policy-int8", "control-policy-int8-rows"])
def test_carts_are_driven_together_and_each_episode_is_as_offline_to_the_bit(server: ServerProcess, model: str) -> None:
    with Client(server.url) as client:
        episodes = drive(client, model, num_steps=150)
        assert all(is_as_offline(client, episode, model) for episode in episodes)
    lengths = {len(episode.seen) for episode in episodes}
    assert len(episodes) > 32  # sessions were reset while others went on
    assert len(lengths) > 10
    assert not any(episode.has_fallen for episode in episodes)


def test_start_is_told_by_a_session_s_own_life(server: ServerProcess) -> None:
    with Client(server.url) as client, client.session("sums") as session:
        rows = np.array([[1, 10], [2, 20], [3, 30]], np.float32)
        assert np.array_equal(session.step(rows), rows.cumsum(axis=0))
        session.reset()
        assert np.array_equal(session.step(rows[1:]), rows[1:].cumsum(axis=0))


def test_the_shipped_policy_keeps_poles_up_and_without_its_memory_it_does_not() -> None:
    session = open_graph(POLICY)

    def steps_up(keeps: float) -> float:
        poles, num = Poles(100, seed=5), 100
        memory = [np.zeros((1, num, 24), np.float32)] * 2
        up = np.zeros((MAX_STEPS, num), np.bool_)
        for step in range(MAX_STEPS):
            actions, *memory = session.run(None, {"obs": poles.seen(), "h_in": memory[0], "c_in": memory[1]})
            memory = [keeps * part for part in memory]
            poles.push(actions[:, 0])
            up[step] = ~poles.fallen() & (up[step - 1] if step else True)
        return float(up.sum(axis=0).mean())

    assert steps_up(1.0) > 0.99 * MAX_STEPS
    assert steps_up(0.0) < 0.5 * MAX_STEPS
