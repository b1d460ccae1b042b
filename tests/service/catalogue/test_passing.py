from __future__ import annotations

import errno
import os

import pytest

from ostinato.service.catalogue.passing import is_passing
from ostinato.service.errors import ModelRejected


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("cause", "passes"),
    [
        *((os_error(number), True) for number in (errno.EMFILE, errno.ENOSPC, errno.EAGAIN, errno.EIO, errno.EACCES)),
        *((os_error(number), False) for number in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)),
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        # As safetensors and onnxruntime say it.
        (Exception("Error while opening: Too many open files (os error 24)"), True),
        (Exception("No such file or directory (os error 2)"), False),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("Load model failed: Too many open files"), True),
        # By the number alone: an error of input or output.
        (Exception("the header cannot be read (os error 5)"), True),
        (RuntimeError("GetFileLength failed, errcode = 5"), True),
        (RuntimeError("mmap failed, error number 5"), True),
        (Exception("[Errno 5] in a file"), True),
        (Exception("its SHA-256 is not the manifest's"), False),
    ],
    ids=repr,
)
def test_what_the_system_refused_is_told_from_what_the_version_is(cause: Exception, passes: bool) -> None:
    wrapped = ModelRejected("a check failed")
    wrapped.__cause__ = cause
    assert is_passing(cause) == is_passing(wrapped) == passes
