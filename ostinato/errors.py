"""Errors of the client and of the command line, as one tree; and, apart from it, that of a part without its extra.

CommandError
|- SettingsError         a setting of `ostinato serve` cannot be served with; names the flag
|- InputError            a file, or what else a command was given to work on, cannot be read; names it
|  `- TableError         a table does not hold what a model needs; names the file, and the line and column
|- PictureError          a picture cannot be drawn; says what is missing
|- ServiceError          the service refused a request; carries its status and code
|  |- SeqConflict        a session has not as many steps as its client believes; carries how many it has
|  `- UnexpectedAnswer   what came is no answer to what was asked; no number of it is given
|- RowsFailed            some rows of a data frame were not answered; carries the answers to all others
|- ServiceUnreachable    no service answers at the address
`- WrongAnswer           an answer of the service is not what an offline run gives

ModuleNotFoundError
`- MissingExtra          a part of the package was imported, and a library of its extra is not installed

All of them can be pickled and copied, so that they come out of another process as they were raised there.
"""

from __future__ import annotations

import typing


class CommandError(Exception):
    """Base of every error that the command line raises on purpose; ``str(error)`` says what to do."""

    def __reduce__(self) -> tuple[object, ...]:
        # An exception's own way calls the class with the message alone, which fails where ``__init__`` takes more; and
        # a pool whose worker raises what cannot be read back waits for its result for ever.
        return Exception.__new__, (type(self), *self.args), vars(self)


class SettingsError(CommandError):
    """The service cannot start so; the message names the flag."""


class InputError(CommandError):
    """A file, or what else a command was given to work on, cannot be read; the message names it."""


class TableError(InputError):
    """A table does not hold what a model needs; the message names the file, and line and column where there is one."""


class ServiceError(CommandError):
    """The service refused a request.

    ``code`` is its word for programs, empty where the answer has none; ``request_id`` is the id of the request in the
    service's log, empty where it is not known.
    """

    def __init__(self, detail: str, status: int, code: str, request_id: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.request_id = request_id


class SeqConflict(ServiceError):
    """Another client stepped the session, or a chunk was applied whose answer was lost.

    ``expected_seq`` is how many steps the session has; ``sync()`` of a session or stream continues from there. Where
    readings have offsets, ``offset`` is of the one applied last, in ``source``, and ``last_seq`` how many steps the
    session had before the chunk applied last; else None.
    """

    def __init__(
        self,
        detail: str,
        status: int,
        code: str,
        expected_seq: int,
        request_id: str = "",
        source: str | None = None,
        offset: int | None = None,
        last_seq: int | None = None,
    ) -> None:
        super().__init__(detail, status, code, request_id)
        self.expected_seq = expected_seq
        self.source, self.offset, self.last_seq = source, offset, last_seq


class TimeConflict(ServiceError):
    """A chunk's times do not follow those of the session.

    ``last_at`` is the time of its last step, ``expected_at`` that of the next; as texts, None where there is none.
    """

    def __init__(
        self,
        detail: str,
        status: int,
        code: str,
        last_at: str | None,
        expected_at: str | None,
        request_id: str = "",
    ) -> None:
        super().__init__(detail, status, code, request_id)
        self.last_at, self.expected_at = last_at, expected_at


class UnexpectedAnswer(ServiceError):
    """The answer does not belong to the request: it is of another session or chunk, cut short, or not from the service.

    ``status`` is that of the answer, and ``code`` is empty. The request may have been applied: repeat a step with the
    same inputs, or ask with ``sync()``.
    """

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail, status, "")


class RowsFailed(CommandError):
    """Some rows of a data frame were not answered; the others were, and stay applied.

    Attributes:
        frame: the answer, with all rows; those that failed have no values.
        errors: a ``RowError`` for each row that failed, ``row`` counted from 0.
        seq: id -> steps that its session had, as far as is known, before the first of its rows that failed: with those
            rows and this ``seq`` the call may be repeated, and nothing is applied twice. Empty where steps were sent
            with their times, which have the same effect.
    """

    def __init__(self, detail: str, frame: typing.Any, errors: tuple[typing.Any, ...], seq: dict[str, int]) -> None:
        super().__init__(detail)
        self.frame, self.errors, self.seq = frame, errors, seq

    @property
    def rows(self) -> list[int]:
        """The rows that failed, counted from 0."""
        return [error.row for error in self.errors]


class ServiceUnreachable(CommandError):
    """The service does not answer at its address, or not in time."""


class WrongAnswer(CommandError):
    """What the service answered is not what the model answers offline: the one thing that must not happen."""


class PictureError(CommandError):
    """A picture cannot be drawn; the message says what is missing."""


class MissingExtra(ModuleNotFoundError):
    """A library of an extra is not installed: says which extra, and has the ``name`` of the library."""
