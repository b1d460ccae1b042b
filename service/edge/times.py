"""Times in requests: steps that are sent with ``at`` in place of ``seq``, and times in answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs.rows import ReadRows
from ostinato.service.inputs.series_clock import SeriesClock
from ostinato.service.inputs.timed_rows import TimedRows, no_time_error, read_timed
from ostinato.service.sessions.blocks import RowAnswers


def layout_of(engine: Engine, inputs: Any, at: object) -> RowLayout[Input]:
    """What the steps of a chunk are: with times they may lack what those tell."""
    clock = engine.series_clock
    if at is None or clock is None:
        return engine.given
    if isinstance(inputs, ReadRows):  # in slices, by what it was found to be then
        is_sent = clock.sent is not None and inputs.parts == clock.sent.parts
        return clock.sent if is_sent and clock.sent is not None else engine.given
    return clock.layout(inputs, engine.given)


def is_short(engine: Engine, width: int) -> bool:
    """Whether so many numbers are a step without what its time tells."""
    clock = engine.series_clock
    return clock is not None and clock.sent is not None and width == clock.sent.width


def timed_rows(engine: Engine, rows: Any, layout: RowLayout[Input], at: Any, seq: object, offset: object) -> TimedRows:
    """A chunk with times as the ledger takes it; ``rows`` as ``chunk_inputs`` reads them.

    Raises:
        InvalidInput: a time is none of a step, the model has no time, or there is ``seq`` or an offset, too.
    """
    check_only(at, seq, offset)
    if type(rows) is bytes:
        rows = np.frombuffer(rows, layout.dtype)[None]
    return read_timed(engine.series_clock, at, rows, layout, engine.given)


def check_only(at: object, *others: object) -> None:
    """Refuse ``at`` together with what says in another way which step it is: ``seq``, an offset."""
    if at is not None and any(other is not None for other in others):
        raise InvalidInput("give at without seq, source or offset: a time says which step it is", field="at")


def check_columns(at: object, has_chunks: bool, *others: object) -> None:
    """``check_only`` of a message; and refuse rows with times that are chunks."""
    check_only(at, *others)
    if at is not None and has_chunks:
        raise InvalidInput("a row with a time is one step; send chunks with times to a session each", field="at")


def sent_of(clock: SeriesClock, given: object, features: Sequence[str]) -> Sequence[str]:
    """The columns of rows of the future: all that is not forecast, or what of it no time tells."""
    short = [name for name in features if name not in clock.time.made_features]
    is_short = isinstance(given, list) and given and isinstance(given[0], list) and len(given[0]) == len(short)
    return short if is_short else features


def timed_columns(
    engine: Engine, rows: Any, layout: RowLayout[Input], at: Sequence[str | None], errors: dict[int, OstinatoError]
) -> tuple[Any, Mapping[int, TimedRows]]:
    """The rows ``[R, F]`` of a message, each a step, and those of them that have times; ``errors`` gets why rows have
    none that fits.

    Raises:
        InvalidInput: the model has no time.
    """
    clock, given = engine.series_clock, engine.given
    if clock is None:
        raise no_time_error()
    whole = rows if layout is given else given.zeros(len(rows))
    timed: dict[int, TimedRows] = {}
    for row, text in enumerate(at):
        if row in errors:
            continue
        try:
            if text is None:
                if layout is not given:
                    raise InvalidInput("without a time its row needs all features", field=f"inputs[{row}]")
                continue
            numbers = clock.numbers([text], 1)
            timed[row] = TimedRows(clock, numbers, rows[row : row + 1], layout, given.parts[0])
        except InvalidInput as error:
            place = (error.field or "at").replace("at[0]", f"at[{row}]").replace("inputs[0]", f"inputs[{row}]")
            errors[row] = InvalidInput(str(error), field=place)
            continue
        whole[row] = timed[row].rows[0]
    return whole, timed


def row_times(engine: Engine, answers: RowAnswers) -> dict[str, list[Any]] | None:
    """What a message's answer tells of times: ``at`` of its rows, None of those that failed or had none, and
    ``filled``; None where it had none at all.
    """
    if answers.numbers is None or engine.series_clock is None:
        return None
    text, errors = engine.series_clock.text, answers.errors
    at = [None if row in errors else text(number) for row, number in enumerate(answers.numbers.tolist())]
    return {"at": at, "filled": answers.filled.tolist()}
