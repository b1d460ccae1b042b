"""Methods of the clients that take and give long data frames of pandas or polars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, Unpack

from ostinato.client.data_frame_verbs import DataFrameVerbs
from ostinato.client.exchange import Plan
from ostinato.client.forecasts import ForecastOptions

Result = TypeVar("Result")


class DataFrameMethods:
    """Of a client that blocks; ``AsyncDataFrameMethods`` says what they do."""

    _data_frames: DataFrameVerbs

    def step_frame(
        self,
        model: str,
        frame: Any,
        *,
        id: str = "station",  # noqa: A002
        time: str | None = None,
        create_missing: bool = True,
        seq: int | Mapping[Any, int] | None = None,
    ) -> Any:
        """Step a session for each id; returns a frame of the same kind and rows."""
        plan = self._data_frames.step(model, frame, id=id, time=time, create_missing=create_missing, seq=seq)
        return self._run(plan)

    def predict_frame(
        self,
        model: str,
        frame: Any,
        *,
        id: str = "station",  # noqa: A002
        time: str | None = None,
        version: str | None = None,
    ) -> Any:
        """Run a whole sequence for each id, in no session; returns a frame of the same kind and rows."""
        return self._run(self._data_frames.predict(model, frame, id=id, time=time, version=version))

    def forecast_frame(
        self,
        model: str,
        ids: Any,
        horizon: int,
        *,
        known_future: Any = None,
        id: str = "station",  # noqa: A002
        time: str | None = None,
        **options: Unpack[ForecastOptions],
    ) -> Any:
        """Look ahead in a session for each id; returns a frame with ``horizon`` rows for each."""
        plan = self._data_frames.forecast(
            model, ids, horizon, known_future=known_future, options=options, id=id, time=time
        )
        return self._run(plan)

    def _run(self, plan: Plan[Result], /) -> Result:
        raise NotImplementedError


class AsyncDataFrameMethods:
    """Of a client that does not block.

    A frame is of pandas or polars, and so is what is answered. Columns are found by the names of the model's inputs;
    others are passed over. What is missing is NaN, None, NA or NaT. A column with categories holds words, as a table
    does: the numbers in it are words, too, and not codes. A named index of pandas counts as a column. Rows are counted
    from 0.

    All raise:
        InputError: the frame does not fit the model, names the row and column; nothing was sent.
    """

    _data_frames: DataFrameVerbs

    async def step_frame(
        self,
        model: str,
        frame: Any,
        *,
        id: str = "station",  # noqa: A002
        time: str | None = None,
        create_missing: bool = True,
        seq: int | Mapping[Any, int] | None = None,
    ) -> Any:
        """Step a session for each id: the rows of one id are its consecutive steps. Returns a frame of the same rows in
        their order: ``id``, ``time``, and the outputs by their names, NaN where a row has none.

        Sessions are looked up once, and each step has its ``seq``, so what is retried after a lost answer is applied
        once. With ``time`` a model whose steps have times is sent these instead (``at``), unless ``seq`` is given. The
        frame then needs no columns of calendar features, missing steps are filled in, and older steps are refused. Rows
        fail alone, and only their own session waits.

        Args:
            id: the column with the sessions' ids.
            time: the column by which the rows of an id are ordered; two of one time are refused. None = in their order.
            create_missing: open sessions that do not exist, with their context if the frame has its columns.
            seq: steps that each session is believed to have, by id or one number for all; None = look them up.

        Raises:
            RowsFailed: some rows were not answered; it has the frame with all others.
        """
        plan = self._data_frames.step(model, frame, id=id, time=time, create_missing=create_missing, seq=seq)
        return await self._run(plan)

    async def predict_frame(
        self,
        model: str,
        frame: Any,
        *,
        id: str = "station",  # noqa: A002
        time: str | None = None,
        version: str | None = None,
    ) -> Any:
        """Run a whole sequence for each id, in no session. Returns a frame as ``step_frame`` does; an output that is
        made once for a sequence is in its last row.
        """
        return await self._run(self._data_frames.predict(model, frame, id=id, time=time, version=version))

    async def forecast_frame(
        self,
        model: str,
        ids: Any,
        horizon: int,
        *,
        known_future: Any = None,
        id: str = "station",  # noqa: A002
        time: str | None = None,
        **options: Unpack[ForecastOptions],
    ) -> Any:
        """Look ahead in a session for each id. Returns a frame with ``horizon`` rows for each: ``id``, ``time``,
        ``ahead`` (1, 2, ...), the outputs by their names, and what the options ask for: ``lower_80`` and ``upper_80``
        of ``level=80``, ``quantile_0.1`` of ``quantiles=0.1``; of several targets, after its name.

        Args:
            ids: a frame with a column ``id``, such a column, or a list; each is asked once.
            known_future: a frame with the known values of the steps ahead: ``horizon`` rows for each id, or for all ids
                if it has no column ``id``. Inputs without a column are missing.
            time: its column with the times of these steps, which must be the times that the service answers. Without
                ``known_future``, the name of the column with the times in the result.
            options: ``level``, ``quantiles``, and the ``seed`` where these are taken from sample paths.

        Raises:
            RowsFailed: some sessions gave no forecast; it has the frame with all others, and ``rows`` counts ids.
        """
        plan = self._data_frames.forecast(
            model, ids, horizon, known_future=known_future, options=options, id=id, time=time
        )
        return await self._run(plan)

    async def _run(self, plan: Plan[Result], /) -> Result:
        raise NotImplementedError
