"""Every page is plain English: no forbidden word, no long sentence, short sentences on average."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.docs.english import (
    MAX_MEAN_WORDS,
    MAX_WORDS,
    cell_sentences,
    long_sentences,
    mean_words,
    sentences,
    wrong_words,
)
from tests.docs.markdown import ROOT

PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "deploy/**/*.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
)
MAX_COLUMNS = 80
NEWEST = "CHANGELOG.md, its newest section"


def text_of(page: str) -> str:
    if page != NEWEST:
        return (ROOT / page).read_text(encoding="utf-8")
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return re.split(r"^## \[", text, flags=re.MULTILINE)[1].partition("\n")[2]


@pytest.mark.parametrize("page", [*PAGES, NEWEST])
def test_a_page_is_plain_english(page: str) -> None:
    text = text_of(page)
    faults = [*wrong_words(text), *long_sentences(text)]
    mean = mean_words(text)
    if mean > MAX_MEAN_WORDS:
        longest = sorted(sentences(text), key=lambda sentence: -sentence.num_words)[:5]
        shown = "\n".join(f"  {sentence.num_words} words: '{sentence.text}'" for sentence in longest)
        faults.append(f"{mean:.1f} words a sentence on average, at most {MAX_MEAN_WORDS}; split the longest:\n{shown}")
    assert not faults, f"{page}:\n" + "\n".join(faults)


def test_a_forbidden_word_is_found_with_the_better_one() -> None:
    [fault] = wrong_words("A session\ngoes on after a kill.\n")
    assert "'goes on'" in fault
    assert "write continue" in fault
    assert wrong_words("It stands.") != []
    assert wrong_words("MAE stands for mean absolute error; a stand-in.") == []


def test_code_links_and_comments_are_not_read_as_words() -> None:
    page = "<!-- beside -->\nRun `mend beside` at [the page](docs/anew.md).\n\n```console\n$ go on\n```\n"
    assert wrong_words(page) == []
    assert [sentence.num_words for sentence in sentences(page)] == [5]


def test_a_sentence_ends_at_its_stop_and_at_the_end_of_an_item() -> None:
    page = "# A heading\n\nOne two. Three 1.5 four e.g. five:\n\n- six\n  seven\n- eight\n\n| a | table |\n|---|---|\n"
    assert [sentence.num_words for sentence in sentences(page)] == [2, 5, 2, 1]
    assert mean_words(page) == 2.5


@pytest.mark.parametrize("form", ["{}", "| a | {} |"])
def test_a_long_sentence_is_found_in_prose_and_in_a_table(form: str) -> None:
    page = form.format(f"{'word ' * MAX_WORDS}word. {'word ' * (MAX_WORDS - 1)}word.")
    [fault] = long_sentences(page)
    assert fault.startswith(f"{MAX_WORDS + 1} words")


def test_values_in_a_table_are_no_sentence() -> None:
    values = "`a`, " * MAX_WORDS + "`b` or a list of these, not empty"
    assert [sentence.text for sentence in cell_sentences(f"| {values} | what it is |")] == ["what it is"]


def test_the_help_of_make_is_plain_english_and_fits_a_terminal() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line for line in shown.splitlines() if len(line) > MAX_COLUMNS] == []
    assert wrong_words(shown) == []
