from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.config.places import absolute_address, absolute_path, absolute_sources, split_sources
from ostinato.service.state.redis.address import redis_address

HERE = Path("/srv/my files")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("lmdb://state", "lmdb:///srv/my%20files/state"),
        ("lmdb://some%20state?sync=always", "lmdb:///srv/my%20files/some%20state?sync=always"),
        ("lmdb:///var/../state", "lmdb:///var/../state"),
        ("lmdb://", "lmdb://"),
        ("memory://", "memory://"),
        ("no address", "no address"),
        ("redis://me:a?b_file@h:1/0", "redis://me:a?b_file@h:1/0"),
    ],
)
def test_an_address_is_the_same_from_any_folder(given: str, expected: str) -> None:
    assert absolute_address(given, HERE) == expected
    assert absolute_address(expected, Path("/elsewhere")) == expected


def test_the_files_of_a_redis_are_the_same_from_any_folder() -> None:
    url = "rediss://h?password_file=a%26b&timeout_seconds=3&ca_file=/ca"
    absolute = redis_address(absolute_address(url, HERE))
    assert absolute.login.password_file == "/srv/my files/a&b"
    assert absolute.tls is not None
    assert (absolute.tls.ca_file, absolute.timeout_seconds) == ("/ca", 3.0)


def test_a_path_is_written_from_a_folder() -> None:
    assert absolute_path("models", HERE) == "/srv/my files/models"
    assert absolute_path("/models", HERE) == "/models"


def test_sources_that_are_paths_depend_on_no_folder_any_more() -> None:
    text = "a/b,\n/c#sha256:00 https://h.example/d?e=f  bentoml:g:1,S3://h/i"
    assert split_sources(text) == ["a/b", "/c#sha256:00", "https://h.example/d?e=f", "bentoml:g:1", "S3://h/i"]
    made = "file:///srv/my%20files/a/b,/c#sha256:00,https://h.example/d?e=f,bentoml:g:1,S3://h/i"
    assert absolute_sources(text, HERE) == made
    assert absolute_sources(made, Path("/elsewhere")) == made
    assert absolute_sources("", HERE) == ""
