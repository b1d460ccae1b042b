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
    assert notes_of("1.1.0", CHANGELOG) == "## Added\n\n### Stores\n\n- A store, [docs](docs/stores.md)\n"
    assert notes_of("1.0.0", CHANGELOG) == "- The first.\n"


@pytest.mark.parametrize("version", ["Unreleased", "2.0.0", "1.0"])
def test_a_version_of_which_nothing_is_said_has_no_notes(version: str) -> None:
    with pytest.raises(ValueError, match=f"says nothing of {version}"):
        notes_of(version, CHANGELOG)


def test_the_changelog_has_dated_releases_and_what_is_not_released_first() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert next(iter(sections(text))) == UNRELEASED
    # Each heading of this level is a section.
    assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(sections(text))
    assert [name for name, date in dates(text).items() if bool(date) == (name == UNRELEASED)] == []
    # What is being made is either released already, or not yet: then the next version is what is not released.
    assert version() in sections(text) or sections(text)[UNRELEASED]
