from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching import archive, tree
from ostinato.service.fetching.archive import ArchiveTree


def opened(path: Path, tmp_path: Path) -> ArchiveTree:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return ArchiveTree(path, scratch, "the archive")


def written(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for entry, content in entries:
            entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def test_links_and_devices_are_no_files_and_names_lead_nowhere(tmp_path: Path) -> None:
    path = written(
        tmp_path / "hostile.tar.gz",
        (entry("./m/model.json"), b"{}"),
        (entry("m/link", tarfile.SYMTYPE, "/etc/passwd"), b""),
        (entry("m/hard", tarfile.LNKTYPE, "m/model.json"), b""),
        (entry("m/device", tarfile.CHRTYPE), b""),
        (entry("m/pipe", tarfile.FIFOTYPE), b""),
        (entry("../../outside"), b"x"),
        (entry("/absolute"), b"x"),
    )
    found = opened(path, tmp_path)
    assert found.paths() == ["m/model.json", "../../outside", "/absolute"], "names, of which none becomes a path"
    assert b"".join(found.chunks("m/model.json")) == b"{}"
    for name in ("m/link", "m/hard", "m/device", "m/none"):
        with pytest.raises(FileNotFoundError):
            next(found.chunks(name))
    assert {each.name for each in tmp_path.iterdir()} == {"hostile.tar.gz", "scratch"}


def test_links_in_a_zip_are_no_files(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        link = zipfile.ZipInfo("m/link")
        link.external_attr = 0o120777 << 16
        file.writestr(link, "/etc/passwd")
        file.writestr("m/model.json", "{}")
        file.writestr("m/folder/", "")
    assert opened(path, tmp_path).paths() == ["m/model.json"]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_what_becomes_much_larger_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "FREE_BYTES", 1000)
    content, path = bytes(4_000_000), tmp_path / f"bomb.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("m/model.json", content)
    else:
        written(path, (entry("m/model.json"), content))
    with pytest.raises(FetchFailed, match=r"unpacked it has more than [\d,]+ bytes, 100 times what it is"):
        opened(path, tmp_path).paths()
    assert sum(each.stat().st_size for each in (tmp_path / "scratch").iterdir()) < 1_000_000


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_too_many_files_are_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_FILES", 3)
    path = tmp_path / f"many.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            for number in range(9):
                file.writestr(str(number), "")
    else:
        written(path, *((entry(str(number)), b"") for number in range(9)))
    with pytest.raises(FetchFailed, match="it has more than 3 files"):
        opened(path, tmp_path).paths()


def test_a_header_that_claims_a_long_name_is_not_read(tmp_path: Path) -> None:
    name = entry("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    path = written(tmp_path / "a.tar.gz", (name, bytes(3_000_000)), (entry("m"), b""))
    with pytest.raises(FetchFailed, match=r"it is no archive .* a header of 3,000,000 bytes"):
        opened(path, tmp_path).paths()


def whole(tmp_path: Path, kind: str) -> bytes:
    path = tmp_path / f"whole.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("m/model.json", b"{}" * 5000)
    else:
        written(path, (entry("m/model.json"), b"{}" * 5000))
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_every_archive_that_is_cut_short_or_changed_is_refused_or_read(kind: str, tmp_path: Path) -> None:
    """Whatever stands in it, there is a sentence, or what can be read is read."""
    content = whole(tmp_path, kind)
    for number in range(0, len(content), 7):
        for damaged in (content[:number], content[:number] + b"\xff" + content[number + 1 :]):
            path = tmp_path / f"damaged.{kind}"
            path.write_bytes(damaged)
            (tmp_path / "scratch" / f"{path.name}.unpacked").unlink(missing_ok=True)
            found = opened(path, tmp_path)
            with contextlib.suppress(FetchFailed):
                for name in found.paths():
                    for _ in found.chunks(name):
                        pass


def test_a_tar_that_ends_within_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.tar"
    path.write_bytes(gzip.decompress(whole(tmp_path, "tar.gz"))[:3000])
    found = opened(path, tmp_path)
    with pytest.raises(FetchFailed, match="it is no archive"):
        [*found.paths(), *found.chunks("m/model.json")]


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(whole(tmp_path, "zip"))
    content[6] |= 1  # the flag, in the file's own header
    content[content.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    (tmp_path / "locked.zip").write_bytes(content)
    with pytest.raises(FetchFailed, match="encrypted"):
        list(opened(tmp_path / "locked.zip", tmp_path).chunks("m/model.json"))


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_whose_pieces_would_be_unpacked_at_once_is_refused(way: int, tmp_path: Path) -> None:
    """Of bzip2, Python makes a gigabyte of a kilobyte, whatever the entry says of its size."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", way) as file:
        file.writestr("model.json", "{}")
    found = opened(tmp_path / "a.zip", tmp_path)
    with pytest.raises(FetchFailed, match="packed by another way than deflate; pack it again"):
        list(found.chunks("model.json"))


def test_a_zip_with_a_directory_larger_than_any_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 100_000)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for number in range(4):
            entry = zipfile.ZipInfo(str(number))
            entry.comment = bytes(60_000)
            file.writestr(entry, "")
    with pytest.raises(FetchFailed, match="its directory has more than 100,000 bytes"):
        opened(tmp_path / "a.zip", tmp_path).paths()


def test_what_hides_files_below_is_told(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.tar.gz",
        (entry("file"), b"x"),
        (entry("replaced"), b"x"),
        (entry("./link", tarfile.SYMTYPE, "file"), b""),
        (entry("replaced", tarfile.SYMTYPE, "file"), b""),
        (entry("folder", tarfile.DIRTYPE), b""),
    )
    found = opened(path, tmp_path)
    assert (found.paths(), found.others()) == (["file"], {"link", "replaced"})
