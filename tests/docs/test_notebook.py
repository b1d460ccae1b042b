"""The notebook, run from top to bottom by a kernel of its own."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from typing import Any

import jupytext
import nbclient
import pytest

from tests.docs.markdown import ROOT

NOTEBOOK = ROOT / "examples" / "notebook" / "live_forecast.py"
MAKES = re.compile(r"^notebook:.*\n(?:\t.*\n)*\t.*examples/notebook/live_forecast\.py", re.MULTILINE)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The cells of code, with what they put out."""
    folder = tmp_path_factory.mktemp("notebook")
    # A copy of what it reads: what it writes stands elsewhere.
    data = folder / "examples" / "beijing_pm25"
    data.mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "beijing_pm25" / "beijing_pm25_hourly.csv.xz", data)
    notebook = jupytext.read(NOTEBOOK)
    nbclient.NotebookClient(
        notebook, timeout=400, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cells: list[Any]) -> str:
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def test_a_live_session_answers_what_the_offline_run_does(cells: list[Any]) -> None:
    # It compares them itself, to the bit, and a cell that fails fails the run.
    assert "the same to the bit offline: 984 hours" in text_of(cells)
    assert "the server ended with 0" in text_of(cells)


def test_the_small_network_is_better_than_the_last_seen_value(cells: list[Any]) -> None:
    found = re.search(r"network +│ +([\d.]+) .*\n.*persistence +│ +([\d.]+) ", text_of(cells))
    assert found is not None
    assert float(found[1]) < float(found[2])


def test_the_picture_is_drawn(cells: list[Any]) -> None:
    data = [output.get("data") or {} for cell in cells for output in cell.outputs]
    pictures = [each["image/png"] for each in data if "image/png" in each]
    assert len(pictures) == 1
    assert base64.b64decode(pictures[0]).startswith(b"\x89PNG")


def test_make_writes_it_as_a_notebook() -> None:
    assert MAKES.search((ROOT / "Makefile").read_text())
    assert "live_forecast.ipynb" in Path(ROOT / ".gitignore").read_text()
