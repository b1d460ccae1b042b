"""The outbox: what is in it is there after a kill, once, in its order, and no more than there may be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from ostinato.connectors.notices import EventNotice
from ostinato.connectors.outbox import Outbox
from ostinato.errors import CommandError


def notice(number: int) -> EventNotice:
    return EventNotice(f"msg_{number}", "t/0", number, "k\udcff", b'{"number": %d}' % number)


@contextmanager
def outbox(folder: Path, max_waiting: int = 10) -> Iterator[Outbox]:
    with closing(Outbox(folder / "deep" / "box.db", max_waiting)) as box:
        yield box


def test_what_is_due_first_comes_first_and_what_is_removed_is_gone(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        assert box.next() is None
        assert box.add([notice(1), notice(2)], 100.0) == []
        first = box.next()
        assert first is not None
        assert (first.notice, first.added_at, first.next_at, first.num_tries) == (notice(1), 100.0, 100.0, 0)
        box.put_off(first, 130.0)
        second = box.next()
        assert second is not None
        assert second.notice == notice(2)
        box.remove([second.number])
        left = box.next()
        assert left is not None
        assert (left.notice, left.next_at, left.num_tries, len(box)) == (notice(1), 130.0, 1, 1)


def test_a_notice_that_waits_is_not_added_again_and_one_that_is_gone_is(tmp_path: Path) -> None:
    with outbox(tmp_path) as box:
        box.add([notice(1)], 1.0)
        box.add([notice(1), notice(2)], 2.0)
        assert len(box) == 2
        waiting = box.next()
        assert waiting is not None
        box.remove([waiting.number])
        box.add([notice(1)], 3.0)
        assert len(box) == 2


def test_there_is_room_for_so_many_and_those_given_up_take_none(tmp_path: Path) -> None:
    with outbox(tmp_path, 2) as box:
        assert box.add([notice(number) for number in range(4)], 1.0) == [notice(2), notice(3)]
        assert box.add([notice(0), notice(5)], 1.0) == [notice(5)]
        waiting = box.next()
        assert waiting is not None
        box.give_up(waiting, "no")
        assert box.given_up(9) == [(waiting, "no")]
        assert box.add([notice(0), notice(6)], 2.0) == []
        assert len(box) == 2


def test_what_was_added_is_there_after_a_kill(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from ostinato.connectors.outbox import Outbox; from ostinato.connectors.notices import EventNotice\n"
        "box = Outbox(Path(sys.argv[1]), 10)\n"
        "box.add([EventNotice('msg_7', 't/0', 7, 'k', b'{}')], 5.0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "deep" / "box.db"
    assert subprocess.run([sys.executable, "-c", program, str(path)], timeout=100, check=False).returncode == -9
    with outbox(tmp_path) as box:
        waiting = box.next()
        assert waiting is not None
        assert (waiting.notice.id, waiting.added_at) == ("msg_7", 5.0)


def test_an_outbox_is_one_connector_s_and_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with outbox(tmp_path), pytest.raises(CommandError, match="another connector has this outbox"):
        Outbox(tmp_path / "deep" / "box.db", 1)
    (tmp_path / "text").write_text("no outbox, " * 200)
    with pytest.raises(CommandError, match="not a database"):
        Outbox(tmp_path / "text", 1)
