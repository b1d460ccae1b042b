"""The meta pages of an LMDB file, looked at before it is mapped: what a mapped file lacks kills the process (SIGBUS).

The layout is LMDB's own (``lmdb.h`` and ``mdb.c`` of 0.9, data version 1, 64 bits): the first two pages tell the root
and the last page of one of the last two transactions each, and the newer one counts.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

_PAGE_HEAD_BYTES = 16
_META = struct.Struct("<IIQQ 48s 48s QQ")
"""Magic, version, address, map size, the database of free pages, the main database, last page, transaction."""
_TREE = struct.Struct("<IHHQQQQQ")
"""Page size (of the first), flags, depth, branch, leaf and overflow pages, entries, root."""
_MAGIC, _VERSION = 0xBEEFC0DE, 1
_NO_PAGE = (1 << 64) - 1
_NUM_METAS = 2


class DatabaseDamaged(OSError):
    """A database's file is not whole; the message says how, and the way out."""


class Tree(NamedTuple):
    """A tree of pages; ``depth`` 0 = it is empty."""

    root: int
    depth: int


class Meta(NamedTuple):
    """What a meta page tells; ``free`` is the tree of the pages that nobody uses."""

    page_bytes: int
    free: Tree
    main: Tree
    last_page: int
    transaction: int


def check_file(path: Path) -> None:
    """Look whether a database's file has all the pages that it says; one that is not there is made later.

    Raises:
        DatabaseDamaged: it has not, or does not say.
        OSError: it cannot be read.
    """
    try:
        metas = read_metas(path)
    except FileNotFoundError:
        return
    file_bytes = path.stat().st_size
    newest = max(metas, key=lambda meta: meta.transaction)
    needed_bytes = (newest.last_page + 1) * newest.page_bytes
    # LMDB begins with a file of its two meta pages, in which the last page is the second.
    if file_bytes < needed_bytes:
        raise damaged(path, f"it is cut short: {file_bytes} bytes, of which its last transaction needs {needed_bytes}")
    roots = (newest.free.root, newest.main.root)
    if any(root != _NO_PAGE and not _NUM_METAS <= root <= newest.last_page for root in roots):
        raise damaged(path, "its last transaction names a page that it does not have")


def read_metas(path: Path) -> list[Meta]:
    """Both meta pages; raises as ``check_file``, and where there is no file."""
    with path.open("rb") as file:
        metas = [_meta(path, file.read(_PAGE_HEAD_BYTES + _META.size), 0)]
        file.seek(metas[0].page_bytes)
        return [*metas, _meta(path, file.read(_PAGE_HEAD_BYTES + _META.size), 1)]


def _meta(path: Path, page: bytes, number: int) -> Meta:
    if len(page) < _PAGE_HEAD_BYTES + _META.size:
        raise damaged(path, f"it is cut short: meta page {number} is not there")
    magic, version, _, _, free, main, last_page, transaction = _META.unpack_from(page, _PAGE_HEAD_BYTES)
    if magic != _MAGIC or version != _VERSION:
        raise damaged(path, f"its meta page {number} is none of an LMDB file of data version {_VERSION}")
    (page_bytes, _, free_depth, *_, free_root), (_, _, main_depth, *_, main_root) = (
        _TREE.unpack(free),
        _TREE.unpack(main),
    )
    if not 256 <= page_bytes <= 65536 or page_bytes & (page_bytes - 1):
        raise damaged(path, f"its meta page {number} says that a page has {page_bytes} bytes")
    return Meta(page_bytes, Tree(free_root, free_depth), Tree(main_root, main_depth), last_page, transaction)


def damaged(path: Path, how: str) -> DatabaseDamaged:
    """The error of a file that is not what it has to be."""
    return DatabaseDamaged(f"{path.name} is damaged: {how}. Put the folder back as it was, from a backup")
