"""Datatypes: the protocol's names of numpy's types. Numbers are little-endian, as they are in memory here."""

from __future__ import annotations

from typing import Any

import numpy as np

BYTES = "BYTES"
"""Elements of any length; an array of them is one of objects, each of which is of ``bytes``."""

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    BYTES: np.dtype(np.object_),
}
"""By the protocol's names."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def datatype_of(dtype: np.dtype[Any] | str) -> str:
    """The protocol's name of a type of numpy's, or of a manifest's."""
    return _NAMES[np.dtype(dtype)]


def config_name(datatype: str) -> str:
    """A datatype as the configuration of a model has it: ``TYPE_FP32``, and ``TYPE_STRING`` for bytes."""
    return "TYPE_STRING" if datatype == BYTES else f"TYPE_{datatype}"
