"""Notices: events of answered readings as messages for a receiver.

Each has an id that is the same whenever its reading is answered again, so that a receiver can drop what comes twice.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ostinato.connectors.arrivals import Released
from ostinato.connectors.features import ReadingFeatures
from ostinato.connectors.links import link_of
from ostinato.connectors.watched import ToldEvent
from ostinato.connectors.webhook_settings import WebhookSettings


class EventNotice(NamedTuple):
    """A message to a receiver: where its reading is, and its body as JSON."""

    id: str
    partition: str
    offset: int
    key: str
    body: bytes


class NoticeForm:
    """Writes notices. ``service``: its address, for links."""

    def __init__(
        self, settings: WebhookSettings, features: ReadingFeatures, service: str, session_id: Callable[[str], str]
    ) -> None:
        self._events = frozenset(settings.events)
        self._link = settings.link
        self._features = features
        self._service = service.rstrip("/")
        self._session_id = session_id

    def write(self, part: Released, outputs: Any, events: Mapping[int, Sequence[ToldEvent]]) -> list[EventNotice]:
        """The notices of a partition's readings.

        Args:
            outputs: ``[n, O]``, of each reading.
            events: place among them -> what began and ended with it.
        """
        return [
            self._notice(part, place, outputs[place].tolist(), event)
            for place, told in sorted(events.items())
            for event in told
            if not self._events or event["event"] in self._events
        ]

    def _notice(self, part: Released, place: int, outputs: list[float], event: ToldEvent) -> EventNotice:
        key, offset, features = part.keys[place], part.offsets[place], self._features
        told = {name: value for name, value in event.items() if value is not None}
        about = {
            "session": self._session_id(key),
            "model": features.model,
            "version": features.version,
            "key": key,
            "source": part.partition,
            "offset": offset,
        }
        where = {name: str(value) for name, value in about.items()}
        data = {
            **told,
            **about,
            **({"time": part.shown_times[place]} if part.shown_times else {}),
            "reading": _by_name(features.names, part.inputs[place].tolist()),
            "forecast": _by_name(features.outputs, outputs),
            "link": link_of(self._link, {**where, "event": told["event"], "service": self._service}),
        }
        body = {"type": told["event"], "data": data}
        # Levels of several features, or limits, may be crossed by one reading.
        kind = [told["event"], *(told.get(name) for name in ("feature", "above", "below"))]
        return EventNotice(_id_of([about, kind]), part.partition, offset, key, json.dumps(body).encode())


def _id_of(parts: Any) -> str:
    """An id without the full stop, which the signature puts behind it."""
    return f"msg_{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]}"


def _by_name(names: Sequence[str], values: Sequence[float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in zip(names, values, strict=True)}
