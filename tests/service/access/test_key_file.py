from __future__ import annotations

import concurrent.futures
import stat
from pathlib import Path

import pytest

from ostinato.service.access.key import Key, Right, digest_of, new_secret
from ostinato.service.access.key_file import add_key, read_keys, remove_key
from ostinato.service.errors import KeysUnreadable

DIGEST, OTHER = "sha256:" + "ab" * 32, "sha256:" + "ef" * 32
STEP = frozenset({Right.STEP})


def key(name: str, **limits: object) -> Key:
    return Key(name, "acme", STEP, digest_of(name.encode()), **limits)  # type: ignore[arg-type]


def test_what_is_put_there_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    keys = [
        key("robots", rate=500.0, sessions=1000),
        Key("watch", "", frozenset({Right.METRICS, Right.READ}), digest_of(b"w"), rate=0.5),
    ]
    for each in keys:
        add_key(path, each)
    assert read_keys(path) == keys
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["keys.txt"]
    remove_key(path, "robots")
    assert read_keys(path) == keys[1:]


def test_what_people_wrote_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_bytes(f"\ufeff# ours\r\n\r\nold acme {DIGEST} step,read rate=5/s\r\n  # of the night shift".encode())
    add_key(path, key("new"))
    remove_key(path, "old")
    assert path.read_text().splitlines()[:3] == ["# ours", "", "  # of the night shift"]
    assert [each.name for each in read_keys(path)] == ["new"]


def test_a_link_stays_one_and_its_mode_too(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("")
    (tmp_path / "there.txt").chmod(0o640)
    link = tmp_path / "keys.txt"
    link.symlink_to("there.txt")
    add_key(link, key("new"))
    assert link.is_symlink()
    assert stat.S_IMODE((tmp_path / "there.txt").stat().st_mode) == 0o640
    assert len(read_keys(link)) == 1


def test_of_many_at_once_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: add_key(path, key(f"k{number}")), range(40)))
    assert {each.name for each in read_keys(path)} == {f"k{number}" for number in range(40)}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("robots", "a line has NAME TENANT"),
        (f"ro/bots acme {OTHER} step", "a name is"),
        (f"robots ac/me {OTHER} step", "a tenant is"),
        (f"robots . {OTHER} step", "a tenant is"),
        (f"{'x' * 65} acme {OTHER} step", "a name is"),
        ("robots acme sha256:short step", "the third word"),
        ("robots acme ostinato_secret step", "the third word"),
        (f"robots acme {OTHER} fly", "'fly' is no right"),
        (f"robots acme {OTHER} step,", "'' is no right"),
        (f"robots acme {OTHER} step rate=0", "a rate is"),
        (f"robots acme {OTHER} step rate=inf", "a rate is"),
        (f"robots acme {OTHER} step rate=nan/s", "a rate is"),
        (f"robots acme {OTHER} step sessions=-1", "sessions is"),
        (f"robots acme {OTHER} step sessions=1 sessions=2", "a limit is"),
        (f"robots acme {OTHER} step requests=5", "a limit is"),
        (f"other acme {DIGEST} step", "the same key"),
        (f"first acme sha256:{'cd' * 32} step", "the same name"),
    ],
)
def test_a_line_that_is_none_is_named_and_not_shown(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(f"# keys\nfirst acme {DIGEST.upper().replace('SHA', 'sha')} step\n{line}\n")
    with pytest.raises(KeysUnreadable, match=r"keys\.txt:3: ") as raised:
        read_keys(path)
    assert told in str(raised.value)
    assert "ab" * 8 not in str(raised.value).lower()
    assert "ef" * 8 not in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"], ids=["absent", "no text"])
def test_a_file_that_is_none_is_said(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "keys.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(KeysUnreadable, match=r"keys\.txt: "):
        read_keys(path)


def test_names_are_taken_once_and_a_key_that_is_not_there_is_not_revoked(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    add_key(path, key("robots"))
    before = path.read_bytes()
    with pytest.raises(KeysUnreadable, match="has a key called 'robots'"):
        add_key(path, key("robots"))
    with pytest.raises(KeysUnreadable, match="has no key called 'robot'"):
        remove_key(path, "robot")
    with pytest.raises(KeysUnreadable):
        add_key(tmp_path / "nowhere" / "keys.txt", key("robots"))
    assert path.read_bytes() == before


def test_no_two_keys_are_the_same() -> None:
    made = {new_secret() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(each) for each in made} == {61}
