"""Readme of a distribution: an index shows it alone, so its links lead to the public repository or are plain text."""

from __future__ import annotations

import re

from docs.site.links import outside_blocks

_PICTURE = re.compile(r"^!\[[^\]]*\]\((?![a-z]+:)[^)\s]+\)\n\n?", re.MULTILINE)
_LINK = re.compile(r"(?P<before>!?\[(?P<text>[^\[\]]*)\])\((?P<target>(?![a-z]+:|#)[^)\s]+)\)")


def readme_of_index(text: str, address: str | None) -> str:
    """``README.md`` as an index shows it.

    Args:
        text: as it is in the repository.
        address: the public repository's; without one pictures are left out, and links become plain text.
    """

    def change(prose: str) -> str:
        if address is None:
            return _LINK.sub(r"\g<text>", _PICTURE.sub("", prose))
        return _LINK.sub(lambda link: f"{link['before']}({_place(link, address)})", prose)

    return outside_blocks(text, change)


def _place(link: re.Match[str], address: str) -> str:
    kind = "raw" if link["before"].startswith("!") else "blob"
    return f"{address}/{kind}/main/{link['target']}"
