"""Damage: a copy of the store's folder with a flipped bit, a file that was cut, or one that is missing."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.faults.saboteurs import Saboteur
from tests.server import CHECKOUT

REFUSED = 3
"""Exit status of a reader whose folder was refused."""
WAYS_OUT = ("recover=yes", "from a backup")
NUM_DAMAGED = 3
"""Of each copy."""

READER = f"""
import asyncio, json, sys
from pathlib import Path
import xxhash
from ostinato.service.errors import OstinatoError
from ostinato.service.state.lmdb.store import LmdbStore
from ostinato.service.state.records import is_sound

async def read(store, session_id):
    try:
        record = await store._read(session_id)
    except OstinatoError:
        return "refused"
    if record is None:
        return "absent"
    return xxhash.xxh3_64_hexdigest(record) if is_sound(session_id, record) else "refused"

async def main():
    try:
        store = LmdbStore(Path(sys.argv[1]), tombstone_seconds=3600, memory_budget=1e6)
    except OstinatoError as error:
        sys.exit(print(error, file=sys.stderr) or {REFUSED})
    session_ids = json.loads(sys.argv[2])
    if session_ids is None:
        page = await store.page(None, 100_000, None, 0.0)
        session_ids = [facts.session_id for facts in page.sessions]
    print(json.dumps({{session_id: await read(store, session_id) for session_id in session_ids}}))

asyncio.run(main())
"""


class DamageCopy(Saboteur):
    """Kills the service, copies its folder, and starts it again; then it damages the copy, in one way after another.

    Whoever opens that must be told: either it is refused, with the way out, or each session is as it is in a copy that
    was not damaged, or its record is refused. None may be another, or gone.
    """

    async def _strike(self) -> None:
        names = ("whole", "read", "damaged")
        whole, read, damaged = (self.stage.folder / f"{name}-{self.num_strikes}" for name in names)
        await asyncio.to_thread(self._copy, whole)
        await asyncio.to_thread(shutil.copytree, whole, read)
        expected = await asyncio.to_thread(_read, read, None)
        assert isinstance(expected, dict), f"the copy that was not damaged is refused: {expected}"
        assert set(expected.values()) - {"refused", "absent"}, "there is no session in the copy"
        for _ in range(NUM_DAMAGED):
            await asyncio.to_thread(shutil.copytree, whole, damaged)
            what = self.random.choice((self._flip, self._cut, self._remove))(damaged)
            await asyncio.to_thread(_compare, expected, damaged, what)
            await asyncio.to_thread(shutil.rmtree, damaged)
        for folder in (whole, read):
            await asyncio.to_thread(shutil.rmtree, folder)

    def _copy(self, target: Path) -> None:
        service = self.random.choice(self.stage.services)
        service.kill()
        shutil.copytree(self.stage.state_folder, target)
        service.start()
        service.wait_until_ready()

    def _flip(self, folder: Path) -> str:
        path = self._file(folder, lambda _: True)
        content = bytearray(path.read_bytes())
        at = self.random.randrange(len(content.rstrip(b"\0")))
        bit = self.random.randrange(8)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        return f"bit {bit} of byte {at} of {path.name} flipped"

    def _cut(self, folder: Path) -> str:
        path = self._file(folder, lambda _: True)
        size = self.random.randrange(path.stat().st_size)
        with path.open("r+b") as file:
            file.truncate(size)
        return f"{path.name} cut to {size} bytes"

    def _remove(self, folder: Path) -> str:
        path = self._file(folder, lambda path: path.name.startswith("journal."))
        path.unlink()
        return f"{path.name} removed"

    def _file(self, folder: Path, is_meant: Callable[[Path], bool]) -> Path:
        paths = [path for path in sorted(folder.iterdir()) if path.suffix not in (".lock",) and path.name != "lock.mdb"]
        return self.random.choice([path for path in paths if path.stat().st_size and is_meant(path)])


def _compare(expected: dict[str, str], damaged: Path, what: str) -> None:
    found = _read(damaged, list(expected))
    if isinstance(found, str):
        assert any(way in found for way in WAYS_OUT), f"{what}: it is refused without the way out: {found}"
        return
    wrong = {key: (was, found[key]) for key, was in expected.items() if found[key] not in (was, "refused")}
    assert not wrong, f"{what}: without a word, sessions are not what they were: {wrong}"


def _read(folder: Path, session_ids: list[str] | None) -> dict[str, str] | str:
    """Session -> what its record is, of all that are live where none is named; or why the folder is refused."""
    command = [sys.executable, "-c", READER, str(folder), json.dumps(session_ids)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode == REFUSED:
        return done.stderr
    assert done.returncode == 0, f"whoever opened {folder.name} ended with {done.returncode}: {done.stderr}"
    read: dict[str, str] = json.loads(done.stdout)
    return read
