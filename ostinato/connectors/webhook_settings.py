"""Settings of webhooks: ``[webhook]`` of a connector's file."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ostinato.connectors.links import check_template
from ostinato.errors import InputError

EVENTS = ("anomaly_began", "anomaly_ended", "level_began", "level_ended")
SESSION_LINK = "{service}/v1/sessions/{session}"


@dataclass(frozen=True)
class WebhookSettings:
    """``[webhook]``: who is told of events.

    ``url``: never shown whole, as those of many receivers are secrets. ``events``: those that are sent; empty = all.
    ``outbox``: the file in which events wait. ``max_waiting``: so many of them; more go to the dead letters.
    ``retry_seconds``: for which an event is tried, and then goes to the dead letters.
    """

    url: str = field(repr=False)
    secret_file: str
    events: tuple[str, ...] = ()
    link: str = SESSION_LINK
    outbox: str = "webhooks.db"
    timeout_seconds: float = 10.0
    retry_seconds: float = 86_400.0
    max_waiting: int = 10_000


def check_webhook(settings: WebhookSettings) -> None:
    """Refuse what no single member tells.

    Raises:
        InputError: it says what.
    """
    try:
        parts = urlsplit(settings.url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if (
        not is_whole
        or "@" in parts.netloc
        or not (settings.url.isascii() and settings.url.isprintable() and " " not in settings.url)
    ):
        raise InputError("[webhook] url: not http://HOST/PATH or https://HOST/PATH, without a name and password in it")
    for name in settings.events:
        if name not in EVENTS:
            raise InputError(f"[webhook] events: {name!r} is none; {_nearest(name, EVENTS)}")
    check_template("[webhook] link", settings.link)
    for name, value, least in (
        ("timeout_seconds", settings.timeout_seconds, 0.01),
        ("retry_seconds", settings.retry_seconds, 0.0),
        ("max_waiting", settings.max_waiting, 1),
    ):
        if not least <= value < 1e9:
            raise InputError(f"[webhook] {name}: {value} is not from {least} on")


def _nearest(name: str, names: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, names, 2, 0.5) or names
    return f"did you mean {' or '.join(found)}?"
