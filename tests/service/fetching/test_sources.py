from __future__ import annotations

import re

import pytest

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.sources import ModelSource, read_source, read_sources

SUM = "ab" * 32


@pytest.mark.parametrize(
    ("text", "scheme", "path", "shown", "is_archive"),
    [
        ("models/here", "", "models/here", "models/here", False),
        ("/models/a.tar.gz", "", "/models/a.tar.gz", "/models/a.tar.gz", True),
        ("file:///models/a.zip", "file", "/models/a.zip", "file:///models/a.zip", True),
        ("https://me:s@h.example/a.TGZ?sig=s", "https", "me:s@h.example/a.TGZ", "https://h.example/a.TGZ", True),
        ("file:///my%20models/%23a", "file", "/my models/#a", "file:///my%20models/%23a", False),
        ("FILE:/models", "file", "/models", "FILE:/models", False),
        ("s3://bucket/models/", "s3", "bucket/models/", "s3://bucket/models/", False),
        ("bentoml:a:1", "bentoml", "a:1", "bentoml:a:1", False),
        ("oci://h.example:5000/a/b:1", "oci", "h.example:5000/a/b:1", "oci://h.example:5000/a/b:1", False),
    ],
)
def test_a_source_is_read_and_shown_without_secrets(
    text: str, scheme: str, path: str, shown: str, is_archive: bool
) -> None:
    source = read_source(text)
    assert (source.scheme, source.path, source.shown, source.is_archive) == (scheme, path, shown, is_archive)


@pytest.mark.parametrize("written", [f"#sha256:{SUM}", f"#sha256={SUM.upper()}", f"#{SUM}"])
def test_a_checksum_stands_behind_the_source(written: str) -> None:
    assert read_source(f"models{written}") == ModelSource("models", SUM)
    assert read_source("models", f"sha256:{SUM}") == ModelSource("models", SUM)


def test_several_are_separated_by_commas_or_spaces() -> None:
    assert read_sources(f" a, b\n\thttps://h.example/c#sha256:{SUM},, ") == [
        ModelSource("a"),
        ModelSource("b"),
        ModelSource("https://h.example/c", SUM),
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a#sha256:abc", r"a: what is behind # is no checksum; write sha256: and 64 hexadecimal digits"),
        ("a#", r"a: what is behind # is no checksum"),
        (f"#{SUM}", "a source is empty"),
        ("file://host/a", "file://host/a: it is of another machine; write it as file:///PATH"),
        ("file:a", r"^\*\*\*: it is of another machine"),
        ("https:///a", "https:///a: it is no address; write it as https://HOST/PATH"),
        ("oci://h.example:port/a", "it is no address"),
        ("http://[::1/a", "it is no address"),
    ],
)
def test_what_is_no_source_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(FetchFailed, match=sentence):
        read_source(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            f"https://me:{password}@h.example:1/a.zip"
            for password in (
                *("se/cret", "12/se/cret", "se?cret", "1?se/cret", "se#cret", "1#se#cret", "se@cret", "a/se@cret"),
                *("a?se@cret", "se:cret", "12/se::cret", "se%2Fcret", r"se\cret", "se//cret"),
            )
        ),
        "https://me:secret@h.example:99999/a",
        "https://me:secret@[::1/a",
        "https://me:secret@/a",
        "https://me%3Asecret%40h.example/a",
        "https://me:secret\uff20h.example/a",
        "https://h.example/a?sig=secret",
        "https://h.example?sig=secret@a/b",
        "https:/me:secret@h.example/a",
        "https:me:secret@h.example/a",
        "HTTPS://me:secret@h.example/a",
        "//me:secret@h.example/a",
        "me:secret@h.example/a",
        "secret@h.example/a",
        " https://me:secret@h.example/a",
        "'https://me:secret@h.example/a'",
        "s3://me:secret@bucket/a",
        "s3://me:secret/a",
        "github://me:secret@repo/a",
        "file://me:secret@h.example/a",
        "bentoml:me:secret@h.example",
        "oci://me:se/cret@h.example/a:1",
        "simplecache::https://me:secret@h.example/a",
        "zip://a.csv::https://me:secret@h.example/a.zip",
        "zip::filecache::https://h.example/a.zip?sig=secret",
        "zip://a/b::https://h.example/secret",
    ],
)
def test_no_form_of_a_password_is_shown(text: str) -> None:
    """Neither by a source that can be, nor by the sentence about one that cannot."""
    try:
        source = read_source(text)
    except FetchFailed as error:
        told = str(error)
    else:
        told = source.shown
        assert not source.is_plain
    assert not re.search("se.{0,3}cret|cret@", told), told
    assert "me:" not in told


def test_an_address_without_secrets_is_shown_as_it_is() -> None:
    for text in (
        "https://h.example/a",
        f"oci://h.example/a@sha256:{SUM}",
        "http://[::1]:80/a",
        "s3://b/c",
        "bentoml:a",
    ):
        assert read_source(text).shown == text
        assert read_source(text).is_plain
    assert read_source("https://h.example/team@2/a").shown == "https://***@2/a", "which may be one with a password"
