"""Formats that a file may have which is no ONNX file, as far as its first bytes tell."""

from __future__ import annotations

_BEGINNINGS = (
    (b"PK\x03\x04", "a zip archive, as torch.save, TorchScript, Keras and npz write: export the network to ONNX"),
    (b"\x89HDF\r\n", "HDF5, as Keras writes it: export the network to ONNX (tf2onnx)"),
    (b"\x1f\x8b", "compressed (gzip): unpack it"),
    (b"BZh", "compressed (bzip2): unpack it"),
    (b"\xfd7zXZ", "compressed (xz): unpack it"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd): unpack it"),
    (b"\x80\x02", "a pickle, as old releases of torch.save write: export the network to ONNX"),
    (b"\x80\x04", "a pickle, as Python writes it: export the network to ONNX"),
    (b"\x93NUMPY", "an array of numpy's"),
    (b"GGUF", "GGUF, as llama.cpp reads it"),
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file that it stands for (git lfs pull)"),
    (b"%PDF", "a PDF"),
    (b"\x7fELF", "a program"),
)
_AT_FOUR = (
    (b"TFL3", "TensorFlow Lite"),
    (b"ORTM", "onnxruntime's own format (.ort): give the ONNX file behind it"),
)


def what_else(beginning: bytes) -> str:
    """What a file is, in words; empty where it may be ONNX."""
    for mark, words in _BEGINNINGS:
        if beginning.startswith(mark):
            return words
    for mark, words in _AT_FOUR:
        if beginning[4:8] == mark:
            return words
    if beginning[8:10] == b'{"' and int.from_bytes(beginning[:8], "little") < 1 << 30:
        return "safetensors: weights without a network"
    text = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] == b"<":
        return "a page (HTML or XML): perhaps the answer of a site to a download"
    if text and all(byte in b"\t\n\r\f" or 32 <= byte < 127 or byte >= 128 for byte in beginning):
        try:
            beginning[:-3].decode()
        except UnicodeDecodeError:
            return ""
        return "text"
    return ""
