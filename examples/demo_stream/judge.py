"""The judge: every answer on the output topic against the offline run of what was applied, to the bit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from examples.demo_stream.sensors import Message
from ostinato.service.catalogue.loading import load_offline
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.tools.service_settings import settings_of_the_service


@dataclass(frozen=True)
class Expected:
    """What a reading has to come to: the outputs by name, how surprising it was, and what began or ended with it.

    ``anomaly``: None where it is not known, or the model says nothing of it.
    """

    outputs: dict[str, float]
    anomaly: float | None
    events: list[dict[str, Any]]


@dataclass
class Verdict:
    """What was wrong: answers that lack, that nobody asked for, and that differ by a bit or more."""

    num_absent: int = 0
    num_strange: int = 0
    num_wrong: int = 0
    num_wrong_webhooks: int = 0

    @property
    def is_good(self) -> bool:
        return not (self.num_absent or self.num_strange or self.num_wrong or self.num_wrong_webhooks)


def offline(
    directory: Path, sent: Mapping[str, list[Message]], members: Mapping[str, str]
) -> dict[str, list[Expected]]:
    """The offline run of each sensor's messages. ``members``: feature -> member, where their names differ."""
    loaded = load_offline(directory, settings_of_the_service())
    manifest, runner = loaded.manifest, loaded.runner
    assert isinstance(runner, Runner)
    part, names = manifest.inputs[0], manifest.outputs[0].features
    found = {}
    for sensor, messages in sent.items():
        rows = np.array([_row(message.members, part, members) for message in messages], part.dtype)
        (outputs,), _ = run_offline(runner, rows[None])
        anomalies: list[float | None] = [None] * len(rows)
        events: dict[int, list[dict[str, Any]]] = {}
        if (watch := manifest.watch) is not None:
            watched = watch.see(watch.tracker.initial()[None], rows[None], outputs[None])
            anomalies = [None if np.isnan(each) else float(each) for each in watched.anomaly[0]]
            for event in watched.events_of(0, 0):
                events.setdefault(event["step"] - 1, []).append(_plain(event))
        found[sensor] = [
            Expected(dict(zip(names, outputs[place].tolist(), strict=True)), anomalies[place], events.get(place, []))
            for place in range(len(rows))
        ]
    return found


def judge(
    sent: Mapping[str, list[Message]],
    expected: Mapping[str, list[Expected]],
    answers: Iterable[bytes],
    webhooks: Iterable[Mapping[str, Any]],
) -> Verdict:
    """Hold what was published (without repeats), and what a receiver was told, to the offline run."""
    verdict = Verdict()
    due = {
        (sensor, message.seq): each
        for sensor, messages in sent.items()
        for message, each in zip(messages, expected[sensor], strict=True)
    }
    told = [_told(sensor, seq, event) for (sensor, seq), each in due.items() for event in each.events]
    for value in answers:
        answer = json.loads(value)
        wanted = due.pop((answer["key"], answer["offset"]), None)
        if wanted is None:
            verdict.num_strange += 1
            continue
        got = Expected(answer["outputs"], answer.get("anomaly"), [_plain(event) for event in answer.get("events", [])])
        verdict.num_wrong += not _is_same(got, wanted)
    verdict.num_absent = len(due)
    came = [_told(body["data"]["key"], body["data"]["offset"], body["data"]) for body in webhooks]
    verdict.num_wrong_webhooks = len(set(told) ^ set(came)) + len(came) - len(set(came))
    return verdict


def _is_same(got: Expected, wanted: Expected) -> bool:
    """Whether all numbers have the same bits; those of JSON have as many digits as tell them apart."""
    return (
        got.outputs.keys() == wanted.outputs.keys()
        and all(_bits(got.outputs[name]) == _bits(number) for name, number in wanted.outputs.items())
        and got.anomaly == wanted.anomaly
        and got.events == wanted.events
    )


def _bits(number: float | None) -> bytes:
    return np.float64(np.nan if number is None else number).tobytes()


def _row(given: Mapping[str, Any], part: Any, members: Mapping[str, str]) -> list[float]:
    """The model's input, a word as its code and what is missing as NaN."""
    row = []
    for feature in part.features:
        value = given[members.get(feature, feature)]
        words = (part.categories or {}).get(feature)
        row.append(np.nan if value is None else float(words.index(str(value)) if words else value))
    return row


def _told(sensor: str, seq: int, event: Mapping[str, Any]) -> tuple[Any, ...]:
    return (sensor, seq, event["event"], *(event.get(name) for name in ("step", "feature", "above", "below", "value")))


def _plain(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event without what is not known."""
    return {name: value for name, value in event.items() if value is not None and value == value}
