from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import load_file

from ostinato.export.proofs.proof import TOLERANCE
from ostinato.export.proofs.rounding import MAX_TOLERANCE
from ostinato.export.runs.registry import export_run
from ostinato.service.catalogue.loading import load_version
from ostinato.service.config import Settings
from tests.training import train_run

RECIPE = """
kind = "pairs"
name = "small"
description = "four letters"
[data]
file = "small.dict"
form = "cmudict"
source = "made up"
[network]
embedding_size = 4
encoder_size = 6
decoder_size = 8
[training]
seed = 3
batch_size = 16
max_epochs = 1
"""
SOUNDS = {"a": "AE1", "b": "B", "k": "K", "m": "M", "o": "OW0", "t": "T"}


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    words = [
        first + second + third + fourth for first in "bkmt" for second in "ao" for third in "bkmt" for fourth in "aotk"
    ]
    lines = [f"{word} {' '.join(SOUNDS[letter] for letter in word)}" for word in words]
    (tmp_path / "small.dict").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    directory, _ = train_run(tmp_path / "recipe.toml", tmp_path / "run")
    return directory


@pytest.mark.usefixtures("quick")
def test_a_run_becomes_a_version_that_loads(run_directory: Path, tmp_path: Path) -> None:
    exported = export_run(run_directory, tmp_path / "repository")
    manifest = exported.manifest
    assert (manifest.name, manifest.task, manifest.description) == ("small", "encoder_decoder", "four letters")
    assert manifest.vocabularies["source"].encode("Tomato", "it") == manifest.vocabularies["source"].encode(
        "tomato", "it"
    )
    assert (manifest.limits.max_source_steps, manifest.limits.max_output_steps) == (64, 128)
    assert manifest.parity is not None
    assert TOLERANCE <= manifest.parity.tolerance <= MAX_TOLERANCE
    assert manifest.provenance["data"]["source"] == "made up"
    assert manifest.provenance["metrics"]["num_sources"] > 0
    loaded = load_version(exported.directory, Settings(max_batch_size=8))
    assert loaded.golden_difference <= manifest.parity.tolerance
    golden = load_file(exported.directory / "golden.safetensors")
    assert golden["short/source"].max() < len(manifest.vocabularies["source"].symbols)
