"""The outbox: notices in a file, from before their readings are committed until they are delivered or given up.

A notice is written down before its batch is committed. So whatever is killed, it is either here, or its batch is
answered again, and it is written once more with the same id.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ostinato.connectors.ends import EndUnreachable
from ostinato.connectors.notices import EventNotice
from ostinato.errors import CommandError

_SCHEMA = """
create table if not exists notices (
    number integer primary key autoincrement, id text not null unique, partition text not null, offset integer not null,
    key blob not null, body blob not null, added_at real not null, next_at real not null, num_tries integer not null,
    reason text not null
)
"""


class Waiting(NamedTuple):
    """A notice that waits: ``number`` of its row; when it was added and is due (seconds since 1970); tries so far."""

    number: int
    notice: EventNotice
    added_at: float
    next_at: float
    num_tries: int


class Outbox:
    """A file that one connector has. Its methods may be called by several threads.

    Raises:
        CommandError: another connector has it, or it is none.
    """

    def __init__(self, path: Path, max_waiting: int) -> None:
        self._path = path
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=0.0, isolation_level=None, check_same_thread=False)
            # Held until the process ends, so that nobody else sends what is in it.
            self._file.execute("pragma locking_mode = exclusive")
            self._file.execute("pragma journal_mode = wal")
            self._file.execute("pragma synchronous = full")
            self._file.execute("begin exclusive")
            self._file.execute(_SCHEMA)
            self._file.execute("commit")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname == "SQLITE_BUSY":
                raise CommandError(f"{path}: another connector has this outbox ([webhook] outbox)") from None
            raise CommandError(f"{path}: {error} ([webhook] outbox)") from None
        except (OSError, sqlite3.DatabaseError) as error:
            raise CommandError(f"{path}: {error} ([webhook] outbox)") from None

    def add(self, notices: Sequence[EventNotice], now: float) -> list[EventNotice]:
        """Write notices down, unless they wait already; returns those for which there is no room.

        Raises:
            EndUnreachable: the disk does not take them.
        """
        with self._transaction():
            room = max(0, self._max_waiting - self._count("reason = ''"))
            known = {notice.id for notice in notices if self._count("id = ?", notice.id)}
            new = [notice for notice in notices if notice.id not in known]
            rows = [
                (each.id, each.partition, each.offset, each.key.encode("utf-8", "surrogateescape"), each.body, now, now)
                for each in new[:room]
            ]
            self._file.executemany("insert into notices values (null, ?, ?, ?, ?, ?, ?, ?, 0, '')", rows)
        return new[room:]

    def next(self) -> Waiting | None:
        """The notice that is due first; None = none waits."""
        with self._transaction():
            rows = self._rows("where reason = '' order by next_at, number limit 1")
        return rows[0][0] if rows else None

    def put_off(self, waiting: Waiting, next_at: float) -> None:
        """Try a notice again later."""
        with self._transaction():
            self._file.execute(
                "update notices set next_at = ?, num_tries = num_tries + 1 where number = ?", (next_at, waiting.number)
            )

    def give_up(self, waiting: Waiting, reason: str) -> None:
        """Keep a notice as one that is not tried any more, until it is with the dead letters."""
        with self._transaction():
            self._file.execute("update notices set reason = ? where number = ?", (reason, waiting.number))

    def given_up(self, count: int) -> list[tuple[Waiting, str]]:
        """The first of those that are given up, with the reasons."""
        with self._transaction():
            return self._rows(f"where reason != '' order by number limit {int(count)}")

    def remove(self, numbers: Iterable[int]) -> None:
        """Forget notices: they are delivered, or with the dead letters."""
        with self._transaction():
            self._file.executemany("delete from notices where number = ?", [(number,) for number in numbers])

    def __len__(self) -> int:
        """How many wait to be delivered."""
        with self._transaction():
            return self._count("reason = ''")

    def close(self) -> None:
        """Let others have it."""
        with self._lock:
            self._file.close()

    def _count(self, condition: str, *values: str) -> int:
        ((count,),) = self._file.execute(f"select count(*) from notices where {condition}", values)
        return int(count)

    def _rows(self, condition: str) -> list[tuple[Waiting, str]]:
        columns = "number, added_at, next_at, num_tries, reason, id, partition, offset, key, body"
        found = []
        for number, added_at, next_at, num_tries, reason, *parts in self._file.execute(
            f"select {columns} from notices {condition}"
        ):
            own_id, partition, offset, key, body = parts
            notice = EventNotice(own_id, partition, offset, key.decode("utf-8", "surrogateescape"), body)
            found.append((Waiting(number, notice, added_at, next_at, num_tries), reason))
        return found

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            try:
                self._file.execute("begin")
                yield
                self._file.execute("commit")
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._file.execute("rollback")
                raise EndUnreachable(f"{self._path}: {error} ([webhook] outbox)") from error
