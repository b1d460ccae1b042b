"""The demo of streams, in short: two kills, and all that is on the topic is as the offline run has it."""

from __future__ import annotations

import io
import itertools
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from examples.demo_stream.judge import Expected, judge
from examples.demo_stream.play import Plan, play
from examples.demo_stream.processes import mosquitto
from examples.demo_stream.prometheus import prometheus
from examples.demo_stream.sensors import Sensors, applied
from ostinato.errors import CommandError
from tests import forecast_networks

pytestmark = pytest.mark.xdist_group("connectors")


def test_the_short_demo_keeps_its_promise(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    forecast_networks.write(repository, calibration=forecast_networks.calibration())
    sensors = Sensors(count=4, num_hours=60, late=0.05)
    plan = Plan(repository, "loads", sensors, {"load": "pm2.5"}, readings_per_second=60.0)
    told = io.StringIO()
    is_good = play(plan, tmp_path, Console(file=told, width=120))
    assert is_good, told.getvalue()
    counts = {name.strip(): value.strip() for name, value in re.findall("│([^│]+)│([^│]+)│", told.getvalue())}
    assert int(counts["anomalies that began"]) > 5
    assert int(counts["webhooks, signed"]) > 10
    assert counts["answers on the topic"] == counts["readings applied"]
    assert 0 < int(counts["answers of the connector"]) <= int(counts["answers on the topic"]), "as Prometheus saw them"
    assert int(counts["scrapes, of both"]) > int(counts["scrapes that found nobody"])


def test_sensors_misbehave_as_the_seed_has_it() -> None:
    traffic = Sensors(num_hours=200).traffic()
    assert [message.value for message in traffic.messages] == [
        message.value for message in Sensors(num_hours=200).traffic().messages
    ]
    sent, num_repeated, num_late = applied(traffic.messages)
    assert num_repeated > 5
    assert num_late > 5
    assert traffic.num_missing > 5
    assert traffic.num_spikes > 5
    for messages in sent.values():
        assert all(one.seq < two.seq for one, two in itertools.pairwise(messages))
    assert sum(map(len, sent.values())) + num_repeated + num_late == len(traffic.messages)


def test_the_judge_sees_a_wrong_bit_and_what_lacks_or_is_strange() -> None:
    sent, _, _ = applied(Sensors(count=1, num_hours=12, gaps=0, late=0).traffic().messages)
    [(sensor, messages)] = sent.items()
    began = {"event": "anomaly_began", "step": 3, "anomaly": 0.995}
    expected = {sensor: [Expected({"y": 0.5}, 0.25, [began] if place == 2 else []) for place in range(len(messages))]}
    answers = [{"key": sensor, "offset": message.seq, "outputs": {"y": 0.5}, "anomaly": 0.25} for message in messages]
    answers[2]["events"] = [began]
    webhook = {"data": {"key": sensor, "offset": messages[2].seq, **began}}

    def verdict(told: list[dict[str, Any]], webhooks: list[Any]) -> tuple[int, ...]:
        found = judge(sent, expected, [json.dumps(each).encode() for each in told], webhooks)
        return found.num_absent, found.num_strange, found.num_wrong, found.num_wrong_webhooks

    assert verdict(answers, [webhook]) == (0, 0, 0, 0)
    assert verdict(answers[1:], [webhook]) == (1, 0, 0, 0)
    assert verdict([*answers, {**answers[0], "offset": 99}], [webhook]) == (0, 1, 0, 0)
    wrong = {**answers[0], "outputs": {"y": math.nextafter(0.5, 1)}}
    assert verdict([wrong, *answers[1:]], [webhook]) == (0, 0, 1, 0)
    assert verdict([{**answers[0], "anomaly": None}, *answers[1:]], [webhook]) == (0, 0, 1, 0)
    assert verdict(answers, []) == (0, 0, 0, 1)
    assert verdict(answers, [webhook, webhook]) == (0, 0, 0, 1)


def test_without_a_broker_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(CommandError, match="mosquitto is not on PATH: install it, on Debian and Ubuntu by `apt-get"):
        mosquitto(tmp_path, 1)
    assert prometheus(tmp_path, {}) is None, "then the demo reads /metrics by itself"
