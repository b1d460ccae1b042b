from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from docs.site.archive import SHOWN, write_archive
from ostinato.service.edge.site.pages import HEADERS, MEDIA_TYPES, Site
from ostinato.service.edge.system import SystemRoutes
from ostinato.service.errors import UnknownRoute
from ostinato.service.metrics.series import Metrics

FILES = {"index.html": b"<p>one", "_static/a.css": b"p {}", "a.md": b"# A", ".buildinfo": b"", "objects.inv": b""}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        place = tmp_path / "built" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    write_archive(tmp_path / "built", tmp_path / "site.zip")
    return tmp_path / "site.zip"


def test_the_files_of_the_archive_are_answered_and_no_other_path(archive: Path) -> None:
    answers = Site(archive).answers
    assert answers.keys() == {"/docs/", "/docs/index.html", "/docs/_static/a.css", "/docs/a.md"}
    assert answers["/docs/"]().body == answers["/docs/index.html"]().body == b"<p>one"
    assert answers["/docs/a.md"]().media_type == "text/markdown; charset=utf-8"
    assert set(HEADERS) < set(answers["/docs/a.md"]().headers)


def test_every_kind_of_file_that_is_put_in_has_a_media_type() -> None:
    assert MEDIA_TYPES.keys() == SHOWN


def test_a_site_is_the_same_bytes_when_it_is_built_again(archive: Path) -> None:
    before = archive.read_bytes()
    write_archive(archive.parent / "built", archive)
    assert archive.read_bytes() == before
    assert zipfile.ZipFile(archive).testzip() is None


def test_where_it_is_not_built_the_way_out_is_told(tmp_path: Path) -> None:
    answers = Site(tmp_path / "none.zip").answers
    assert answers.keys() == {"/docs/"}
    with pytest.raises(UnknownRoute, match="make docs"):
        answers["/docs/"]()


@pytest.mark.parametrize("fault", ["empty", "cut", "byte", "no index", "unknown kind"])
def test_a_damaged_archive_costs_the_pages_and_not_the_server(
    fault: str, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = archive.read_bytes()
    place = whole.index(b"index.html") + len("index.html") + 2
    damaged = {
        "empty": b"",
        "cut": whole[:-30],
        "byte": whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :],
    }
    if fault in damaged:
        archive.write_bytes(damaged[fault])
    else:
        with zipfile.ZipFile(archive, "w") as made:
            made.writestr("a.md" if fault == "no index" else "a.exe", "")
    with pytest.raises(UnknownRoute, match="make docs"):
        Site(archive).answers["/docs/"]()
    assert "site.zip is damaged" in caplog.text


def test_pictures_leave_as_they_are(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "site.zip", "w") as made:
        for name in ("index.html", "a.png"):
            made.writestr(name, b"x" * 5000)
    answers = Site(tmp_path / "site.zip").answers
    assert [answers[f"/docs/{name}"]().is_plain for name in ("index.html", "a.png")] == [False, True]


def test_what_the_client_has_is_not_sent_again(archive: Path) -> None:
    routes = SystemRoutes(Metrics(), lambda: (True, {}), public=Site(archive).answers)
    first = routes.answer("GET", "/docs/a.md")
    (mark,) = (value.decode() for name, value in first.headers if name == b"etag")
    for has, status in [
        (mark, 304),
        (f'"other", {mark}', 304),
        (mark.removeprefix("W/"), 304),
        ('"other"', 200),
        ("", 200),
    ]:
        again = routes.answer("GET", "/docs/a.md", has=has)
        assert (again.status, again.body) == (status, b"" if status == 304 else b"# A")
        assert again.headers == first.headers
