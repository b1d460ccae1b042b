"""Told time: a version whose manifest says how its steps lie in time, as its training or its user tells it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from ostinato.export.errors import ExportError
from ostinato.export.version_directory import Exported
from ostinato.service.artifact.manifest import Manifest

LOCAL_CLOCK = "its times are those of a local clock, so sessions take no times ('at'): --zone tells which clock"


@dataclass(frozen=True)
class ToldTime:
    """What a user tells of a version's time; empty = nothing.

    ``step``: in words, as ``1 hour``. ``zone``: an IANA name. ``interval``: of an irregular series, the feature that
    holds the time since the step before, and perhaps its unit and what it is at first: ``FEATURE[:UNIT[:FIRST]]``.
    """

    step: str = ""
    zone: str = ""
    interval: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is told."""
        return not (self.step or self.zone or self.interval)


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
    time: dict[str, Any] = {"zone": told.zone, "calendar": trained.get("calendar", {})}
    if told.interval:
        time["interval"] = _interval(told.interval)
        time["calendar"].pop(time["interval"]["feature"], None)
    if told.step or not told.interval:
        time["step"] = told.step or step or ""
    if not told.step or told.step == step:
        time |= {key: trained[key] for key in ("origin", "day") if key in trained}
    members = {**exported.manifest.model_dump(), "time": time}
    members.pop("batch_invariant", None)  # which follows from the promise
    try:
        manifest = Manifest(**members)
    except ValidationError as error:
        faults = "; ".join(str(fault["msg"]).removeprefix("Value error, ") for fault in error.errors())
        if told.is_empty:
            return _noted(exported, f"sessions take no times ('at'): {faults}")
        told_by = "--time-step, --zone and --interval"
        raise ExportError(f"{faults} ({told_by} tell it); the version was exported without a time") from error
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


def _noted(exported: Exported, note: str) -> Exported:
    if note in exported.proof.notes:
        return exported
    return replace(exported, proof=replace(exported.proof, notes=(*exported.proof.notes, note)))
