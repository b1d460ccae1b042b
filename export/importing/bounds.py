"""Bounds: what a file's tensors claim, against the bytes that are there; and where their files may lie."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from onnx import TensorProto

from ostinato.export.errors import ExportError
from ostinato.service.artifact.wire import WireTensor

MAX_AXES = 64
MAX_BYTES = 1 << 50
"""Of any tensor: more than any machine has, and less than a number of 64 bits holds."""
_BITS = {
    "FLOAT": 32, "UINT8": 8, "INT8": 8, "UINT16": 16, "INT16": 16, "INT32": 32, "INT64": 64, "BOOL": 8,
    "FLOAT16": 16, "DOUBLE": 64, "UINT32": 32, "UINT64": 64, "COMPLEX64": 64, "COMPLEX128": 128, "BFLOAT16": 16,
    "FLOAT8E4M3FN": 8, "FLOAT8E4M3FNUZ": 8, "FLOAT8E5M2": 8, "FLOAT8E5M2FNUZ": 8, "UINT4": 4, "INT4": 4,
    "FLOAT4E2M1": 4, "FLOAT8E8M0": 8, "UINT2": 2, "INT2": 2,
}  # fmt: skip
BITS = {
    TensorProto.DataType.Value(name): bits for name, bits in _BITS.items() if name in set(TensorProto.DataType.keys())
}
"""ONNX' number of a type -> bits of a number of it."""
_TYPED = {1: 4, 10: 10, 11: 10, 14: 4, 15: 4, 7: 7, 12: 11, 13: 11}
"""ONNX' number of a type -> the field for its numbers where they are not raw; all others' is ``int32_data``."""
_INT32_DATA = 5
_PAIRS = (14, 15)


def check_bounds(tensors: Iterable[WireTensor], folder: Path, path: Path) -> None:
    """That each tensor has the numbers that its axes ask for, in the file or in one within ``folder``.

    Raises:
        ExportError: one has not; names the tensor.
    """
    for tensor in tensors:
        if fault := _fault(tensor, folder):
            raise ExportError(f"{path}: {tensor.place}: {fault}")


def _fault(tensor: WireTensor, folder: Path) -> str:
    if tensor.dtype == TensorProto.STRING:
        return "it holds words, and nothing here carries but numbers: look them up before the network"
    if tensor.dtype not in BITS:
        return f"its type is {tensor.dtype}, which is none of ONNX'"
    if tensor.is_segment:
        return "it is a segment of a tensor, which no reader supports any more: save the file again"
    if len(tensor.dims) > MAX_AXES:
        return f"it has {len(tensor.dims)} axes"
    if any(size < 0 for size in tensor.dims):
        return f"its shape {tensor.dims} has an axis of negative size"
    count = 1
    for size in tensor.dims:
        count *= size
    num_bytes = -(-count * BITS[tensor.dtype] // 8)
    if num_bytes > MAX_BYTES:
        return f"its shape {tensor.dims} would take {num_bytes:,} bytes"
    if tensor.is_external or tensor.external:
        return _external_fault(tensor, num_bytes, folder)
    return _inner_fault(tensor, count, num_bytes)


def _inner_fault(tensor: WireTensor, count: int, num_bytes: int) -> str:
    if tensor.raw_bytes is not None and (tensor.raw_bytes or not tensor.typed):
        if tensor.raw_bytes != num_bytes:
            return f"its shape {tensor.dims} asks for {num_bytes:,} bytes, and the file holds {tensor.raw_bytes:,}"
        return ""
    there = tensor.typed.get(_TYPED.get(tensor.dtype, _INT32_DATA), 0)
    bits = BITS[tensor.dtype]
    wanted = 2 * count if tensor.dtype in _PAIRS else -(-count * bits // 8) if bits < 8 else count
    if there != wanted:
        return f"its shape {tensor.dims} asks for {wanted:,} numbers, and the file holds {there:,}"
    return ""


def _external_fault(tensor: WireTensor, num_bytes: int, folder: Path) -> str:
    location = tensor.external.get("location", "")
    if fault := _location_fault(location):
        return f"its numbers are in the file {location!r}, {fault}"
    words = {key: tensor.external.get(key, "") for key in ("offset", "length")}
    for key, word in words.items():
        if word and not re.fullmatch(r"[0-9]{1,18}", word):
            return f"{key} {word[:60]!r} in the file {location!r} is no number of bytes"
    offset = int(words["offset"] or 0)
    length = int(words["length"]) if words["length"] else num_bytes
    if length != num_bytes:
        return f"its shape {tensor.dims} asks for {num_bytes:,} bytes, and it claims {length:,} in {location!r}"
    size, fault = _size_within(folder, location)
    if fault:
        return f"its numbers are in the file {location!r}, {fault}"
    if offset + length > size:
        return f"it claims the bytes {offset:,} to {offset + length:,} of {location!r}, which has {size:,}"
    return ""


def _location_fault(location: str) -> str:
    """What is wrong with the name of a file of weights."""
    if not location:
        return "which has no name"
    if not location.isprintable() or location != location.strip() or "\N{REPLACEMENT CHARACTER}" in location:
        return "whose name has characters that nobody sees"
    parts = re.split(r"[/\\]", location)
    if location[0] in "/\\~" or re.match(r"[A-Za-z]:", location) or "://" in location or "*" in location:
        return "which is none of its folder's: weights are read from next to the ONNX file alone"
    if ".." in parts:
        return "which leads out of its folder: weights are read from next to the ONNX file alone"
    return ""


def _size_within(folder: Path, location: str) -> tuple[int, str]:
    """The size of a file that is within the folder, or what is wrong with it."""
    place = folder
    parts = [part for part in location.split("/") if part not in ("", ".")]
    if not parts:
        return 0, "which is a folder"
    mode = 0
    for part in parts:
        place = place / part
        try:
            status = os.lstat(place)
        except OSError as error:
            reason = (error.strerror or "cannot be looked at").lower()
            return 0, f"which cannot be read: {reason} (it belongs next to the ONNX file)"
        mode = status.st_mode
        if stat.S_ISLNK(mode):
            return 0, "which is a link, and may lead anywhere: put the file itself there"
    if not stat.S_ISREG(mode):
        return 0, "which is no regular file"
    return status.st_size, ""
