"""Shapes of what models take and give, by their manifests: asked for once a model, where inputs or answers need it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from ostinato.client.addresses import part_of_path
from ostinato.client.answers import hold, read, text_of
from ostinato.client.arrays import Outputs
from ostinato.client.exchange import ClientRequest, Exchanges, Plan, unexpected
from ostinato.client.retry import ServiceAnswer
from ostinato.errors import ServiceError
from ostinato.tables.steps import NEAR, TimeStep


@dataclass(frozen=True)
class TensorShape:
    """An input, output or context.

    Attributes:
        row_shape: of one step.
        features: None = the manifest does not tell them.
        has_steps: whether it is given, or made, at each step.
        words: feature -> the words that its codes stand for. unknown: the word for all that are none of them.
        missing: whether a value may be missing. missing_words: what stood for it in the training's table; None = the
            usual.
        per_frame: how many rows there are for each frame, of an output.
    """

    name: str
    row_shape: tuple[int, ...]
    features: tuple[str, ...] | None
    has_steps: bool
    dtype: str = "float32"
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    missing: bool = False
    missing_words: tuple[str, ...] | None = None
    per_frame: int = 1

    @classmethod
    def of(cls, part: Mapping[str, Any]) -> TensorShape:
        """By its entry in the manifest."""
        shape, features = part["shape"], part.get("features")
        row_shape = tuple(axis for axis in shape if isinstance(axis, int))
        named = None if features is None else tuple(map(str, features))
        return cls(
            str(part.get("name", "")),
            row_shape,
            named,
            "T" in shape,
            str(part.get("dtype", "float32")),
            {name: tuple(words) for name, words in (part.get("categories") or {}).items()},
            dict(part.get("unknown") or {}),
            bool(part.get("missing")),
            None if part.get("missing_words") is None else tuple(part["missing_words"]),
            int(part.get("per_frame", 1)),
        )

    @property
    def is_whole(self) -> bool:
        """Whether its numbers are whole."""
        return not self.dtype.startswith("float")

    @property
    def num_features(self) -> int:
        """How many numbers a step has."""
        return math.prod(self.row_shape)


@dataclass(frozen=True)
class ModelTensors:
    """A version of a model, by its own name.

    Attributes:
        delay: the longest of its outputs, in steps.
        is_framed: whether it answers once a frame.
        known_features: those whose future a forecast may be told.
        made_features: those that a step's time tells, and that need not be sent with it; None = steps have no times.
        zone: whose clock tells their times. near: by how much a time may be off its step's.
    """

    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    context: tuple[TensorShape, ...]
    delay: int = 0
    version: str = ""
    is_framed: bool = False
    known_features: tuple[str, ...] = ()
    made_features: tuple[str, ...] | None = None
    zone: str = "UTC"
    near: timedelta = timedelta()

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> ModelTensors:
        """By its manifest."""
        groups = [tuple(map(TensorShape.of, manifest.get(name) or ())) for name in ("inputs", "outputs", "context")]
        delay = max((part.get("delay", 0) for part in manifest.get("outputs") or ()), default=0)
        fed = () if manifest.get("decoder") else groups[0]
        predicted = set((manifest.get("feedback") or {}).values())
        known = tuple(name for part in fed for name in part.features or () if name not in predicted)
        version, is_framed = str(manifest.get("version", "")), bool(manifest.get("framing"))
        time = manifest.get("time") or {}
        made, zone = _made_features(manifest.get("time")), str(time.get("zone") or "UTC")
        return cls(groups[0], groups[1], groups[2], delay, version, is_framed, known, made, zone, _near(time))

    @property
    def gives_one_row(self) -> bool:
        """Whether its only output is one row for a whole chunk."""
        return len(self.outputs) == 1 and self._is_once(self.outputs[0])

    def check(self, outputs: Outputs, num_rows: int | None, *, of_forecast: bool = False) -> None:
        """Hold outputs to what the model gives for so many steps; None = one step alone, without that axis.

        Raises:
            ValueError: they are others.
        """
        named = outputs if isinstance(outputs, dict) else {part.name: outputs for part in self.outputs[:1]}
        if set(named) != {part.name for part in self.outputs}:
            names = ", ".join(part.name for part in self.outputs)
            raise ValueError(f"it has the outputs {', '.join(named)}, and the model gives {names}")
        if isinstance(outputs, dict) != (len(self.outputs) > 1):
            raise ValueError("it has outputs by name, or has not, unlike the model")
        gives_steps = of_forecast and not any(part.has_steps for part in self.outputs)
        for part in self.outputs:
            made = named[part.name]
            wanted = part.row_shape or (1,)
            if num_rows is not None:
                wanted = (1 if self._is_once(part) and not gives_steps else num_rows, *wanted)
            if made.shape != wanted:
                raise ValueError(f"output {part.name!r} has the shape {[*made.shape]}, and not {[*wanted]}")

    def of_frames(self, outputs: Outputs) -> Outputs:
        """Outputs of frames, held to what the model gives; those of no frame have the shape of its rows, too.

        Raises:
            ValueError: they are others.
        """
        named = outputs if isinstance(outputs, dict) else {part.name: outputs for part in self.outputs[:1]}
        shapes = {part.name: part.row_shape or (1,) for part in self.outputs}
        made = {
            name: rows if len(rows) or name not in shapes else rows.reshape(0, *shapes[name])
            for name, rows in named.items()
        }
        for part in self.outputs:
            if part.name not in made or made[part.name].shape[1:] != shapes[part.name]:
                found = [*made[part.name].shape[1:]] if part.name in made else "no"
                raise ValueError(f"output {part.name!r} has rows of the shape {found}, and not {[*shapes[part.name]]}")
        return made if isinstance(outputs, dict) else next(iter(made.values()))

    def _is_once(self, part: TensorShape) -> bool:
        return not part.has_steps and any(given.has_steps for given in self.inputs)


class KnownModels:
    """Remembers those that it had to ask for."""

    def __init__(self, exchanges: Exchanges) -> None:
        self._exchanges = exchanges
        self._known: dict[tuple[str, str], ModelTensors | None] = {}
        self._aliases: set[tuple[str, str]] = set()

    def of(self, model: str, version: str, *, anew: bool = False) -> Plan[ModelTensors | None]:
        """A version of a model, empty = the one that is meant where none is named; None where it is not served, or the
        service tells of another. ``anew``: which one is meant is asked again, since another may be by now.
        """
        if (model, version) not in self._known or (anew and not version):
            path = f"/v1/models/{part_of_path(model)}"
            path += f"?{urlencode({'version': version})}" if version else ""
            try:
                answer = yield from self._exchanges.ask(ClientRequest("GET", path))
            except ServiceError as error:
                if version and error.status == HTTPStatus.NOT_FOUND:  # it is served no more, and may be again
                    return None
                raise
            shape = read(answer, lambda members: _shape(members, model, version))
            if shape is not None and version not in ("", shape.version):
                self._aliases.add((model, version))  # which may come to be another's
                return shape
            self._known[model, version] = shape
        return self._known[model, version]

    def is_alias(self, model: str, version: str) -> Plan[bool]:
        """Whether versions are called so by an alias. It is asked once, for an alias does not become a version."""
        if (model, version) not in self._aliases:
            yield from self.of(model, version)
        return (model, version) in self._aliases

    def hold_version(self, answer: ServiceAnswer, model: str, version: str | None) -> Plan[str]:
        """The version that an answer is about, held to the one asked for, by its name or an alias; None = any."""
        told: str = read(answer, lambda members: text_of(members, "version"))
        if version in (None, told) or (yield from self.is_alias(model, version)):
            return told
        raise unexpected(answer, f"it is about version {told!r}, and {version!r} was asked for")

    def hold(
        self, answer: ServiceAnswer, model: str, version: str, outputs: Outputs, num_rows: int | None
    ) -> Plan[None]:
        """Hold outputs for so many steps (None = for one, without that axis) to the model, where they are not just rows
        of numbers, one for each step.
        """
        if isinstance(outputs, dict) or outputs.ndim != (1 if num_rows is None else 2):
            yield from self.hold_to_shape(answer, model, version, outputs, num_rows)
        elif num_rows is not None and len(outputs) < num_rows:
            shape = yield from self.of(model, version)
            if shape is not None and not shape.gives_one_row:
                raise unexpected(answer, "it has one row of outputs, and the model gives one for each step")

    def of_frames(self, answer: ServiceAnswer, model: str, version: str, outputs: Outputs) -> Plan[Outputs]:
        """Outputs of frames, of which there may be none, held to the model, which is asked once."""
        shape = yield from self.of(model, version)
        if shape is None:  # another version's is all that is told
            return outputs
        try:
            return shape.of_frames(outputs)
        except ValueError as error:
            raise unexpected(answer, str(error)) from error

    def hold_to_shape(
        self,
        answer: ServiceAnswer,
        model: str,
        version: str,
        outputs: Outputs,
        num_rows: int | None,
        *,
        of_forecast: bool = False,
    ) -> Plan[None]:
        """Hold outputs to their names and shapes, which the model alone knows; it is asked once."""
        shape = yield from self.of(model, version)
        if shape is None:  # another version's is all that is told
            return
        try:
            shape.check(outputs, num_rows, of_forecast=of_forecast)
        except ValueError as error:
            raise unexpected(answer, str(error)) from error


def _near(time: Mapping[str, Any]) -> timedelta:
    """By how much a time may be off its step's; none of steps that are not all of one length, or are not known here."""
    try:
        return timedelta(microseconds=NEAR * TimeStep.parse(time["step"]).microseconds)
    except (KeyError, ValueError):
        return timedelta()


def _made_features(time: Mapping[str, Any] | None) -> tuple[str, ...] | None:
    if time is None:
        return None
    interval = time.get("interval")
    return (*(time.get("calendar") or {}), *([] if interval is None else [interval["feature"]]))


def _shape(members: Mapping[str, Any], model: str, version: str) -> ModelTensors | None:
    hold(members, model=model)
    if members["manifest"] is None:
        return None
    shape = ModelTensors.of({"version": version, **members["manifest"]})
    # A service that tells of one version alone, whichever is asked for, does not say which.
    return shape if version in ("", shape.version) or members.get("version") == shape.version else None
