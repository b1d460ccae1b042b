from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO

import pytest

from ostinato.service import logs
from ostinato.service.config import Settings


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What the root logger's only handler writes."""
    stream, root = StringIO(), logging.getLogger()
    handlers, root.handlers = root.handlers, [logging.StreamHandler(stream)]
    level = logging.getLogger("ostinato").level
    yield stream
    root.handlers = handlers
    logging.getLogger("ostinato").setLevel(level)
    logging.captureWarnings(False)


def test_a_line_in_json_is_one_object_with_all_that_is_known(written: StringIO) -> None:
    logs.configure(Settings(log_format="json"))
    logger = logging.getLogger("ostinato.somewhere")
    logger.info('model %s: it\'s "here"\nand there', "lstm", extra={"request_id": "r-1", "seconds": 0.5, "other": 1})
    try:
        raise ValueError("a cause")
    except ValueError:
        logger.exception("it failed")
    first, second = map(json.loads, written.getvalue().splitlines())
    assert list(first) == ["timestamp", "level", "logger", "event", "pid", "request_id", "seconds"]
    assert first["event"] == 'model lstm: it\'s "here"\nand there'
    assert (first["level"], first["logger"], first["request_id"]) == ("info", "ostinato.somewhere", "r-1")
    assert first["timestamp"].endswith("Z")
    assert "ValueError: a cause" in second["exception"]


def test_it_may_be_asked_for_again(written: StringIO) -> None:
    for _ in range(3):
        logs.configure(Settings(log_format="json"))
    logging.getLogger("ostinato").warning("once")
    [line] = written.getvalue().splitlines()
    assert json.loads(line)["event"] == "once"


@pytest.mark.parametrize(("level", "told"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_lines_are_written_from_a_level_on(written: StringIO, level: str, told: int) -> None:
    logs.configure(Settings(log_level=level))  # type: ignore[arg-type]
    logger = logging.getLogger("ostinato.any")
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logger.log(number, "a line")
    assert written.getvalue() == "a line\n" * told


def test_nothing_in_a_line_is_obeyed_by_a_terminal(written: StringIO) -> None:
    for _ in range(2):
        logs.configure(Settings())
    logging.getLogger("another.library").error("it said %s\x9b", "\x1b]0;title\x07 and\r\nwent on")
    assert written.getvalue() == "it said \\x1b]0;title\\x07 and\\r\nwent on\\x9b\n"


def test_text_needs_no_library(monkeypatch: pytest.MonkeyPatch, written: StringIO) -> None:
    monkeypatch.setitem(sys.modules, "structlog", None)
    logs.configure(Settings())
    logging.getLogger("ostinato").info("plain")
    assert written.getvalue() == "plain\n"
