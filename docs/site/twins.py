"""Twins of the site's pages in Markdown, and what programs that read text ask for first: llms.txt, llms-full.txt."""

from __future__ import annotations

import re
from pathlib import Path

from docs.site.links import DOCS
from docs.site.pages import INDEX, navigation, plain_page

LEFT_OUT = "Project"
"""The group of the navigation that llms-full.txt has not: how the project is made, and what it was."""


def write_twins(folder: Path) -> None:
    """Write ``<page>.md`` next to each ``<page>.html`` of a built site, and llms.txt and llms-full.txt."""
    for page in sorted(DOCS.glob("*.md")):
        text = plain_page(page.stem).replace("](server:docs)", "](../docs)").replace("](images/", "](_images/")
        (folder / page.name).write_text(text, "utf-8")
    index = plain_page(INDEX)
    (folder / "llms.txt").write_text(short_list(index), "utf-8")
    groups = navigation(index)
    names = [INDEX, *(entry.name for group, entries in groups.items() if group != LEFT_OUT for entry in entries)]
    texts = ((folder / f"{name}.md").read_text("utf-8").strip() for name in names)
    (folder / "llms-full.txt").write_text("\n\n".join(texts) + "\n", "utf-8")


def short_list(index: str) -> str:
    """An index in the form of llmstxt.org: the title, one sentence, and groups of links to the twins."""
    title = re.search(r"^# (.+)$", index, re.MULTILINE)
    sentence = re.search(r"^> (.+(?:\n> .+)*)$", index, re.MULTILINE)
    assert title is not None, "the index has no title"
    assert sentence is not None, "the index has no sentence that begins with '> '"
    parts = [f"# {title[1]}\n\n> {' '.join(sentence[1].replace(chr(10) + '>', '').split())}\n"]
    for group, entries in navigation(index).items():
        lines = (f"- [{each.title}]({each.name}.md){': ' * bool(each.told)}{each.told}\n" for each in entries)
        parts.append(f"## {group}\n\n{''.join(lines)}")
    return "\n".join(parts)
