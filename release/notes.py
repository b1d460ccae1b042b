"""Release notes: the section of ``CHANGELOG.md`` that a version has, as a forge shows it with a release."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UNRELEASED = "Unreleased"

_SECTION = re.compile(r"^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?\n(.*?)(?=^## \[|\Z)", re.MULTILINE | re.DOTALL)


def sections(changelog: str) -> dict[str, str]:
    """Version -> what changed in it, the newest first; ``Unreleased`` is one, too."""
    return {version: text.strip() for version, _, text in _SECTION.findall(changelog)}


def dates(changelog: str) -> dict[str, str]:
    """Version -> its date; empty where it has none."""
    return {version: date for version, date, _ in _SECTION.findall(changelog)}


def notes_of(version: str, changelog: str) -> str:
    """What changed in a version, with its headings one level higher, and its links from the project's top.

    Raises:
        ValueError: it has no section, or an empty one.
    """
    text = sections(changelog).get(version)
    if not text:
        raise ValueError(f"CHANGELOG.md says nothing of {version}")
    return re.sub(r"^#(#+ )", r"\1", text, flags=re.MULTILINE) + "\n"


def main() -> None:
    """Print the notes of the version that is the argument."""
    version = sys.argv[1].removeprefix("v")
    try:
        sys.stdout.write(notes_of(version, (ROOT / "CHANGELOG.md").read_text("utf-8")))
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
