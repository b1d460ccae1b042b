"""The built site: each page in its navigation, twins and lists for programs, and nothing of another host."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pygments.token import Generic

from docs.site.console import ConsoleLexer
from docs.site.inline import move_inline_parts
from docs.site.links import with_links_of_the_site
from docs.site.notices import COPIED
from docs.site.pages import navigation, read_page
from docs.site.twins import short_list
from tests.docs.markdown import PAGES, ROOT, blocks_of, read_commands
from tests.docs.site import built_site
from tests.shared import Shared

pytestmark = pytest.mark.xdist_group("site")

NAMES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
GROUPS = ["Start", "Concepts", "How-to", "Reference", "Help", "Project"]
ADDRESS = "https://forge.example/ostinato"


class Reader(HTMLParser):
    """Collects what a page loads, where it leads, and what is written into it that a policy would forbid."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.led: list[str] = []
        self.written: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.led.append(given.get("href", ""))
        elif tag in ("script", "img", "link") and given.get("rel") not in ("search", "next", "prev"):
            self.loaded += [given[name] for name in ("src", "href") if name in given]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.written.append(tag)
        self.written += [name for name in given if name == "style" or name.startswith("on")]


@pytest.fixture(scope="module")
def site(shared: Shared) -> Path:
    return built_site(shared) / "site"


def test_every_page_is_in_one_group_of_the_navigation() -> None:
    groups = navigation((ROOT / "docs" / "index.md").read_text())
    assert [group for group in groups if group not in GROUPS] == []
    listed = [entry.name for entries in groups.values() for entry in entries]
    assert sorted(listed) == [name for name in NAMES if name != "index"]
    assert [entry for entries in groups.values() for entry in entries if not entry.told] == []


def test_a_page_loads_what_lies_next_to_it_and_has_no_script_or_style_written_into_it(site: Path) -> None:
    pages = sorted(site.glob("*.html"))
    assert {page.stem for page in pages} == {*NAMES, "search"}
    for page in pages:
        reader = Reader()
        reader.feed(page.read_text())
        assert reader.written == [], page.name
        files = [address.partition("?")[0] for address in reader.loaded]
        assert [file for file in files if not (site / file).is_file()] == [], page.name
        inside = [
            place.partition("#")[0] for place in reader.led if not re.match(r"https?:|#|mailto:|\.\./docs", place)
        ]
        assert [place for place in inside if place and not (site / place).is_file()] == [], page.name


def test_no_style_sheet_asks_another_host(site: Path) -> None:
    sheets = sorted(site.rglob("*.css"))
    assert sheets
    assert [
        sheet.name for sheet in sheets if re.search(r"url\([\"']?(?!data:|#)(https?:)?//|@import", sheet.read_text())
    ] == []


def test_every_page_has_a_twin_whose_links_lead_to_twins(site: Path) -> None:
    assert {page.stem for page in site.glob("*.md")} == set(NAMES)
    for page in site.glob("*.md"):
        text = page.read_text()
        assert "{toctree}" not in text
        assert "<!-- include" not in text
        places = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", plain_prose(text))
        assert [place for place in places if place != "../docs" and not (site / place).exists()] == [], page.name


def plain_prose(text: str) -> str:
    """A page without its blocks and its code."""
    return re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*\n(?:.*\n)*?```$", "", text, flags=re.MULTILINE))


def test_programs_find_all_pages_in_one_list(site: Path) -> None:
    listed = (site / "llms.txt").read_text()
    assert re.match(r"# Ostinato\n\n> [^\n]+\.\n\n## Start\n\n- \[", listed)
    assert set(re.findall(r"\]\(([\w-]+)\.md\)", listed)) == {*NAMES} - {"index"}
    whole = (site / "llms-full.txt").read_text()
    assert "# Exactly once from a log\n" in whole
    assert "# Changelog\n" not in whole  # what was is asked for by itself


def test_what_is_copied_into_the_site_comes_with_its_licences(site: Path) -> None:
    text = (site / "licenses.txt").read_text()
    assert [name for name in COPIED if f"{name} " not in text] == []
    assert "Copyright (c) 2020 Pradyun Gedam" in text


def test_the_short_list_has_the_title_one_sentence_and_the_groups() -> None:
    listed = "## How-to\n\nMore.\n\n- [B](b.md): what\n  it is.\n- [C](c.md)\n"
    index = f"# A\n\n> One\n> sentence.\n\nProse.\n\n{listed}\n## Else\n\nD.\n"
    assert short_list(index) == "# A\n\n> One sentence.\n\n## How-to\n\n- [B](b.md): what it is.\n- [C](c.md)\n"


def test_the_index_becomes_the_navigation() -> None:
    read = read_page("index")
    assert re.findall(r":caption: (.+)", read) == list(navigation((ROOT / "docs" / "index.md").read_text()))
    assert "\nStores <stores>\n" in read


@pytest.mark.parametrize(
    ("link", "folder", "made"),
    [
        ("[a](stores.md#damage)", "docs", "[a](stores.md#damage)"),
        ("[a](docs/stores.md#damage)", ".", "[a](stores.md#damage)"),
        ("[a](../README.md#routes)", "docs", "[a](index.md)"),
        ("[a](CONTRIBUTING.md#pages)", ".", "[a](contributing.md#pages)"),
        ("[a](../CHANGELOG.md)", "docs", "[a](changelog.md)"),
        ("![a](images/speech.png)", "docs", "![a](images/speech.png)"),
        ("[a](../docs)", "docs", "[a](server:docs)"),
        ("[a](https://a.example/b) and [c](#d)", "docs", "[a](https://a.example/b) and [c](#d)"),
        ("[`a`](../examples/digits)", "docs", f"[`a`]({ADDRESS}/tree/main/examples/digits)"),
        ("[a](../examples/digits/README.md#b)", "docs", f"[a]({ADDRESS}/blob/main/examples/digits/README.md#b)"),
        ("```text\n[a](../examples)\n```\n", "docs", "```text\n[a](../examples)\n```\n"),
    ],
)
def test_a_link_leads_to_a_page_of_the_site_or_into_the_repository(link: str, folder: str, made: str) -> None:
    assert with_links_of_the_site(link, (ROOT / folder).resolve(), ADDRESS) == made


def test_without_a_public_repository_a_link_into_it_is_text() -> None:
    text = "see [the `digits`](../examples/digits), [a](stores.md)"
    assert with_links_of_the_site(text, ROOT / "docs", None) == "see the `digits`, [a](stores.md)"


@pytest.mark.parametrize("page", PAGES)
def test_what_is_copied_of_a_block_is_what_its_reader_types(page: str) -> None:
    for block in blocks_of(page):
        if block.language == "console":
            kept = (
                text
                for _, kind, text in ConsoleLexer().get_tokens_unprocessed(block.text)
                if kind not in (Generic.Prompt, Generic.Output)
            )
            assert "".join(kept) == "".join(f"{command.text}\n" for command in read_commands(block))


def test_what_is_written_into_a_page_is_moved_to_files_once(tmp_path: Path) -> None:
    (tmp_path / "_static").mkdir()
    (tmp_path / "in").mkdir()
    for page in ("a.html", "in/b.html"):
        (tmp_path / page).write_text('<style>a {}</style><script>go()</script><i style="opacity: 50%"></i>')
    move_inline_parts(tmp_path)
    assert re.fullmatch(
        r'<link rel="stylesheet" href="\.\./(_static/\w+\.css)"><script src="\.\./(_static/\w+\.js)"></script>'
        r'<i opacity="0\.5"></i>',
        (tmp_path / "in" / "b.html").read_text(),
    )
    assert sorted(file.read_text() for file in (tmp_path / "_static").iterdir()) == ["a {}\n", "go()\n"]
    (tmp_path / "a.html").write_text('<i style="color: red">')
    with pytest.raises(ValueError, match="color: red"):
        move_inline_parts(tmp_path)
