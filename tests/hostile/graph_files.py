"""Graph files for the decoders: sound ones, to be mutated, and what must hold of one that was read."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from ostinato.export.importing.reading import read_graph
from ostinato.service.artifact.wire import external_files, tensors
from tests.hostile import dangerous_files as files

WORDS = (
    *(b"location", b"offset", b"length", b"..", b"/etc/passwd", b"\x0a\x08location\x12\x05w.bin", b"x", b"y", b"w"),
    *(b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x00", b"\x08\x00", b"\x7a\x00", b"LSTM"),
)


@cache
def graph_files() -> list[bytes]:
    """Files that are read without an error."""
    made = [files.identity(), files.lstm_like(), files.endless(), files.in_one_another(4)]
    return [each.SerializeToString() for each in made]


def read_graph_file(content: bytes) -> None:
    """Read it as a foreign file is read; what was read has the inputs and outputs of the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        model = read_graph(path)
    assert len(model.graph), "a graph without nodes was taken"
    assert model.graph.outputs, "a graph without outputs was taken"
    made = {value.name for node in model.graph for value in node.outputs}
    given = {value.name for value in model.graph.inputs} | set(model.graph.initializers)
    assert {value.name for value in model.graph.outputs} <= made | given, "an output that nothing makes was taken"


def walk_graph_file(content: bytes) -> None:
    """Read it as the service looks for files of weights."""
    found = {tensor.external.get("location", "") for tensor in tensors(content) if tensor.external}
    assert set(external_files(content)) == found, "a file of weights was overlooked"
