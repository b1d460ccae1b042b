"""Forecasts of many sessions as a long data frame: one request for all that are told the same of the future."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

import numpy as np

from ostinato.client.answers import RowError, SessionInfo
from ostinato.client.arrays import Outputs
from ostinato.client.data_frame import moments_column, new_frame
from ostinato.client.data_frame_answers import AnswerColumns
from ostinato.client.data_frame_future import KnownFuture
from ostinato.client.data_frame_rows import id_text
from ostinato.client.exchange import Plan
from ostinato.client.forecasts import Forecast, ForecastOptions, name_of
from ostinato.client.shapes import ModelTensors
from ostinato.client.verbs import ENDED, Verbs
from ostinato.errors import InputError, RowsFailed, ServiceError, UnexpectedAnswer

MESSAGE_ROWS = 1000
MESSAGE_STEPS = 50_000
"""Sessions, and steps ahead of all of them together, of one request."""
AHEAD = "ahead"
"""The column of a forecast that counts the steps ahead, from 1."""
_OF_ONE_SESSION = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY)
_RUN_FAILED = "run_failed"
_CODES_OF_ONE_SESSION = (*ENDED, "invalid_input", _RUN_FAILED)


class FrameForecasts:
    """One call of ``forecast_frame``, on its way.

    Args:
        names: the ids, as they are in the frame. future: what is known of the steps ahead.
        id, time: columns of the answer; time None = it has none.

    Attributes:
        errors: place of an id -> why it has no forecast.
    """

    def __init__(
        self,
        verbs: Verbs,
        model: str,
        shape: ModelTensors,
        names: Sequence[Any],
        horizon: int,
        future: KnownFuture,
        options: ForecastOptions,
        *,
        id: str,  # noqa: A002
        time: str | None,
    ) -> None:
        self._verbs, self._model, self._shape = verbs, model, shape
        self._names, self._horizon, self._future, self._options = names, horizon, future, options
        self._id, self._time = id, time
        self._is_timed_by_service = time is not None and not future.has_moments
        if self._is_timed_by_service and shape.made_features is None:
            raise InputError(
                f"the steps of {model!r} have no times: those of the steps ahead, {time!r}, are in known_future"
            )
        if options.get("num_samples"):
            raise InputError("a frame has no place for sample paths: ask for level or quantiles, or by forecast_many")
        self._taken = [id, AHEAD] + ([time] if time else [])
        self._answers = AnswerColumns(shape, len(names) * horizon, self._taken)
        self._num_put = 0
        self._told: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        self._at: list[datetime | None] = [None] * (len(names) * horizon)
        self.errors: dict[int, RowError] = {}

    def run(self, library: Any) -> Plan[Any]:
        """Forecast all, and give the frame, of ``library``.

        Raises:
            RowsFailed: some sessions gave no forecast.
        """
        most = max(1, min(MESSAGE_ROWS, MESSAGE_STEPS // max(1, self._horizon)))
        for known, places in self._future.alike(self._names):
            for start in range(0, len(places), most):
                yield from self._message(places[start : start + most], known)
        frame = self._frame(library)
        if self.errors:
            errors = tuple(self.errors[place] for place in sorted(self.errors))
            detail = f"{len(errors)} of {len(self._names)} sessions gave no forecast"
            raise RowsFailed(f"{detail}; {self._names[errors[0].row]!r}: {errors[0].detail}", frame, errors, {})
        return frame

    def _message(self, places: Sequence[int], known: Mapping[str, list[Any]]) -> Plan[None]:
        ids = [id_text(self._names[place]) for place in places]
        try:
            made = yield from self._verbs.forecasts.many(self._model, ids, self._horizon, known, self._options)
        except ServiceError as error:
            if error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE or len(places) == 1:
                raise
            yield from self._message(places[: len(places) // 2], known)
            yield from self._message(places[len(places) // 2 :], known)
            return
        errors = {error.row: error for error in made.errors}
        for row, place in enumerate(places):
            forecast = made.forecasts[row]
            if forecast is not None:
                self._put(place, forecast)
            elif errors[row].code in _CODES_OF_ONE_SESSION:
                self.errors[place] = RowError(place, errors[row].code, errors[row].detail)
            else:  # it is the service that fails, and may not the next time
                yield from self._one(place, known)

    def _one(self, place: int, known: Mapping[str, list[Any]]) -> Plan[None]:
        session = SessionInfo(id_text(self._names[place]), self._model, "", 0, None, None)
        try:
            made = yield from self._verbs.forecasts.whole(session, self._horizon, known, self._options)
        except ServiceError as error:
            is_one_s = error.status in _OF_ONE_SESSION or error.code == _RUN_FAILED
            if not is_one_s or isinstance(error, UnexpectedAnswer):
                raise
            self.errors[place] = RowError(place, error.code, str(error))
            return
        self._put(place, made)

    def _put(self, place: int, made: Forecast) -> None:
        rows = range(place * self._horizon, (place + 1) * self._horizon)
        try:
            outputs = self._fitting(made.outputs)
        except ValueError as error:
            detail = f"the session is of a version whose outputs are others: {error}"
            self.errors[place] = RowError(place, "invalid_input", detail)
            return
        if made.at is not None and (fault := self._misplaced(place, made.at)):
            self.errors[place] = RowError(place, "time_conflict", fault)
            return
        self._answers.put(rows, outputs)
        columns = {f"quantile_{name_of(each)}": numbers for each, numbers in made.quantiles.items()}
        for level, ends in made.intervals.items():
            columns |= {f"lower_{name_of(level)}": ends.lower, f"upper_{name_of(level)}": ends.upper}
        for name, numbers in columns.items():
            for target, ahead in (numbers if isinstance(numbers, dict) else {"": numbers}).items():
                column = f"{target}_{name}" if target else name
                self._told.setdefault(column, np.full(len(self._at), np.nan))[rows.start : rows.stop] = ahead
        self._at[rows.start : rows.stop] = made.at or [None] * self._horizon

    def _fitting(self, outputs: Outputs) -> Outputs:
        """Outputs with a row for each step; one that is made once is the same in all.

        Raises:
            ValueError: they are not those of the model.
        """
        direct = _answered_at_once(self._shape)
        if not self._num_put and direct is not None and np.shape(outputs)[1:] == direct.outputs[0].row_shape:
            self._shape = direct
            self._answers = AnswerColumns(direct, len(self._names) * self._horizon, self._taken)
        self._shape.check(outputs, self._horizon, of_forecast=True)
        self._num_put += 1
        if not isinstance(outputs, dict):
            return outputs
        return {name: np.repeat(made, self._horizon // len(made), axis=0) for name, made in outputs.items()}

    def _misplaced(self, place: int, at: Sequence[datetime | None]) -> str:
        """What is wrong where what is known of the future has times, and is of other steps; empty where nothing is."""
        given = self._future.moments(self._names[place]) if self._future.has_moments else []
        for ahead, (moment, told) in enumerate(zip(given, at, strict=False)):
            if told is None or not isinstance(moment, datetime):
                continue
            expected = told if moment.tzinfo is not None else told.replace(tzinfo=None)
            if abs(moment - expected) > self._shape.near:
                return (
                    f"known_future has {moment} for the step {ahead + 1} ahead of the session, which is that of {told}"
                )
        return ""

    def _frame(self, library: Any) -> Any:
        horizon = self._horizon
        columns: dict[str, Any] = {self._id: [name for name in self._names for _ in range(horizon)]}
        if self._is_timed_by_service:
            columns[str(self._time)] = moments_column(library, self._at, self._shape.zone)
        elif self._time is not None:
            columns[self._time] = [moment for name in self._names for moment in self._future.moments(name)]
        columns[AHEAD] = np.tile(np.arange(1, horizon + 1), len(self._names))
        own = self._answers.columns()
        if taken := [name for name in self._told if name in columns or name in own]:
            raise InputError(f"two columns of the answer would be called {taken[0]!r}")
        return new_frame(library, columns | own | self._told)


def _answered_at_once(shape: ModelTensors) -> ModelTensors | None:
    """The shape of a forecast of several steps that are answered at once, ``load_ahead_1``, ``load_ahead_2``, each a
    row of the targets; None where the model's outputs are not called so.
    """
    features = shape.outputs[0].features or ()
    first = tuple(name.removesuffix("_ahead_1") for name in features if name.endswith("_ahead_1"))
    if len(shape.outputs) > 1 or not first or len(first) == len(features):
        return None
    return replace(shape, outputs=(replace(shape.outputs[0], features=first, row_shape=(len(first),)),))
