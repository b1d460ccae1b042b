"""Errors that the service raises on purpose, as one tree.

They know nothing of HTTP; ``service/edge/problems.py`` holds the one table that gives each its status.

    OstinatoError
    |- InvalidInput               the request says something that cannot be done; names the field
    |- UnknownModel               no such model or version is served
    |- UnknownSession             never opened, or gone for so long that it was forgotten
    |- SeqConflict                the client's step count is not the session's; carries the right one
    |- TimeConflict               the client's times do not follow the session's last; carries that and the next
    |- SessionExists              the id asked for is taken
    |- SessionExpired             idle for longer than its time to live
    |- SessionClosed              closed by a client
    |  `- CopyOutdated            what it was judged by is not the session any more: to be judged again
    |- TooLarge                   a body, chunk or batch over its limit
    |- UnsupportedMediaType       a body in a format that the route does not read
    |- UnsupportedCoding          a body that is compressed as it cannot be unpacked
    |- MethodNotAllowed           the path exists, not under this method
    |- UnknownRoute               no such path
    |- UpgradeRequired            the path is a WebSocket's, and the request is none
    |- OriginRefused              a browser's page of another site asks for what it may not
    |- MalformedRequest           what came is not HTTP as it is spoken here, or may be read in two ways
    |- HeadTooLarge               a request's head is over its limits
    |- RequestTimeout             a request's head or body did not come in time
    |- TooManyConnections         one more than may be open
    |- Overloaded                 refused before it was queued; carries when to try again
    |- Starting                   the models are still being checked
    |- Draining                   the server is going away
    |- StateStoreUnavailable      the store cannot be reached; says whether anything may have been applied
    |- RecordUnreadable           a session was stored in a way that this release does not understand
    |- DeadlineExceeded           not answered in time
    |- RunFailed                  the graph failed or gave non-finite numbers; the session is as it was
    |- ModelRejected              a model's directory failed a check at load; names the file and the reason
    `- FetchFailed                a model could not be brought from its source; names the source and what to do
"""

from __future__ import annotations


class OstinatoError(Exception):
    """Base of every error raised on purpose; ``str(error)`` is a sentence for the caller."""

    def __reduce__(self) -> tuple[object, ...]:
        # Pickled and copied with what it carries, though ``__init__`` may take more than the message.
        return Exception.__new__, (type(self), *self.args), vars(self)


class InvalidInput(OstinatoError):
    """The request cannot be applied; ``field`` is the place in it, as in ``inputs[2][0]``."""

    def __init__(self, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field


class UnknownModel(OstinatoError):
    """No such model, or no such version of it, is served."""


class UnknownSession(OstinatoError):
    """No session has this id, and none that is remembered had it."""


class SeqConflict(OstinatoError):
    """``seq`` is neither the session's step count nor the chunk applied last; or readings were applied already.

    ``source`` and ``offset`` are of the reading applied last that had one, ``last_seq`` of the chunk applied last; None
    = there is none.
    """

    def __init__(
        self,
        detail: str,
        expected_seq: int,
        source: str | None = None,
        offset: int | None = None,
        last_seq: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.expected_seq = expected_seq
        self.source, self.offset, self.last_seq = source, offset, last_seq


class TimeConflict(OstinatoError):
    """A chunk's times are older than the session's last step, or too far behind it; times are RFC 3339, None = unknown
    or any.
    """

    def __init__(self, detail: str, last_at: str | None, expected_at: str | None) -> None:
        super().__init__(detail)
        self.last_at, self.expected_at = last_at, expected_at


class SessionExists(OstinatoError):
    """A session with the id asked for is live."""


class VersionInUse(OstinatoError):
    """Sessions run the version, and nobody said what becomes of them."""


class UnknownCheckpoint(OstinatoError):
    """There is no checkpoint of that name."""


class CheckpointExists(OstinatoError):
    """There is a checkpoint of that name."""


class SessionExpired(OstinatoError):
    """The session was idle for longer than its time to live."""


class SessionClosed(OstinatoError):
    """A client closed the session."""


class CopyOutdated(SessionClosed):
    """What a request was judged by is not the session any more: whoever can looks at the newest one, and asks again."""


class TooLarge(OstinatoError):
    """A body, a chunk or a batch is over its limit."""


class UnsupportedMediaType(OstinatoError):
    """The route does not read bodies of this media type."""


class UnsupportedCoding(OstinatoError):
    """The body is in a content coding that is not read, or in several."""


class UnknownRoute(OstinatoError):
    """No route has this path."""


class UpgradeRequired(OstinatoError):
    """The path is a WebSocket's, and the request is no handshake that opens one."""


class MethodNotAllowed(OstinatoError):
    """The path has routes, none of them under this method."""

    def __init__(self, detail: str, allowed: tuple[str, ...]) -> None:
        super().__init__(detail)
        self.allowed = allowed


class Overloaded(OstinatoError):
    """Refused before anything was queued; trying again after ``retry_after_seconds`` is safe."""

    def __init__(self, detail: str, retry_after_seconds: int = 1) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Starting(OstinatoError):
    """The models are still being checked."""


class Draining(OstinatoError):
    """The server finishes what it holds and takes no new work."""


class StateStoreUnavailable(OstinatoError):
    """The store cannot be reached, or did not answer: the message says whether anything may have been applied."""

    NOTHING = "nothing was applied"
    """How a message ends that says so."""

    @property
    def cause(self) -> str:
        """The message, without what it says of the one change that failed."""
        return str(self).removesuffix(f"; {self.NOTHING}")

    def after(self, done: str) -> StateStoreUnavailable:
        """The error of a request that had ``done`` something before this change of it failed."""
        return StateStoreUnavailable(f"{done}; then: {self.cause}")


class RecordUnreadable(OstinatoError):
    """The store has the session, in a record that cannot be read; the message says why."""


class DeadlineExceeded(OstinatoError):
    """The request was not answered in time; with ``seq``, sending it again is safe."""


class RunFailed(OstinatoError):
    """The graph failed or gave numbers that are not finite; the session is as it was."""


class ModelRejected(OstinatoError):
    """A model's directory failed a check; the message names the file and the reason."""


class OriginRefused(OstinatoError):
    """A page of another site, in somebody's browser, asks for a WebSocket."""


class MalformedRequest(OstinatoError):
    """What came is not HTTP/1.1 or 1.0, comes in a transfer coding that is not read, or could be read in two ways."""


class HeadTooLarge(OstinatoError):
    """The head of a request has too many bytes or headers."""


class RequestTimeout(OstinatoError):
    """The head or the body of a request was not there in time."""


class TooManyConnections(OstinatoError):
    """As many connections are open as may be; nothing was read from this one."""


class FetchFailed(OstinatoError):
    """A version could not be brought from where models come from; the message names the source, without passwords."""


class KeysUnreadable(OstinatoError):
    """A file of keys is none, or cannot be changed as asked; the message names the line, and no key."""


class Unauthenticated(OstinatoError):
    """The request shows no key, or none that there is."""


class Forbidden(OstinatoError):
    """The key does not have the right that the request needs."""


class RateLimited(Overloaded):
    """The key has asked for more than it may; trying again after ``retry_after_seconds`` is safe."""


class HostRefused(OstinatoError):
    """The request was sent to a name that is not this server's."""
