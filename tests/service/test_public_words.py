from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.config import Settings
from ostinato.service.public_words import PublicWords


def words(repository: Path) -> PublicWords:
    return PublicWords(Settings(repository=repository))


def test_what_lies_in_the_repository_is_told_from_there_on(tmp_path: Path) -> None:
    told = words(tmp_path).of(f"{tmp_path}/gusts/1/model.onnx: its SHA-256 is another than {tmp_path}/gusts/1 says")
    assert told == "gusts/1/model.onnx: its SHA-256 is another than gusts/1 says"
    assert words(tmp_path).of(f"{tmp_path}: there is no such folder") == "the repository: there is no such folder"


def test_a_link_to_the_repository_is_known_by_both_names(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    for name in ("link", "there"):
        assert words(tmp_path / "link").of(f"{tmp_path / name}/gusts/1 is gone") == "gusts/1 is gone"


@pytest.mark.parametrize(
    ("sentence", "told"),
    [
        ("/var/lib/state/data.mdb: no space left", "data.mdb: no space left"),
        ("cannot read '/etc/ssl/key.pem'", "cannot read 'key.pem'"),
        ('File "/usr/lib/python3/x.py", line 3', 'File "x.py", line 3'),
        (
            "redis://user@10.0.0.5:6379/0 does not answer; nothing was applied",
            "the store does not answer; nothing was applied",
        ),
        ("redis+sentinel://a:1,b:2/s: READONLY", "the store: READONLY"),
        ("/tmp is full", "tmp is full"),
    ],
)
def test_other_places_lose_their_folders_and_addresses(sentence: str, told: str, tmp_path: Path) -> None:
    assert words(tmp_path).of(sentence) == told


@pytest.mark.parametrize(
    "sentence",
    [
        "no session 'a'; open it with POST /v1/models/<model>/sessions",
        "there is no /v2/x; /docs has the routes",
        "4 of 5/6 steps; application/json",
        "https://a.example/tmp/x is no site",
        "model 'm' version '1' is not served: m/1: no",
    ],
)
def test_routes_and_all_else_stay(sentence: str, tmp_path: Path) -> None:
    assert words(tmp_path).of(sentence) == sentence
