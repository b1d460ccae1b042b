"""Archive of the built site: the one file that a server shows it from, and that a wheel takes along."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

SHOWN = frozenset({".css", ".html", ".js", ".md", ".png", ".svg", ".txt"})
"""Ends of the names of files that a reader asks for; others are notes of Sphinx to itself."""

_MADE_AT = (2026, 1, 1, 0, 0, 0)


def write_archive(folder: Path, archive: Path) -> None:
    """Put a built site into an archive: the same files make the same bytes."""
    scratch = archive.with_suffix(".new")
    with zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in SHOWN):
            about = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _MADE_AT)
            about.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(about, path.read_bytes())
    scratch.replace(archive)


if __name__ == "__main__":
    write_archive(Path(sys.argv[1]), Path(sys.argv[2]))
