"""Dangerous files at the reader and in the trial, and good ones with bytes of theirs changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.export.errors import ExportError
from ostinato.export.importing.reading import read_graph
from tests.hostile.dangerous_files import UNREADABLE, DangerousFile


@pytest.mark.parametrize("file", UNREADABLE, ids=lambda file: file.name)
def test_a_dangerous_file_is_refused_in_a_line_that_says_where_and_why(file: DangerousFile, tmp_path: Path) -> None:
    path = tmp_path / "in" / "model.onnx"
    path.parent.mkdir()
    file.build(path)
    with pytest.raises(ExportError) as refusal:
        read_graph(path)
    said = str(refusal.value)
    assert said.startswith(f"{path}: ")
    assert file.says in said
    assert "\n" not in said
    assert len(said) < 1000
