"""Verbs that take and give long data frames, as plans: whose every id is a session, or a whole sequence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ostinato.client.arrays import Outputs
from ostinato.client.data_frame import GivenDataFrame, library_of
from ostinato.client.data_frame_answers import AnswerColumns
from ostinato.client.data_frame_forecasts import FrameForecasts
from ostinato.client.data_frame_future import KnownFuture
from ostinato.client.data_frame_rows import FrameRows, id_text, split_rows
from ostinato.client.data_frame_steps import FrameSteps
from ostinato.client.exchange import Exchanges, Plan
from ostinato.client.forecasts import ForecastOptions
from ostinato.client.shapes import KnownModels, ModelTensors
from ostinato.client.verbs import Verbs
from ostinato.errors import InputError

PREDICT_ROWS = 20_000
"""Rows of one request, unless one sequence is longer."""


class DataFrameVerbs:
    """The plan of every verb. All of them raise what ``Verbs`` do, and InputError where the frame does not fit the
    model; then nothing was sent.
    """

    def __init__(self, exchanges: Exchanges, verbs: Verbs) -> None:
        self._models = KnownModels(exchanges)
        self._verbs = verbs

    def step(
        self,
        model: str,
        frame: Any,
        *,
        id: str,  # noqa: A002
        time: str | None,
        create_missing: bool,
        seq: int | Mapping[Any, int] | None,
    ) -> Plan[Any]:
        """Steps of a session for each id.

        Raises:
            RowsFailed: some rows were not answered.
        """
        shape = yield from self._shape(model, None)
        rows = FrameRows(GivenDataFrame(frame), id, time)
        given = seq if isinstance(seq, Mapping) else {} if seq is None else dict.fromkeys(rows.positions, seq)
        known = {id_text(name): int(steps) for name, steps in given.items()}
        steps = FrameSteps(self._verbs, self._models, model, shape, rows, known, create_missing=create_missing)
        return (yield from steps.run())

    def predict(
        self,
        model: str,
        frame: Any,
        *,
        id: str,  # noqa: A002
        time: str | None,
        version: str | None,
    ) -> Plan[Any]:
        """A whole sequence for each id."""
        shape = yield from self._shape(model, version)
        rows = FrameRows(GivenDataFrame(frame), id, time)
        arrays, contexts = rows.arrays(shape.inputs, model), rows.contexts(shape.context, model)
        answers = AnswerColumns(shape, len(rows.given), rows.kept)
        if shape.is_framed:
            raise InputError(f"{model!r} answers once a frame, and a row of the data frame is a step: ask by predict")
        for names in _bundles(rows.positions):
            sequences = [split_rows(shape.inputs, arrays, rows.positions[name]) for name in names]
            made, _ = yield from self._verbs.predict(
                model,
                sequences,
                return_sequences=True,
                return_state=False,
                initial_state=None,
                context=[contexts[name] for name in names] if contexts else None,
                go_backwards=False,
                align=False,
                version=version,
            )
            for name, outputs in zip(names, made, strict=True):
                _put_sequence(answers, shape, rows.positions[name], outputs)
        return rows.given.beside(rows.kept, answers.columns())

    def forecast(
        self,
        model: str,
        ids: Any,
        horizon: int,
        *,
        known_future: Any,
        options: ForecastOptions,
        id: str,  # noqa: A002
        time: str | None,
    ) -> Plan[Any]:
        """The next ``horizon`` steps of each session.

        Raises:
            RowsFailed: some sessions gave no forecast.
        """
        shape = yield from self._shape(model, None)
        names, library = _ids(ids, id)
        future = KnownFuture(known_future, shape, model, names, horizon, id=id, time=time)
        library = library or library_of(known_future)
        if library is None:
            raise InputError(
                "give the ids as a column of a data frame, so that there is a kind of frame to answer with"
            )
        forecasts = FrameForecasts(self._verbs, model, shape, names, horizon, future, options, id=id, time=time)
        return (yield from forecasts.run(library))

    def _shape(self, model: str, version: str | None) -> Plan[ModelTensors]:
        shape = yield from self._models.of(model, version or "")
        if shape is None or not shape.inputs or any(part.features is None for part in shape.inputs):
            raise InputError(f"the service does not tell the features of {model!r}, by which columns are found")
        return shape


def _ids(given: Any, id: str) -> tuple[list[Any], Any]:  # noqa: A002
    """The ids in their order, each once, and the library of what holds them; None where nothing does."""
    library = library_of(given)
    if hasattr(given, "columns"):
        frame = GivenDataFrame(given)
        frame.check([id], "which says whose a row is")
        given = frame.values(id)
    elif isinstance(given, str):
        raise InputError("ids are a column of a data frame, or a list")
    names = given.tolist() if hasattr(given, "tolist") else list(given)
    if any(name is None or name != name for name in names):
        raise InputError("an id is missing")
    return list({id_text(name): name for name in names}.values()), library


def _bundles(positions: Mapping[str, Sequence[int]]) -> Iterable[list[str]]:
    """Ids whose sequences go in one request."""
    bundle: list[str] = []
    num_rows = 0
    for name, rows in positions.items():
        if bundle and num_rows + len(rows) > PREDICT_ROWS:
            yield bundle
            bundle, num_rows = [], 0
        bundle.append(name)
        num_rows += len(rows)
    if bundle:
        yield bundle


def _put_sequence(answers: AnswerColumns, shape: ModelTensors, rows: Sequence[int], outputs: Outputs) -> None:
    """Outputs of a sequence in its rows; what is answered once, in the last of them."""
    named = outputs if isinstance(outputs, dict) else {shape.outputs[0].name: outputs}
    for part, made in named.items():
        answers.put_part(part, rows[-len(made) :], made)
