"""A few of the zoo's modules, one of each kind, over one server; all of them by ``make zoo``.

Those called ``network_...`` are the project's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from ostinato.models.networks.layers import LayersRecipe, build_layers
from ostinato.models.networks.layers_recipe import CellName
from tests.server import ServerProcess, running_server
from tests.zoo.entries import all_entries
from tests.zoo.keeper import export_entry, predict_entry, stream_entry

pytestmark = pytest.mark.xdist_group("zoo")

FEW = (
    "normalised_window",
    "quantiles_from_a_named_tuple",
    "context_of_codes_and_two_inputs",
    "network_clockwork",
    "network_minimal_with_constants",
)
BOTH_WAYS = "network_bidirectional_gru"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    entries = all_entries()
    for name in (*FEW, BOTH_WAYS):
        export_entry(name, entries[name], folder)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(repository, tmp_path_factory.mktemp("server"), require_models=True) as running:
        yield running


@pytest.mark.long
def test_a_network_both_ways_answers_ragged_requests_as_each_sequence_alone(
    repository: Path, server: ServerProcess
) -> None:
    predict_entry(repository / BOTH_WAYS.replace("_", "-") / "1", server)


def test_the_zoo_has_every_cell_of_a_recipe() -> None:
    networks = [entry()[0] for name, entry in all_entries().items() if name.startswith("network_")]
    kinds = {type(layer) for network in networks for layer in network.modules()}
    for cell in get_args(CellName):
        (layer, *_) = build_layers(LayersRecipe(cell=cell), 1).layers
        assert type(layer) in kinds, cell


@pytest.mark.long
@pytest.mark.parametrize("name", FEW)
def test_a_module_as_people_write_it_streams_as_it_runs_offline(
    name: str, repository: Path, server: ServerProcess
) -> None:
    stream_entry(repository / name.replace("_", "-") / "1", server)
