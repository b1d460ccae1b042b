"""One service for the tests of connectors that do not kill it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connectors.stage import write_repository
from tests.server import ServerProcess, running_server


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the model's version."""
    return write_repository(tmp_path_factory.mktemp("connectors") / "repository")


@pytest.fixture(scope="session")
def server(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A service in memory."""
    with running_server(directory.parent.parent, tmp_path_factory.mktemp("server")) as running:
        yield running
