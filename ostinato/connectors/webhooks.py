"""Webhooks: notices from the outbox to a receiver, by a thread of its own, so that readings never wait for it.

A notice is sent until the receiver takes it (2xx), with waits that grow, or until it cannot be: then it goes to the
dead letters with the reason. A failure that passes holds up the others as briefly as it can: they are due one after the
other, and the one that failed is behind them.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ostinato.connectors.arrivals import Refusal
from ostinato.connectors.counters import Counters
from ostinato.connectors.ends import EndUnreachable, ReportLine
from ostinato.connectors.notices import EventNotice
from ostinato.connectors.outbox import Outbox, Waiting
from ostinato.connectors.signatures import WebhookSecrets
from ostinato.connectors.webhook_settings import WebhookSettings

PASSING = (408, 425, 429)
"""Statuses below 500 after which the same may be sent again."""
GONE = 410
FIRST_WAIT_SECONDS, LAST_WAIT_SECONDS = 1.0, 300.0
MAX_RETRY_AFTER_SECONDS = 3600.0
MAX_PAUSE_SECONDS = 30.0
"""For which the others wait after a failure, at most, unless the receiver says otherwise."""
LETTERS_AT_ONCE = 1000


class Reply(NamedTuple):
    """What became of an attempt: ``status``, 0 = no answer; ``retry_after`` as the receiver says it; ``words``."""

    status: int
    retry_after: str = ""
    words: str = ""


class GivenUp(NamedTuple):
    """A notice that is not sent any more, as a dead letter; ``number`` in the outbox."""

    number: int
    letter: Refusal


class Receiver:
    """Where notices go; each has a connection of its own."""

    def __init__(self, settings: WebhookSettings, secrets: WebhookSecrets) -> None:
        parts = urlsplit(settings.url)
        self.where = f"{parts.scheme}://{parts.netloc}"
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port = parts.hostname or "", parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_seconds = settings.timeout_seconds
        self._secrets = secrets

    def post(self, notice: EventNotice, now: float) -> Reply:
        """Send a notice once; nothing is raised."""
        timestamp = int(now)
        headers = {
            "content-type": "application/json",
            "user-agent": "ostinato",
            "webhook-id": notice.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": self._secrets.signature(notice.id, timestamp, notice.body),
        }
        connection = self._kind(self._host, self._port, timeout=self._timeout_seconds)
        # A socket's own time begins again with each byte that comes.
        limit = threading.Timer(self._timeout_seconds, _cut, [connection])
        limit.daemon = True
        try:
            connection.connect()
            limit.start()
            connection.request("POST", self._path, notice.body, headers)
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheader("retry-after", ""), f"it answered with status {answer.status}")
        except (OSError, http.client.HTTPException) as error:
            # The words of HTTPException may have the path, which may be a secret.
            words = str(error) if isinstance(error, OSError) else ""
            return Reply(0, "", f"no answer ({words or type(error).__name__})")
        finally:
            limit.cancel()
            connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    """End what is waited for on a connection, from another thread."""
    if (own := connection.sock) is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(own, socket.SHUT_RDWR)


class WebhookLine:
    """Takes notices, and delivers them until ``close``.

    Args:
        clock: in seconds since 1970.
    """

    def __init__(
        self,
        settings: WebhookSettings,
        receiver: Receiver,
        outbox: Outbox,
        counters: Counters,
        report: ReportLine,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._receiver = receiver
        self._outbox = outbox
        self._counters = counters
        self._report = report
        self._clock = clock
        self._is_gone = self._is_closing = False
        self._num_failed = 0
        self._pause_until = 0.0
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="webhooks")

    @classmethod
    def of(cls, settings: WebhookSettings, counters: Counters, report: ReportLine) -> WebhookLine:
        """A line as the settings have it.

        Raises:
            InputError: the file of the secrets is none.
            CommandError: the outbox is another connector's, or none.
        """
        receiver = Receiver(settings, WebhookSecrets(Path(settings.secret_file)))
        return cls(settings, receiver, Outbox(Path(settings.outbox), settings.max_waiting), counters, report)

    def begin(self) -> None:
        """Deliver from now on."""
        self._thread.start()

    def put(self, notices: Sequence[EventNotice]) -> list[Refusal]:
        """Take notices, before their readings are committed; returns those that are not taken, as dead letters.

        Raises:
            EndUnreachable: the outbox does not take them.
        """
        if not notices:
            return []
        left: Sequence[EventNotice] = notices
        reason = "webhook: the receiver is gone (410)"
        if not self._is_gone:
            left = self._outbox.add(notices, self._clock())
            reason = f"webhook: {self._settings.max_waiting} others wait already ([webhook] max_waiting)"
            self._changed.set()
        return [_letter(notice, reason) for notice in left]

    def given_up(self) -> list[GivenUp]:
        """Notices that go to the dead letters now; ``published`` is told when they are there."""
        return [
            GivenUp(waiting.number, _letter(waiting.notice, reason))
            for waiting, reason in self._outbox.given_up(LETTERS_AT_ONCE)
        ]

    def published(self, letters: Sequence[GivenUp]) -> None:
        """Forget what is with the dead letters."""
        if letters:
            self._outbox.remove(each.number for each in letters)

    def settle(self, seconds: float) -> None:
        """Wait until nothing waits any more, for so long at most."""
        give_up_at = time.monotonic() + seconds
        while len(self._outbox) and time.monotonic() < give_up_at:
            time.sleep(0.02)

    def close(self) -> None:
        """Deliver no more; what is left stays in the outbox for the next start."""
        self._is_closing = True
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(self._settings.timeout_seconds)
        if not self._thread.is_alive():
            if left := len(self._outbox):
                self._report(f"webhooks: {left} wait in {self._settings.outbox} for the next start")
            self._outbox.close()

    def _run(self) -> None:
        while not self._is_closing:
            self._changed.clear()
            try:
                seconds = self.deliver_next()
            except EndUnreachable as error:
                self._report(str(error), "outbox")
                seconds = FIRST_WAIT_SECONDS
            if seconds is None or seconds > 0:
                self._changed.wait(seconds)

    def deliver_next(self) -> float | None:
        """Send what is due, and tell how many seconds there is nothing to do then; None = until there is more."""
        waiting, now = self._outbox.next(), self._clock()
        self._counters.put("webhooks_waiting", len(self._outbox))
        if waiting is None:
            return None
        if self._is_gone:
            self._give_up(waiting, "webhook: the receiver is gone (410)")
            return 0.0
        if (due_at := max(waiting.next_at, self._pause_until)) > now:
            return due_at - now
        self._judge(waiting, self._receiver.post(waiting.notice, now), self._clock())
        return 0.0

    def _judge(self, waiting: Waiting, reply: Reply, now: float) -> None:
        """What an attempt means."""
        if 200 <= reply.status < 300:
            self._num_failed = 0
            self._counters.add("webhooks_total")
            self._outbox.remove([waiting.number])
            return
        self._counters.add("webhook_failures_total")
        reason = f"webhook: {self._receiver.where}: {reply.words}"
        self._report(f"{reason}; {len(self._outbox)} wait", "webhooks")
        if reply.status and reply.status < 500 and reply.status not in PASSING:
            self._is_gone = self._is_gone or reply.status == GONE
            self._give_up(waiting, reason)
            return
        wait = min(FIRST_WAIT_SECONDS * 2.0 ** min(waiting.num_tries, 30), LAST_WAIT_SECONDS)
        pause = min(FIRST_WAIT_SECONDS * 2.0 ** min(self._num_failed, 30) / 2, MAX_PAUSE_SECONDS)
        asked = seconds_of(reply.retry_after, now)
        self._num_failed += 1
        self._pause_until = now + max(pause, asked)
        if now + max(wait, asked) - waiting.added_at > self._settings.retry_seconds:
            self._give_up(waiting, f"{reason}, for {now - waiting.added_at:.0f} s ([webhook] retry_seconds)")
            return
        self._outbox.put_off(waiting, now + max(wait, asked))

    def _give_up(self, waiting: Waiting, reason: str) -> None:
        self._counters.add("webhooks_given_up_total")
        self._outbox.give_up(waiting, reason)


def seconds_of(retry_after: str, now: float) -> float:
    """How long a receiver asks to wait, in seconds or until a time; 0 where it does not, an hour at most."""
    text = retry_after.strip()
    try:
        seconds = float(text) if text.isdecimal() else _stamp(text) - now
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _stamp(text: str) -> float:
    at: datetime = parsedate_to_datetime(text)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _letter(notice: EventNotice, reason: str) -> Refusal:
    key = notice.key.encode("utf-8", "surrogateescape")
    return Refusal(notice.partition, notice.offset, key, notice.body, reason)
