"""Release notes: the section of ``CHANGELOG.md`` that a version has, as a forge shows it with a release."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from docs.site.links import repository
from release.readme import readme_of_index

ROOT = Path(__file__).resolve().parents[1]
UNRELEASED = "Unreleased"

_SECTION = re.compile(r"^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?\n(.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL)


def sections(changelog: str) -> dict[str, str]:
    """Version -> what changed in it, the newest first; ``Unreleased`` is one, too."""
    return {version: text.strip() for version, _, text in _SECTION.findall(changelog)}


def dates(changelog: str) -> dict[str, str]:
    """Version -> its date; empty where it has none."""
    return {version: date for version, date, _ in _SECTION.findall(changelog)}


def notes_of(version: str, changelog: str, address: str | None) -> str:
    """What changed in a version, with its headings one level higher.

    Args:
        version: the one that is released.
        changelog: the text of ``CHANGELOG.md``.
        address: the public repository's, to which links lead: a forge shows notes apart from the files. None = links
            are plain text.

    Raises:
        ValueError: it has no section, or an empty one; or there is more that changed, of which it would say nothing.
    """
    found = sections(changelog)
    text = found.get(version)
    if not text:
        raise ValueError(f"CHANGELOG.md says nothing of {version}")
    if found.get(UNRELEASED):
        raise ValueError(f"what is under {UNRELEASED} in CHANGELOG.md is in this checkout: move it to {version}")
    return readme_of_index(re.sub(r"^#(#+ )", r"\1", text, flags=re.MULTILINE), address) + "\n"


def main() -> None:
    """Print the notes of the version that is the argument."""
    version = sys.argv[1].removeprefix("v")
    try:
        sys.stdout.write(notes_of(version, (ROOT / "CHANGELOG.md").read_text("utf-8"), repository()))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
