from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.ostinato.conftest import RunCommand
from tests.service.fetching.conftest import tree_of, write_version


def test_versions_come_with_a_line_each(tmp_path: Path, run_command: RunCommand) -> None:
    versions = [write_version(tmp_path / "origin", version) for version in ("1", "2")]
    result = run_command("models", "fetch", *versions, "--repository", tmp_path / "repository")
    assert (result.exit_code, result.output) == (
        0,
        "".join(f"sums/{each.name}: fetched, from {each}\n" for each in versions),
    )
    assert tree_of(tmp_path / "repository") == tree_of(tmp_path / "origin")


def test_without_sources_it_fetches_what_a_server_would(
    tmp_path: Path, run_command: RunCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OSTINATO_MODELS", raising=False)
    monkeypatch.setenv("OSTINATO_REPOSITORY", str(tmp_path / "repository"))
    result = run_command("models", "fetch")
    assert (result.exit_code, result.output[:39]) == (1, "error: there is nothing to fetch; name ")
    origins = [write_version(tmp_path / "origin", version) for version in ("1", "2")]
    (tmp_path / "sources").write_text(", ".join(map(str, origins)))
    monkeypatch.setenv("OSTINATO_MODELS_FILE", str(tmp_path / "sources"))
    assert run_command("models", "fetch").exit_code == 0
    assert tree_of(tmp_path / "repository") == tree_of(tmp_path / "origin")


def test_what_cannot_be_fetched_is_one_sentence(tmp_path: Path, run_command: RunCommand) -> None:
    result = run_command("models", "fetch", tmp_path / "none", "--repository", tmp_path / "repository")
    assert (result.exit_code, result.output) == (1, f"error: {tmp_path}/none: there is no such folder\n")


def test_a_checksum_is_of_one_source(tmp_path: Path, run_command: RunCommand) -> None:
    version = write_version(tmp_path / "origin")
    checksum = f"sha256:{hashlib.sha256((version / 'model.json').read_bytes()).hexdigest()}"
    options = ("--repository", tmp_path / "repository", "--checksum", checksum)
    result = run_command("models", "fetch", version, version, *options)
    assert (result.exit_code, result.output) == (
        1,
        "error: --checksum is of one source; put #sha256:... behind each of several\n",
    )
    assert run_command("models", "fetch", version, *options).exit_code == 0
