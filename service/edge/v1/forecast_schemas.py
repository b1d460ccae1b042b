"""Answers of forecasts as types: see ``answer_schemas``."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from ostinato.service.edge.v1.answer_schemas import AnswerSchema, FailedRow, OutputRows

NumbersAhead = list[float | None] | dict[str, list[float | None]]
"""A number for each step ahead; by target where there are several."""


class IntervalEnds(AnswerSchema):
    """The ends of an interval at each step ahead."""

    lower: NumbersAhead
    upper: NumbersAhead


class ForecastRow(AnswerSchema, kw_only=True):
    """The next steps of one of many sessions."""

    outputs: OutputRows
    at: list[str | None] | UnsetType = UNSET
    intervals: dict[str, IntervalEnds] | UnsetType = UNSET
    quantiles: dict[str, NumbersAhead] | UnsetType = UNSET
    samples: list[list[float | None]] | dict[str, list[list[float | None]]] | UnsetType = UNSET
    seed: int | UnsetType = UNSET


class ForecastOutputs(ForecastRow, kw_only=True):
    """The next steps of a session, and what was asked for in addition: intervals by their level in percent, quantiles
    by their probability, and paths (by target where there are several).
    """

    session_id: str


class ForecastColumns(AnswerSchema):
    """The forecasts of many sessions, row by row; null in a row that failed."""

    session_ids: list[str]
    forecasts: list[ForecastRow | None]
    errors: list[FailedRow]
