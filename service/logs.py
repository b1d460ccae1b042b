"""The log: its lines as text or in JSON, from one level on, for everything that writes one in this process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import msgspec

from ostinato.printable import printable
from ostinato.service.config import Settings

FIELDS = (
    "request_id",
    "trace_id",
    "method",
    "path",
    "route",
    "status",
    "seconds",
    "bytes",
    "client",
    "key",
    "tenant",
    "settings",
)
"""What lines may have beside their words; in JSON each is a member."""
_OTHERS = ("bentoml", "uvicorn.error", "circus")
"""Loggers with handlers of their own, in a server of BentoML's."""


def configure(settings: Settings) -> None:
    """Have every line of this process written as the settings want it; again, once BentoML has set its own up."""
    logging.getLogger("ostinato").setLevel(settings.log_level.upper())
    # uvicorn words an access line for each request as long as its logger leads to any handler.
    logging.getLogger("uvicorn.access").propagate = False
    if settings.log_format == "text":
        for handler in _handlers():
            if not any(isinstance(each, _Printable) for each in handler.filters):
                handler.addFilter(_Printable())
        return
    logging.captureWarnings(True)
    formatter = _json_formatter()
    for handler in _handlers():
        # BentoML's own filter puts names of its own into the members that are ours.
        handler.filters.clear()
        handler.setFormatter(formatter)


class _Printable(logging.Filter):
    """Takes what a terminal would obey out of lines, which may quote what somebody sent."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if (plain := printable(text)) != text:
            record.msg, record.args = plain, None
        return True


def _handlers() -> Iterator[logging.Handler]:
    for name in (None, *_OTHERS):
        yield from logging.getLogger(name).handlers


def _json_formatter() -> logging.Formatter:
    import structlog

    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(FIELDS),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _in_order,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
    )


def _in_order(_: Any, __: str, line: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """The members that every line has first."""
    first = {name: line.pop(name) for name in ("timestamp", "level", "logger", "event")}
    return {**first, "pid": os.getpid(), **line}


def _dumps(line: Mapping[str, Any], **_: Any) -> str:
    return msgspec.json.encode(line, enc_hook=str).decode()
