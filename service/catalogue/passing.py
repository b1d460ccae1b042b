"""Passing errors: those in which the system refused, and the version that was being loaded may be sound."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator

LASTING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL})
"""What the system answers for as long as the files are as they are."""
_NUMBER = re.compile(r"\((?:os )?error (\d+)\)|errcode = (\d+)|error number (\d+)|\[Errno (\d+)\]")
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EAGAIN, errno.ENOMEM, errno.EBUSY)
_WORDS = (*(os.strerror(number).lower() for number in _SHORTAGES), "can't start new thread", "bad_alloc")


def is_passing(error: BaseException) -> bool:
    """Whether a failed load may succeed with the same files: too many open files, a full disk, a lock, no memory.

    Libraries that are not Python's give the system's answer in their words only.
    """
    for each in _chain(error):
        if isinstance(each, MemoryError):
            return True
        number = each.errno if isinstance(each, OSError) else None
        text = str(each)
        if number is None and (found := _NUMBER.search(text)):
            number = int(next(group for group in found.groups() if group))
        if number is not None:
            if number not in LASTING:
                return True
        elif any(words in text.lower() for words in _WORDS):
            return True
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
