"""Trees of an LMDB file, looked at before they are walked: LMDB ends the process where a page is not what it has to be.

A page's head has its own number and kind, so one that is zeroed, or another's, is told by it. Records have checksums of
their own. The layout is that of LMDB 0.9: ``MDB_page``, ``MDB_node`` and ``MDB_db``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ostinato.service.state.lmdb.meta_pages import Tree, damaged, read_metas

MAX_LEAF_BYTES = 1 << 30
"""Of larger files the leaves are not looked at: each would have to be read from the disk before anybody is served."""

_HEAD_BYTES = 16
_BRANCH, _LEAF, _KINDS = 1, 2, 3
_NODE = struct.Struct("<HHHH")
"""Low and middle bits of a child's number, or of the data's size; high bits, or flags; bytes of the key."""
_SUB_TREE = 2
_TREE = struct.Struct("<IHHQQQQQ")


def check_trees(path: Path, transaction: int) -> None:
    """Follow the trees of a transaction, which somebody keeps open, from page to page.

    Raises:
        DatabaseDamaged: a page is not what the one above it says.
    """
    for meta in read_metas(path):
        if meta.transaction == transaction:
            pages = np.memmap(path, np.uint8, "r", shape=(meta.last_page + 1, meta.page_bytes))
            for tree in (meta.free, meta.main):
                for leaf in _follow(path, pages, tree):
                    for sub_tree in _sub_trees(pages[leaf].tobytes()) if tree is meta.main else ():
                        _follow(path, pages, sub_tree)


def _follow(path: Path, pages: NDArray[np.uint8], tree: Tree) -> list[int]:
    """The leaves of a tree, by rising key."""
    level = np.array([tree.root] if tree.depth else [], np.int64)
    for depth in range(1, tree.depth + 1):
        is_leaf = depth == tree.depth
        if len(level) and not 0 <= level.min() <= level.max() < len(pages):
            raise damaged(path, "a page of it names one that is not there")
        if is_leaf and pages.size > MAX_LEAF_BYTES:
            break
        heads = pages[level, :_HEAD_BYTES]
        numbers = heads[:, :8].copy().view("<i8")[:, 0]
        kinds, lower, upper = (heads[:, at : at + 2].copy().view("<u2")[:, 0] for at in (10, 12, 14))
        sound = (numbers == level) & (kinds & _KINDS == (_LEAF if is_leaf else _BRANCH))
        sound &= (lower >= _HEAD_BYTES) & (lower <= upper) & (upper <= pages.shape[1])
        if not sound.all():
            raise damaged(path, f"its page {level[~sound][0]} is not what it has to be")
        if not is_leaf:
            level = np.array([child for page in level for child in _children(pages[page].tobytes())], np.int64)
    leaves: list[int] = level.tolist()
    return leaves


def _nodes(page: bytes) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """Where each node of a page begins, and its head."""
    (lower,) = struct.unpack_from("<H", page, 12)
    for at in range(_HEAD_BYTES, lower, 2):
        (start,) = struct.unpack_from("<H", page, at)
        if start + _NODE.size <= len(page):
            yield start, _NODE.unpack_from(page, start)


def _children(page: bytes) -> list[int]:
    return [low | middle << 16 | high << 32 for _, (low, middle, high, _) in _nodes(page)]


def _sub_trees(page: bytes) -> Iterator[Tree]:
    """The named databases in a leaf of the main one."""
    for start, (_, _, flags, key_bytes) in _nodes(page):
        at = start + _NODE.size + key_bytes
        if flags & _SUB_TREE and at + _TREE.size <= len(page):
            _, _, depth, *_, root = _TREE.unpack_from(page, at)
            yield Tree(root, depth)
