from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ostinato.service.fetching.staging import PREFIX, put_in_place, staging

WAIT = """
import sys, time
from pathlib import Path
from ostinato.service.fetching.staging import staging, tidy_on_sigterm
with tidy_on_sigterm(), staging(Path(sys.argv[1])) as folder:
    (folder / "half").touch()
    print("there", flush=True)
    time.sleep(600)
"""


def waiting(repository: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", WAIT, str(repository)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


def left(repository: Path) -> list[str]:
    return [path.name for path in repository.iterdir()]


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    def begin() -> None:
        with staging(tmp_path) as folder:
            (folder / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin()
    assert left(tmp_path) == []


def test_nothing_is_left_of_what_is_told_to_end(tmp_path: Path) -> None:
    with waiting(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
    assert left(tmp_path) == []


def test_what_was_killed_is_cleared_away_by_the_next_and_what_lives_is_left_alone(tmp_path: Path) -> None:
    with waiting(tmp_path) as process:
        (one,) = left(tmp_path)
        assert one.startswith(PREFIX)
        with staging(tmp_path):
            assert one in left(tmp_path), "its process lives"
        process.kill()
        process.wait(20)
        assert left(tmp_path) == [one]
        with staging(tmp_path):
            assert one not in left(tmp_path)
    assert left(tmp_path) == []


def test_many_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    """None takes a folder that another has just made for one that was left behind."""

    def stage(_number: int) -> None:
        for _ in range(200):
            with staging(tmp_path) as folder:
                (folder / "half").touch()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(stage, range(4)))
    assert left(tmp_path) == []


def test_a_folder_is_put_where_nothing_is(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    place = tmp_path / "model" / "1"
    assert put_in_place(tmp_path / "first", place)
    assert not put_in_place(tmp_path / "second", place)
    assert (place / "file").read_text() == "first"
    assert os.access(place, os.R_OK | os.X_OK)
