"""Forecasts of sessions: what a body asks for, in the service's words, and one forecast of each of many sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ostinato.service.access.meter import UNMETERED, Meter
from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge import times
from ostinato.service.edge.arrow.answers import write_forecasts
from ostinato.service.edge.arrow.columns import ARROW, read_ids
from ostinato.service.edge.desk import Desk
from ostinato.service.edge.message import Request, Response, json_in_slices
from ostinato.service.edge.v1 import codec
from ostinato.service.edge.v1.body_place import BodyPlace
from ostinato.service.edge.v1.forecast_bodies import ForecastManyBody, ForecastManyQuery
from ostinato.service.edge.v1.large import read_body
from ostinato.service.edge.v1.schemas import ForecastBody
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError, TooLarge
from ostinato.service.inference.forecasting import Outlook, Wanted, look_ahead, num_paths
from ostinato.service.inference.prediction import ForecastPlan
from ostinato.service.sessions.refusals import apply
from ostinato.service.sessions.rows import MAX_AT_ONCE
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.sessions import Sessions

_MANY = msgspec.json.Decoder(ForecastManyBody)


class ForecastManyRoute:
    """``POST /v1/models/{model}/forecast``, in JSON or in Arrow."""

    def __init__(self, catalogue: Catalogue, sessions: Sessions, desk: Desk, meter: Meter = UNMETERED) -> None:
        self._catalogue, self._sessions, self._desk, self._meter = catalogue, sessions, desk, meter

    async def answer(self, request: Request) -> Response:
        """Forecast each session, and answer in the form in which it came; rows fail alone."""
        engine = self._catalogue.resolve(request.name)
        if request.media_type == ARROW:
            query = codec.decode_query(request.query_string, ForecastManyQuery)
            try:
                body = query.body(read_ids(request.body, engine.check_rows))
            except msgspec.ValidationError as error:
                raise codec.misfit(error, ForecastManyBody) from error
        else:
            body = await read_body(request, _MANY, lambda _: partial(_check, engine))
        if not body.session_ids:
            raise InvalidInput("there is no row in it; send at least one", field="session_ids")
        engine.check_rows(len(body.session_ids))
        rows, problems = await self._forecast_all(engine, body)
        if request.media_type == ARROW:
            words = {row: (problem["code"], problem["detail"]) for row, problem in problems.items()}
            return Response(200, write_forecasts(body.session_ids, rows, words), ARROW)
        errors = [{"row": row, **problem} for row, problem in sorted(problems.items())]
        return await json_in_slices({"session_ids": body.session_ids, "forecasts": rows, "errors": errors})

    async def _forecast_all(
        self, engine: Engine, body: ForecastManyBody
    ) -> tuple[list[dict[str, Any] | None], dict[int, dict[str, Any]]]:
        """What each row came to, None where it failed; and why it did, by row."""
        problems: dict[int, dict[str, Any]] = {}
        what = f"a row of a message for model {engine.manifest.name}"

        async def one(row: int) -> dict[str, Any] | None:
            attempt = partial(self._forecast, engine.manifest.name, body)
            try:
                return await apply(self._sessions, body.session_ids[row], attempt)
            except OstinatoError as error:
                problems[row] = self._desk.refuse(error, what).row
                return None

        rows: list[dict[str, Any] | None] = []
        for start in range(0, len(body.session_ids), MAX_AT_ONCE):
            places = range(start, min(start + MAX_AT_ONCE, len(body.session_ids)))
            rows += await asyncio.gather(*map(one, places))
        return rows, problems

    async def _forecast(self, model: str, body: ForecastManyBody, session: LiveSession) -> dict[str, Any]:
        if (other := session.engine.manifest.name) != model:
            raise InvalidInput(f"session {session.session_id!r} is of model {other!r}, not of {model!r}")
        return await forecast_content(self._sessions, self._meter, body, session)


async def forecast_content(
    sessions: Sessions, meter: Meter, body: ForecastBody, session: LiveSession
) -> dict[str, Any]:
    """What a body asks of a session's future, in words; ``meter`` counts its steps, and those of each path.

    Raises:
        InvalidInput, TooLarge and their like: see ``look_ahead``.
    """
    engine = session.engine
    features: Sequence[str] = ()
    if engine.generator is None and engine.manifest.feedback:
        features = ForecastPlan(engine.manifest).known_features
    if engine.series_clock is not None:
        features = times.sent_of(engine.series_clock, body.known_future, features)
    known_future = codec.known_future(body.known_future, features)
    if body.seed is not None and body.num_samples is None and not (body.level or body.quantiles):
        raise InvalidInput("a seed is of sample paths; ask for num_samples, too", field="seed")
    options = Wanted(tuple(body.level or ()), tuple(body.quantiles or ()), body.num_samples or 0, body.seed)
    with meter.asked(body.horizon * (1 + num_paths(engine.manifest, body.horizon, options))):
        made = await look_ahead(sessions, session, body.horizon, known_future, options)
    outputs = engine.made.words(made.outputs) if made.is_of_steps else made.outputs
    return {"outputs": outputs, **({} if made.at is None else {"at": made.at}), **_told(made, options)}


def _told(made: Outlook, options: Wanted) -> dict[str, Any]:
    """What was asked for beside the outputs."""
    told: dict[str, Any] = {}
    if made.quantiles is not None:
        columns = [_by_target(made.names, column) for column in np.moveaxis(made.quantiles, 1, 0)]
        ends = columns[: 2 * len(options.levels)]
        if options.levels:
            told["intervals"] = {
                _name(level): {"lower": ends[2 * place], "upper": ends[2 * place + 1]}
                for place, level in enumerate(options.levels)
            }
        if options.quantiles:
            told["quantiles"] = {
                _name(probability): column
                for probability, column in zip(options.quantiles, columns[len(ends) :], strict=True)
            }
    if made.samples is not None:
        told["samples"] = _by_target(made.names, made.samples)
    if made.seed is not None:
        told["seed"] = made.seed
    return told


def _name(number: float) -> str:
    """A level or a probability as a member is called: in the fewest digits that tell it from all others."""
    short = f"{number:g}"
    return short if float(short) == number else repr(float(number))


def _by_target(names: Sequence[str], numbers: NDArray[Any]) -> NDArray[Any] | Mapping[str, NDArray[Any]]:
    """Numbers ``[..., K]`` of the only target, or of each by its name."""
    if len(names) == 1:
        return np.ascontiguousarray(numbers[..., 0])
    return {name: np.ascontiguousarray(numbers[..., place]) for place, name in enumerate(names)}


def check_known(engine: Engine | None) -> Callable[[BodyPlace, int], None]:
    """What holds a large body to the limits of its session's model, see ``read_body``; nothing without a session."""

    def check(place: BodyPlace, count: int) -> None:
        if engine is not None and place.member == "known_future":
            most = max(engine.max_horizon, *(len(part.features) for part in engine.given.parts))
            if count > most:
                raise TooLarge(f"{place} has {count} values; the most is {most}")

    return check


def _check(engine: Engine, place: BodyPlace, count: int) -> None:
    if place.member == "session_ids":
        engine.check_rows(count)
    else:
        check_known(engine)(place, count)
