"""The version, which ``pyproject.toml`` has: written from there to wherever a copy has to be.

What cannot read ``pyproject.toml`` has a copy: the package itself (a Bento has no metadata), manifests and pages.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORM = r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?"

_TAG = rf"(?<=newTag: ){FORM}"
_IMAGE = rf"(?<=\bostinato:){FORM}"
COPIES = {
    "ostinato/__init__.py": rf'(?<=^__version__ = "){FORM}',
    "bentofile.yaml": rf"(?<=^  version: ){FORM}",
    "CITATION.cff": rf"(?<=^version: ){FORM}",
    "deploy/README.md": _IMAGE,
    "deploy/compose.yaml": _IMAGE,
    "deploy/helm/ostinato/Chart.yaml": rf"(?<=ersion: ){FORM}",
    "deploy/helm/ostinato/values.yaml": rf"(?<=^  tag: ){FORM}",
    "deploy/kubernetes/components/models-fetched/kustomization.yaml": _TAG,
    "deploy/kubernetes/components/pod/kustomization.yaml": _TAG,
    "deploy/kubernetes/overlays/kserve/kustomization.yaml": _TAG,
}
"""File -> what a version is found by in it; each has one at least."""

PAGES = rf"(?<=^ostinato ){FORM}$"
"""What ``ostinato --version`` prints, on pages."""


def version() -> str:
    """The project's version."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    found: str = tomllib.loads(text)["project"]["version"]
    return found


def copies() -> dict[str, set[str]]:
    """File -> the versions that are in it."""
    found = {name: _found(ROOT / name, pattern) for name, pattern in COPIES.items()}
    return found | {name: versions for name in _pages() if (versions := _found(ROOT / name, PAGES))}


def write(wanted: str) -> None:
    """Put a version everywhere.

    Raises:
        ValueError: it is no version, or a file that should have a copy has none.
    """
    if not re.fullmatch(FORM, wanted):
        raise ValueError(f"{wanted!r} is no version, as 1.2.3 or 1.2.3rc1")
    if lacking := [name for name, pattern in COPIES.items() if not _found(ROOT / name, pattern)]:
        raise ValueError(f"no version is in {', '.join(lacking)}")
    places = {"pyproject.toml": rf'(?<=^version = "){FORM}'} | COPIES | dict.fromkeys(_pages(), PAGES)
    for name, pattern in places.items():
        path = ROOT / name
        before = path.read_text("utf-8")
        after = re.sub(pattern, wanted, before, flags=re.MULTILINE)
        if after != before:
            path.write_text(after, "utf-8")


def _pages() -> list[str]:
    return [str(path.relative_to(ROOT)) for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))]


def _found(path: Path, pattern: str) -> set[str]:
    return set(re.findall(pattern, path.read_text("utf-8"), re.MULTILINE))


def main() -> None:
    """Write the version that is the argument, or print the one that there is."""
    if len(sys.argv) > 1:
        try:
            write(sys.argv[1])
        except ValueError as error:
            raise SystemExit(f"error: {error}") from None
    sys.stdout.write(f"{version()}\n")


if __name__ == "__main__":
    main()
