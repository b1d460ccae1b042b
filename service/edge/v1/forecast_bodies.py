"""Options of forecasts of many sessions, as types; see ``schemas.py``."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ostinato.service.edge.v1.schemas import MAX_SAMPLES, Body, ForecastBody


class ForecastManyBody(ForecastBody, kw_only=True):
    """``POST /v1/models/{model}/forecast``: one forecast of each of many sessions; ``known_future`` is of all of
    them.
    """

    session_ids: list[str]


class ForecastManyQuery(Body):
    """What is in the query of the same in Arrow; several levels, or quantiles, with commas between them."""

    horizon: Annotated[int, msgspec.Meta(ge=1)]
    level: str = ""
    quantiles: str = ""
    num_samples: Annotated[int, msgspec.Meta(ge=1, le=MAX_SAMPLES)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None

    def body(self, session_ids: list[str]) -> ForecastManyBody:
        """The same as a body; raises ``msgspec.ValidationError`` where a text is no list of numbers."""
        lists = {name: [each for each in getattr(self, name).split(",") if each] for name in ("level", "quantiles")}
        members = {"session_ids": session_ids, **msgspec.structs.asdict(self), **lists}
        return msgspec.convert(members, ForecastManyBody, strict=False)
