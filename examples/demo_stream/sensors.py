"""Sensors: the held-out year as several devices would send it, with gaps, duplicates, late readings and spikes, by a
seed.
"""

from __future__ import annotations

import csv
import json
import lzma
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

DATA = Path(__file__).parents[1] / "beijing_pm25" / "beijing_pm25_hourly.csv.xz"
FIRST_YEAR = "2014"
START = datetime(2014, 1, 1, tzinfo=UTC)
WORDS = ("cbwd",)
TARGET = "pm2.5"

Members: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Message:
    """What a sensor sends. ``members``: of the JSON, with ``sensor``, ``seq`` (its count) and ``time``."""

    members: Members

    @property
    def sensor(self) -> str:
        return str(self.members["sensor"])

    @property
    def seq(self) -> int:
        return int(self.members["seq"])

    @property
    def value(self) -> bytes:
        """As it is published."""
        return json.dumps(self.members).encode()


@dataclass
class Traffic:
    """All that is sent, in its order, and what was done to it on the way."""

    messages: list[Message] = field(default_factory=list)
    num_missing: int = 0
    num_spikes: int = 0


@dataclass(frozen=True)
class Sensors:
    """How sensors misbehave: each share is of all readings.

    ``late_hours``: how much later a late reading comes. ``spike``: what is added to the target.
    """

    count: int = 6
    num_hours: int = 400
    seed: int = 7
    gaps: float = 0.01
    duplicates: float = 0.03
    late: float = 0.02
    late_hours: int = 3
    spikes: float = 0.01
    spike: float = 250.0

    def traffic(self) -> Traffic:
        """What they send."""
        traffic = Traffic()
        names = [f"station-{number + 1}" for number in range(self.count)]
        draws = {name: random.Random(f"{self.seed} {name}") for name in names}
        held: list[tuple[int, Message]] = []
        silent_until = dict.fromkeys(names, 0)
        for hour, row in enumerate(held_out_rows(self.num_hours)):
            for name in names:
                draw = draws[name]
                if silent_until[name] <= hour and draw.random() < self.gaps:
                    silent_until[name] = hour + draw.randint(1, 6)
                message = self._message(name, hour, row, draw, traffic)
                if hour < silent_until[name]:
                    traffic.num_missing += 1
                elif draw.random() < self.late:
                    held.append((hour + self.late_hours, message))
                else:
                    traffic.messages += [message] * (1 + (draw.random() < self.duplicates))
            traffic.messages += [message for due, message in held if due == hour]
            held = [each for each in held if each[0] > hour]
        traffic.messages += [message for _, message in held]
        return traffic

    def _message(self, name: str, hour: int, row: Members, draw: random.Random, traffic: Traffic) -> Message:
        """A sensor reads the target with an error of its own, and now and then something quite different."""
        value = row[TARGET]
        if value is not None:
            value = max(0.0, round(value * draw.uniform(0.9, 1.1), 1))
            if draw.random() < self.spikes:
                value += self.spike
                traffic.num_spikes += 1
        time = (START + timedelta(hours=hour)).isoformat()
        return Message({"sensor": name, "seq": hour, "time": time, **row, TARGET: value})


def held_out_rows(count: int) -> Iterator[Members]:
    """The first hours of the year that no network learned from; None = missing."""
    with lzma.open(DATA, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["year"] < FIRST_YEAR or count <= 0:
                continue
            count -= 1
            yield {
                name: cell if name in WORDS else None if cell == "NA" else float(cell)
                for name, cell in row.items()
                if name not in ("No", "year", "month", "day")
            } | {"hour": int(row["hour"])}


def applied(messages: list[Message]) -> tuple[dict[str, list[Message]], int, int]:
    """What the late rule lets through of each sensor's messages, in order; how many came twice, and how many late."""
    kept: dict[str, list[Message]] = {}
    num_repeated = num_late = 0
    for message in messages:
        own = kept.setdefault(message.sensor, [])
        if own and message.seq == own[-1].seq:
            num_repeated += 1
        elif own and message.seq < own[-1].seq:
            num_late += 1
        else:
            own.append(message)
    return kept, num_repeated, num_late
