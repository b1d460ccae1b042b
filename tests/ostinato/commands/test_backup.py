from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ostinato.service.state.lmdb.store import LmdbStore
from tests.ostinato.conftest import RunCommand


def empty_store(folder: Path) -> None:
    async def make() -> None:
        await LmdbStore(folder, tombstone_seconds=10, memory_budget=1e6).stop()

    asyncio.run(make())


def test_a_folder_of_sessions_is_copied(run_command: RunCommand, tmp_path: Path) -> None:
    empty_store(tmp_path / "my state")
    result = run_command(
        "sessions", "backup", tmp_path / "copy", "--state", f"lmdb://{tmp_path}/my%20state?sync=always"
    )
    assert result.exit_code == 0, result.output
    assert result.output.startswith("0 records and 1 file of the journal, ")
    assert (tmp_path / "copy" / "journal.00000001").is_file()


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("lmdb:///nowhere", "not a folder of sessions"),
        ("redis://:secret@127.0.0.1:1/0", "BGSAVE"),
        ("memory://", "only lmdb:// is copied"),
    ],
)
def test_what_is_no_such_folder_is_said_in_one_line(
    state: str, said: str, run_command: RunCommand, tmp_path: Path
) -> None:
    result = run_command("sessions", "backup", tmp_path / "copy", "--state", state)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr


def test_its_help_has_an_example(run_command: RunCommand) -> None:
    result = run_command("sessions", "backup", "--help")
    assert "ostinato sessions backup" in result.output.split("Example", 1)[1]
