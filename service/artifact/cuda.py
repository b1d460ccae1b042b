"""The CUDA device: the first GPU that CUDA shows this process, with CuPy's arrays. The only importer of CuPy.

Two things that onnxruntime offers are not used, since they ended the process when they were tried on an H200:
``enable_cuda_graph`` with an LSTM in the graph, and a session that is given ``user_compute_stream`` when it ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ostinato.service.artifact.devices import Device, DeviceNumbers
from ostinato.service.artifact.graphs import available_providers

PROVIDER = "CUDAExecutionProvider"
FLAG = "--device cuda"

_OPTIONS = {
    "device_id": 0,
    "use_tf32": 0,  # whose products have 10 bits behind the point: further from the network than any tolerance
    "cudnn_conv_algo_search": "DEFAULT",  # else the quickest of this start is taken, with its own rounding
    "arena_extend_strategy": "kSameAsRequested",  # the memory is for the sessions
}


class CudaDevice(Device):
    """See ``Device``; by CuPy on the stream that CUDA has for who asks for none, and all threads share.

    Raises:
        ModuleNotFoundError: CuPy is not installed.
        ValueError: there is no GPU, or this onnxruntime cannot use it; says what to do.
    """

    memory = "cuda"
    providers = ((PROVIDER, _OPTIONS), "CPUExecutionProvider")

    def __init__(self) -> None:
        check_cuda()
        import cupy

        self.arrays = cupy
        self._stream = cupy.cuda.Stream.null
        properties = cupy.cuda.runtime.getDeviceProperties(0)
        self.name = f"cuda {properties['name'].decode()}"

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> DeviceNumbers:
        """See ``Device.empty``."""
        return self.arrays.empty(tuple(shape), dtype)

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """See ``Device.pinned``."""
        count, dtype = int(np.prod(shape)), np.dtype(dtype)
        memory = self.arrays.cuda.alloc_pinned_memory(count * dtype.itemsize)
        return np.frombuffer(memory, dtype, count).reshape(shape)

    def address(self, numbers: DeviceNumbers) -> int:
        """See ``Device.address``."""
        return int(numbers.data.ptr)

    def upload(self, numbers: NDArray[Any]) -> DeviceNumbers:
        """See ``Device.upload``."""
        return self.arrays.asarray(numbers)

    def download(self, numbers: DeviceNumbers) -> NDArray[Any]:
        """See ``Device.download``."""
        made: NDArray[Any] = self.arrays.asnumpy(numbers)
        return made

    def write(self, numbers: DeviceNumbers, given: NDArray[Any]) -> None:
        """See ``Device.write``."""
        numbers.set(given)

    def read(self, numbers: DeviceNumbers, out: NDArray[Any]) -> None:
        """See ``Device.read``."""
        numbers.get(out=out)

    def synchronize(self) -> None:
        """See ``Device.synchronize``."""
        self._stream.synchronize()


def check_cuda() -> None:
    """See that a GPU can be used, without taking any of its memory.

    Raises:
        ModuleNotFoundError: CuPy is not installed.
        ValueError: there is no GPU, or this onnxruntime cannot use it; says what to do.
    """
    import cupy

    if PROVIDER not in available_providers():
        raise ValueError(
            f"{FLAG}: the onnxruntime that is installed knows no GPU. onnxruntime and onnxruntime-gpu lie in one "
            "place, and what was installed last is there: pip uninstall -y onnxruntime onnxruntime-gpu, then pip "
            "install 'ostinato[cuda]' again"
        )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ValueError(f"{FLAG}: {error}: is there a GPU, and does nvidia-smi show it? Else --device cpu") from error
    if not count:
        raise ValueError(f"{FLAG}: there is no GPU that CUDA sees (nvidia-smi, CUDA_VISIBLE_DEVICES); or --device cpu")
