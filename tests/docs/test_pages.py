"""What pages list is what there is: cells, flags, extras, links and paths. Those that are made of the code are tested
with what makes them, in ``tests/ostinato/tools/reference``.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command

from ostinato.cli import COMMANDS, app
from ostinato.models.networks.layers_recipe import OPTIONS, CellName
from tests.docs.markdown import PAGES, ROOT, without_blocks

TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
FOLDERS = ("service", "models", "export", "ostinato", "tests", "benchmarks", "deploy", "docs", "examples")


def anchors(text: str) -> set[str]:
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_cell_stands_there_with_the_keys_of_its_own() -> None:
    (_, *rows) = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*) ?\|$", TEXTS["docs/models.md"], re.MULTILINE)
    written = {cell: {key for key in re.findall(r"`(\w+)`", keys) if key in OPTIONS} for cell, keys in rows}
    assert written == {
        cell: {option for option, cells in OPTIONS.items() if cell in cells} for cell in get_args(CellName)
    }


def test_the_glossary_defines_each_word_once() -> None:
    words = re.findall(r"^\| ([^|`]+) \| [^|]+ \|$", TEXTS["docs/glossary.md"], re.MULTILINE)
    each = [word for row in words if row not in ("word", "symbol") for word in row.split(", ")]
    assert len(each) > 100
    assert [word for word, times in Counter(each).items() if times > 1] == []


def flags_of(command: Any) -> set[str]:
    """The flags of a command, and of all that are in it."""
    flags = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    return flags.union(*(flags_of(inner) for inner in getattr(command, "commands", {}).values()))


def test_every_flag_that_a_page_names_is_one_of_a_command() -> None:
    # typer makes `--ZONE` of an option `zone` whose metavar is ZONE; nobody would find that by its help.
    group: Any = get_command(app)
    commands = [group.resolve_command(group.context_class(group), [name])[1] for name in COMMANDS]
    known = set().union(*map(flags_of, commands))
    assert [flag for flag in known if flag != flag.lower()] == []
    # `make ...` has flags of its own, which CONTRIBUTING.md tells.
    texts = [without_blocks(text) for page, text in TEXTS.items() if page != "CONTRIBUTING.md"]
    assert {flag for text in texts for flag in re.findall(r"`(--[A-Za-z][\w-]*)", text)} - known == set()


def test_what_pip_is_told_to_install_is_this_project_with_extras_that_there_are() -> None:
    # By its name where a page says that it is not on an index yet, and else as a checkout.
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    told = [what for text in TEXTS.values() for what in re.findall(r"pip install ([^`\n]+)", text)]
    assert [what for what in told if not re.fullmatch(r"(\.|ostinato)|'(\.|ostinato)\[[\w,]+\]'", what)] == []
    assert "." in told
    named = {
        extra for text in TEXTS.values() for found in re.findall(r"'\.\[(.*?)\]'", text) for extra in found.split(",")
    }
    assert named == extras.keys() - {"dev"}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for place, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", without_blocks(TEXTS[page])):
        target = (ROOT / page).parent / place if place else ROOT / page
        assert target.exists(), place
        if anchor:
            text = (target / "README.md" if target.is_dir() else target).read_text(encoding="utf-8")
            assert anchor in anchors(text), f"{place}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_every_path_and_module_that_a_page_names_is_there(page: str) -> None:
    folder = (ROOT / page).parent
    paths = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*)`", TEXTS[page])
    assert [path for path in paths if not (ROOT / path).exists() and not (folder / path).exists()] == []
    names = re.findall(r"(?<![\w/])ostinato(?!\.toml\b)(?:\.\w+)+", TEXTS[page])
    assert [name for name in names if not _is_there(name)] == []


def _is_there(name: str) -> bool:
    """Whether a module, or a name in one, is in the source."""
    module = ROOT / Path(*name.split("."))
    if module.is_dir() or module.with_suffix(".py").is_file():
        return True
    source = module.parent.with_suffix(".py")
    return (
        source.is_file()
        and re.search(rf"^(?:def |class |)\b{module.name}\b", source.read_text(), re.MULTILINE) is not None
    )
