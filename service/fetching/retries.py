"""Retries: what is interrupted is tried again, a few times, after waits that grow."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.tree import words_of

WAITS_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Before each attempt behind the first."""
MAX_WAIT_SECONDS = 60.0
"""That a server may ask for by ``Retry-After``."""
_TRANSIENT = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError)


class Interrupted(Exception):
    """What may go better soon; ``str(error)`` is a sentence without what to do.

    Attributes:
        retry_after: what the server says of when, which may be anything.
    """

    def __init__(self, sentence: str, retry_after: str = "") -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class Retries:
    """The attempts of one file."""

    def __init__(self, sleep: Callable[[float], object] = time.sleep, clock: Callable[[], float] = time.time) -> None:
        self._sleep, self._clock = sleep, clock
        self._waits = iter(WAITS_SECONDS)

    def wait(self, error: Interrupted) -> None:
        """Wait before another attempt.

        Raises:
            FetchFailed: it was the last, or the server asks for more patience than there is.
        """
        asked = _seconds(error.retry_after, self._clock())
        if asked > MAX_WAIT_SECONDS:
            raise FetchFailed(f"{error}, and asks to be left alone for {asked:,.0f} s; fetch it again then") from error
        try:
            wait = next(self._waits)
        except StopIteration:
            raise FetchFailed(f"{error}, {1 + len(WAITS_SECONDS)} times; fetch it again later") from error
        self._sleep(max(wait, asked))


def interrupted(error: Exception, shown: str) -> Interrupted:
    """What an error of a request means.

    Raises:
        FetchFailed: it would come again.
    """
    if isinstance(error, Interrupted):
        return error
    if isinstance(error, httpx2.InvalidURL) or "location header" in str(error):
        raise FetchFailed(f"{shown}: the server leads to what is no address; name the right one") from error
    if _is_of_certificate(error):
        raise FetchFailed(
            f"{shown}: {words_of(error)}; SSL_CERT_FILE names a file of certificates that are trusted"
        ) from error
    if not isinstance(error, _TRANSIENT):
        raise FetchFailed(f"{shown}: {words_of(error)}; name the right address") from error
    return Interrupted(f"{shown}: {words_of(error)}")


def _is_of_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _seconds(retry_after: str, now: float) -> float:
    """How long a server asks to wait: seconds, or the time until a date; 0 where it says neither."""
    if retry_after.isascii() and retry_after.isdecimal():
        return float(retry_after[:10])
    try:
        date: datetime = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
