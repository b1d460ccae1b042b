"""A session as its client holds it, for clients that block (``Session``) and for those that do not."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, NoReturn, Unpack

import numpy as np
from numpy.typing import NDArray

from ostinato.client.answers import SessionInfo
from ostinato.client.arrays import Outputs, Rows
from ostinato.client.exchange import CarryOut, Plan
from ostinato.client.forecasts import ForecastOptions, Known
from ostinato.client.forks import watch
from ostinato.client.offsets import InSource
from ostinato.client.times import Times
from ostinato.client.verbs import ENDED, Verbs
from ostinato.errors import CommandError, ServiceError


class SessionHandle:
    """What both kinds of session know: whose they are, how many steps they have, and the plan of every verb.

    Attributes:
        session_id, model, version: empty until the session is open.
        steps: how many steps were applied, as far as this client knows: the ``seq`` of its next chunk.
        filled: how many steps that were not sent the last chunk filled in, if it had times.
        output_steps: of a model that answers once a frame, the step that each row of the last answer is of, int64
            ``[k]``, by name where there are several outputs; else None.
        anomaly, events: of a calibrated forecaster, how surprising the reading of each row of the last answer was, 0 to
            1, float64 ``[k]``, NaN where that is not known, and what began and ended with them; else None and none.
    """

    def __init__(self, verbs: Verbs, begin: Callable[[], Plan[SessionInfo]], *, closes_at_exit: bool) -> None:
        self._verbs = verbs
        self._begin = begin
        self._closes_at_exit = closes_at_exit
        self._info: SessionInfo | None = None
        self.output_steps: Outputs | None = None
        self.filled = 0
        self.anomaly: NDArray[np.float64] | None = None
        self.events: tuple[dict[str, Any], ...] = ()
        self._is_closed = False
        watch(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a session stays in its process; resume() its session_id where it is needed")

    def begin_anew(self) -> None:
        """Be as new, in a process that was forked off: whoever opened the session closes it at the end of its block."""
        self._closes_at_exit = self._closes_at_exit and self._info is None

    def __repr__(self) -> str:
        state = ", not open yet" if self._info is None else ", closed" if self._is_closed else ""
        return f"<{type(self).__name__} {self.session_id!r} of {self.model}/{self.version}, {self.steps} steps{state}>"

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._info.session_id if self._info else ""

    @property
    def model(self) -> str:
        """The model that it runs."""
        return self._info.model if self._info else ""

    @property
    def version(self) -> str:
        """The model's version, which it keeps until it is migrated."""
        return self._info.version if self._info else ""

    @property
    def last_at(self) -> datetime | None:
        """The time of its last step, as far as this client knows."""
        return self._info.last_at if self._info else None

    @property
    def steps(self) -> int:
        """How many steps were applied, as far as this client knows."""
        return self._info.steps if self._info else 0

    def _opened(self) -> SessionInfo:
        if self._info is None:
            raise CommandError("the session is not open yet: enter it ('async with'), or await its open()")
        return self._info

    def _open_plan(self) -> Plan[None]:
        if self._info is None:
            self._info = yield from self._begin()

    def _step_plan(self, inputs: Rows, *, return_sequences: bool, at: Times | None, place: InSource) -> Plan[Outputs]:
        info = self._opened()
        made = yield from self._verbs.step(info, inputs, return_sequences=return_sequences, at=at, place=place)
        # Only now: a chunk that failed leaves the count as it was, and may be retried.
        self._info = replace(info, steps=made.steps, last_at=made.at[-1] if made.at else None)
        self.output_steps, self.filled = made.output_steps, made.filled
        self.anomaly, self.events = made.anomaly, made.events
        return made.outputs

    def _forecast_plan(self, horizon: int, known_future: Known, options: ForecastOptions) -> Plan[Outputs]:
        return self._verbs.forecasts.one(self._opened(), horizon, known_future, options)

    def _look_plan(self) -> Plan[SessionInfo]:
        return self._verbs.look(self._opened().session_id)

    def _taken(self, plan: Plan[SessionInfo]) -> Plan[SessionInfo]:
        """A plan whose session is what this handle holds from then on."""
        self._info = yield from plan
        return self._info

    def _reset_plan(self) -> Plan[SessionInfo]:
        return self._taken(self._verbs.reset(self._opened()))

    def _put_state_plan(self, state: bytes) -> Plan[SessionInfo]:
        return self._taken(self._verbs.put_state(self._opened(), state))

    def _state_plan(self) -> Plan[bytes]:
        return self._verbs.state(self._opened().session_id)

    def _fork_plan(self, session_id: str | None, ttl_seconds: float | None) -> Plan[SessionInfo]:
        return self._verbs.fork(self._opened(), session_id=session_id, ttl_seconds=ttl_seconds)

    def _close_plan(self) -> Plan[None]:
        if not self._is_closed:
            yield from self._verbs.close(self._opened().session_id)
            self._is_closed = True

    def _exit_plan(self, failure: BaseException | None) -> Plan[None]:
        """Close it, unless it is kept. What went wrong before is what the caller must hear of."""
        if not self._closes_at_exit or self._info is None:
            return
        try:
            yield from self._close_plan()
        except ServiceError as error:
            # One that expired has ended, too.
            if failure is None and error.code not in ENDED:
                raise
        except CommandError:
            if failure is None:
                raise


class Session(SessionHandle):
    """A session of a ``Client``; leaving its ``with`` block closes it, unless it is kept.

    ``seq`` is sent with every chunk, so a chunk whose answer was lost is retried and not applied twice. One that failed
    for good (``ServiceUnreachable``, ``UnexpectedAnswer``) or was interrupted may have been applied: repeat it with the
    same inputs, or ``sync()``. Threads may share it; their chunks take turns.

    Every verb raises:
        ServiceError: the service refused it. ServiceUnreachable: nobody answered within the client's patience.
    """

    def __init__(
        self, run: CarryOut, verbs: Verbs, begin: Callable[[], Plan[SessionInfo]], *, closes_at_exit: bool
    ) -> None:
        super().__init__(verbs, begin, closes_at_exit=closes_at_exit)
        self._run = run
        self._turn = threading.Lock()
        run(self._open_plan())

    def begin_anew(self) -> None:
        """Forget connections and locks, in a process that was forked."""
        super().begin_anew()
        self._turn = threading.Lock()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._turn:
            self._run(self._exit_plan(error))

    def step(
        self, inputs: Rows, *, return_sequences: bool = True, at: Times | None = None, **place: Unpack[InSource]
    ) -> Outputs:
        """Apply a chunk ``[n, F]`` (None or NaN = missing); returns outputs float32 ``[n, O]``, or the last one
        ``[1, O]`` without ``return_sequences``; integers stay integers. Several outputs are a dictionary by name.

        ``at``: the time of its first step, or of each, for a model with a time: missing steps are filled in, and
        calendar features may be left out. ``place``: where the chunk is in its source, in place of ``steps``; see
        ``InSource``.

        Raises:
            SeqConflict: the session has another number of steps, or readings of it; ``steps`` stays as it is.
            TimeConflict: the times do not follow the session's last step.
        """
        with self._turn:
            return self._run(self._step_plan(inputs, return_sequences=return_sequences, at=at, place=place))

    def forecast(self, horizon: int, known_future: Known = None, **options: Unpack[ForecastOptions]) -> Outputs:
        """The next ``horizon`` outputs, float32 ``[horizon, O]``, several by name; the session is not changed. With
        ``options`` a ``Forecast`` (``ostinato/client/forecasts.py``): level, quantiles, num_samples, seed.

        ``known_future``: feature -> values of the steps ahead, or rows of the features that are not forecast.
        """
        return self._run(self._forecast_plan(horizon, known_future, options))

    def look(self) -> SessionInfo:
        """The session as the server has it; ``steps`` of this object does not change."""
        return self._run(self._look_plan())

    def sync(self) -> int:
        """Take the server's step count for the next chunk's ``seq``; returns it."""
        with self._turn:
            return self._run(self._taken(self._look_plan())).steps

    def reset(self) -> None:
        """Go back to the initial state, with no step applied."""
        with self._turn:
            self._run(self._reset_plan())

    def fork(self, session_id: str | None = None, ttl_seconds: float | None = None) -> Session:
        """An independent copy under a new id; leaving its ``with`` block closes it."""
        with self._turn:
            return Session(
                self._run, self._verbs, lambda: self._fork_plan(session_id, ttl_seconds), closes_at_exit=True
            )

    def save_checkpoint(self, name: str) -> None:
        """Keep it as it is now under a name, for ever: ``client.session(model, checkpoint=name)`` begins from there."""
        with self._turn:
            self._run(self._verbs.save_checkpoint(self.session_id, name))

    def migrate(self, version: str) -> None:
        """Continue with another version of its model, which runs the steps that the session keeps."""
        with self._turn:
            self._run(self._taken(self._verbs.migrate(self.session_id, version)))

    def state(self) -> bytes:
        """The recurrent state, as safetensors."""
        return self._run(self._state_plan())

    def put_state(self, state: bytes) -> SessionInfo:
        """Continue from a state that ``state()`` returned; returns the session, which says if the state was made
        elsewhere.
        """
        with self._turn:
            return self._run(self._put_state_plan(state))

    def close(self) -> None:
        """End it; a second time nothing happens."""
        with self._turn:
            self._run(self._close_plan())
