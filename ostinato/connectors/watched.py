"""Watched readings: what a calibrated model says of each, how surprising it was, and what began or ended with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

ToldEvent: TypeAlias = Mapping[str, Any]
"""What began or ended with a step: ``event``, ``step`` and what the service tells of it."""


@dataclass(slots=True)
class WatchedReadings:
    """Of N readings.

    Attributes:
        anomaly: float64 ``[N]``, NaN where it is not known.
        events: place -> what began and ended with it.
    """

    anomaly: NDArray[np.float64]
    events: dict[int, list[ToldEvent]] = field(default_factory=dict)

    @classmethod
    def unknown(cls, count: int) -> WatchedReadings:
        """Of readings of which nothing is said yet."""
        return cls(np.full(count, np.nan))

    def put(self, places: NDArray[np.int64], part: WatchedReadings) -> None:
        """What is said of some of the readings."""
        self.anomaly[places] = part.anomaly
        self.events.update({int(places[row]): told for row, told in part.events.items()})

    def part(self, first: int, end: int) -> WatchedReadings:
        """Those from ``first`` to before ``end``."""
        events = {place - first: told for place, told in self.events.items() if first <= place < end}
        return WatchedReadings(self.anomaly[first:end], events)

    def members(self, place: int) -> dict[str, Any]:
        """The members of a reading's answer."""
        anomaly = float(self.anomaly[place])
        told: dict[str, Any] = {"anomaly": None if math.isnan(anomaly) else anomaly}
        return told | ({"events": self.events[place]} if place in self.events else {})


def watched_of(table: pa.Table, bounds: NDArray[np.int32]) -> WatchedReadings | None:
    """What an answer in columns says of chunks, ``bounds`` as of ``KeyChunks``; None = the model is not calibrated.

    Raises:
        KeyError, ValueError: it is not about these chunks.
    """
    if "anomaly" not in table.column_names:
        return None
    watched = WatchedReadings.unknown(int(bounds[-1]))
    for chunk, numbers in enumerate(table.column("anomaly").to_pylist()):
        if numbers is not None:
            rows = slice(int(bounds[chunk]), int(bounds[chunk + 1]))
            told = numbers if isinstance(numbers, list) else [numbers]
            watched.anomaly[rows] = np.array(told, np.float64)  # null becomes NaN
    seqs = table.column("seq").to_pylist()
    for chunk, events in enumerate(table.column("events").to_pylist()):
        for event in events or ():
            row = int(bounds[chunk]) + event["step"] - seqs[chunk] - 1
            if not bounds[chunk] <= row < bounds[chunk + 1]:
                raise ValueError(f"an event of step {event['step']} in a chunk behind step {seqs[chunk]}")
            known = {name: value for name, value in event.items() if value is not None and value == value}
            watched.events.setdefault(row, []).append(known)
    return watched
