from __future__ import annotations

import re

import pytest

from release.notes import ROOT, UNRELEASED, dates, notes_of, sections
from release.version import version

CHANGELOG = """# Changelog

## [Unreleased]

## [1.1.0] - 2026-02-03

### Added

#### Stores

- A store, [docs](docs/stores.md)

## [1.0.0] - 2026-01-02

- The first.
"""


def test_a_version_s_notes_are_its_section_with_headings_a_level_higher() -> None:
    assert notes_of("1.1.0", CHANGELOG, None) == "## Added\n\n### Stores\n\n- A store, docs\n"
    assert notes_of("1.0.0", CHANGELOG, None) == "- The first.\n"


def test_links_of_notes_lead_to_the_public_repository() -> None:
    notes = notes_of("1.1.0", CHANGELOG, "https://f.example/o")
    assert notes.endswith("- A store, [docs](https://f.example/o/blob/main/docs/stores.md)\n")


@pytest.mark.parametrize("version", ["Unreleased", "2.0.0", "1.0"])
def test_a_version_of_which_nothing_is_said_has_no_notes(version: str) -> None:
    with pytest.raises(ValueError, match=f"says nothing of {version}"):
        notes_of(version, CHANGELOG, None)


def test_a_release_that_has_more_than_its_notes_say_is_refused() -> None:
    more = CHANGELOG.replace("## [Unreleased]\n", "## [Unreleased]\n\n- One more thing\n")
    with pytest.raises(ValueError, match="what is under Unreleased"):
        notes_of("1.1.0", more, None)


def test_the_changelog_has_dated_releases_and_what_is_not_released_first() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert next(iter(sections(text))) == UNRELEASED
    # Each heading of this level is a section.
    assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(sections(text))
    assert [name for name, date in dates(text).items() if bool(date) == (name == UNRELEASED)] == []
    # What is being made is either released already, or not yet: then the next version is what is not released.
    assert version() in sections(text) or sections(text)[UNRELEASED]
