from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.service.config import Settings
from ostinato.service.state.address import open_store
from ostinato.service.state.redis.address import Login, RedisAddress, Tls, redis_address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://cache", RedisAddress((("cache", 6379),))),
        (
            "redis://127.0.0.1:7000/3?timeout_seconds=0.5",
            RedisAddress((("127.0.0.1", 7000),), database=3, timeout_seconds=0.5),
        ),
        ("rediss://me:p%40ss@cache:1/", RedisAddress((("cache", 1),), login=Login("me", "p@ss"), tls=Tls())),
        ("redis://:p@ss@[::1]:6379/0", RedisAddress((("::1", 6379),), login=Login(None, "p@ss"))),
        (
            "rediss://me@cache?password_file=/run/a%20b+c&ca_file=/ca&certificate_file=/c&key_file=/k&server_name=r",
            RedisAddress(
                (("cache", 6379),),
                login=Login("me", password_file="/run/a b+c"),
                tls=Tls("/ca", "/c", "/k", "r"),
            ),
        ),
        (
            "redis+sentinel://:p@one,two:5,[::2]/my%2Fmaster/4?sentinel_username=s&sentinel_password=a%26b",
            RedisAddress(
                (("one", 26379), ("two", 5), ("::2", 26379)),
                service="my/master",
                database=4,
                login=Login(None, "p"),
                sentinel_login=Login("s", "a&b"),
            ),
        ),
        ("rediss+sentinel://one/master", RedisAddress((("one", 26379),), service="master", tls=Tls())),
        ("redis+cluster://a", RedisAddress((("a", 6379),), is_cluster=True)),
        ("redis://cache?prefix=blue-1.a_b", RedisAddress((("cache", 6379),), prefix="blue-1.a_b")),
        ("redis://a:1,b:2/0", RedisAddress((("a", 1), ("b", 2)), is_cluster=True)),
    ],
)
def test_an_address_says_where_and_how(url: str, expected: RedisAddress) -> None:
    assert redis_address(url) == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://a,,b", "names no host"),
        ("redis://:secret@", "names no host"),
        ("redis://:secret@cache:port", "no number"),
        ("redis://:secret@cache:99999", "no number"),
        ("redis://:secret@cache:0", "no number"),
        ("redis://:sec/ret@cache", "names no host"),
        ("redis://me:12?secret@cache", "there is no option;"),
        ("redis://me:secret#1@cache", "there is a #"),
        ("redis://:secret℀x@[cache", "no number"),
        ("redis://:secret@[::1", "no number"),
        ("redis://cache?timeout_seconds=soon", "no number"),
        ("redis://cache?timeout_seconds=0", "above 0"),
        ("redis://cache?timeout_seconds=nan", "above 0"),
        ("redis://cache?timeout_seconds=1&timeout_seconds=2", "once"),
        ("redis://:secret@cache?timeout=1", "no option timeout"),
        ("redis://cache?prefix=blue:green", "letters"),
        ("redis://cache?prefix=%2A", "letters"),
        (f"redis://cache?prefix={65 * 'a'}", "1 to 64"),
        ("redis://cache?prefix=", "not empty"),
        ("redis://cache/sessions", "database is a number"),
        ("redis://me@cache", "user and no password"),
        ("redis://:secret@cache?password_file=/a", "another in a file"),
        ("redis://:secret@cache?ca_file=/a", "for rediss"),
        ("rediss://cache?key_file=/a", "no certificate_file"),
        ("redis://cache?sentinel_password=secret", "names none"),
        ("redis+sentinel://:secret@one", "names no service"),
        ("redis+sentinel://one/master?sentinel_username=s", "user and no password for the Sentinels"),
        ("redis+cluster://a/1", "no database but 0"),
        ("redis+nonsense://:secret@cache", "no such store"),
        ("redis:/:secret@cache", "no such store"),
        ("Redis://:secret@cache", "no such store"),
        ("mysecret", "no such store"),
    ],
)
def test_a_bad_address_is_refused_and_its_password_is_not_repeated(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        open_store(Settings(state=url))
    assert "sec" not in str(raised.value).replace("timeout_seconds", "")
    assert raised.value.__cause__ is None


def test_what_is_shown_of_an_address_has_no_secret() -> None:
    url = "rediss+sentinel://me:secret@one,[::2]:5/master/4?sentinel_password=secret"
    address = redis_address(url)
    assert str(address) == "rediss+sentinel://one:26379,[::2]:5/master"
    assert str(address.at(("there", 1))) == "rediss://there:1"
    assert "secret" not in repr(address)


def test_a_password_file_is_read_each_time(tmp_path: Path) -> None:
    login = Login("me", password_file=str(tmp_path / "password"))
    for password in ("first", "second "):
        (tmp_path / "password").write_text(f"{password}\r\n")
        assert login.words() == ["me", password]
    assert Login().words() == []
    assert Login(None, "p").words() == ["p"]
