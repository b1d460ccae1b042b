from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ostinato.service.errors import FetchFailed
from ostinato.service.fetching import remote
from tests.service.fetching.conftest import packed, plain_environment, tree_of
from tests.service.fetching.object_store import running_store
from tests.service.fetching.test_fetching import bring


@pytest.mark.parametrize("below", ["", "/sums/1"])
def test_whatever_fsspec_speaks_to_is_a_source(below: str, origin: Path, repository: Path) -> None:
    memory = fsspec.filesystem("memory")
    for path, content in tree_of(origin).items():
        memory.pipe(f"/bucket/{path}", content)
    try:
        assert bring(f"memory://bucket{below}", repository) == [f"sums/1: fetched, from memory://bucket{below}"]
    finally:
        memory.rm("/bucket", recursive=True)
    assert tree_of(repository) == tree_of(origin)


def fetch(repository: Path, *sources: str, **environment: str) -> str:
    """What the command says in a process of its own, whose buckets are those of its environment."""
    command = [sys.executable, "-m", "ostinato.cli", "models", "fetch", *sources, "--repository", str(repository)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=100, env={**plain_environment(), **environment}
    )
    return done.stdout + done.stderr


def test_a_bucket_is_a_source(origin: Path, repository: Path, tmp_path: Path) -> None:
    (tmp_path / "buckets").mkdir()
    origin.rename(tmp_path / "buckets" / "models")
    origin = tmp_path / "buckets" / "models"
    with running_store(tmp_path / "buckets") as store:
        said = fetch(repository, "s3://models/sums", **store.environment)
        assert said == "sums/1: fetched, from s3://models/sums\n"
        assert tree_of(repository) == tree_of(origin)
        packed(origin / "sums", tmp_path / "buckets" / "models" / "sums.tar.gz")
        said = fetch(repository.parent / "other", "s3://models/sums.tar.gz", **store.environment)
        assert said == "sums/1: fetched, from s3://models/sums.tar.gz\n"
        said = fetch(repository, "s3://models/none", **store.environment)
        assert "error: s3://models/none: there is no model.json in it" in said
        said = fetch(repository, "s3://models/none.zip", **store.environment)
        assert "error: s3://models/none.zip: there is no such archive" in said
        said = fetch(repository, "s3://models/sums", **store.environment | {"AWS_ACCESS_KEY_ID": "another"})
        assert said.startswith("error: s3://models/sums: ")
        assert "no such key" in said
        assert said.count("\n") == 1


def test_without_its_library_a_sentence_names_the_extra(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.fsspec", None)
    with pytest.raises(FetchFailed, match=r"^s3://a/b needs the extra cloud: pip install 'ostinato\[cloud\]'$"):
        bring("s3://a/b", repository)
    assert "s3" in remote.BUCKETS


def test_a_place_whose_library_is_not_installed_names_it(repository: Path) -> None:
    with pytest.raises(FetchFailed, match=r"^dropbox://a/b: .*dropbox.*, by pip install$"):
        bring("dropbox://a/b", repository)


class Talkative(MemoryFileSystem):  # type: ignore[misc]
    """A library that tells all that it was given, in words of its own."""

    protocol = "talkative"

    def find(self, path: str, **_: object) -> list[str]:
        raise PermissionError(13, f"no access to {path}")

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.replace(":", "/").replace("@", "/")


@pytest.mark.parametrize("user", ["", "me:s3cret@"])
def test_what_a_library_says_is_told_where_there_is_no_secret(
    user: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "talkative", Talkative)
    with pytest.raises(FetchFailed) as caught:
        bring(f"talkative://{user}h/a", repository)
    words = "PermissionError" if user else "no access to talkative///h/a"
    assert str(caught.value).startswith(f"talkative://h/a: {words}; look at the address")


@pytest.mark.parametrize("kind", ["quux", "dropbox", "simplecache:"])
def test_a_chain_or_an_unknown_place_shows_no_password(kind: str, repository: Path) -> None:
    with pytest.raises(FetchFailed) as caught:
        bring(f"{kind}:quux://me:s3cret@127.0.0.1/a", repository)
    assert "s3cret" not in str(caught.value)
