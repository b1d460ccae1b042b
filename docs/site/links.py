"""Links of pages, on the site: to another page there, or to the public repository for what lies elsewhere."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

PAGES_OF_THE_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files next to ``docs/``, and the pages of the site that show them."""

_FENCED = re.compile(r"^(```+).*\n(?:.*\n)*?\1 *$", re.MULTILINE)
_LINK = re.compile(r"(?P<before>!?\[(?P<text>(?:[^\[\]]|\[[^\]]*\]\([^)]*\))*)\])\((?P<target>[^)\s]+)\)")
_OUTSIDE = re.compile(r"[a-z]+:|#")


def repository() -> str | None:
    """The address of the public repository, of pyproject.toml; none where it names none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    address: str | None = project.get("urls", {}).get("Repository")
    return address


def outside_blocks(text: str, change: Callable[[str], str]) -> str:
    """A page whose fenced blocks are as they were, and the rest changed."""
    parts = []
    end = 0
    for block in _FENCED.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join((*parts, change(text[end:])))


def with_links_of_the_site(text: str, folder: Path, address: str | None) -> str:
    """A page in which each link leads somewhere from the site.

    Args:
        text: the page.
        folder: the folder from which its links are written.
        address: the public repository's; links to files that are not on the site become plain text without one.
    """

    def change(link: re.Match[str]) -> str:
        target = link["target"]
        if _OUTSIDE.match(target):
            return link[0]
        place, _, anchor = target.partition("#")
        if (folder / place).resolve() == DOCS:
            return f"{link['before']}(server:docs)"
        path = os.path.relpath((folder / place).resolve(), ROOT)
        mark = f"#{anchor}" if anchor else ""
        if path in PAGES_OF_THE_ROOT:
            page = PAGES_OF_THE_ROOT[path]
            return f"{link['before']}({page}{'' if page == 'index.md' else mark})"
        if path.startswith("docs/"):
            return f"{link['before']}({path.removeprefix('docs/')}{mark})"
        if address is None:
            return link["text"]
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{link['before']}({address}/{kind}/main/{path}{mark})"

    return outside_blocks(text, lambda prose: _LINK.sub(change, prose))
