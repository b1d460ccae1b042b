"""The reference of all settings: the tables of docs/configuration.md, made of the settings themselves."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ostinato.service.config import Traits

BEGIN, END = "<!-- settings -->", "<!-- end of the settings -->"


def with_settings(page: str) -> str:
    """A page in which the tables are between the two marks, whatever was there.

    Raises:
        ValueError: it has not both marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no {BEGIN} with {END} after it")
    return f"{before}{BEGIN}\n\n{settings_tables()}\n{END}{after}"


def settings_tables() -> str:
    """A heading and a table for each topic."""
    from ostinato.service.config import Settings, traits_of

    parts = []
    for topic, settings in groupby(traits_of(Settings.model_fields).values(), lambda each: each.topic):
        rows = "".join(f"{_row(each)}\n" for each in settings)
        parts.append(f"### {topic.value}\n\n| setting | default | bounds | what it is |\n|---|---|---|---|\n{rows}")
    return "\n".join(parts)


def _row(traits: Traits) -> str:
    names = f"`{traits.name}`<br>`{traits.flag}`<br>`{traits.variable}`"
    default = traits.default if traits.is_left_out else f"`{traits.default}`"
    secret = f" May be a secret: `{traits.name}_file` names a file that holds it." if traits.is_secret else ""
    return f"| {names} | {default} | {traits.bounds} | {_escaped(traits.text)}{secret} |"


def _escaped(text: str) -> str:
    """Text that has nothing for Markdown to read."""
    for sign in "\\<>*|_":
        text = text.replace(sign, f"\\{sign}")
    return text


def main() -> None:
    """Write the tables into the page whose path is the argument."""
    page = Path(sys.argv[1])
    page.write_text(with_settings(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
