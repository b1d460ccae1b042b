"""The table of platforms: which extra can be installed from wheels alone, on which system and Python.

The package itself is pure Python, one wheel for all. What decides is whether an index has wheels of everything that an
extra asks for. uv resolves each extra for each system and Python, as pip would there, and downloads only metadata.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- platforms -->", "<!-- end of the platforms -->"

CLIENT = "(none)"
"""What is installed without any extra."""

SYSTEMS = {
    "Linux x86_64": "x86_64-manylinux_2_28",
    "Linux arm64": "aarch64-manylinux_2_28",
    "macOS 14 arm64": "aarch64-apple-darwin",
}
"""Name in the table -> what uv calls it."""

PYTHONS = ("3.11", "3.12", "3.13", "3.14")

NO_WHEEL = re.compile(r"\b([\w.-]+)(?:\[[\w,]+\])?((?:[<>=!]=?)[\w.,<>=!]+)? has no wheels with a matching")


@dataclass(frozen=True)
class Cell:
    """One extra on one system and Python: the versions that are found, or the requirement that has no wheel there."""

    extra: str
    system: str
    python: str
    versions: dict[str, Version]
    missing: str = ""


def resolve(extra: str, system: str, python: str) -> Cell:
    """Ask the index what pip would install there.

    Raises:
        RuntimeError: it fails for another reason than a wheel that is missing.
    """
    asked = [] if extra == CLIENT else ["--extra", extra]
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("uv")), "pip", "compile", "--no-config", "--no-header"),
            *("--no-annotate", "--no-python-downloads", "--only-binary", ":all:"),
            *("--python-platform", SYSTEMS[system], "--python-version", python, *asked, str(ROOT / "pyproject.toml")),
        ],
        env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        pins = dict(re.findall(r"^([\w.-]+)==(\S+)", done.stdout, re.MULTILINE))
        return Cell(extra, system, python, {name: Version(version) for name, version in pins.items()})
    found = NO_WHEEL.search(" ".join(done.stderr.split()))
    if found is None:
        raise RuntimeError(done.stderr)
    return Cell(extra, system, python, {}, f"{found[1]}{found[2] or ''}")


def extras() -> list[str]:
    """What can be asked for, the client first; what developers need is left out."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [CLIENT, *(name for name in project["optional-dependencies"] if name != "dev")]


def table(cells: list[Cell]) -> str:
    """A row for each extra, a column for each system: the Pythons for which all is there, and what is missing."""
    lines = [f"| extra | {' | '.join(SYSTEMS)} |", f"|---|{'---|' * len(SYSTEMS)}"]
    for extra in dict.fromkeys(cell.extra for cell in cells):
        texts = [_text([cell for cell in cells if (cell.extra, cell.system) == (extra, system)]) for system in SYSTEMS]
        lines.append(f"| {extra if extra == CLIENT else f'`{extra}`'} | {' | '.join(texts)} |")
    return "\n".join([*lines, *_footnotes(cells)]) + "\n"


def _text(cells: list[Cell]) -> str:
    """The Pythons of one extra on one system."""
    whole = [cell.python for cell in cells if not cell.missing]
    parts = [_span(whole)] if whole else []
    missing: dict[str, list[str]] = {}
    for cell in cells:
        if cell.missing:
            missing.setdefault(cell.missing, []).append(cell.python)
    for name, pythons in missing.items():
        parts.append(f"{f'not {_span(pythons)}' if whole else 'no'}: `{name}` has no wheel")
    return "; ".join(parts)


def _span(pythons: list[str]) -> str:
    return pythons[0] if len(pythons) == 1 else f"{pythons[0]} to {pythons[-1]}"


def _footnotes(cells: list[Cell]) -> list[str]:
    """Libraries of which an extra gets an older version on one system or Python than on another."""
    newest: dict[tuple[str, str], Version] = {}
    for cell in cells:
        for name, version in cell.versions.items():
            newest[cell.extra, name] = max(version, newest.get((cell.extra, name), version))
    older: dict[tuple[str, Version, Version], dict[str, set[str]]] = {}
    for cell in cells:
        for name, version in cell.versions.items():
            if version < (best := newest[cell.extra, name]):
                older.setdefault((name, version, best), {}).setdefault(cell.system, set()).add(cell.python)
    notes = []
    for (name, version, best), systems in sorted(older.items()):
        places = ", ".join(f"{system} ({_span(sorted(pythons))})" for system, pythons in systems.items())
        notes.append(f"- {name} {version} and not {best}: {places}.")
    return ["", "Older than elsewhere:", "", *notes] if notes else []


def with_table(page: str, text: str) -> str:
    """A page with the table between its marks.

    Raises:
        ValueError: it has not both marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} with {END} behind it")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def main() -> None:
    """Write the table into the page whose path is the argument, or print it."""
    cells = []
    for extra, system, python in product(extras(), SYSTEMS, PYTHONS):
        cells.append(resolve(extra, system, python))
        print(f"{extra} on {system}, Python {python}: {cells[-1].missing or 'all there'}", file=sys.stderr)
    if len(sys.argv) > 1:
        page = Path(sys.argv[1])
        page.write_text(with_table(page.read_text("utf-8"), table(cells)), "utf-8")
    else:
        sys.stdout.write(table(cells))


if __name__ == "__main__":
    main()
