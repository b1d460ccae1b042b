from __future__ import annotations

import re
from pathlib import Path

import pytest

from ostinato.cli import COMMANDS
from ostinato.service.edge.problems import CODES
from ostinato.tools.reference.pages import PAGES
from tests.docs.markdown import without_blocks

DOCS = Path(__file__).resolve().parents[4] / "docs"


def headings(name: str) -> list[str]:
    text = without_blocks((DOCS / name).read_text(encoding="utf-8"))
    return [heading.replace("\\", "") for heading in re.findall(r"^##+ (.*)$", text, re.MULTILINE)]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says_now(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    assert PAGES[name](page) == page, "`make reference` writes it anew"


def test_every_error_has_a_section() -> None:
    assert sorted(headings("reference_errors.md")) == sorted(CODES)


def test_every_route_has_a_section() -> None:
    source = (DOCS.parent / "service" / "edge" / "routes.py").read_text()
    served = {f"{method} {path}" for method, path in re.findall(r'\("([A-Z]+)", "(/v1[^"]*)"\)', source)}
    assert served
    told = [re.sub(r"\{\w+\}", "{}", heading) for heading in headings("reference_http.md")]
    assert served - set(told) == set()


def test_every_command_has_a_section_with_all_of_its_flags() -> None:
    listed = headings("reference_commands.md")
    assert [f"ostinato {name}" for name in COMMANDS] == [each for each in listed if each.count(" ") == 1]
    page = (DOCS / "reference_commands.md").read_text()
    assert "| `--state`<br>`OSTINATO_STATE` | text | `lmdb://state` |" in page
    assert "`ostinato keys new [OPTIONS] NAME`" in page


def test_every_verb_of_both_clients_has_a_section() -> None:
    listed = headings("reference_client.md")
    verbs = {each.removeprefix("Client.") for each in listed if each.startswith("Client.")}
    assert {"predict", "generate", "session", "step_many", "forecast_many", "stream"} <= verbs
    assert verbs == {
        each.removeprefix("AsyncClient.").replace("aclose", "close")
        for each in listed
        if each.startswith("AsyncClient.")
    }
    assert {"Session.step", "AsyncSession.forecast", "Stream.step", "GenerateOptions", "SeqConflict"} <= set(listed)


def test_a_key_of_a_recipe_is_told_once_for_all_kinds_and_again_where_it_differs() -> None:
    page = (DOCS / "reference_recipes.md").read_text()
    assert len(re.findall(r"^\| `weight_decay` \|", page, re.MULTILINE)) == 1
    assert "| `max_epochs` | whole number, at least 1 | `10` |" in page
    captions = page.split("### [training] of captions")[1].split("\n##")[0]
    assert "| `max_epochs` | whole number, at least 1 | `40` |" in captions
