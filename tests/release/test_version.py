from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from release import version as versions
from release.version import COPIES, ROOT, copies, version, write


def test_each_copy_of_the_version_is_the_project_s() -> None:
    found = copies()
    assert found.keys() >= COPIES.keys()
    assert {name: each for name, each in found.items() if each != {version()}} == {}


def test_a_version_is_written_to_every_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyproject.toml", "README.md", *COPIES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "install.md").write_text("$ ostinato --version\nostinato 0.0.1\n")
    monkeypatch.setattr(versions, "ROOT", tmp_path)
    write("7.8.9rc1")
    assert version() == "7.8.9rc1"
    assert set().union(*copies().values()) == {"7.8.9rc1"}
    assert "docs/install.md" in copies()


@pytest.mark.parametrize("wanted", ["v1.2.3", "1.2", "1.2.3-beta", ""])
def test_what_is_no_version_is_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match="is no version"):
        write(wanted)
