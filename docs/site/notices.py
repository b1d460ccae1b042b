"""Notices of the software that parts of the built site are copied from, which their licences ask for."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

COPIED = ("furo", "sphinx", "sphinx-basic-ng", "pygments", "snowballstemmer")
"""Distributions whose style sheets and scripts a built site has."""

_NAMES = ("LICENSE", "COPYING")


def write_notices(folder: Path) -> None:
    """Write their licences into ``licenses.txt`` of a built site.

    Raises:
        ValueError: one of them comes without its licence.
    """
    (folder / "licenses.txt").write_text("\n\n".join(map(_notice, COPIED)) + "\n", "utf-8")


def _notice(name: str) -> str:
    found = distribution(name)
    texts = [file.read_text("utf-8").strip() for file in found.files or () if file.name.startswith(_NAMES)]
    if not texts:
        raise ValueError(f"{name} has no file of its licence")
    return f"{name} {found.version}\n\n" + "\n\n".join(texts)
