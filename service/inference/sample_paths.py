"""Sample paths: copies of a session run ahead, each fed what was drawn from its own distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.distribution import Doubles, TargetForecast
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.prediction import ForecastPlan, Outset, check_output
from ostinato.service.inference.spread import draw
from ostinato.service.inputs.turns import Pace


def check_drawn(manifest: Manifest) -> None:
    """Refuse sample paths of a model that has no distribution, or does not feed one step back.

    Raises:
        InvalidInput: says what the model has.
    """
    if manifest.decoder is not None or not manifest.feedback:
        raise InvalidInput(
            "sample paths are of models that forecast one step, which is fed back; this one makes several at once, and "
            "says of each by itself how sure it is: ask for level or quantiles",
            field="num_samples",
        )
    if plain := [target.name for target in manifest.forecasts if target.kind == "point"]:
        raise InvalidInput(
            f"there is no distribution to draw from: the model answers one number of {plain[0]!r}; models trained with "
            "loss pinball, gaussian or counts have one",
            field="num_samples",
        )


async def sample_paths(
    engine: Engine, plan: ForecastPlan, begun: Outset, inputs: NDArray[Any], num_samples: int, seed: int
) -> Doubles:
    """Paths ``[num_samples, 1 + n, K]`` of the targets, in the order of ``manifest.forecasts``.

    Path i draws from a Philox generator of the key (seed, i): it is the same to the bit however many there are, and
    whatever runs next to it.

    Args:
        inputs: what is known of the n steps after the first, ``[n, width]``.

    Raises:
        TooLarge, Overloaded, Draining: refused before anything ran.
        RunFailed: the graph, or a draw, failed.
    """
    targets = engine.manifest.forecasts
    check_output(begun, engine)
    engine.admit(num_samples)
    slots = [engine.take_slot(begun.states) for _ in range(num_samples)]
    generators = [np.random.Generator(np.random.Philox(key=[seed, path])) for path in range(num_samples)]
    paths = np.empty((num_samples, len(inputs) + 1, len(targets)))
    outputs = [begun.output] * num_samples
    pace = Pace()
    try:
        for step in range(len(inputs) + 1):
            rows = []
            for path, (output, generator) in enumerate(zip(outputs, generators, strict=True)):
                drawn, paths[path, step] = _drawn(engine, targets, output, generator)
                if step < len(inputs):
                    rows.append(inputs[step].copy())
                    plan.feed_back(drawn, rows[-1])
                await pace.rest()
            if rows:
                outputs = await _run(engine, slots, rows)
    finally:
        for slot in slots:
            engine.give_back(slot)
    return paths


def _drawn(
    engine: Engine, targets: Sequence[TargetForecast], output: NDArray[Any], generator: np.random.Generator
) -> tuple[NDArray[Any], list[float]]:
    """An output ``[width]`` with what was drawn in the place of each target's point, and what was drawn, as it is
    there: in the output's dtype.
    """
    drawn = output.copy()
    tensors = engine.made.flat(drawn)
    numbers = np.concatenate([tensor.copy() for tensor in tensors], axis=-1)
    places = np.concatenate([[index] * tensor.shape[-1] for index, tensor in enumerate(tensors)])
    values = []
    for target in targets:
        place = int(target.places[0, target.point])
        tensor = tensors[places[place]]
        within = place - int(np.searchsorted(places, places[place]))
        tensor[within] = draw(target, numbers, generator)
        values.append(float(tensor[within]))
    return drawn, values


async def _run(engine: Engine, slots: list[int], rows: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Run each slot on by its row; where one fails, or the caller goes away, all are given back and ``slots`` is
    empty.
    """
    works = [engine.start(slot, row[None]) for slot, row in zip(slots, rows, strict=True)]
    try:
        return [(await work.future)[-1] for work in works]
    except BaseException:
        slots.clear()
        for work in works:
            engine.abandon(work)
        raise
