"""Files of graphs, as a manifest lists them."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from ostinato.service.artifact.tensors import Part

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

Sha256: TypeAlias = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]


class DataFile(Part):
    """A file in the version's directory, with its checksum.

    ``file``: its name in the directory.
    ``sha256``: the checksum of its bytes.
    """

    file: FileName
    sha256: Sha256


class GraphFile(DataFile):
    """An ONNX file in the version's directory.

    ``data``: files next to it with its weights, where they are too large for one file; left out where there are none.
    """

    data: tuple[DataFile, ...] = ()

    @property
    def content(self) -> str:
        """What tells it from any other graph, its weights among it."""
        return " ".join([self.sha256, *(part.sha256 for part in self.data)])

    @model_serializer(mode="wrap")
    def _leave_out(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in write(self).items() if key != "data" or value}
