from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.chart import PAGE, PANELS, TITLE, draw, read_page
from benchmarks.report import PICTURE


def texts(path: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", path.read_text(encoding="utf-8"))


def test_the_picture_is_drawn_from_the_table_of_its_page(tmp_path: Path) -> None:
    figures = read_page(PAGE.read_text(encoding="utf-8"))
    draw({"figures": figures}, tmp_path / "drawn.svg")
    assert texts(tmp_path / "drawn.svg") == texts(PAGE.parent / PICTURE)


def test_it_says_what_it_is_of_and_which_way_is_better(tmp_path: Path) -> None:
    figures = {"http/256/ostinato/rate": [26_000.0], "http/256/ostinato/p99": [0.0153]}
    draw({"figures": figures}, tmp_path / "drawn.svg")
    told = texts(tmp_path / "drawn.svg")
    assert TITLE in told
    assert {panel.better for panel in PANELS} <= set(told)
    assert {"26,000", "15", "not measured"} <= set(told)
    assert "Triton, sequence batcher" not in told  # it was not measured


def test_a_page_without_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="no table of servers"):
        read_page("# Performance\n")
