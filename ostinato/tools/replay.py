"""Replay of rows through live sessions: each is sent in its turn, and a forecast is kept until its value arrives."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ostinato.client.arrays import Outputs
from ostinato.client.async_client import AsyncClient
from ostinato.errors import CommandError, ServiceError
from ostinato.tools.input_table import InputRow, InputRows
from ostinato.tools.model_shape import ModelShape

WARM_UP_CHUNK_STEPS = 200


@dataclass(frozen=True)
class ReplayOptions:
    """How rows are replayed.

    Attributes:
        sessions: how many are replayed at once.
        offset_rows: how many rows later each session begins than the one before it.
        warm_up_rows: how many rows at the front only bring the sessions' state up; they are not scored.
        horizon: how many steps ahead is forecast; 1 = a step's own output.
        known: features whose future the forecast may read from the file, as a calendar or another forecast would tell.
        rows_per_second: of each session; 0 = as fast as the service answers.
        keep_open: leave the sessions open.
        context: of every session, by name; None = the model takes none.
        keep_forecasts: have the result hold every forecast that was made.
    """

    sessions: int = 1
    offset_rows: int = 1
    warm_up_rows: int = 0
    horizon: int = 1
    known: tuple[str, ...] = ()
    rows_per_second: float = 0.0
    keep_open: bool = False
    context: Any = None
    keep_forecasts: bool = False


@dataclass(frozen=True)
class Comparison:
    """A forecast compared with the value that arrived. None = no forecast, no value, or no value before it."""

    forecast: float | None
    actual: float | None
    persistence: float | None

    @property
    def error(self) -> float | None:
        """``|forecast - actual|``."""
        return None if self.forecast is None or self.actual is None else abs(self.forecast - self.actual)

    @property
    def persistence_error(self) -> float | None:
        """``|last value seen when the forecast was made - actual|``."""
        return None if self.persistence is None or self.actual is None else abs(self.persistence - self.actual)


@dataclass(frozen=True)
class Arrival:
    """A row that arrived in a session, how it compares with its forecasts, and what the model answered to it."""

    session: int
    row: InputRow
    comparisons: dict[str, Comparison]
    outputs: list[float]


@dataclass
class Score:
    """Mean absolute errors of the model and of persistence, both over the same rows."""

    num_scored: int = 0
    total: float = 0.0
    persistence_total: float = 0.0

    def add(self, compared: Comparison) -> None:
        """Count a row, unless its value or either forecast is missing."""
        if compared.error is not None and compared.persistence_error is not None:
            self.num_scored += 1
            self.total += compared.error
            self.persistence_total += compared.persistence_error

    @property
    def mae(self) -> float:
        """Of the model; NaN where nothing was scored."""
        return self.total / self.num_scored if self.num_scored else float("nan")

    @property
    def persistence_mae(self) -> float:
        """Of persistence; NaN where nothing was scored."""
        return self.persistence_total / self.num_scored if self.num_scored else float("nan")


@dataclass
class SessionForecasts:
    """The forecasts that were made in one session.

    Attributes:
        name: of its series; empty where there is but one.
        rows: all that it was sent.
        made: position in these rows -> what was forecast behind that row, numbers ``[H, O]``.
    """

    name: str
    rows: Sequence[InputRow]
    made: dict[int, list[list[float]]] = field(default_factory=dict)


@dataclass
class Replayed:
    """What a replay came to. ``seconds`` leaves opening and warming up out; ``steps`` counts the sessions' steps.

    ``forecasts``: of each session, where they were to be kept.
    """

    session_ids: list[str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    num_rows: int = 0
    seconds: float = 0.0
    scores: dict[str, Score] = field(default_factory=dict)
    forecasts: list[SessionForecasts] = field(default_factory=list)


Observe = Callable[[Arrival], None]


def rows_of_sessions(num_read: int, options: ReplayOptions) -> list[int]:
    """How many rows each session replays, of ``num_read`` with those of the warm-up."""
    rows = num_read - options.warm_up_rows
    return [max(0, rows - session * options.offset_rows) for session in range(options.sessions)]


async def replay(
    client: AsyncClient,
    shape: ModelShape,
    rows: Sequence[InputRow],
    options: ReplayOptions = ReplayOptions(),
    observe: Observe = lambda _arrival: None,
) -> Replayed:
    """Replay ``rows``, the first ``options.warm_up_rows`` of them as a warm-up, in sessions of their own.

    Raises:
        ServiceError, ServiceUnreachable: a request failed for good; the sessions are closed where they can be.
    """
    firsts = [session * options.offset_rows for session in range(options.sessions)]
    parts = [InputRows(list(rows[first:]), options.warm_up_rows, []) for first in firsts]
    return await _replay(client, shape, [("", part) for part in parts], options, observe)


async def replay_each(
    client: AsyncClient,
    shape: ModelShape,
    series: Mapping[str, InputRows],
    options: ReplayOptions = ReplayOptions(),
    observe: Observe = lambda _arrival: None,
) -> Replayed:
    """Replay several series at once, each in a session of its own, with the rows ahead of its first as a warm-up.

    Raises: as ``replay``.
    """
    return await _replay(client, shape, list(series.items()), options, observe)


async def _replay(
    client: AsyncClient,
    shape: ModelShape,
    series: Sequence[tuple[str, InputRows]],
    options: ReplayOptions,
    observe: Observe,
) -> Replayed:
    result = Replayed(scores={target: Score() for target in shape.feedback.values()})
    replayed = [
        _ReplayedSession(client, shape, name, part, options, session, result, observe)
        for session, (name, part) in enumerate(series)
        if len(part.rows) > part.num_ahead
    ]
    try:
        await _together([each.open() for each in replayed])
        began_at = time.perf_counter()
        await _together([each.run() for each in replayed])
        result.seconds = time.perf_counter() - began_at
        result.session_ids = [each.session_id for each in replayed]
        result.steps = [each.steps for each in replayed]
        result.forecasts = [each.kept for each in replayed if options.keep_forecasts]
    finally:
        if not options.keep_open:
            await _together([each.close() for each in replayed])
    return result


async def _together(coroutines: Sequence[Any]) -> None:
    """Run all; the first failure ends the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


class _ReplayedSession:
    """One session and its rows, those of the warm-up in front."""

    def __init__(
        self,
        client: AsyncClient,
        shape: ModelShape,
        name: str,
        part: InputRows,
        options: ReplayOptions,
        session: int,
        result: Replayed,
        observe: Observe,
    ) -> None:
        self._shape, self._options = shape, options
        self._session, self._result, self._observe = session, result, observe
        self._rows, self._start = part.rows, part.num_ahead
        self.kept = SessionForecasts(name, part.rows)
        self._targets = {
            target: (shape.outputs.index(source), shape.features.index(target))
            for source, target in shape.feedback.items()
        }
        self._last_seen: dict[str, float] = {}
        # Position of a row -> its forecasts, by target.
        self._pending: dict[int, dict[str, tuple[float, float | None]]] = {}
        context = {} if options.context is None else {"context": options.context}
        self._handle = client.session(shape.name, keep=True, **context)

    @property
    def session_id(self) -> str:
        """Empty until it is open."""
        return self._handle.session_id

    @property
    def steps(self) -> int:
        """How many were applied."""
        return self._handle.steps

    async def open(self) -> None:
        """Open the session and warm it up with the rows ahead of its first row."""
        await self._handle.open()
        for begin in range(0, self._start, WARM_UP_CHUNK_STEPS):
            end = min(self._start, begin + WARM_UP_CHUNK_STEPS)
            outputs = await self._step(self._rows[begin:end])
            for row in self._rows[begin:end]:
                self._note_values(row)
            if end == self._start:
                await self._forecast(end - 1, outputs)

    async def run(self) -> None:
        """Send row after row."""
        rate = self._options.rows_per_second
        began_at = time.perf_counter()
        for number, position in enumerate(range(self._start, len(self._rows))):
            if rate and (wait := began_at + number / rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await self._arrive(position)

    async def close(self) -> None:
        """Close the session; one that is gone is closed."""
        if self.session_id:
            with contextlib.suppress(CommandError):
                await self._handle.close()

    async def _arrive(self, position: int) -> None:
        row = self._rows[position]
        comparisons = {}
        pending = self._pending.pop(position, {})
        for target, (_, feature) in self._targets.items():
            forecast, persistence = pending.get(target, (None, None))
            comparisons[target] = Comparison(forecast, row.inputs[feature], persistence)
            self._result.scores[target].add(comparisons[target])
        outputs = await self._step([row])
        self._note_values(row)
        await self._forecast(position, outputs)
        self._result.num_rows += 1
        self._observe(Arrival(self._session, row, comparisons, outputs))

    async def _step(self, rows: Sequence[InputRow]) -> list[float]:
        """Apply rows; returns the last output."""
        try:
            outputs = await self._handle.step(self._shape.steps([row.inputs for row in rows]), return_sequences=False)
        except ServiceError as error:
            place = f"rows {rows[0].number} to {rows[-1].number}" if len(rows) > 1 else f"row {rows[0].number}"
            error.args = (f"{place}: {error}",)  # of the same class, with all that it carries
            raise
        return _last_step(outputs)

    def _note_values(self, row: InputRow) -> None:
        for target, (_, feature) in self._targets.items():
            value = row.inputs[feature]
            if value is not None:
                self._last_seen[target] = value

    async def _forecast(self, position: int, outputs: list[float]) -> None:
        """Keep the forecast of the row ``horizon`` further on, if there is one."""
        horizon = self._options.horizon
        if not self._targets or position + horizon >= len(self._rows):
            return
        if horizon > 1:
            ahead = self._rows[position + 1 : position + horizon]
            known = {
                name: [row.inputs[self._shape.features.index(name)] for row in ahead] for name in self._options.known
            }
            steps = _each_step(await self._handle.forecast(horizon, known), horizon)
            outputs = steps[-1]
        if self._options.keep_forecasts:
            self.kept.made[position] = [outputs] if horizon == 1 else steps
        self._pending[position + horizon] = {
            target: (outputs[source], self._last_seen.get(target)) for target, (source, _) in self._targets.items()
        }


def _each_step(outputs: Outputs, horizon: int) -> list[list[float]]:
    """The numbers of each step ahead; an output that is made once for all has them in each."""
    arrays = outputs.values() if isinstance(outputs, dict) else [outputs]
    return [
        [number for array in arrays for number in array[min(step, len(array) - 1)].ravel().tolist()]
        for step in range(horizon)
    ]


def _last_step(outputs: Outputs) -> list[float]:
    """The numbers of the last step, of all outputs behind each other; none where it completes no frame."""
    arrays = outputs.values() if isinstance(outputs, dict) else [outputs]
    return [number for array in arrays if len(array) for number in array[-1].ravel().tolist()]
