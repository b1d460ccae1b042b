"""Forecasting: a session's future as people ask for it, with intervals, quantiles and sample paths."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.distribution import Doubles, TargetForecast, targets_of
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput
from ostinato.service.inference.calibrated import calibrated_quantiles, is_calibrated
from ostinato.service.inference.prediction import (
    ForecastPlan,
    Outset,
    check_horizon,
    check_output,
    decode,
    feed_ahead,
    outset,
    refuse_known_future,
    times_ahead,
)
from ostinato.service.inference.sample_paths import check_drawn, sample_paths
from ostinato.service.inference.spread import own_quantiles
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions

DEFAULT_SAMPLES = 200
"""Paths that quantiles are taken from, where they are taken from paths and no number is given."""
_SEED_BITS = 53

Future = Mapping[str, Sequence[float | str | None]]


class Wanted(NamedTuple):
    """What is asked for in addition to the outputs.

    Attributes:
        levels: of intervals, in percent.
        quantiles: probabilities.
        num_samples: paths; 0 = none are told.
        seed: of the paths; None = one is drawn, and told.
    """

    levels: tuple[float, ...] = ()
    quantiles: tuple[float, ...] = ()
    num_samples: int = 0
    seed: int | None = None

    @property
    def probabilities(self) -> tuple[float, ...]:
        """All quantiles that are needed, those of the intervals' ends first, two for each."""
        ends = [(50 - level / 2, 50 + level / 2) for level in self.levels]
        return (*(end / 100 for pair in ends for end in pair), *self.quantiles)


class Outlook(NamedTuple):
    """A session's future.

    Attributes:
        outputs: a row for each step ahead: ``[horizon, width]`` of ``made``, or ``[horizon, O]`` where it is decoded or
            answered at once.
        is_of_steps: whether they are rows of ``made``.
        at: the times that they are of; None = not known.
        names: of the targets that what follows is about, in this order.
        quantiles: of all ``probabilities``, ``[horizon, Q, K]``; None where none was asked for.
        samples: ``[num_samples, horizon, K]``; None in the same way.
        seed: of the paths; None where none was drawn.
    """

    outputs: NDArray[Any]
    is_of_steps: bool
    at: list[str | None] | None
    names: tuple[str, ...] = ()
    quantiles: Doubles | None = None
    samples: Doubles | None = None
    seed: int | None = None


async def look_ahead(
    sessions: Sessions, session: LiveSession, horizon: int, known_future: Future, options: Wanted
) -> Outlook:
    """The next ``horizon`` steps of a session, which is copied in its turn and not changed.

    Quantiles are those of the calibration where the version has one for so many steps; else the network's own, where it
    says of each step by itself how sure it is; else, of a forecast that is fed back, those of sample paths.

    Args:
        known_future: input feature -> its values at the steps that the outputs speak of; a feature left out is
            missing, where the model takes missing values; or is what the calendar tells of the session's times.

    Raises:
        InvalidInput: the model does not forecast, or not what is asked for; the session has no step yet, or its last
            output is not known; ``known_future`` does not fit.
        TooLarge: the horizon, or the number of paths, is over the model's limit.
    """
    engine = session.engine
    manifest = engine.manifest
    check_horizon(engine, horizon)
    if options.num_samples:
        check_drawn(manifest)
    if engine.generator is None and not _is_direct(manifest):
        return await _fed_back(sessions, session, horizon, known_future, options)
    refuse_known_future(known_future)
    begun = await outset(sessions, session)
    if engine.generator is not None:
        numbers = await decode(engine, engine.generator, begun, horizon)
        assert manifest.decoder is not None
        targets = _one_step(manifest, manifest.decoder.output.features)
    else:
        numbers, targets = _direct(engine, begun, horizon)
    quantiles = None
    if options.probabilities:
        quantiles = _quantiles(engine, begun, numbers, targets, options.probabilities)
    at = times_ahead(engine, begun, horizon)
    return Outlook(numbers, False, at, tuple(target.name for target in targets), quantiles)


async def _fed_back(
    sessions: Sessions, session: LiveSession, horizon: int, known_future: Future, options: Wanted
) -> Outlook:
    engine = session.engine
    plan, clock = ForecastPlan(engine.manifest), engine.series_clock
    inputs = plan.inputs(horizon, known_future, () if clock is None else clock.time.calendar)
    probabilities, targets = options.probabilities, engine.manifest.forecasts
    by_paths = _goes_by_paths(engine.manifest, horizon, options)
    if num_samples := num_paths(engine.manifest, horizon, options):
        check_drawn(engine.manifest)
        engine.check_rows(num_samples)
    begun = await outset(sessions, session)
    if clock is not None:
        inputs = plan.tell_times(inputs, clock, begun.last_number, known_future)
    outputs = await feed_ahead(engine, plan, begun, inputs.copy())
    paths, seed = None, options.seed
    if num_samples:
        seed = secrets.randbits(_SEED_BITS) if seed is None else seed
        paths = await sample_paths(engine, plan, begun, inputs, num_samples, seed)
    quantiles = None
    if by_paths and paths is not None:
        quantiles = np.moveaxis(np.quantile(paths, probabilities, axis=0), 0, 1)
    elif probabilities:
        numbers = np.concatenate(engine.made.flat(outputs), axis=-1)
        quantiles = _quantiles(engine, begun, numbers, targets, probabilities)
    names = tuple(target.name for target in targets)
    samples = paths if options.num_samples else None
    seed = seed if paths is not None else None
    return Outlook(outputs, True, times_ahead(engine, begun, horizon), names, quantiles, samples, seed)


def _quantiles(
    engine: Engine,
    begun: Outset,
    numbers: NDArray[Any],
    targets: Sequence[TargetForecast],
    probabilities: Sequence[float],
) -> Doubles:
    """Quantiles ``[n, Q, K]`` of what was said of n steps, ``numbers`` [n, O]: of the calibration, or the network's."""
    try:
        if is_calibrated(engine.manifest, len(numbers), targets):
            assert engine.watch is not None
            assert begun.kept is not None
            return calibrated_quantiles(engine.watch, begun.kept, numbers, targets, probabilities)
        return np.stack([own_quantiles(target, numbers, probabilities) for target in targets], axis=-1)
    except InvalidInput as error:
        raise InvalidInput(str(error), field="quantiles") from error


def num_paths(manifest: Manifest, horizon: int, options: Wanted) -> int:
    """How many sample paths are run: those asked for; or, where quantiles can be had from nothing else, some."""
    return options.num_samples or DEFAULT_SAMPLES * _goes_by_paths(manifest, horizon, options)


def _goes_by_paths(manifest: Manifest, horizon: int, options: Wanted) -> bool:
    """Whether quantiles are those of sample paths: of a forecast that is fed back, without a calibration so far."""
    if not options.probabilities or horizon == 1 or manifest.decoder is not None or not manifest.feedback:
        return False
    targets = manifest.forecasts
    return any(target.kind != "point" for target in targets) and not is_calibrated(manifest, horizon, targets)


def _is_direct(manifest: Manifest) -> bool:
    """Whether each step answers several steps ahead at once, in one flat output, and nothing is fed back."""
    steps = {target.num_steps for target in manifest.forecasts}
    is_timed = not any(part.delay for part in manifest.outputs)
    return not manifest.feedback and manifest.made.is_flat and is_timed and len(steps) == 1 and max(steps) > 1


def _direct(engine: Engine, begun: Outset, horizon: int) -> tuple[NDArray[Any], list[TargetForecast]]:
    """What the last step answered of the next ``horizon``, ``[horizon, O / H]``, and where in it the targets are."""
    manifest = engine.manifest
    num_steps = manifest.forecasts[0].num_steps
    if horizon > num_steps:
        raise InvalidInput(f"a horizon of {horizon} steps; this model answers {num_steps}", field="horizon")
    check_output(begun, engine)
    features = manifest.outputs[0].features
    places = [[target.places[step] for target in manifest.forecasts] for step in range(num_steps)]
    apart = begun.output[np.array([np.sort(np.concatenate(each)) for each in places])]
    first = np.sort(np.concatenate(places[0]))
    return apart[:horizon], _one_step(manifest, [features[place].removesuffix("_ahead_1") for place in first])


def _one_step(manifest: Manifest, features: Sequence[str]) -> list[TargetForecast]:
    counts = any(target.kind == "poisson" for target in manifest.forecasts)
    found = targets_of(features, manifest.feedback, counts=counts)
    return [dataclasses.replace(target, places=target.places[:1]) for target in found]
