from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ostinato.service.access.key import Key, Right, digest_of, is_mistyped, new_secret
from ostinato.service.access.key_file import add_key, remove_key
from ostinato.service.access.keys import Keys, warning_of
from ostinato.service.access.meter import shared_memory
from ostinato.service.access.shared_keys import SharedKeys
from ostinato.service.errors import KeysUnreadable


def put(path: Path, name: str, secret: str, **limits: float) -> None:
    add_key(path, Key(name, "acme", frozenset({Right.STEP}), digest_of(secret.encode()), **limits))  # type: ignore[arg-type]


def test_a_key_is_found_by_what_is_shown_until_it_is_revoked(tmp_path: Path) -> None:
    path, secret = tmp_path / "keys.txt", new_secret()
    put(path, "robots", secret)
    keys = Keys(path)
    found = keys.find(secret.encode())
    assert found is not None
    assert (found.name, found.tenant) == ("robots", "acme")
    for other in (b"", b"\xff", secret[:-1].encode(), new_secret().encode(), digest_of(secret.encode())):
        assert keys.find(other) is None
    assert keys.holds(found)
    remove_key(path, "robots")
    assert keys.find(secret.encode()) == found
    keys.refresh()
    assert keys.find(secret.encode()) is None
    assert not keys.holds(found)
    assert keys.generation == 1


def test_a_key_whose_limits_change_is_another(tmp_path: Path) -> None:
    path, secret = tmp_path / "keys.txt", new_secret()
    put(path, "robots", secret)
    keys = Keys(path)
    found = keys.find(secret.encode())
    assert found is not None
    remove_key(path, "robots")
    put(path, "robots", secret, rate=5.0)
    keys.refresh()
    assert not keys.holds(found)
    again = keys.find(secret.encode())
    assert again is not None
    assert again.rate == 5.0


@pytest.mark.parametrize("content", ["garbage\n", None], ids=["wrong", "gone"])
def test_a_file_that_is_wrong_changes_nothing_and_is_said_once(
    tmp_path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path, secret = tmp_path / "keys.txt", new_secret()
    put(path, "robots", secret)
    keys, sound = Keys(path), path.read_text()
    with caplog.at_level(logging.INFO):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        for _ in range(3):
            keys.refresh()
    assert keys.find(secret.encode()) is not None
    assert keys.trouble is not None
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    path.write_text(sound)
    keys.refresh()
    assert keys.trouble is None


def test_a_secret_of_kubernetes_is_swapped_by_a_link(tmp_path: Path) -> None:
    secrets = [new_secret(), new_secret()]
    for number, secret in enumerate(secrets):
        (tmp_path / f"data-{number}").mkdir()
        put(tmp_path / f"data-{number}" / "keys.txt", "robots", secret)
        os.utime(tmp_path / f"data-{number}" / "keys.txt", (1e9, 1e9))  # what tells them apart is not their time
    (tmp_path / "data").symlink_to("data-0")
    (tmp_path / "keys.txt").symlink_to("data/keys.txt")
    keys = Keys(tmp_path / "keys.txt")
    assert keys.find(secrets[0].encode()) is not None
    (tmp_path / "next").symlink_to("data-1")
    (tmp_path / "next").replace(tmp_path / "data")
    keys.refresh()
    assert keys.find(secrets[0].encode()) is None
    assert keys.find(secrets[1].encode()) is not None


def test_a_server_does_not_start_without_its_keys(tmp_path: Path) -> None:
    with pytest.raises(KeysUnreadable):
        Keys(tmp_path / "keys.txt")


def test_a_mistyped_key_is_told_from_another_s() -> None:
    secret = new_secret()
    assert not is_mistyped(secret.encode())
    assert is_mistyped(secret[:-1].encode())
    assert is_mistyped(f"{secret[:20]}{'-' if secret[20] != '-' else 'x'}{secret[21:]}".encode())
    assert not is_mistyped(b"somebody's own")


@pytest.mark.parametrize(("mode", "is_warned_of"), [(0o600, False), (0o644, False), (0o660, True), (0o602, True)])
def test_who_else_may_write_the_file_is_warned_of(tmp_path: Path, mode: int, is_warned_of: bool) -> None:
    path = tmp_path / "keys.txt"
    path.touch()
    path.chmod(mode)
    assert (warning_of(path) is not None) == is_warned_of


@pytest.mark.parametrize("content", ["garbage\n", None], ids=["wrong", "gone"])
def test_a_worker_that_is_started_while_the_file_is_wrong_has_the_keys_of_those_before_it(
    tmp_path: Path, content: str | None
) -> None:
    path, secret, descriptor = tmp_path / "keys.txt", new_secret(), shared_memory()
    put(path, "robots", secret)
    Keys(path, SharedKeys(descriptor))
    put(path, "later", new_secret())
    Keys(path, SharedKeys(descriptor)).refresh()
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    keys = Keys(path, SharedKeys(descriptor))
    assert keys.find(secret.encode()) is not None
    assert len(keys) == 2
    assert keys.trouble is not None
    put(path, "robots", secret) if content is None else path.write_text("")
    keys.refresh()
    assert len(keys) == (0 if content else 1)
    assert Keys(path, SharedKeys(descriptor)).trouble is None


def test_a_pipe_in_the_files_place_is_not_waited_for(tmp_path: Path) -> None:
    path, secret = tmp_path / "keys.txt", new_secret()
    put(path, "robots", secret)
    keys = Keys(path)
    path.unlink()
    os.mkfifo(path)
    keys.refresh()
    assert keys.trouble is not None
    assert "it is no file" in keys.trouble
    path.unlink()
    path.write_text("")
    keys.refresh()
    assert keys.find(secret.encode()) is None


def test_a_change_that_leaves_size_and_time_as_they_were_is_noticed(tmp_path: Path) -> None:
    path, secret = tmp_path / "keys.txt", new_secret()
    put(path, "robots", secret)
    keys, before = Keys(path), path.stat()
    with path.open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write(text.replace("robots", "rebels"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    keys.refresh()
    found = keys.find(secret.encode())
    assert found is not None
    assert found.name == "rebels"
