"""Sequences that are sent to a live service bit by bit, what was answered, and that it is what was wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input

Array = NDArray[Any]
Arrays = dict[str, Array]


def draw(manifest: Manifest, generator: np.random.Generator, batch_size: int, num_steps: int) -> tuple[Arrays, Arrays]:
    """Inputs ``[B, T, ...]`` and contexts ``[B, ...]`` that a model takes, by name."""
    inputs = {part.name: _draw(part, generator, batch_size, num_steps) for part in manifest.inputs}
    return inputs, {part.name: _draw(part, generator, batch_size) for part in manifest.context}


def _draw(part: Input, generator: np.random.Generator, *leading: int) -> Array:
    if part.num_codes is not None:
        return generator.integers(0, part.num_codes, (*leading, *part.row_shape)).astype(part.dtype)
    flat = generator.standard_normal((*leading, part.num_features))
    for index, name in enumerate(part.features):
        if name in part.categories:
            flat[..., index] = generator.integers(0, len(part.categories[name]), leading)
        elif name in part.ranges:
            limits = part.ranges[name]
            drawn = generator.uniform(max(limits.least, -100), min(limits.most, 100), leading)
            flat[..., index] = np.rint(drawn) if limits.whole else drawn
    return flat.reshape(*leading, *part.row_shape).astype(part.dtype)


def plain(arrays: Mapping[str, Array], steps: slice | int | None = None) -> Any:
    """Arrays as JSON has them."""
    listed = {name: array if steps is None else array[steps] for name, array in arrays.items()}
    return orjson.loads(orjson.dumps(listed, option=orjson.OPT_SERIALIZE_NUMPY))


class Sequence:
    """A session's whole sequence, its context, and what was answered for it so far."""

    def __init__(self, manifest: Manifest, number: int, num_steps: int) -> None:
        inputs, context = draw(manifest, np.random.default_rng(number), 1, num_steps)
        self.manifest = manifest
        self.session_id = f"{manifest.name}-{number}"
        self.inputs = {name: array[0] for name, array in inputs.items()}
        self.context = {name: array[0] for name, array in context.items()}
        self.answered: list[Any] = []
        self.done = 0

    @property
    def opening(self) -> dict[str, Any]:
        """The body that opens its session."""
        context = {"context": plain(self.context)} if self.context else {}
        return {"session_id": self.session_id, **context}

    def chunk(self, num_steps: int) -> Any:
        """The next steps, in the form in which the model takes them."""
        steps = plain(self.inputs, slice(self.done, self.done + num_steps))
        if len(steps) > 1:
            return steps
        (rows,) = steps.values()
        return rows if self.manifest.inputs[0].row_shape else [[row] for row in rows]

    def take(self, answer: dict[str, Any], num_steps: int) -> None:
        """Take in the answer to the next steps."""
        assert answer["seq"] == self.done
        self.done += num_steps
        self.answered.append(answer["outputs"])

    def sent(self) -> Arrays:
        """What was sent so far, by name."""
        return {name: array[: self.done] for name, array in self.inputs.items()}

    def check(self, wanted: Mapping[str, Array]) -> None:
        """Hold all that was answered to this, to the bit; of what is made once a run, the last is wanted."""
        for part in self.manifest.outputs:
            parts = [each[part.name] if isinstance(each, dict) else each for each in self.answered]
            if part.time_axis is None and self.manifest.inputs[0].time_axis is not None:
                parts = parts[-1:]
            made = np.concatenate([np.array(each, part.dtype) for each in parts])
            golden = wanted[part.name]
            assert made.size == golden.size, f"{self.session_id}: {part.name}"
            assert made.reshape(golden.shape).tobytes() == golden.tobytes(), f"{self.session_id}: {part.name}"
