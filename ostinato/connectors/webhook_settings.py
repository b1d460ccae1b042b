"""Settings of webhooks: ``[webhook]`` of a connector's file."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ostinato.connectors.bounds import nearest, seconds, within
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
    timeout_seconds: float = seconds(10.0)
    retry_seconds: float = within(86_400.0, 0.0, 366 * 86_400.0)
    max_waiting: int = within(10_000, 1, 1_000_000_000)


def check_webhook(settings: WebhookSettings) -> None:
    """Refuse what no single member tells.

    Raises:
        InputError: it says what.
    """
    try:
        parts = urlsplit(settings.url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")  # as it is looked up
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
            raise InputError(f"[webhook] events: {name!r} is none; {nearest(name, EVENTS)}")
    check_template("[webhook] link", settings.link)
