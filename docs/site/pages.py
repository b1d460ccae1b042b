"""Pages as Sphinx reads them: links of the site, files that they include, and the navigation, made of the index."""

from __future__ import annotations

import re
from dataclasses import dataclass

from docs.site.links import DOCS, ROOT, repository, with_links_of_the_site

INDEX = "index"

_INCLUDED = re.compile(r"^<!-- include: \.\./([\w.]+) -->$", re.MULTILINE)
_SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n?)*)", re.MULTILINE)
_ENTRY = re.compile(r"^- \[([^\]]+)\]\(([\w-]+)\.md\)(?:: (.*(?:\n  .*)*))?$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """A page in the navigation: ``title`` is what it is called there, ``told`` what it is about."""

    title: str
    name: str
    told: str


def plain_page(name: str) -> str:
    """A page of the site in plain Markdown, whose links lead to other such pages."""
    text = (DOCS / f"{name}.md").read_text("utf-8")
    if included := _INCLUDED.search(text):
        return with_links_of_the_site((ROOT / included[1]).read_text("utf-8"), ROOT, repository())
    return with_links_of_the_site(text, DOCS, repository())


def read_page(name: str) -> str:
    """A page for MyST: the index has a hidden ``toctree`` for each of its sections that lists pages."""
    text = plain_page(name)
    if name != INDEX:
        return text
    return text + "".join(
        f"\n```{{toctree}}\n:hidden:\n:caption: {group}\n\n"
        + "".join(f"{entry.title} <{entry.name}>\n" for entry in entries)
        + "```\n"
        for group, entries in navigation(text).items()
    )


def navigation(index: str) -> dict[str, list[Entry]]:
    """The groups of pages that an index has: ``- [title](name.md): what it is about`` below a heading."""
    groups = {
        heading: [Entry(title, name, " ".join((told or "").split())) for title, name, told in _ENTRY.findall(section)]
        for heading, section in _SECTION.findall(index)
    }
    return {heading: entries for heading, entries in groups.items() if entries}
