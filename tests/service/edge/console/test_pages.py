from __future__ import annotations

import hashlib
import lzma
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ostinato.service.config import Settings
from ostinato.service.edge.console.pages import FOLDER, MEDIA_TYPES, POLICY, Console
from ostinato.service.edge.message import Response
from ostinato.service.edge.system import SystemRoutes
from ostinato.service.errors import UnknownRoute
from ostinato.service.metrics.series import Metrics

ROOT = Path(__file__).parents[4]
CONSOLE = Console()
VENDOR = FOLDER / "vendor"
MAX_LINES = 350

# As they came from the npm registry: uplot 1.6.32 and axe-core 4.14.1.
PINNED = {
    VENDOR / "uplot-1.6.32.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    VENDOR / "uplot-1.6.32.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    ROOT
    / "tests"
    / "vendor"
    / "axe-core-4.14.1.js": "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
}


def answer(path: str) -> Response:
    return CONSOLE.answers[path]()


def own_scripts() -> list[Path]:
    return [path for path in FOLDER.rglob("*.js") if "vendor" not in path.parts]


class Reader(HTMLParser):
    """Collects addresses, and what would run or style without being a file."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.written: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.addresses += [value for name in ("href", "src") if (value := given.get(name))]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.written.append(tag)
        self.written += [name for name in given if name.startswith("on") or name == "style"]


def test_every_file_of_the_page_is_answered_with_its_type_and_a_strict_policy() -> None:
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    assert {path.removeprefix("/console/") for path in CONSOLE.answers} - {"/console", ""} == files
    for path, answers in CONSOLE.answers.items():
        response = answers()
        if path == "/console/":
            assert (response.status, response.headers) == (307, ((b"location", b"../console"),))
            continue
        headers = dict(response.headers)
        assert response.status == 200
        assert response.media_type == MEDIA_TYPES[Path(path).suffix or ".html"]
        assert headers[b"x-content-type-options"] == b"nosniff"
        assert headers[b"content-security-policy"].decode() == POLICY
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY


def test_the_page_is_made_of_files_under_relative_addresses_that_are_there() -> None:
    reader = Reader()
    reader.feed(answer("/console").body.decode())
    assert reader.written == []
    for address in reader.addresses:
        # The documentation is of the same server, and not of the console.
        assert address.startswith("#") or address == "docs/" or f"/{address}" in CONSOLE.answers, address
    for script in own_scripts():
        for imported in re.findall(r'from "(.*?)"', script.read_text()):
            assert (script.parent / imported).is_file(), f"{script.name} imports {imported}"


@pytest.mark.parametrize("script", own_scripts(), ids=lambda path: path.stem)
def test_a_script_asks_this_server_alone_makes_no_markup_of_strings_and_is_one_noun(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert re.findall(r"https?://|innerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text) == []
    assert text.startswith("// "), "it says what it is"
    assert len(text.splitlines()) <= MAX_LINES


def test_what_others_made_is_as_it_came_and_has_its_licence_beside_it() -> None:
    assert {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in PINNED} == PINNED
    vendor = (VENDOR / "uplot.LICENSE.txt", ROOT / "tests" / "vendor" / "axe-core.LICENSE.txt")
    assert "Permission is hereby granted" in vendor[0].read_text()
    assert "Mozilla Public License" in vendor[1].read_text()
    examples = ROOT / "examples"
    for name, licence in (("go_forward.wav", "go_forward.wav"), ("go_forward.LICENSE.txt", "go_forward.LICENSE")):
        assert (FOLDER / "examples" / name).read_bytes() == (examples / "voice_activity" / licence).read_bytes()
    with lzma.open(examples / "beijing_pm25" / "beijing_pm25_hourly.csv.xz", "rt") as table:
        published = table.read().splitlines()
    names, *rows = (FOLDER / "examples" / "beijing_pm25.csv").read_text().splitlines()
    assert (names, rows) == (published[0], published[-len(rows) :])


def test_one_flag_turns_it_off() -> None:
    assert Settings().console is True
    off = SystemRoutes(Metrics(), lambda: (True, {}))
    assert not off.serve("/console")
    on = SystemRoutes(Metrics(), lambda: (True, {}), None, CONSOLE.answers)
    assert on.serve("/console")
    assert on.serve("/console/main.js")
    assert on.is_public("/console/main.js")
    assert not on.is_public("/metrics")
    assert not on.serve("/console/../pages.py")
    assert on.answer("GET", "/console").body.startswith(b"<!doctype html>")
    with pytest.raises(UnknownRoute):
        on.answer("GET", "/static_content/x")
