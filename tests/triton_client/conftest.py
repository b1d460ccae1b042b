"""One server for all tests of this folder: two workers over ``lmdb``, which speak the protocol over HTTP and gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import generation_networks, sequence_networks
from tests.conftest import PutNetworks
from tests.server import ServerProcess, free_port, running_server
from tests.triton_client.clients import WAYS, Address, TritonGrpc, TritonHttp, address_of
from tests.triton_client.sequences import write_models


@pytest.fixture(scope="session")
def triton_repository(tmp_path_factory: pytest.TempPathFactory, put_networks: PutNetworks) -> Path:
    """A model of each form, and of each task."""
    folder = tmp_path_factory.mktemp("triton-repository")
    write_models(folder)
    sequence_networks.planted(folder, "nothing")
    put_networks(folder, generation_networks.export_attention_speller, generation_networks.export_letter_model)
    return folder


@pytest.fixture(scope="session")
def triton_server(triton_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The server."""
    home = tmp_path_factory.mktemp("triton-server")
    settings = {"state": f"lmdb://{home}/state", "workers": 2, "grpc_port": free_port(), "max_chunk_steps": 100}
    with running_server(triton_repository, home, **settings) as server:
        yield server


@pytest.fixture(scope="session")
def address(triton_server: ServerProcess) -> Address:
    """Where it listens."""
    return address_of(triton_server)


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest, address: Address) -> Iterator[TritonHttp | TritonGrpc]:
    """A client, by each way."""
    with WAYS[request.param](address) as client:
        yield client
