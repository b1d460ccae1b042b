"""Webhooks: each notice is delivered, signed, or with the dead letters; readings wait for none of it."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from ostinato.connectors.counters import Counters
from ostinato.connectors.outbox import Outbox
from ostinato.connectors.signatures import WebhookSecrets
from ostinato.connectors.webhook_settings import WebhookSettings
from ostinato.connectors.webhooks import Receiver, WebhookLine, seconds_of
from tests.ostinato.connectors.receiver import SECRET, Answer, Post, WebhookReceiver, webhook_receiver
from tests.ostinato.connectors.test_outbox import notice
from tests.waiting import PATIENCE_SECONDS


class Stage:
    """A line whose clock is turned by hand, and which delivers when it is told to."""

    def __init__(self, folder: Path, url: str, **settings: Any) -> None:
        secret = folder / "secret"
        secret.write_text(SECRET)
        self.now = 1_700_000_000.0
        self.counters, self.lines = Counters(), list[str]()
        given = WebhookSettings(url=url, secret_file=str(secret), outbox=str(folder / "box.db"), **settings)
        self.outbox = Outbox(Path(given.outbox), given.max_waiting)
        receiver = Receiver(given, WebhookSecrets(secret))
        self.line = WebhookLine(given, receiver, self.outbox, self.counters, self.say, lambda: self.now)

    def say(self, line: str, about: str = "") -> None:
        assert about or "next start" in line, "what may come often is told once a minute"
        self.lines.append(line)

    def deliver(self, max_seconds: float = 0.0) -> None:
        """Deliver until there is nothing to do, turning the clock where that is within so many seconds."""
        while (seconds := self.line.deliver_next()) is not None:
            if seconds > max_seconds:
                return
            max_seconds -= seconds
            self.now += seconds

    def reasons(self) -> list[str]:
        return [each.letter.reason for each in self.line.given_up()]


@contextmanager
def stage(folder: Path, script: Any = (), **settings: Any) -> Iterator[tuple[Stage, WebhookReceiver]]:
    """A receiver that answers by a script, and 204 behind its end, and a line to it."""
    told = [(each, {}) if isinstance(each, int) else each for each in script]

    def answer(number: int, _: Post) -> Answer:
        return told[number - 1] if number <= len(told) else (204, {})

    with webhook_receiver(answer) as receiver:
        made = Stage(folder, receiver.url, **settings)
        try:
            yield made, receiver
            assert not any("secret" in reason for reason in made.reasons())
        finally:
            made.line.close()
    assert receiver.faults == []
    assert "secret" not in "".join(made.lines)


def ids(receiver: WebhookReceiver) -> list[str]:
    return [post.id for post in receiver.posts]


def test_notices_are_delivered_in_their_order_signed_and_to_the_whole_address(tmp_path: Path) -> None:
    with stage(tmp_path) as (made, receiver):
        assert made.line.put([notice(1), notice(2)]) == []
        made.deliver()
        assert [(post.id, post.body, post.path) for post in receiver.posts] == [
            (f"msg_{number}", {"number": number}, "/hooks/very-secret-path?token=hidden") for number in (1, 2)
        ]
        assert (made.counters.value("webhooks_total"), len(made.outbox), made.lines) == (2, 0, [])


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_passes_is_tried_again_with_waits_that_grow(tmp_path: Path, status: int) -> None:
    with stage(tmp_path, [status] * 3) as (made, receiver):
        made.line.put([notice(1)])
        times = []
        while len(made.outbox):
            before = len(receiver.posts)
            made.now += made.line.deliver_next() or 0.0
            times += [made.now] * (len(receiver.posts) - before)
        assert [after - before for before, after in itertools.pairwise(times)] == [1, 2, 4]
        assert ids(receiver) == ["msg_1"] * 4
        assert made.counters.value("webhook_failures_total") == 3
        assert made.lines[0] == f"webhook: http://127.0.0.1:{receiver.port}: it answered with status {status}; 1 wait"


def test_a_receiver_that_says_how_long_to_wait_is_obeyed_by_all_notices(tmp_path: Path) -> None:
    with stage(tmp_path, [(503, {"retry-after": "90"})]) as (made, receiver):
        made.line.put([notice(1), notice(2)])
        for seconds in (0.0, 89.9):
            made.now += seconds
            made.deliver()
            assert ids(receiver) == ["msg_1"]
        made.now += 0.2
        made.deliver()
        assert sorted(ids(receiver)) == ["msg_1", "msg_1", "msg_2"]


def test_retry_after_is_seconds_or_a_time_and_an_hour_at_most() -> None:
    now = 1_700_000_000.0
    assert [seconds_of(text, now) for text in ("7", " 90 ", "", "soon", "-3", "1e9", "99999999")] == [
        7, 90, 0, 0, 0, 0, 3600,
    ]  # fmt: skip
    assert [seconds_of(formatdate(now + ahead, usegmt=True), now) for ahead in (45, -45)] == [45, 0]


def test_one_that_always_fails_holds_up_the_others_no_longer_than_the_pause(tmp_path: Path) -> None:
    def answer(_: int, post: Post) -> Answer:
        return (500, {}) if post.id == "msg_1" else (200, {})

    with webhook_receiver(answer) as receiver:
        made = Stage(tmp_path, receiver.url)
        made.line.put([notice(number) for number in range(1, 8)])
        made.deliver(0.5)
        assert ids(receiver) == [f"msg_{number}" for number in range(1, 8)]
        made.line.close()


@pytest.mark.parametrize("status", [301, 400, 401, 404, 422])
def test_what_does_not_pass_goes_to_the_dead_letters_and_the_rest_goes_on(tmp_path: Path, status: int) -> None:
    with stage(tmp_path, [status]) as (made, receiver):
        made.line.put([notice(1), notice(2)])
        made.deliver()
        assert ids(receiver) == ["msg_1", "msg_2"]
        [given_up] = made.line.given_up()
        letter = given_up.letter
        assert (letter.partition, letter.offset, letter.key, letter.value) == ("t/0", 1, b"k\xff", notice(1).body)
        assert letter.reason == f"webhook: http://127.0.0.1:{receiver.port}: it answered with status {status}"
        made.line.published([given_up])
        assert made.line.given_up() == []
        assert made.counters.value("webhooks_given_up_total") == 1


def test_a_receiver_that_is_gone_is_sent_nothing_more(tmp_path: Path) -> None:
    with stage(tmp_path, [204, 410]) as (made, receiver):
        made.line.put([notice(number) for number in range(4)])
        made.deliver()
        assert ids(receiver) == ["msg_0", "msg_1"]
        assert [reason.rpartition(": ")[2] for reason in made.reasons()] == [
            "it answered with status 410",
            "the receiver is gone (410)",
            "the receiver is gone (410)",
        ]
        [letter] = made.line.put([notice(9)])
        assert letter.reason == "webhook: the receiver is gone (410)"
        made.deliver()
        assert len(receiver.posts) == 2


def test_one_that_is_tried_for_too_long_is_given_up(tmp_path: Path) -> None:
    with stage(tmp_path, [500] * 9, retry_seconds=10.0) as (made, receiver):
        made.line.put([notice(1)])
        made.deliver(60.0)
        # At 0, 1, 3 and 7 s; the next would be at 15.
        assert len(receiver.posts) == 4
        assert made.reasons()[0].endswith("status 500, for 7 s ([webhook] retry_seconds)")


def test_what_finds_no_room_goes_to_the_dead_letters_at_once(tmp_path: Path) -> None:
    with stage(tmp_path, max_waiting=2) as (made, _):
        letters = made.line.put([notice(number) for number in range(3)])
        assert [(letter.offset, letter.reason) for letter in letters] == [
            (2, "webhook: 2 others wait already ([webhook] max_waiting)")
        ]


def test_nobody_answers_and_nothing_is_lost_or_told_of_the_address(tmp_path: Path) -> None:
    with webhook_receiver() as receiver:
        url = receiver.url
    made = Stage(tmp_path, url, timeout_seconds=0.5)
    made.line.put([notice(1)])
    made.deliver()
    made.line.close()
    assert "no answer" in made.lines[0]
    assert made.lines[-1].endswith("box.db for the next start")
    assert "very-secret" not in "".join(made.lines)
    with webhook_receiver(port=receiver.port) as receiver:
        again = Stage(tmp_path, receiver.url)
        again.deliver(5.0)
        assert ids(receiver) == ["msg_1"]
        again.line.close()


def test_a_thread_delivers_until_the_end_and_settling_waits_for_it(tmp_path: Path) -> None:
    with stage(tmp_path, [204, 404]) as (made, receiver):
        made.line.begin()
        made.line.put([notice(number) for number in range(20)])
        made.line.settle(PATIENCE_SECONDS)
        assert ids(receiver) == [f"msg_{number}" for number in range(20)]
        assert len(made.line.given_up()) == 1


def test_a_receiver_that_answers_without_an_end_is_given_up_in_time(tmp_path: Path) -> None:
    """Each byte comes within the time that a socket waits for one."""

    def trickle() -> None:
        caller, _ = listener.accept()
        with caller, contextlib.suppress(OSError):
            caller.sendall(b"HTTP/1.1 200 OK\r\nx: ")
            while True:
                caller.sendall(b"x")
                time.sleep(0.01)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        (tmp_path / "secret").write_text(SECRET)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        settings = WebhookSettings(url, str(tmp_path / "secret"), timeout_seconds=0.3)
        Receiver(settings, WebhookSecrets(tmp_path / "secret")).post(notice(1), 0.0)
        thread.join()
