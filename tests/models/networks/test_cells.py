"""Cells of today as they are served: exported, proved, streamed by sessions at once, and held to the offline run."""

from __future__ import annotations

import contextlib
import io
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
import torch

from ostinato.export.exporter import export_module
from ostinato.export.version_directory import Exported
from ostinato.models.networks.layers import Layers, LayersRecipe, build_layers
from ostinato.models.networks.layers_recipe import CellName
from ostinato.service.artifact.manifest import ANY
from ostinato.service.engine.recurrent.many import run_many
from ostinato.service.engine.recurrent.offline import run_offline, run_sequence
from ostinato.service.engine.recurrent.runner import Runner
from tests.export.writers import small_proofs
from tests.server import running_server
from tests.zoo.entries import amounts
from tests.zoo.keeper import stream_entry

CELLS: tuple[CellName, ...] = (
    "min_gru",
    "min_lstm",
    "slstm",
    "mlstm",
    "rg_lru",
    "lru",
    "s5",
    "mamba",
    "rwkv7",
    "cfc",
)
LENGTHS = (1, 40, 17, 2, 33)


class Served(NamedTuple):
    """Layers, and the version that was made of them."""

    layers: Layers
    exported: Exported

    def runner(self) -> Runner:
        return Runner(self.exported.manifest, self.exported.directory, max_batch_size=64, max_iteration_steps=40)


@pytest.fixture(
    scope="module", params=[CELLS, *(pytest.param((cell,), id=cell, marks=pytest.mark.long) for cell in CELLS)]
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """All of them on top of each other: the state of each is compared, and what it answers goes into all others'."""
    torch.manual_seed(0)
    # 20 units: five a head, and sizes that are no multiples of 16.
    layers = build_layers(LayersRecipe(cell=request.param, hidden_size=20), 3).eval()
    with small_proofs(), contextlib.redirect_stdout(io.StringIO()):
        folder = tmp_path_factory.mktemp("repository")
        return Served(
            layers, export_module(layers, amounts()["inputs"], folder, name="cells", state_names=layers.state_names)
        )


def test_sequences_in_company_and_in_pieces_have_the_numbers_of_each_alone(served: Served) -> None:
    assert served.exported.manifest.promise == ANY
    runner, bounds = served.runner(), np.concatenate([[0], np.cumsum(LENGTHS)])
    inputs = np.random.default_rng(0).normal(0, 2, (bounds[-1], 3)).astype(np.float32)
    together, _ = run_many(runner, inputs, bounds, runner.initial_states(len(LENGTHS)))
    for start, end in pairwise(bounds):
        wanted, behind = run_offline(runner, inputs[None, start:end])
        assert together[start:end].tobytes() == wanted[0].tobytes()
        for chunk_steps in (1, 7):
            made, after = run_sequence(runner, inputs[None, start:end], chunk_steps)
            assert made.tobytes() == wanted.tobytes()
            assert [each.tobytes() for each in after] == [each.tobytes() for each in behind]


def test_the_graph_answers_and_carries_what_the_network_does(served: Served) -> None:
    x = np.random.default_rng(1).standard_normal((2, 40, 3)).astype(np.float32)
    with torch.no_grad():
        wanted, *after = served.layers(torch.from_numpy(x), *served.layers.initial_state(2))
    made, carried = run_offline(served.runner(), x)
    np.testing.assert_allclose(made, wanted.numpy(), rtol=1e-4, atol=1e-5)
    for state, ours, theirs in zip(served.exported.manifest.states, carried, after, strict=True):
        rows = np.moveaxis(theirs.numpy(), state.batch_axis, 0)
        np.testing.assert_allclose(ours.reshape(rows.shape), rows, rtol=1e-4, atol=1e-5, err_msg=state.name)


def test_sessions_at_once_are_answered_as_they_are_offline(
    served: Served, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = served.exported.directory
    with running_server(directory.parent.parent, tmp_path_factory.mktemp("server"), require_models=True) as server:
        stream_entry(directory, server)
