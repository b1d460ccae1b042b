"""Shapes of what models take and give, by their manifests: asked for once a model, where inputs or answers need it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ostinato.client.answers import hold, read
from ostinato.client.arrays import Outputs
from ostinato.client.exchange import ClientRequest, Exchanges, Plan


@dataclass(frozen=True)
class TensorShape:
    """An input, output or context.

    Attributes:
        row_shape: of one step.
        features: None = the manifest does not tell them.
        has_steps: whether it is given, or made, at each step.
    """

    name: str
    row_shape: tuple[int, ...]
    features: tuple[str, ...] | None
    has_steps: bool

    @classmethod
    def of(cls, part: Mapping[str, Any]) -> TensorShape:
        """By its entry in the manifest."""
        shape, features = part["shape"], part.get("features")
        row_shape = tuple(axis for axis in shape if isinstance(axis, int))
        named = None if features is None else tuple(map(str, features))
        return cls(str(part.get("name", "")), row_shape, named, "T" in shape)

    @property
    def num_features(self) -> int:
        """How many numbers a step has."""
        return math.prod(self.row_shape)


@dataclass(frozen=True)
class ModelTensors:
    """A version of a model; ``delay``: the longest of its outputs, in steps."""

    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    context: tuple[TensorShape, ...]
    delay: int = 0

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> ModelTensors:
        """By its manifest."""
        groups = [tuple(map(TensorShape.of, manifest.get(name) or ())) for name in ("inputs", "outputs", "context")]
        delay = max((part.get("delay", 0) for part in manifest.get("outputs") or ()), default=0)
        return cls(groups[0], groups[1], groups[2], delay)

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
            raise ValueError("it has outputs by name, or has not, otherwise than the model gives them")
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

    def of(self, model: str, version: str) -> Plan[ModelTensors | None]:
        """A version of a model, empty = any; None where the manifest that the service gives is another's."""
        if (model, version) not in self._known:
            answer = yield from self._exchanges.ask(ClientRequest("GET", f"/v1/models/{quote(model, safe='')}"))
            self._known[model, version] = read(answer, lambda members: _shape(members, model, version))
        return self._known[model, version]


def _shape(members: Mapping[str, Any], model: str, version: str) -> ModelTensors | None:
    hold(members, model=model)
    manifest = members["manifest"]
    if manifest is None or (version and manifest.get("version", version) != version):
        return None
    return ModelTensors.of(manifest)
