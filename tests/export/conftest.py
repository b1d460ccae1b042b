"""Exported networks that write, shared by the tests that look at what was written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import ostinato.export.proofs.promise
from ostinato.service.artifact.manifest import Manifest
from tests import generation_networks
from tests.conftest import PutNetworks
from tests.export.writers import small_proofs


class Written(NamedTuple):
    """A version as it lies in a repository."""

    directory: Path
    manifest: Manifest


@pytest.fixture(autouse=True)
def few_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of the probes for a promise: they are drawn alike for every network."""
    monkeypatch.setattr(ostinato.export.proofs.promise, "NUM_SEEDS", 1)


@pytest.fixture
def quick() -> Iterator[None]:
    """Small proofs for one test."""
    with small_proofs():
        yield


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, put_networks: PutNetworks) -> dict[str, Written]:
    """One network of each shape, by name, in one repository."""
    repository: Path = tmp_path_factory.mktemp("written")
    put_networks(
        repository,
        generation_networks.export_attention_speller,
        generation_networks.export_context_speller,
        generation_networks.export_letter_model,
        generation_networks.export_hours_ahead,
        generation_networks.export_captioner,
        generation_networks.export_streaming_forecaster,
    )
    directories = repository.glob("*/*")
    return {directory.parent.name: Written(directory, Manifest.read(directory)) for directory in directories}
