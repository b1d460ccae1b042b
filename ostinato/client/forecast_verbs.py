"""Verbs of forecasts, as plans: of one session, and of many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ostinato.client.addresses import model_path, session_path
from ostinato.client.answers import SessionInfo, read
from ostinato.client.arrays import Outputs, to_json
from ostinato.client.exchange import ClientRequest, Exchanges, Plan, unexpected
from ostinato.client.forecasts import (
    Forecast,
    ForecastOptions,
    Known,
    ManyForecasts,
    forecast_body,
    forecast_of_session,
    many_forecasts,
)
from ostinato.client.retry import ServiceAnswer
from ostinato.client.shapes import KnownModels


class ForecastVerbs:
    """The plans; they raise as ``Verbs`` says.

    Args:
        models: what is known of models' outputs, by which answers are held to them.
    """

    def __init__(self, exchanges: Exchanges, models: KnownModels) -> None:
        self._exchanges = exchanges
        self._models = models

    def one(self, session: SessionInfo, horizon: int, known_future: Known, options: ForecastOptions) -> Plan[Outputs]:
        """Look ahead from a session: the outputs, or a ``Forecast`` where there are options."""
        made = yield from self.whole(session, horizon, known_future, options)
        return made if options else made.outputs

    def whole(
        self, session: SessionInfo, horizon: int, known_future: Known, options: ForecastOptions
    ) -> Plan[Forecast]:
        """Look ahead from a session, with its times."""
        session_id, body = session.session_id, forecast_body(horizon, known_future, options)
        answer = yield from self._post(session_path(session_id, "/forecast"), body)
        made = read(answer, lambda members: forecast_of_session(members, session_id, body))
        if isinstance(made.outputs, dict):
            shape = yield from self._models.of(session.model, session.version)
            if shape is not None:  # else another version's is all that is told
                try:
                    shape.check(made.outputs, horizon, of_forecast=True)
                except ValueError as error:
                    raise unexpected(answer, str(error)) from error
        return made

    def many(
        self, model: str, session_ids: Sequence[str], horizon: int, known_future: Known, options: ForecastOptions
    ) -> Plan[ManyForecasts]:
        """Look ahead from each of many sessions."""
        body = {"session_ids": list(session_ids), **forecast_body(horizon, known_future, options)}
        answer = yield from self._post(model_path(model, "/forecast"), body)
        return read(answer, lambda members: many_forecasts(members, body))

    def _post(self, path: str, body: Mapping[str, Any]) -> Plan[ServiceAnswer]:
        return self._exchanges.ask(ClientRequest("POST", path, to_json(body)))
