"""Inline parts of built pages, moved to files: scripts and styles that are written into a page would need a policy
that allows any.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import partial
from pathlib import Path

_PART = re.compile(r"<(?P<kind>script|style)>(?P<content>.*?)</(?P=kind)>", re.DOTALL)
_ATTRIBUTE = re.compile(r' style="([^"]*)"')
PRESENTED = {"opacity: 50%": ' opacity="0.5"', "display: none;": ' width="0" height="0"'}
"""Styles of the theme's drawings, and the attributes that say the same."""


def move_inline_parts(folder: Path) -> None:
    """Move what is written into the pages of a built site to files of its ``_static``.

    Raises:
        ValueError: a page has a style that nobody knows how to say otherwise.
    """
    for page in sorted(folder.rglob("*.html")):
        text = page.read_text("utf-8")
        moved = _PART.sub(partial(_move, folder, page), text)
        moved = _ATTRIBUTE.sub(partial(_present, page), moved)
        if moved != text:
            page.write_text(moved, "utf-8")


def _move(folder: Path, page: Path, part: re.Match[str]) -> str:
    content = part["content"].strip() + "\n"
    end = "js" if part["kind"] == "script" else "css"
    file = folder / "_static" / f"{hashlib.sha256(content.encode()).hexdigest()[:8]}.{end}"
    file.write_text(content, "utf-8")
    place = os.path.relpath(file, page.parent)
    return f'<script src="{place}"></script>' if end == "js" else f'<link rel="stylesheet" href="{place}">'


def _present(page: Path, found: re.Match[str]) -> str:
    style = found[1]
    if style not in PRESENTED:
        raise ValueError(f"{page.name} has style={style!r} written into it, which the site's policy forbids")
    return PRESENTED[style]
