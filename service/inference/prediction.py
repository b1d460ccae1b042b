"""Predictions of whole sequences, and forecasts of a session's future: what changes no session."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.series_time import NO_TIME
from ostinato.service.engine.generation.decoding import Numbers, OutputPlan
from ostinato.service.engine.generation.engine import GenerationEngine
from ostinato.service.engine.generation.scheduler import Asked
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.sequence.engine import SequenceEngine
from ostinato.service.errors import InvalidInput, RunFailed, TooLarge
from ostinato.service.inputs.framing import Framer
from ostinato.service.inputs.rows import to_rows
from ostinato.service.inputs.sequences import check_codes
from ostinato.service.inputs.series_clock import SeriesClock
from ostinato.service.sessions.session import LiveSession
from ostinato.service.sessions.session_file import is_known
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.sessions.timed import last_number
from ostinato.service.state.arena import Rows


class Prediction(NamedTuple):
    """Outputs of one sequence, rows ``[n, width]``; and, where asked for, what it carries behind them, each of its
    ``row_shape``.
    """

    outputs: NDArray[Any]
    states: tuple[NDArray[Any], ...]


async def predict(
    engine: Engine | SequenceEngine,
    sequences: Sequence[NDArray[Any]],
    initial_states: Sequence[Rows | None],
    *,
    with_states: bool = False,
) -> list[Prediction]:
    """Run whole sequences of any lengths: each as a short-lived session, or at once, where the model has no steps.

    Args:
        sequences: rows ``[n, width]`` of the engine's ``given``, n at most its ``max_chunk_steps``. With framing there
            is an output for each frame, and steps behind the last whole one have none.
        initial_states: for each sequence what it begins with, states and context; or None for the model's own.

    Raises:
        InvalidInput: the state behind a sequence is asked for, and the sequence ends where no frame begins.
        TooLarge (more sequences than the queue holds), Overloaded, Draining: refused before anything ran.
        RunFailed: the graph failed; names no partial result.
    """
    if isinstance(engine, SequenceEngine):
        return [Prediction(made, ()) for made in await engine.run(sequences, initial_states)]
    if engine.framer is not None:
        return await _predict_frames(engine, engine.framer, sequences, initial_states, with_states=with_states)
    return await _run(engine, sequences, initial_states, with_states=with_states)


async def _predict_frames(
    engine: Engine,
    framer: Framer,
    sequences: Sequence[NDArray[Any]],
    initial_states: Sequence[Rows | None],
    *,
    with_states: bool,
) -> list[Prediction]:
    """``predict`` of a model with framing."""
    framing = framer.framing
    for index, sequence in enumerate(sequences):
        # Where windows do not touch, the states tell of steps to the next one as little as of steps that are its own.
        if with_states and framing.count(len(sequence)) * framing.hop != len(sequence):
            way_out = "use a session" if framing.overlap else f"end after a multiple of {framing.hop}, or use a session"
            raise InvalidInput(
                f"after its {len(sequence)} steps no frame begins (framing {framing}), and what is in between no state "
                f"holds: {way_out}",
                field=f"sequences[{index}]",
            )
    frames = [framer.whole(sequence) for sequence in sequences]
    places = [place for place, each in enumerate(frames) if len(each)]
    begun = [initial_states[place] for place in places]
    made = await _run(engine, [frames[place] for place in places], begun, with_states=with_states)
    by_place = dict(zip(places, made, strict=True))
    return [by_place.get(place) or Prediction(engine.made.zeros(0), ()) for place in range(len(frames))]


async def _run(
    engine: Engine, sequences: Sequence[NDArray[Any]], initial_states: Sequence[Rows | None], *, with_states: bool
) -> list[Prediction]:
    """Sequences of steps as the graph takes them, each as a short-lived session."""
    engine.admit(len(sequences))
    works = [
        engine.start(engine.take_slot(states), sequence)
        for sequence, states in zip(sequences, initial_states, strict=True)
    ]
    try:
        outputs = [await work.future for work in works]
    except BaseException:
        for work in works:
            engine.abandon(work)
        raise
    predictions = []
    for work, made in zip(works, outputs, strict=True):
        slot = work.slots[0]
        predictions.append(Prediction(made, engine.read_slot(slot) if with_states else ()))
        engine.give_back(slot)
    return predictions


class ForecastPlan:
    """How a model's forecast is fed back into its inputs, whose features are known by their names.

    Attributes:
        known_features: what the model does not predict, in the manifest's order.

    Raises:
        InvalidInput: the model predicts none of its inputs, or one that takes whole numbers, which its outputs are not.
    """

    def __init__(self, manifest: Manifest) -> None:
        if manifest.framing is not None:
            raise InvalidInput(
                f"model {manifest.name!r} cannot forecast: it answers once in {manifest.framing.hop} steps, which says "
                "nothing of the steps to come"
            )
        if not manifest.feedback:
            raise InvalidInput(
                f"model {manifest.name!r} cannot forecast: its manifest names no output that predicts an input"
            )
        self._given, self._made = manifest.given, manifest.made
        given = _places([part.features for part in manifest.inputs])
        made = _places([part.features for part in manifest.outputs])
        self._fed = [(made[source], given[target]) for source, target in manifest.feedback.items()]
        if any(not manifest.inputs[tensor].dtype.startswith("float") for _, (tensor, _) in self._fed):
            raise InvalidInput(f"model {manifest.name!r} cannot forecast: its input takes whole numbers")
        targets = set(manifest.feedback.values())
        self._known = {name: place for name, place in given.items() if name not in targets}
        self.known_features = tuple(self._known)

    def inputs(
        self, horizon: int, known_future: Mapping[str, Sequence[float | str | None]], told: Container[str] = ()
    ) -> NDArray[Any]:
        """The rows ``[horizon - 1, width]`` to feed, with what is known of the future filled in and the rest missing.

        ``told``: features that times tell, which are filled in later.

        Raises:
            InvalidInput: a feature is unknown or too short, or is needed and absent.
        """
        rows = self._given.zeros(horizon - 1)
        tensors = self._given.flat(rows)
        for tensor, part in zip(tensors, self._given.parts, strict=True):
            if part.missing:
                tensor[:] = np.nan
        for name, values in known_future.items():
            if name not in self.known_features:
                raise InvalidInput(
                    f"{name!r} is not an input that the future may be known of; there are: "
                    f"{', '.join(self.known_features) or 'none'}",
                    field="known_future",
                )
            if not horizon - 1 <= len(values) <= horizon:
                raise InvalidInput(
                    f"{len(values)} values for a horizon of {horizon}; give one a step, for the steps ahead",
                    field=f"known_future.{name}",
                )
            tensor_index, feature = self._known[name]
            tensors[tensor_index][:, feature] = self._column(name, values[: horizon - 1])
        absent = [
            name
            for name, (tensor_index, _) in self._known.items()
            if name not in known_future and name not in told and not self._given.parts[tensor_index].missing
        ]
        if absent and horizon > 1:
            raise InvalidInput(
                f"this model needs the future of {', '.join(absent)} to forecast beyond one step", field="known_future"
            )
        return rows

    def tell_times(
        self, rows: NDArray[Any], clock: SeriesClock, last: int, known_future: Container[str]
    ) -> NDArray[Any]:
        """Put what a calendar tells of the steps behind ``last`` into these rows, where the future does not say it.

        Raises:
            InvalidInput: the model needs it, and no time of the session is known.
        """
        told = [name for name in clock.time.calendar if name in self._known and name not in known_future]
        if last == NO_TIME or clock.is_irregular:
            if told and len(rows) and not self._given.parts[0].missing:
                raise InvalidInput(
                    f"no time of the session is known, and this model needs the future of {', '.join(told)}",
                    field="known_future",
                )
            return rows
        made = clock.rows(np.arange(last + 1, last + 1 + len(rows)))
        for name in told:
            _, place = self._known[name]
            rows[:, place] = made[:, place]
        return rows

    def feed_back(self, output: NDArray[Any], row: NDArray[Any]) -> None:
        """Put an output, a row ``[width]``, into the next row to feed.

        Raises:
            RunFailed: it is infinite, no code, or outside what the input may be.
        """
        tensors, outputs = self._given.flat(row), self._made.flat(output)
        for (made, source), (given, target) in self._fed:
            if not np.isfinite(outputs[made][source]):
                raise RunFailed("the forecast cannot be fed back: it is minus infinity")
            tensors[given][target] = outputs[made][source]
        for tensor, part in zip(tensors, self._given.parts, strict=True):
            if part.is_limited:
                try:
                    check_codes(tensor[None], part, "the forecast")
                except InvalidInput as error:
                    raise RunFailed(f"the forecast cannot be fed back: {error}") from error

    def _column(self, name: str, values: Sequence[float | str | None]) -> NDArray[Any]:
        """One feature's future ``[n]``, held to what its values may be in a chunk."""
        part = self._given.parts[self._known[name][0]]
        if not values:
            return np.empty(0, part.dtype)
        field = f"known_future.{name}"
        # One column, whatever the shape of the rest.
        column = part.of_feature(name).model_copy(update={"shape": ("B", "T", 1)})
        try:
            return to_rows([[value] for value in values], RowLayout([column]), field)[:, 0]
        except InvalidInput as error:
            raise InvalidInput(str(error), (error.field or field).removesuffix("[0]")) from error


def _places(features: Sequence[Sequence[str]]) -> dict[str, tuple[int, int]]:
    """Feature -> which tensor has it, and where; ``features`` of each tensor."""
    return {name: (tensor, index) for tensor, names in enumerate(features) for index, name in enumerate(names)}


class Outset(NamedTuple):
    """A session as it is in its turn, for what looks ahead from there: what it carries, each of its ``row_shape``; the
    output of the step applied last, a row ``[width]``; of a calibrated model what it keeps count of, ``[width]``; and
    the number of its last step by its time, ``NO_TIME`` where that is not known.
    """

    states: Rows
    output: NDArray[Any]
    kept: NDArray[np.float64] | None
    last_number: int


async def outset(sessions: Sessions, session: LiveSession) -> Outset:
    """Wait for a session's turn, and copy it.

    Raises:
        InvalidInput: it has no step yet.
    """
    async with sessions.alone(session):
        if not session.steps:
            raise InvalidInput("the session has no step yet, so there is nothing to forecast from", field="session_id")
        arena, slot = session.address
        kept = arena.watched[0][slot].copy() if arena.watched else None
        states = arena.read(slot)[: arena.num_carried]
        return Outset(states, arena.last_output[slot].copy(), kept, last_number(arena, slot))


def check_output(begun: Outset, engine: Engine) -> None:
    """Refuse a session whose last output, which a forecast begins with, is not known: raises InvalidInput."""
    if not is_known(begun.output, engine.made):
        raise InvalidInput(
            "the session's state was put without the output that goes with it, which a forecast begins from; apply a "
            "step first",
            field="session_id",
        )


def check_horizon(engine: Engine, horizon: int) -> None:
    """Refuse a horizon over the model's limit: raises TooLarge."""
    if horizon > engine.max_horizon:
        raise TooLarge(f"a horizon of {horizon} steps; the most is {engine.max_horizon}")


def refuse_known_future(known_future: Mapping[str, Any]) -> None:
    """Refuse what is known of the future where it has no place: raises InvalidInput."""
    if known_future:
        raise InvalidInput("this model's forecast takes nothing of the future", field="known_future")


async def feed_ahead(engine: Engine, plan: ForecastPlan, begun: Outset, inputs: NDArray[Any]) -> NDArray[Any]:
    """Outputs ``[1 + n, width]``, the last of the session and those of ``inputs`` [n, width], into which each is
    fed.
    """
    check_output(begun, engine)
    engine.admit(1)
    slot = engine.take_slot(begun.states)
    outputs = [begun.output]
    for row in inputs:
        try:
            plan.feed_back(outputs[-1], row)
        except RunFailed:
            engine.give_back(slot)
            raise
        outputs.append((await engine.run(slot, row[None]))[-1])
    engine.give_back(slot)
    return np.stack(outputs)


def times_ahead(engine: Engine, begun: Outset, horizon: int) -> list[str | None] | None:
    """The times of a session's next steps; None where its last is not known, or they come when they come."""
    clock, last = engine.series_clock, begun.last_number
    return None if clock is None or clock.is_irregular or last == NO_TIME else clock.future(last, horizon)


async def decode(engine: Engine, generator: GenerationEngine, begun: Outset, horizon: int) -> NDArray[Any]:
    """Outputs ``[horizon, O]`` by the model's decoder."""
    start = generator.start_of_session(engine.manifest, begun.states)
    plan = OutputPlan(generator.start_value, None, horizon)
    (output,) = await generator.run([Asked(start, Numbers(plan))])
    numbers: NDArray[Any] = output.outputs[0].codes
    return numbers
