"""Scores of a replay by horizon: every forecast that its sessions made, next to naive ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ostinato.tools.horizon_scores import (
    MODEL,
    HorizonScores,
    TargetForecasts,
    naive_points,
    naive_scale,
    quantile_features,
    score,
    together,
    truth_ahead,
)
from ostinato.tools.model_shape import ModelShape
from ostinato.tools.replay import SessionForecasts


def scores_of(
    shape: ModelShape, sessions: Sequence[SessionForecasts], horizon: int, season_steps: int
) -> list[HorizonScores]:
    """The scores of each target, over all sessions together; of those that made no forecast nothing is known."""
    made = [session for session in sessions if session.made]
    if not made:
        return []
    return [
        score(together([_of_session(shape, session, source, target, horizon, season_steps) for session in made]))
        for source, target in shape.feedback.items()
    ]


def _of_session(
    shape: ModelShape, session: SessionForecasts, source: str, target: str, horizon: int, season_steps: int
) -> TargetForecasts:
    feature = shape.features.index(target)
    values = np.array([_number(row.inputs[feature]) for row in session.rows], np.float64)
    origins = sorted(session.made)
    numbers = np.array([session.made[origin] for origin in origins], np.float64)
    quantiles = quantile_features(shape.outputs, source)
    places = [shape.outputs.index(name) for name in quantiles.values()]
    points = {MODEL: numbers[:, :, shape.outputs.index(source)]}
    return TargetForecasts(
        target,
        truth_ahead(values, origins, horizon),
        points | naive_points(values, origins, horizon, season_steps),
        np.full(len(origins), naive_scale(values[: origins[0] + 1], season_steps)),
        tuple(quantiles),
        numbers[:, :, places] if places else None,
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
