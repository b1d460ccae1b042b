from __future__ import annotations

import sys
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2, service_pb2

from ostinato.service.edge.oip.grpc.calls import REFUSED
from ostinato.service.edge.oip.grpc.wire import COMPILED, METHODS


def compiled() -> FileDescriptorSet:
    return FileDescriptorSet.FromString(COMPILED.read_bytes())


def test_what_is_committed_is_what_the_protos_compile_to(tmp_path: Path) -> None:
    made = tmp_path / "made.binpb"
    folder = str(COMPILED.parent)
    done = protoc.main(["protoc", f"--proto_path={folder}", f"--descriptor_set_out={made}", "inference.proto"])
    assert done == 0, grpc_tools.__file__
    assert FileDescriptorSet.FromString(made.read_bytes()) == compiled(), "run `make protos`"


def fields_of(file: FileDescriptorProto) -> dict[tuple[str, str], tuple[int, int, int, str]]:
    """(message, field) -> number, type, label and the type's name, of all messages that a file has."""
    found = {}

    def visit(messages: list[object], prefix: str) -> None:
        for message in messages:
            for field in message.field:  # type: ignore[attr-defined]
                assert isinstance(field, FieldDescriptorProto)
                key = f"{prefix}{message.name}", field.name  # type: ignore[attr-defined]
                found[key] = field.number, field.type, field.label, field.type_name
            visit(message.nested_type, f"{prefix}{message.name}.")  # type: ignore[attr-defined]

    visit(list(file.message_type), "")
    return found


def test_messages_are_those_of_nvidia_s_client_on_the_wire() -> None:
    """Its own are in the pool that all share; that both are in one process here is what the other pool is for."""
    theirs: dict[tuple[str, str], tuple[int, int, int, str]] = {}
    for module in (service_pb2, model_config_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        theirs |= fields_of(file)
    ours = fields_of(compiled().file[0])
    assert {key: value for key, value in ours.items() if theirs.get(key) != value} == {}
    messages = {message for message, _ in ours if not message.startswith("Model") or "Infer" in message}
    assert {key for key in theirs if key[0] in messages} - ours.keys() == set()
    assert "tritonclient" in sys.modules


def test_calls_are_those_of_nvidia_s_client() -> None:
    service = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    theirs = {
        method.name: (method.input_type.full_name, method.output_type.full_name, method.client_streaming)
        for method in service.methods
    }
    ours = {
        name: (method.request.DESCRIPTOR.full_name, method.response.DESCRIPTOR.full_name, method.is_stream)
        for name, method in METHODS.items()
    }
    assert ours == theirs
    assert REFUSED.keys() < ours.keys()
