"""Exported networks that write, shared by the tests that look at what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ostinato.export.version_directory import Exported
from tests import generation_networks
from tests.export.writers import small_proofs


@pytest.fixture
def quick() -> Iterator[None]:
    """Small proofs for one test."""
    with small_proofs():
        yield


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """One network of each shape, by name, in one repository."""
    repository: Path = tmp_path_factory.mktemp("written")
    with small_proofs():
        exports = [
            generation_networks.export_attention_speller(repository),
            generation_networks.export_context_speller(repository),
            generation_networks.export_letter_model(repository),
            generation_networks.export_hours_ahead(repository),
            generation_networks.export_captioner(repository),
            generation_networks.export_streaming_forecaster(repository),
        ]
    return {exported.manifest.name: exported for exported in exports}
