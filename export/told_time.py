"""Told time: a version whose manifest says how its steps lie in time, as its training or its user tells it."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ostinato.export.errors import ExportError
from ostinato.export.version_directory import Exported
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.series_time import SeriesTime

LOCAL_CLOCK = "its times are those of a local clock, so sessions take no times ('at'): --zone tells which clock"

TOLD_BY = "--time-step, --zone, --origin and --interval"


@dataclass(frozen=True)
class ToldTime:
    """What a user tells of a version's time; empty = nothing.

    ``step``: in words, as ``1 hour``. ``zone``: an IANA name. ``interval``: of an irregular series, the feature that
    holds the time since the step before, and perhaps its unit and what it is at first: ``FEATURE[:UNIT[:FIRST]]``.
    ``origin``: a step by the zone's clock; months that begin with the last of one end with each. ``max_fill``: how many
    steps are filled in; None = as many as ever.
    """

    step: str = ""
    zone: str = ""
    interval: str = ""
    origin: str = ""
    max_fill: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is told."""
        return self == ToldTime()

    def check(self) -> None:
        """Refuse what cannot be, before anything is exported.

        Raises:
            ExportError: says what.
        """
        step = self.step or ("" if self.interval else "1 day")
        try:
            SeriesTime(step=step, **self.members())
        except ValidationError as error:
            raise ExportError(f"{faults_of(error)} ({TOLD_BY} tell it)") from error

    def members(self) -> dict[str, Any]:
        """What the manifest has of it, whatever the training found."""
        members: dict[str, Any] = {"zone": self.zone}
        if self.interval:
            members["interval"] = _interval(self.interval)
        if self.origin:
            origin = _origin(self.origin)
            is_end = origin.day == monthrange(origin.year, origin.month)[1]
            members |= {"origin": origin, "day": 31 if is_end else 0}
        if self.max_fill is not None:
            members["max_fill_steps"] = self.max_fill
        return members


def with_time(exported: Exported, told: ToldTime) -> Exported:
    """The same version with a time, where its training had one or the user tells one.

    A training by a clock that is not UTC's needs the zone: without it nobody knows when its steps are, and the version
    has no time, which its notes say.

    Raises:
        ExportError: what is told fits neither the version nor itself. The version stays as it is.
    """
    trained, step = _trained(exported.manifest)
    if told.is_empty and not (trained and step):
        return exported
    if trained.get("is_local") and not told.zone:
        if told.is_empty:
            return _noted(exported, LOCAL_CLOCK)
        raise ExportError("the training's times are those of a local clock: --zone tells which, as Europe/Berlin")
    time: dict[str, Any] = {"calendar": dict(trained.get("calendar", {}))}
    if not told.step or told.step == step:
        time |= {key: trained[key] for key in ("origin", "day") if key in trained}
    time |= told.members()
    if told.interval:
        time["calendar"].pop(time["interval"]["feature"], None)
    if told.step or not told.interval:
        time["step"] = told.step or step or ""
    members = {**exported.manifest.model_dump(), "time": time}
    members.pop("batch_invariant", None)  # which follows from the promise
    try:
        manifest = Manifest(**members)
    except ValidationError as error:
        faults = faults_of(error)
        if told.is_empty:
            return _noted(exported, f"sessions take no times ('at'): {faults}")
        raise ExportError(f"{faults} ({TOLD_BY} tell it); the version was exported without a time") from error
    manifest.write(exported.directory)
    proof = replace(exported.proof, notes=tuple(note for note in exported.proof.notes if note != LOCAL_CLOCK))
    return replace(exported, manifest=manifest, proof=proof)


def _trained(manifest: Manifest) -> tuple[dict[str, Any], str | None]:
    """What the training found of the time of its series, and the step in words."""
    data = manifest.provenance.get("data")
    times = manifest.inputs[0].times if len(manifest.inputs) == 1 else None
    found = data.get("time") if isinstance(data, dict) else None
    return dict(found or {}), None if times is None else times.step


def _interval(text: str) -> dict[str, Any]:
    feature, _, rest = text.partition(":")
    unit, _, first = rest.partition(":")
    interval: dict[str, Any] = {"feature": feature, **({"unit": unit} if unit else {})}
    if first:
        try:
            interval["first"] = float(first)
        except ValueError as error:
            raise ExportError(f"--interval {text}: {first!r} is no number; write FEATURE:UNIT:FIRST") from error
    return interval


def _origin(text: str) -> datetime:
    try:
        origin = datetime.fromisoformat(text)
    except ValueError as error:
        raise ExportError(f"--origin {text}: it is no time as 2026-01-05 or 2026-01-05T06:00") from error
    if origin.tzinfo is not None:
        raise ExportError(f"--origin {text}: it is told by the clock of --zone, without an offset")
    return origin


def faults_of(error: ValidationError) -> str:
    """What is wrong, in one line."""
    return "; ".join(str(fault["msg"]).removeprefix("Value error, ") for fault in error.errors())


def _noted(exported: Exported, note: str) -> Exported:
    if note in exported.proof.notes:
        return exported
    return replace(exported, proof=replace(exported.proof, notes=(*exported.proof.notes, note)))
