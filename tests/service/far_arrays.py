"""A library of arrays as strict as CuPy, which is on no machine of the tests: what it does by itself in memory of the
host, but nothing that CuPy refuses, and it tells what has been asked and not waited for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ostinato.service.artifact import cuda, device_choice
from ostinato.service.artifact.devices import aligned_memory


class FarArray:
    """An array that lends itself to nobody. Indices are numbers, slices and arrays of its own kind."""

    def __init__(self, there: Any, library: FarLibrary) -> None:
        self._there, self._library = there, library
        self.data = SimpleNamespace(ptr=there.ctypes.data)

    def __array__(self, *_: object, **__: object) -> Any:
        raise TypeError("implicit conversion to a NumPy array is not allowed")

    def __len__(self) -> int:
        return len(self._there)

    def __bool__(self) -> bool:
        return bool(self._there)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._there.shape)

    @property
    def dtype(self) -> Any:
        return self._there.dtype

    def __getitem__(self, index: Any) -> FarArray:
        made = self._there[_index(index)]
        return self._asked(made if isinstance(made, np.ndarray) else np.array(made))

    def __setitem__(self, index: Any, given: Any) -> None:
        assert isinstance(given, FarArray), "CuPy takes no array of the host here"
        self._there[_index(index)] = given._there
        self._library.is_pending = True

    def take(self, indices: Any, axis: int, out: Any) -> None:
        assert isinstance(indices, FarArray)
        assert isinstance(out, FarArray)
        assert out.shape == (len(indices), *self.shape[1:])
        out._there[...] = self._there.take(indices._there, axis)
        self._library.is_pending = True

    def set(self, given: Any) -> None:
        assert type(given) is np.ndarray
        assert (given.shape, given.dtype) == (self.shape, self.dtype)
        assert self._there.flags.c_contiguous
        self._there[...] = given
        self._library.is_pending = True

    def get(self, out: Any = None) -> Any:
        self._library.is_pending = False
        if out is None:
            return self._there.copy()
        assert out.flags.c_contiguous
        assert (out.shape, out.dtype) == (self.shape, self.dtype)
        out[...] = self._there
        return out

    def copy(self) -> FarArray:
        return self._asked(self._there.copy())

    def all(self) -> FarArray:
        return self._asked(np.array(self._there.all()))

    def _asked(self, there: Any) -> FarArray:
        self._library.is_pending = True
        return FarArray(there, self._library)


class FarLibrary:
    """What the service asks of ``cupy``.

    Attributes:
        is_pending: something was asked that is not waited for.
        num_devices: GPUs; None = there is no driver.
    """

    def __init__(self) -> None:
        self.__spec__ = ModuleSpec("cupy", None)
        self.is_pending = False
        self.num_devices: int | None = 1
        runtime = SimpleNamespace(
            CUDARuntimeError=OSError,
            getDeviceCount=self._count,
            getDeviceProperties=lambda _: {"name": b"Far 1"},
        )
        stream = SimpleNamespace(null=SimpleNamespace(synchronize=self._synchronize))
        self.cuda = SimpleNamespace(runtime=runtime, Stream=stream, alloc_pinned_memory=bytearray)

    def _count(self) -> int:
        if self.num_devices is None:
            raise OSError("cudaErrorInsufficientDriver")
        return self.num_devices

    def _synchronize(self) -> None:
        self.is_pending = False

    def asarray(self, given: Any) -> FarArray:
        assert type(given) is np.ndarray
        self.is_pending = True
        return FarArray(given.copy(), self)

    def asnumpy(self, far: FarArray) -> Any:
        return far.get()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> FarArray:
        return FarArray(aligned_memory(int(np.prod(shape)), np.dtype(dtype).name).reshape(shape), self)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> FarArray:
        self.is_pending = True
        return FarArray(np.zeros(shape, dtype), self)

    def moveaxis(self, far: FarArray, source: int, destination: int) -> FarArray:
        return FarArray(np.moveaxis(far._there, source, destination), self)

    def isfinite(self, far: FarArray) -> FarArray:
        return far._asked(np.isfinite(far._there))

    def stack(self, several: Sequence[FarArray]) -> FarArray:
        return several[0]._asked(np.stack([each._there for each in several]))


def _index(index: Any) -> Any:
    if isinstance(index, FarArray):
        return index._there
    assert index is Ellipsis or type(index) in (int, slice)
    return index


@contextmanager
def far_library() -> Iterator[FarLibrary]:
    """The library in CuPy's place, and the CPU in the GPU's."""
    library = FarLibrary()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", library)
        patch.setitem(device_choice.OPENERS, "cuda", lambda: cuda.CudaDevice())  # one of its own, kept for nobody else
        patch.setattr(cuda, "available_providers", lambda: [cuda.PROVIDER, "CPUExecutionProvider"])
        patch.setattr(cuda.CudaDevice, "providers", ("CPUExecutionProvider",))
        patch.setattr(cuda.CudaDevice, "memory", "cpu")
        yield library
