"""Links from an event to what it is about: a template with names in braces."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from ostinato.errors import InputError

NAMES = ("service", "session", "key", "model", "version", "source", "offset", "event")
_NAME = re.compile(r"\{(\w*)\}")


def check_template(place: str, template: str) -> None:
    """Refuse a template with another name in it.

    Raises:
        InputError: it says which there are.
    """
    for name in _NAME.findall(template):
        if name not in NAMES:
            raise InputError(f"{place}: there is no {{{name}}}; there is {', '.join(f'{{{one}}}' for one in NAMES)}")


def link_of(template: str, values: Mapping[str, str]) -> str:
    """The link: ``service`` as it is, all else as a part of an address."""
    return _NAME.sub(
        lambda found: (
            values[found[1]] if found[1] == "service" else quote(values[found[1]], safe="~", errors="surrogateescape")
        ),
        template,
    )
