"""Notices: an event's message has all that it is about, and an id of its own that stays the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ostinato.connectors.arrivals import Released
from ostinato.connectors.features import ReadingFeatures
from ostinato.connectors.notices import NoticeForm
from ostinato.connectors.webhook_settings import WebhookSettings
from tests.ostinato.connectors.examples import features

BEGAN = {"event": "anomaly_began", "anomaly": 0.996, "step": 8}
LEVELS = [{"event": "level_began", "feature": "x", "above": limit, "value": 4.0, "step": 8} for limit in (2.0, 3.0)]


def form(of: ReadingFeatures | None = None, **settings: Any) -> NoticeForm:
    given = WebhookSettings(url="http://h/", secret_file="s", **settings)
    return NoticeForm(given, of or features(missing=True), "http://service:3000/", lambda key: f"p-{key}")


def part() -> Released:
    inputs = np.array([[4, 1], [np.nan, 2]], np.float32)
    return Released("t/3", [41, 42], [41, 42], ["pump", "fan"], ["2026-01-01T00:00", 7], inputs, [])


def test_a_notice_tells_what_it_is_about() -> None:
    outputs = np.array([[0.1], [0.25]], np.float32)
    [notice] = form().write(part(), outputs, {1: [BEGAN | {"feature": None}]})
    assert json.loads(notice.body) == {
        "type": "anomaly_began",
        "data": {
            "event": "anomaly_began",
            "anomaly": 0.996,
            "step": 8,
            "session": "p-fan",
            "model": "m",
            "version": "1",
            "key": "fan",
            "source": "t/3",
            "offset": 42,
            "time": 7,
            "reading": {"x": None, "y": 2.0},
            "forecast": {"z": 0.25},
            "link": "http://service:3000/v1/sessions/p-fan",
        },
    }
    assert (notice.partition, notice.offset, notice.key) == ("t/3", 42, "fan")


def test_an_id_is_the_same_each_time_and_of_one_event_alone() -> None:
    outputs = np.zeros((2, 1), np.float32)
    told = {0: [BEGAN, *LEVELS, {**BEGAN, "event": "anomaly_ended"}], 1: [BEGAN]}
    first = [notice.id for notice in form().write(part(), outputs, told)]
    assert [notice.id for notice in form().write(part(), outputs + 1, told)] == first
    assert len(set(first)) == 5
    assert not any("." in own_id for own_id in first)


@pytest.mark.parametrize(("events", "count"), [((), 3), (("level_began",), 2), (("level_ended",), 0)])
def test_only_events_that_are_asked_for_are_told(events: tuple[str, ...], count: int) -> None:
    outputs = np.zeros((2, 1), np.float32)
    assert len(form(events=events).write(part(), outputs, {0: [BEGAN, *LEVELS]})) == count
