"""Keys by which rows are put into order: of ids, the same for one id and never for two, and of times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray


def id_keys(ids: pa.Array) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Two numbers for each id: a whole number itself; the 128 bits of a text's digest, of which no two are the same
    among any ids that there may be.
    """
    if pa.types.is_integer(ids.type):
        numbers = ids.to_numpy(zero_copy_only=False)
        if numbers.dtype.kind == "i":
            # In their order: negative ones before all others.
            return numbers.astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63), np.zeros(len(ids), np.uint64)
        return numbers.astype(np.uint64), np.zeros(len(ids), np.uint64)
    coded = ids.dictionary_encode()
    digests = b"".join(xxhash.xxh3_128_digest(word.encode()) for word in coded.dictionary.to_pylist())
    numbers = np.frombuffer(digests, ">u8").reshape(-1, 2).astype(np.uint64)[coded.indices.to_numpy()]
    return numbers[:, 0], numbers[:, 1]


def time_keys(times: pa.Array) -> NDArray[Any]:
    """Numbers in the order of the times, int64, uint64 or float64."""
    if pa.types.is_temporal(times.type):
        is_short = pa.types.is_date32(times.type) or pa.types.is_time32(times.type)
        return np.asarray(times.cast(pa.int32() if is_short else pa.int64()).to_numpy()).astype(np.int64)
    numbers: NDArray[Any] = times.to_numpy(zero_copy_only=False)
    return numbers.astype({"f": np.float64, "u": np.uint64}.get(numbers.dtype.kind, np.int64))
