"""ReadingWatch: what sessions of a calibrated version keep count of, fed by rows of inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.calibration import Calibration
from ostinato.service.artifact.distribution import Doubles, TargetForecast
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Axis, Input, Output, State
from ostinato.service.artifact.tracking import Tracked, Tracker

WatchEvent = dict[str, Any]
"""``event``: ``anomaly_began``, ``anomaly_ended``, ``level_began`` or ``level_ended``; ``step``: behind so many
steps; and the ``anomaly`` (null at a step without one), or the crossing's ``feature``, its limit and the ``value``.
"""


class Watched(NamedTuple):
    """What the steps of a chunk, or of a block of rows, came to: anomalies ``[R, n]`` float64, NaN where there is none;
    events of each row, their steps counted from its first; and all that was tracked.
    """

    anomaly: Doubles
    events: dict[int, list[WatchEvent]]
    tracked: Tracked

    def of(self, rows: slice) -> Watched:
        """The part of some rows."""
        events = {row - rows.start: told for row, told in self.events.items() if rows.start <= row < rows.stop}
        return Watched(self.anomaly[rows], events, self.tracked.of(rows))

    def at_steps(self, steps: NDArray[Any] | None) -> Watched:
        """The same, with the anomalies of some steps alone; None = of all."""
        return self if steps is None else self._replace(anomaly=self.anomaly[:, steps])

    def events_of(self, row: int, seq: int) -> list[WatchEvent]:
        """The events of a row, whose session had ``seq`` steps before."""
        return [{**event, "step": event["step"] + seq} for event in self.events.get(row, ())]


class ReadingWatch:
    """What sessions keep count of.

    Attributes:
        calibration, tracker: by which they do.
        states: what a session has for it: what it keeps, and what it kept before the chunk applied last, from which
            that chunk's answer is told again.
    """

    def __init__(
        self,
        calibration: Calibration,
        forecasts: Sequence[TargetForecast],
        given: RowLayout[Input],
        made: RowLayout[Output],
    ) -> None:
        self.calibration = calibration
        by_name = {forecast.name: forecast for forecast in forecasts}
        self.tracker = Tracker(calibration, [by_name[target.name] for target in calibration.targets])
        self._given, self._made = given, made
        features = [feature for part in given.parts for feature in part.features]
        self._targets = [features.index(target.name) for target in calibration.targets]
        self._limited = [features.index(crossing.feature) for crossing in calibration.crossings]
        begin = self.tracker.initial().tolist()
        shape: tuple[Axis, ...] = ("B", self.tracker.width)
        self.states = tuple(
            State(name=name, input="", output="", shape=shape, dtype="float64", initial=begin, missing=True)
            for name in ("watch.now", "watch.before")
        )

    def see(self, kept: Doubles, inputs: NDArray[Any], outputs: NDArray[Any]) -> Watched:
        """Take ``n`` steps of R sessions in.

        Args:
            kept: what they keep, ``[R, width]``.
            inputs, outputs: rows of what was given and made, ``[R, n, width]``.
        """
        readings = _numbers(self._given, inputs)
        limited = readings[..., self._limited].astype(np.float64)
        numbers = _numbers(self._made, outputs)
        tracked = self.tracker.track(kept, readings[..., self._targets].astype(np.float64), limited, numbers)
        return Watched(tracked.anomaly, self._events(tracked, limited), tracked)

    def _events(self, tracked: Tracked, limited: Doubles) -> dict[int, list[WatchEvent]]:
        """What began and what ended, by row."""
        along = np.concatenate([tracked.before[:, None], tracked.flags], axis=1)
        changed = along[:, 1:] != along[:, :-1]
        events: dict[int, list[WatchEvent]] = {}
        for row, step, flag in zip(*(places.tolist() for places in changed.nonzero()), strict=True):
            has_begun = bool(tracked.flags[row, step, flag])
            what = "began" if has_begun else "ended"
            event: WatchEvent
            if flag == 0:
                event = {"event": f"anomaly_{what}", "anomaly": float(tracked.anomaly[row, step])}
            else:
                crossing = self.calibration.crossings[flag - 1]
                side = "above" if crossing.above is not None else "below"
                event = {"event": f"level_{what}", "feature": crossing.feature, side: crossing.limit}
                event["value"] = float(limited[row, step, flag - 1])
            events.setdefault(row, []).append({**event, "step": step + 1})
        return events


def check_watched(
    calibration: Calibration,
    forecasts: Sequence[TargetForecast],
    inputs: Sequence[Input],
    outputs: Sequence[Output],
) -> None:
    """Refuse a calibration of what sessions do not tell.

    Raises:
        ValueError: says what.
    """
    given = {feature: part for part in inputs for feature in part.features}
    known = {forecast.name for forecast in forecasts}
    named = [("target", target.name) for target in calibration.targets]
    named += [("crossing", crossing.feature) for crossing in calibration.crossings]
    for what, name in named:
        if name not in given or not given[name].dtype.startswith("float"):
            raise ValueError(f"calibration: {what} {name!r} is no input feature that is a number")
        if what == "target" and name not in known:
            raise ValueError(f"calibration: target {name!r} is none that the outputs forecast")
    names = [target.name for target in calibration.targets]
    if len(set(names)) != len(names) or sum(len(part.features) for part in inputs) != len(given):
        raise ValueError("calibration: each target and each input feature has a name of its own")
    has_steps = any(part.time_axis is not None for part in inputs)
    if any(part.delay or (has_steps and part.time_axis is None) for part in outputs):
        raise ValueError("calibration: outputs are of each step, without a delay")


def _numbers(layout: RowLayout[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """The numbers of rows ``[..., width]``, of all tensors behind each other."""
    return rows if layout.is_single else np.concatenate(layout.flat(rows), axis=-1)
