"""A repository of small networks and one server over it, for all tests that speak to a real process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests import networks
from tests.server import ServerProcess, running_server


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``lstm`` (3 features), ``accumulator``, ``tokens``, ``one-step`` and ``time-first``, one version each."""
    folder = tmp_path_factory.mktemp("repository")
    generator = np.random.default_rng(0)
    networks.lstm(hidden_size=16).write(folder, generator.normal(size=(3, 20, 3)).astype(np.float32))
    networks.lstm(time_first=True).named("time-first").write(
        folder, generator.normal(size=(3, 20, 3)).astype(np.float32)
    )
    networks.accumulator().write(folder, generator.integers(0, 9, (3, 6, 1)).astype(np.float32))
    networks.token_counter().write(folder, generator.integers(0, 7, (3, 5, 1)))
    networks.one_step().write(folder, generator.normal(size=(3, 1, 5)).astype(np.float32))
    return folder


@pytest.fixture(scope="session")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the default settings, except for limits that a test can reach."""
    home = tmp_path_factory.mktemp("server")
    with running_server(
        repository, home, max_sessions=400, max_chunk_steps=500, max_horizon=50, max_body_bytes=200_000
    ) as running:
        yield running
