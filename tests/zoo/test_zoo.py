"""A few of the zoo's modules, one of each kind, over one server; all of them by ``make zoo``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import ServerProcess, running_server
from tests.zoo.entries import all_entries
from tests.zoo.keeper import export_entry, stream_entry

pytestmark = pytest.mark.xdist_group("zoo")

FEW = ("normalised_window", "quantiles_from_a_named_tuple", "context_of_codes_and_two_inputs")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    entries = all_entries()
    for name in FEW:
        export_entry(name, entries[name], folder)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(repository, tmp_path_factory.mktemp("server"), require_models=True) as running:
        yield running


@pytest.mark.parametrize("name", FEW)
def test_a_module_as_people_write_it_streams_as_it_runs_offline(
    name: str, repository: Path, server: ServerProcess
) -> None:
    stream_entry(repository / name.replace("_", "-") / "1", server)
