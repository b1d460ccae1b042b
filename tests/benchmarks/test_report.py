from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.chart import draw
from benchmarks.subjects import ROOT
from benchmarks.targets import RULES, Verdict

FIGURES = {
    "http/256/ostinato/rate": [30_000.0, 33_000.0],
    "http/256/triton/rate": [15_000.0, 15_000.0],
    "http/256/ostinato/p99": [0.009],
    "http/256/ostinato/p50": [0.007],
    "durable/lmdb/http/ostinato/rate": [30_000.0],
    "durable/lmdb/http/ostinato-lmdb/rate": [27_000.0],
    "stored/miss/p50": [40e-6, 42e-6],
    "stored/miss/p99": [90e-6, 200e-6, 100e-6],
    "stored/miss/max": [0.004],
}


@pytest.fixture
def found() -> dict[str, object]:
    """What a run of two subjects found."""
    return {
        "machine": {"processor": "a processor"},
        "versions": {"Python": "3.11"},
        "options": {
            "rounds": 2,
            "seconds": 1.0,
            "long_seconds": 3.0,
            "stored_sessions": 100_000,
            "resident_sessions": 10_000,
        },
        "commands": {"ostinato": "python -m ostinato.cli serve"},
        "figures": FIGURES,
        "failures": [],
        "absent": {"triton": "it could not be installed"},
        "notes": ["the load generator was the bottleneck"],
    }


def test_the_document_says_which_target_is_met_and_what_was_not_measured(found: dict[str, object]) -> None:
    text = report.markdown(found)
    [line] = [line for line in text.splitlines() if "steps/s against Triton |" in line]
    # Medians 31,500 and 15,000; round by round 2 and 2.2.
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2:] == ["at least 2.00 x", "2.10 x (2.00 to 2.20)", "met"]
    measured = [line for line in text.splitlines() if line.endswith(("| met |", "| **missed** |"))]
    # Against Triton and p99 over p50; lmdb against memory; misses in the database.
    assert len(measured) == 4
    rules = [rule for rule in RULES if rule.target not in report.GENERATION_TARGETS]
    assert text.count("**not measured**") == len(rules) - len(measured)
    assert "| Ostinato | 31,500 | 7.0 | 9.0 | - | - |" in text
    assert "- Not measured: triton: it could not be installed" in text
    assert "- the load generator was the bottleneck" in text
    assert "```text\npython -m ostinato.cli serve\n```" in text


def test_the_document_tells_what_the_stores_cost(found: dict[str, object]) -> None:
    text = report.markdown(found)
    [line] = [line for line in text.splitlines() if "steps/s, lmdb against memory" in line]
    assert [cell.strip() for cell in line.strip("|").split("|")][2:] == ["at least 0.90 x", "0.90 x", "met"]
    assert "| memory, against lmdb | 30,000 | - | - | - |" in text
    assert "| lmdb | 27,000 | - | - | - |" in text
    assert "100,000 sessions in lmdb, memory for 10,000" in text
    assert "| a miss, from the database, us | 41 | 100 | 4,000 |" in text


def test_generation_has_a_section_of_its_own(found: dict[str, object]) -> None:
    figures = {
        "generation/raw/rate": [100_000.0, 120_000.0, 110_000.0],
        "generation/engine/rate": [44_000.0, 50_000.0, 33_000.0],
        "generation/engine/iteration": [0.0015],
        "generation/static/steps_per_token": [1.84],
    }
    text = report.generation_markdown({**found, "figures": figures})
    # 44,000 of 110,000; round by round 0.44, 0.417 and 0.3.
    assert "| at least 0.60 x | 0.40 x (0.30 to 0.44) | **missed** |" in text
    assert "| the engine, whole answers | 44,000 | 0.40 | 1.50 | - | - |" in text
    assert "runs 1.84 lane-steps for each token" in text
    assert "Triton" not in text
    marks = report.GENERATION_MARKS
    document = f"{report.BEGIN}\nrest\n{report.END}\nby hand\n{marks[0]}{marks[1]}\n"
    written = report.put_between_markers(document, "new", marks)
    assert written == f"{report.BEGIN}\nrest\n{report.END}\nby hand\n{marks[0]}\n\nnew\n{marks[1]}\n"


def test_what_is_written_by_hand_survives() -> None:
    document = f"# By hand\n\n{report.BEGIN}\nold figures\n{report.END}\n\nmore by hand\n"
    once = report.put_between_markers(document, "new figures")
    assert once == f"# By hand\n\n{report.BEGIN}\n\nnew figures\n{report.END}\n\nmore by hand\n"
    assert report.put_between_markers(once, "new figures") == once


@pytest.mark.parametrize("document", ["no marks", report.BEGIN, f"{report.END}{report.BEGIN}"])
def test_a_document_without_its_marks_is_not_overwritten(document: str) -> None:
    with pytest.raises(ValueError, match="must hold"):
        report.put_between_markers(document, "")


def test_the_project_s_document_has_its_marks() -> None:
    document = (ROOT / "docs" / "performance.md").read_text()
    assert report.BEGIN in report.put_between_markers(document, "")
    assert report.END in report.put_between_markers(document, "", report.GENERATION_MARKS)


def test_commands_tell_nothing_of_this_machine(tmp_path: Path) -> None:
    command = f"{sys.executable} {ROOT}/.venv-triton/bin/x --repository {tmp_path}/repository"
    shown = report.portable(command, tmp_path)
    assert shown.endswith(".venv-triton/bin/x --repository SCRATCH/repository")
    assert not {str(ROOT), str(tmp_path)} & set(shown.split("/"))
    assert "/" not in shown.split()[0] or shown.startswith(".venv/")


def test_a_chart_is_drawn_of_what_there_is(found: dict[str, object], tmp_path: Path) -> None:
    draw(found, tmp_path / "one.svg")
    text = (tmp_path / "one.svg").read_text()
    assert "31,500" in text
    assert "not measured" in text
    draw(found, tmp_path / "two.svg")
    assert (tmp_path / "two.svg").read_text() == text


def test_the_verdicts_are_three_words() -> None:
    assert [verdict.value for verdict in Verdict] == ["met", "missed", "not measured"]
