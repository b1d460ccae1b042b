"""Answers of the service, read and held to what was asked: an answer to something else never becomes a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ostinato.client.arrays import Array, Outputs, to_outputs, to_outputs_with_holes
from ostinato.client.exchange import accepted, unexpected
from ostinato.client.retry import ServiceAnswer
from ostinato.client.times import times_of
from ostinato.errors import UnexpectedAnswer

Found = TypeVar("Found")


@dataclass(frozen=True)
class SessionInfo:
    """A session at one moment; ``expires_at`` None = never, unless it is stepped.

    ``last_at``: the time of its last step, of a model with a time; None where that is not known, or was not asked for.
    ``offset``: of the reading applied last, in ``source``; None = none ever said it.
    ``bits_may_differ``: after ``put_state``, where the state was made, if that was elsewhere.
    """

    session_id: str
    model: str
    version: str
    steps: int
    opened_at: datetime | None
    expires_at: datetime | None
    last_at: datetime | None = None
    source: str | None = None
    offset: int | None = None
    bits_may_differ: str | None = None


@dataclass(frozen=True)
class SessionInfoPage:
    """Some of the sessions, and where the next page begins; None = that was all.

    ``num_unreadable``: sessions of any model that are left out because the service cannot read their records.
    """

    sessions: tuple[SessionInfo, ...]
    next_cursor: str | None
    num_unreadable: int = 0


@dataclass(frozen=True)
class Stepped:
    """A chunk's outputs, and how many steps the session has now.

    ``output_steps``: of a model that answers once a frame, the step that each row of the outputs is of, int64 ``[k]``,
    by name where there are several outputs; else None.
    ``at``: of a chunk with times, the time of each row; else None. ``filled``: how many steps were filled in.
    ``anomaly``: of a calibrated forecaster, how surprising the reading of each row was, 0 to 1, float64 ``[n]``, NaN
    where that is not known; else None. ``events``: what began and ended with these steps.
    """

    outputs: Outputs
    steps: int
    output_steps: Outputs | None = None
    at: tuple[datetime | None, ...] | None = None
    filled: int = 0
    anomaly: NDArray[np.float64] | None = None
    events: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class RowError:
    """Why a row failed, in the service's words; where it is not what comes next, ``expected_seq`` or ``last_at``, and
    of a session with an offset what ``SeqConflict`` has.
    """

    row: int
    code: str
    detail: str
    expected_seq: int | None = None
    last_at: str | None = None
    source: str | None = None
    offset: int | None = None
    last_seq: int | None = None


@dataclass(frozen=True)
class ManyStepped:
    """The results of one step of each of many sessions. Rows fail alone: look at ``errors``.

    Attributes:
        session_ids: of the R rows.
        seq: int64 ``[R]``: steps applied before each row; -1 in rows that failed.
        outputs: ``[R, O]``, or ``[R, ...]`` of a nested output; NaN (0 for integers) in rows that failed; ``[R, 0]``
            where all did. Of several outputs a dictionary of these by name.
        errors: of the rows that failed, by row.
        output_steps: of a model that answers once a frame, the step that each row is of, int64 ``[R]``, 0 where it
            completes no frame and its outputs are as of one that failed; else None.
        at, filled: of a message with times: those of the rows, None in rows that failed, and how many steps were filled
            in before each, int64 ``[R]``; else None.
        anomaly: of a calibrated forecaster, float64 ``[R]``, as of ``Stepped``; else None. ``events``: of all rows,
            each with its ``row``.
    """

    session_ids: tuple[str, ...]
    seq: NDArray[np.int64]
    outputs: Outputs
    errors: tuple[RowError, ...]
    output_steps: Outputs | None = None
    at: tuple[datetime | None, ...] | None = None
    filled: NDArray[np.int64] | None = None
    anomaly: NDArray[np.float64] | None = None
    events: tuple[dict[str, Any], ...] = ()


def read(answer: ServiceAnswer, reader: Callable[[Mapping[str, Any]], Found]) -> Found:
    """What ``reader`` makes of the JSON object of an answer; it raises ValueError, or fails, on what it cannot be.

    Raises:
        ServiceError: the answer is a refusal.
        UnexpectedAnswer: it is no JSON object, or not one that the reader takes.
    """
    members = accepted(answer).members
    try:
        if members is None:
            raise ValueError("it is no JSON object")
        return reader(members)
    except KeyError as error:
        raise unexpected(answer, f"it has no {error.args[0]}") from error
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError, UnexpectedAnswer) as error:
        raise unexpected(answer, str(error)) from error


def hold(members: Mapping[str, Any], **asked: Any) -> None:
    """Hold members to what was asked; None stands for anything.

    Raises:
        ValueError: one is something else. KeyError: one is absent.
    """
    for name, value in asked.items():
        if value is not None and members[name] != value:
            raise ValueError(f"it is about {name} {members[name]!r}, and {value!r} was asked for")


def text_of(members: Mapping[str, Any], name: str) -> str:
    """A member that is a text.

    Raises:
        ValueError: it is none. KeyError: it is absent.
    """
    text = members[name]
    _check(isinstance(text, str), f"its {name} is no text")
    return str(text)


def session_of(
    members: Mapping[str, Any],
    *,
    session_id: str | None = None,
    model: str | None = None,
    version: str | None = None,
    steps: int | None = None,
) -> SessionInfo:
    """A session, held to what is given of it."""
    hold(members, session_id=session_id, model=model, version=version)
    session_id, model, version = (text_of(members, name) for name in ("session_id", "model", "version"))
    found = count_of(members["steps"], "steps")
    _check(steps is None or found == steps, f"the session has {found} steps, and would have {steps}")
    opened_at, expires_at, last_at = times_of([members.get(name) for name in ("opened_at", "expires_at", "last_at")])
    offset = None if members.get("offset") is None else count_of(members["offset"], "offset")
    source = None if offset is None else text_of(members, "source")
    elsewhere = text_of(members, "bits_may_differ") if "bits_may_differ" in members else None
    return SessionInfo(session_id, model, version, found, opened_at, expires_at, last_at, source, offset, elsewhere)


def page_of(members: Mapping[str, Any], model: str | None, cursor: str | None) -> SessionInfoPage:
    """A page of sessions, of ``model`` where that is given, which ``cursor`` asked for."""
    next_cursor = members["next_cursor"]
    _check(next_cursor is None or isinstance(next_cursor, str), "its next_cursor is no text")
    _check(next_cursor is None or next_cursor != cursor, "the page after it is itself")
    num_unreadable = count_of(members.get("unreadable", 0), "unreadable")
    sessions = tuple(session_of(each, model=model) for each in members["sessions"])
    return SessionInfoPage(sessions, next_cursor, num_unreadable)


def stepped(
    members: Mapping[str, Any], session_id: str, num_steps: int, *, return_sequences: bool, place: Mapping[str, Any]
) -> Stepped:
    """The answer to a chunk of ``num_steps`` steps, after as many as its ``place`` says; without ``seq`` there, after
    whichever there are. One row of outputs for several may be all that the model gives: the caller is to find that out.
    """
    is_timed = "at" in place
    hold(members, session_id=session_id, seq=place.get("seq"))
    steps, seq = count_of(members["steps"], "steps"), count_of(members["seq"], "seq")
    filled = count_of(members["filled"], "filled") if is_timed else 0
    _check(steps == seq + filled + num_steps, f"it has {steps} steps, after {seq} and {filled + num_steps}")
    outputs = outputs_of(members["outputs"])
    if "output_steps" in members:
        return Stepped(outputs, steps, _steps_told(members["output_steps"], outputs, seq, steps))
    num_rows = num_steps if return_sequences else 1
    for made in arrays_of(outputs):
        _check(made.ndim >= 2, "its outputs are no rows of numbers")
        _check(len(made) in (1, num_rows), f"it has {len(made)} rows of outputs, for {num_steps} steps")
    at = times_of(members["at"]) if is_timed else None
    return Stepped(outputs, steps, None, at, filled, anomaly_of(members, num_rows), tuple(members.get("events", ())))


def anomaly_of(members: Mapping[str, Any], num_rows: int) -> NDArray[np.float64] | None:
    """How surprising each row's reading was, ``[n]``; None where the model does not say."""
    if "anomaly" not in members:
        return None
    anomaly = np.array(members["anomaly"], np.float64)
    _check(anomaly.shape == (num_rows,), f"it has {len(anomaly)} anomalies, for {num_rows} rows")
    return anomaly


def predicted(
    members: Mapping[str, Any],
    *,
    model: str,
    lengths: Sequence[int],
    return_sequences: bool,
    return_state: bool,
    align: bool,
) -> tuple[list[Outputs], list[dict[str, Array]]]:
    """The outputs of sequences, and their states. As of a chunk, one row of outputs may be all that the model gives."""
    hold(members, model=model)
    is_framed = "output_steps" in members
    outputs = [outputs_of([] if each is None and is_framed else each) for each in members["outputs"]]
    _check(len(outputs) == len(lengths), f"it has outputs of {len(outputs)} sequences, and {len(lengths)} were sent")
    if is_framed:
        _check(len(members["output_steps"]) == len(lengths), "its output_steps are not of as many sequences")
        for words, told, length in zip(outputs, members["output_steps"], lengths, strict=True):
            if return_sequences:
                _steps_told(told, words, 0, length)
    for words, length in zip([] if is_framed else outputs, lengths, strict=not is_framed):
        for made in arrays_of(words):
            if return_sequences:
                _check(made.ndim >= 2 or (align and not len(made)), "its outputs are no rows of numbers")
                is_known = len(made) <= length if align else len(made) in (1, length)
                _check(is_known, f"it has {len(made)} rows of outputs, for {length} steps")
            else:
                _check(made.ndim >= 1, "it has not one row of outputs for each sequence")
    if not return_state:
        return outputs, []
    states = [{name: to_outputs(state, np.nan) for name, state in each.items()} for each in members["states"]]
    _check(len(states) == len(lengths), f"it has states of {len(states)} sequences, and {len(lengths)} were sent")
    return outputs, states


def many_stepped(
    members: Mapping[str, Any], session_ids: Sequence[str], seq: Sequence[int | None] | NDArray[Any] | None
) -> ManyStepped:
    """The answer to one step of each of R sessions, row by row as they were sent."""
    _check(members["session_ids"] == list(session_ids), "its rows are not those that were sent")
    num_rows = len(session_ids)
    columns, seqs = members["outputs"], members["seq"]
    named = columns if isinstance(columns, dict) else {"": columns}
    lengths = {len(rows) for rows in (seqs, *named.values())}
    _check(bool(named) and lengths == {num_rows}, f"its columns are not of {num_rows} rows")
    stands = [each.name for each in fields(RowError)[3:]]
    errors = tuple(
        RowError(count_of(error["row"], "row"), error["code"], error["detail"], *map(error.get, stands))
        for error in members["errors"]
    )
    failed = {error.row for error in errors}
    _check(len(failed) == len(errors) and all(row < num_rows for row in failed), "its errors are not each of a row")
    told = members.get("output_steps")
    ends = [None] * num_rows if told is None else next(iter(told.values())) if isinstance(told, dict) else told
    _check(len(ends) == num_rows, f"its output_steps are not of {num_rows} rows")
    for row, (number, end, *outputs) in enumerate(zip(seqs, ends, *named.values(), strict=True)):
        is_there = number is not None
        is_answered = is_there if told is None else end is not None
        is_whole = all((output is not None) == is_answered for output in outputs)
        _check(is_whole, f"row {row} has only some of its members")
        _check(is_there or not is_answered, f"row {row} has outputs and no seq")
        _check(is_there != (row in failed), f"row {row} has not either outputs or an error")
        if is_there and seq is not None and seq[row] is not None:
            _check(number == seq[row], f"row {row} is of seq {number}, and {seq[row]} was asked for")
    numbers = np.array([-1 if number is None else count_of(number, "seq") for number in seqs], np.int64)
    made = {name: to_outputs_with_holes(rows) for name, rows in named.items()}
    steps: Outputs | None = None
    if told is not None:
        by_name = told if isinstance(told, dict) else {"": told}
        ends_of = {name: _with_zeros(rows) for name, rows in by_name.items()}
        steps = ends_of if isinstance(told, dict) else ends_of[""]
    all_of = made if columns is named else made[""]
    found = ManyStepped(tuple(session_ids), numbers, all_of, errors, steps)
    found = replace(found, anomaly=anomaly_of(members, num_rows), events=tuple(members.get("events", ())))
    if "at" not in members:
        return found
    at, filled = times_of(members["at"]), np.array([count_of(each, "filled") for each in members["filled"]], np.int64)
    _check(len(at) == len(filled) == num_rows, f"its times are not of {num_rows} rows")
    return replace(found, at=at, filled=filled)


def _with_zeros(rows: Sequence[Any]) -> Array:
    """Steps of rows, int64 ``[R, ...]``, 0 in those that have none."""
    known = np.array([row for row in rows if row is not None], np.int64)
    steps = np.zeros((len(rows), *known.shape[1:]), np.int64)
    steps[[row is not None for row in rows]] = known
    return steps


def _steps_told(told: Any, outputs: Outputs, seq: int, steps: int) -> Outputs:
    """The steps that rows of outputs are of, held to these and to the steps applied, behind ``seq`` up to ``steps``."""
    named = outputs if isinstance(outputs, dict) else {"": outputs}
    by_name = told if isinstance(outputs, dict) else {"": told}
    _check(set(by_name) == set(named), "its output_steps are not those of its outputs")
    found: dict[str, Array] = {}
    for name, made in named.items():
        ends = found[name] = np.array([count_of(each, "output_steps") for each in by_name[name]], np.int64)
        _check(len(ends) == len(made), f"it has {len(made)} rows of outputs, and steps of {len(ends)}")
        is_between = not len(ends) or (seq < ends[-1] <= steps and bool((np.diff(ends) >= 0).all()))
        _check(is_between, f"its output_steps do not end between {seq} and {steps}")
    return found if isinstance(outputs, dict) else found[""]


def outputs_of(words: Any) -> Outputs:
    """The outputs of an answer: an array, or a dictionary of arrays where they have names."""
    if not isinstance(words, dict):
        return to_outputs(words)
    _check(bool(words), "it has no outputs")
    return {name: to_outputs(each) for name, each in words.items()}


def arrays_of(outputs: Outputs) -> list[Array]:
    """The arrays among outputs."""
    return list(outputs.values()) if isinstance(outputs, dict) else [outputs]


def count_of(number: Any, name: str) -> int:
    """A count: a whole number, 0 or more."""
    if type(number) is not int or number < 0:
        raise ValueError(f"its {name} is no count: {number!r}")
    return number


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
