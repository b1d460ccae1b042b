from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bench import Options
from benchmarks.inside import MEASUREMENTS
from benchmarks.inside_store import RESERVED
from benchmarks.redis_server import RedisServer
from benchmarks.rows.durability import LOADED_SESSIONS
from benchmarks.subjects import Ostinato
from benchmarks.workloads import BLOCK_ROWS


@pytest.mark.parametrize(
    ("state", "name", "title"),
    [
        ("memory://", "ostinato", "Ostinato"),
        ("lmdb:///var/state", "ostinato-lmdb", "Ostinato on lmdb"),
        ("redis://127.0.0.1:6379/0", "ostinato-redis", "Ostinato on redis"),
    ],
)
def test_ostinato_bears_the_name_of_its_store(tmp_path: Path, state: str, name: str, title: str) -> None:
    subject = Ostinato(tmp_path, tmp_path, state)
    command, _ = subject.command()
    assert (subject.name, subject.title) == (name, title)
    assert command[command.index("--state") + 1] == state


def test_beside_the_other_rows_its_sessions_are_in_memory(tmp_path: Path) -> None:
    assert Ostinato(tmp_path, tmp_path).state == "memory://"


def test_a_redis_of_its_own_answers_when_it_is_there(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    try:
        assert redis._is_ready()
        assert redis.url.endswith("/0")
    finally:
        redis.stop()
    assert not redis._is_ready()


def test_what_is_loaded_and_killed_is_stepped_by_nothing_else() -> None:
    assert LOADED_SESSIONS % BLOCK_ROWS == 0
    for options in (Options(), Options.quick()):
        assert LOADED_SESSIONS + options.starts <= RESERVED
        # Twice as many as memory has room for are stepped, so that the first of them have left it.
        assert 2 * options.resident_sessions <= options.stored_sessions - RESERVED


def test_every_measurement_has_a_name_to_call_it_by() -> None:
    assert {"fill", "misses", "journal_misses"} <= set(MEASUREMENTS)
