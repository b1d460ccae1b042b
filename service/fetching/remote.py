"""Files at whatever place fsspec speaks to: buckets (``s3://``, ``gs://``, ``az://``), ``sftp://``, ``hdfs://``, ..."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import fsspec

from ostinato.extras import install_sentence
from ostinato.service.errors import FetchFailed
from ostinato.service.fetching.sources import ModelSource
from ostinato.service.fetching.tree import MAX_DEPTH, Pieces, check_count, pieces, words_of

BUCKETS = ("s3", "s3a", "gs", "az", "abfs", "abfss")
"""Schemes that one library speaks to, without those of each provider."""


class RemoteTree:
    """The files below an address.

    Raises:
        FetchFailed: nothing speaks to such a place, or its library is not installed; says which.
    """

    def __init__(self, source: ModelSource) -> None:
        self._source, self._shown = source, source.shown
        if source.scheme in BUCKETS:
            _speak_to_buckets(source)
        try:
            fsspec.get_filesystem_class(source.scheme)
        except (ImportError, ValueError) as error:  # they know the scheme alone
            advice = "by pip install" if isinstance(error, ImportError) else "docs/sources.md has what there is"
            raise FetchFailed(f"{source.shown}: {error}, {advice}") from error
        try:
            self._files, root = fsspec.url_to_fs(source.address)
        except Exception as error:  # each library has errors of its own
            raise self._failed(error) from error
        self._root = str(root).rstrip("/")

    def paths(self) -> list[str]:
        """See ``FileTree``."""
        return list(self._listed)

    @cached_property
    def _listed(self) -> dict[str, None]:
        try:
            found: Any = self._files.find(self._root, maxdepth=MAX_DEPTH + 1)
        except Exception as error:
            raise self._failed(error) from error
        check_count(len(found), self._shown)
        return dict.fromkeys(str(each).removeprefix(self._root).lstrip("/") for each in found)

    def chunks(self, path: str) -> Pieces:
        """See ``FileTree``; an empty path is the address itself."""
        if path not in self._listed:
            raise FileNotFoundError(path)
        try:
            with self._files.open(f"{self._root}/{path}" if path else self._root, "rb") as file:
                yield from pieces(file)
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> FetchFailed:
        # A library may say any part of an address in any form.
        words = words_of(error) if self._source.is_plain else type(error).__name__
        return FetchFailed(f"{self._shown}: {words}; look at the address, and at what its library asks for")


def _speak_to_buckets(source: ModelSource) -> None:
    try:
        import obstore.fsspec
    except ModuleNotFoundError as error:
        raise FetchFailed(install_sentence(source.shown, "cloud")) from error
    obstore.fsspec.register(source.scheme)
