from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from release.distributions import MAX_WHEEL_BYTES, faults_of

METADATA = "Metadata-Version: 2.4\nName: thing\nVersion: 1.0\nDescription-Content-Type: text/markdown\n\n# Thing\n"
FILES = {"ostinato/__init__.py": "", "thing-1.0.dist-info/METADATA": METADATA}


def wheel(folder: Path, files: dict[str, str]) -> Path:
    path = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_a_wheel_of_the_package_and_its_metadata_has_no_faults(tmp_path: Path) -> None:
    assert faults_of(wheel(tmp_path, FILES)) == []


@pytest.mark.parametrize("name", ["service/app.py", "ostinato/tests/test_a.py", "examples/a.csv", "build/lib/a.py"])
def test_what_is_no_part_of_the_package_does_not_belong_into_a_wheel(name: str, tmp_path: Path) -> None:
    assert faults_of(wheel(tmp_path, FILES | {name: ""})) == [f"{name} does not belong into a wheel"]


def test_metadata_that_an_index_would_refuse_are_told(tmp_path: Path) -> None:
    wrong = METADATA.replace("1.0\n", "one\n", 1).replace("thing\n", "-thing\n", 1)
    faults = faults_of(wheel(tmp_path, FILES | {"thing-1.0.dist-info/METADATA": wrong}))
    assert len(faults) == 2
    assert faults[0].startswith("'-thing' is invalid for 'name'")


def test_a_wheel_without_a_readme_is_told(tmp_path: Path) -> None:
    bare = METADATA.partition("Description")[0]
    assert faults_of(wheel(tmp_path, FILES | {"thing-1.0.dist-info/METADATA": bare})) == [
        "an index would show no README"
    ]


def test_a_wheel_with_data_in_it_is_told(tmp_path: Path) -> None:
    large = wheel(tmp_path, FILES | {"ostinato/weights.bin": "x" * (MAX_WHEEL_BYTES + 1)})
    assert "what is large in it?" in faults_of(large)[0]
