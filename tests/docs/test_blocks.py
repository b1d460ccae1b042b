"""Every block of every page is done as it stands there, and what it prints is what the page shows."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pathspec import GitIgnoreSpec

from tests.docs.markdown import PAGES, ROOT, Block, blocks_of, read_commands, without_blocks
from tests.docs.not_run import NOT_RUN, faults_of
from tests.docs.reader import Reader

LANGUAGES = {"console", "python", "toml", "json", "yaml", "text", ""}
"""``text`` right below a ``python`` block is what that prints, and below a ``console`` block what its last command
does; elsewhere, and without a language, it is a drawing."""

MARKS = {"", "not-run", "signature"}
"""A ``signature`` is how something is called, and nothing to type."""

PARSERS: dict[str, Callable[[str], object]] = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}

BLOCKS = [block for page in PAGES for block in blocks_of(page)]


RUN = {block.page for block in BLOCKS if block.is_run and block.language in ("console", "python")}


@pytest.mark.parametrize(
    "page", [page if page == "README.md" else pytest.param(page, marks=pytest.mark.long) for page in sorted(RUN)]
)
def test_a_reader_who_types_what_a_page_says_sees_what_it_shows(page: str, tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        reader.follow(blocks_of(page))
        ignored = GitIgnoreSpec.from_lines((ROOT / ".gitignore").read_text().splitlines())
        assert [path for path in reader.left_behind() if not ignored.match_file(path)] == []


def test_every_block_says_what_it_is() -> None:
    unknown = [f"{b.page}:{b.line}" for b in BLOCKS if b.language not in LANGUAGES or b.mark not in MARKS]
    assert unknown == []


def test_every_command_stands_in_a_console_block() -> None:
    elsewhere = [
        f"{b.page}:{b.line}" for b in BLOCKS if b.language != "console" and re.search("^[$] ", b.text, re.MULTILINE)
    ]
    indented = [page for page in PAGES if re.search(r"\n\n {4,}\S", without_blocks((ROOT / page).read_text()))]
    assert (elsewhere, indented) == ([], [])


def test_every_block_of_data_can_be_read() -> None:
    for block in BLOCKS:
        if block.language in PARSERS:
            PARSERS[block.language](block.text)


def test_each_block_that_is_not_run_has_a_reason_and_each_reason_a_block() -> None:
    not_run = [block for block in BLOCKS if block.mark == "not-run"]
    begins = {(block, page, begin) for block in not_run for page, begin in NOT_RUN if _begins(block, page, begin)}
    assert {block for block, _, _ in begins} == set(not_run)
    assert {(page, begin) for _, page, begin in begins} == NOT_RUN.keys()
    assert len(begins) == len(not_run)


def _begins(block: Block, page: str, begin: str) -> bool:
    return block.page == page and block.text.startswith(begin)


def test_commands_that_are_not_run_could_be() -> None:
    faults = [
        f"{block.page}:{command.line}: {fault}"
        for block in BLOCKS
        if not block.is_run and block.language == "console"
        for command in read_commands(block)
        for fault in faults_of(command)
    ]
    assert faults == []
