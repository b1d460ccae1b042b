"""Forecasts of an offline run, from many of its steps: what a live session would forecast there, to the bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.errors import CommandError, InputError

if TYPE_CHECKING:
    from ostinato.service.catalogue.recurrent_checks import LoadedModel
    from ostinato.service.state.arena import Rows

LANES = 32
"""Forecasts of a decoder that run together, where they may."""

SPREAD_LEVELS = (0.1, 0.9)
"""Of the interval that is scored of a model that answers a mean and a spread."""

KnownFutures: TypeAlias = Sequence[Mapping[str, Sequence[Any]]]


class OfflineForecaster:
    """A version of a recurrent model that forecasts its inputs, run as its promise says.

    Attributes:
        sources: target -> the output that forecasts its next value.

    Raises:
        CommandError: it is none; says why.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        from ostinato.service.errors import InvalidInput
        from ostinato.service.inference.prediction import ForecastPlan

        self._loaded, self.manifest = loaded, loaded.manifest
        self._features = [feature for part in self.manifest.outputs for feature in part.features]
        self.sources = {target: source for source, target in self.manifest.feedback.items()}
        self._plan: ForecastPlan | None = None
        self._num_steps: int | None = None
        if not self.sources and loaded.generator is None and self._answers_at_once():
            return
        try:
            if loaded.generator is None or not self.sources:
                self._plan = ForecastPlan(self.manifest)
        except InvalidInput as error:
            raise CommandError(str(error)) from error

    def _answers_at_once(self) -> bool:
        """Whether each step answers several steps ahead and nothing is fed back; its sources are noted, then."""
        inputs = {feature for part in self.manifest.inputs for feature in part.features}
        told = [each for each in self.manifest.forecasts if each.num_steps > 1 and each.name in inputs]
        self.sources = {each.name: self._features[int(each.places[0, each.point])] for each in told}
        self._num_steps = min((each.num_steps for each in told), default=None)
        return bool(told)

    @property
    def features(self) -> list[str]:
        """Of the outputs."""
        return list(self._features)

    def spread(self, target: str, made: NDArray[Any]) -> tuple[tuple[float, ...], NDArray[np.float64] | None]:
        """The levels and quantiles ``[n, H, Q]`` of the distribution that outputs ``[n, H, O]`` tell of a target: by a
        mean and a spread, or counts; none of another. Of what is fed back the network speaks one step ahead alone, and
        further on they are NaN: there the service draws sample paths.
        """
        from ostinato.service.inference.spread import own_quantiles

        told = next((each for each in self.manifest.forecasts if each.name == target), None)
        if told is None or told.kind in ("point", "quantiles"):
            return (), None
        num_steps = made.shape[1] if self._plan is None or told.num_steps > 1 else 1
        quantiles = np.full((*made.shape[:2], len(SPREAD_LEVELS)), np.nan)
        for step in range(num_steps):
            quantiles[:, step] = own_quantiles(told, made[:, step], SPREAD_LEVELS)
        return SPREAD_LEVELS, quantiles

    def begin(self, context: Any) -> Rows:
        """What a sequence carries at its beginning.

        Raises:
            InputError: the context is none of the model's.
        """
        from ostinato.service.errors import InvalidInput
        from ostinato.service.inputs.rows import to_context

        try:
            known = to_context(context, self.manifest.context, "context")
        except InvalidInput as error:
            raise InputError(f"{error.field}: {error}") from error
        initial = self._loaded.runner.initial_states(1)[: len(self.manifest.states)]
        return (*initial, *(each[None] for each in known))

    def forecasts(
        self,
        steps: Any,
        origins: Sequence[int],
        horizon: int,
        known: KnownFutures,
        *,
        context: Any = None,
        report: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> NDArray[Any]:
        """The outputs from each of ``n`` origins, float64 ``[n, H, O]``: those ``horizon`` steps ahead and before.

        Args:
            steps: a sequence as ``predict`` takes it, in its first step the state begins.
            origins: positions of steps, rising: forecasts are made when these have been applied.
            known: of each origin, feature -> its values at the steps ahead.
            report: told how many origins are done, of how many.

        Raises:
            InputError: a step is none of the model's, or it does not answer so many ahead. RunFailed: the graph failed.
        """
        from ostinato.service.engine.recurrent.offline import run_offline
        from ostinato.service.errors import InvalidInput
        from ostinato.service.inputs.rows import to_rows

        if self._num_steps is not None and horizon > self._num_steps:
            raise InputError(f"--horizon {horizon}: this model answers {self._num_steps} steps ahead")

        try:
            rows = to_rows(steps, self.manifest.given, "rows")
        except InvalidInput as error:
            raise InputError(f"{error.field}: {error}") from error
        states = self.begin(context)
        made, start = [], 0
        for place, origin in enumerate(origins):
            outputs, states = run_offline(self._loaded.runner, rows[None, start : origin + 1], begin=states)
            made.append(self._ahead(outputs[0, -1], states, horizon, known[place]))
            start = origin + 1
            report(place + 1, len(origins))
        return np.stack(made)

    def _ahead(
        self, output: NDArray[Any], states: Rows, horizon: int, known: Mapping[str, Sequence[Any]]
    ) -> NDArray[Any]:
        """Numbers ``[H, O]`` behind one origin."""
        if (direct := self._direct(output, horizon)) is not None:
            return direct
        rows = self._decoded(states, horizon) if self._plan is None else self._fed_back(output, states, horizon, known)
        return self._numbers(rows)

    def _numbers(self, rows: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([part.reshape(len(rows), -1) for part in self.manifest.made.flat(rows)], axis=1).astype(
            np.float64
        )

    def _direct(self, output: NDArray[Any], horizon: int) -> NDArray[Any] | None:
        """What the model answers of all steps ahead at once, in the places of the first; None where it does not."""
        numbers = self._numbers(output[None])[0]
        firsts = [place for place, name in enumerate(self._features) if name.endswith("_ahead_1")]
        if not firsts:
            return None
        made = np.full((horizon, len(self._features)), np.nan)
        for place in firsts:
            base = self._features[place].removesuffix("1")
            for ahead in range(1, horizon + 1):
                if f"{base}{ahead}" not in self._features:
                    return None
                made[ahead - 1, place] = numbers[self._features.index(f"{base}{ahead}")]
        return made

    def _fed_back(
        self, output: NDArray[Any], states: Rows, horizon: int, known: Mapping[str, Sequence[Any]]
    ) -> NDArray[Any]:
        """As the service's own ``forecast``, of one session."""
        from ostinato.service.engine.recurrent.offline import run_offline
        from ostinato.service.errors import InvalidInput

        assert self._plan is not None
        try:
            inputs = self._plan.inputs(horizon, known)
        except InvalidInput as error:
            raise InputError(f"{error} (--known)") from error
        outputs = [output]
        for row in inputs:
            self._plan.feed_back(outputs[-1], row)
            made, states = run_offline(self._loaded.runner, row[None, None], begin=states)
            outputs.append(made[0, -1])
        return np.stack(outputs)

    def _decoded(self, states: Rows, horizon: int) -> NDArray[Any]:
        """By the model's own decoder, which starts from the states."""
        from ostinato.service.engine.generation.decoding import Numbers, OutputPlan
        from ostinato.service.engine.generation.lanes import Lanes

        assert self._loaded.generator is not None
        decoder = self._loaded.generator.decoder
        carried = [state[0] for state in states]
        lanes, decoding = Lanes(decoder), Numbers(OutputPlan(decoder.start_value, None, horizon))
        lanes.join([(decoding, decoder.start_of_session(self.manifest, carried))])
        while lanes.num_lanes:
            _, failures = lanes.advance()
            for error in failures.values():
                raise error
        numbers: NDArray[Any] = decoding.outputs[0].codes
        return numbers
