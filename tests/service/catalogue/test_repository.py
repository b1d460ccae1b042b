from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.catalogue.repository import find_versions
from ostinato.service.errors import ModelRejected


def test_versions_are_found_and_hidden_folders_are_not(tmp_path: Path) -> None:
    for name in ("b/1", "a/2", "a/.tmp", ".git/objects"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a" / "notes.txt").touch()
    assert find_versions(tmp_path) == [tmp_path / "a/2", tmp_path / "b/1"]
    with pytest.raises(ModelRejected, match="there is no such folder"):
        find_versions(tmp_path / "absent")
