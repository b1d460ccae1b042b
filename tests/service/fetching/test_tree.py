from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching import tree
from ostinato.service.fetching.tree import FolderTree, GuardedTree, NotWritten, Pieces, reading, save
from tests.service.fetching.conftest import packed, plain_environment


class Failing:
    """A tree in which everything fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def paths(self) -> list[str]:
        raise self._error

    def chunks(self, path: str) -> Pieces:
        del path
        yield b"half"
        raise self._error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/a/secret/path"), "No space left on device"),
        (OSError("Invalid data stream"), "Invalid data stream"),
        (ValueError("one\ntwo"), "one"),
        (ValueError("x" * 1000), "x" * 300),
        (RecursionError("maximum"), "it is nested too deeply"),
        (TypeError("'int' object is not iterable"), "it has another form"),
        (KeyError("layers"), "it has another form"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_whatever_fails_in_a_source_is_a_sentence_about_it(error: Exception, words: str, tmp_path: Path) -> None:
    sentence = f"s3://a: it cannot be read: {words}; look at the source, or fetch it again"
    guarded = GuardedTree(Failing(error), "s3://a")
    with pytest.raises(FetchFailed) as caught:
        guarded.paths()
    assert str(caught.value) == sentence
    with pytest.raises(FetchFailed) as caught:
        save(guarded.chunks("a"), tmp_path / "a", "a", lambda _shown, _num_bytes: None)
    assert str(caught.value) == sentence


def test_what_a_caller_understands_comes_through() -> None:
    guarded = GuardedTree(Failing(FileNotFoundError("a")), "s3://a")
    with pytest.raises(FileNotFoundError):
        list(guarded.chunks("a"))
    for error in (FetchFailed("as it is"), NotWritten(errno.ENOSPC, "full")):
        with pytest.raises(type(error)) as caught, reading("a"):
            raise error
        assert caught.value is error


@pytest.mark.parametrize("ending", ["", ".tar.gz", ".tar"])
def test_a_full_disk_is_the_repository_s_fault(ending: str, origin: Path, repository: Path, tmp_path: Path) -> None:
    """With a limit on the size of files, which takes no rights; an archive is also unpacked there."""
    (origin / "sums" / "1" / "model.onnx").write_bytes(bytes(200_000))
    source = packed(origin, tmp_path / f"models{ending}") if ending else origin
    words = ["-m", "ostinato.cli", "models", "fetch", str(source), "--repository", str(repository)]
    done = subprocess.run(
        ["prlimit", "--fsize=20000", sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=plain_environment(),
    )
    assert done.stderr == f"error: {repository}: File too large; name a folder with room that may be written to\n"
    assert list(repository.iterdir()) == []


def test_folders_that_lead_in_circles_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """30 links of a folder to itself are 30 ** 4 folders four deep."""
    monkeypatch.setattr(tree, "MAX_FILES", 1000)
    for number in range(30):
        (tmp_path / str(number)).symlink_to(".")
    with pytest.raises(FetchFailed, match="it has more than 1,000 files"):
        FolderTree(tmp_path, "here").paths()
