from __future__ import annotations

import sys
from pathlib import Path

import grpc_tools
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc
from tritonclient.grpc import model_config_pb2, service_pb2

from ostinato.service.edge.oip.grpc.calls import REFUSED
from ostinato.service.edge.oip.grpc.wire import COMPILED, MAX_FIELDS, METHODS, ModelInferRequest, parse
from ostinato.service.errors import InvalidInput


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


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, as it is on the wire."""
    whole: bytes = FieldDescriptorProto(name="a" * len(content)).SerializeToString()
    return bytes([number << 3 | 2]) + whole[1 : len(whole) - len(content)] + content


MANY = MAX_FIELDS + 1


FULL = {
    "inputs": field(5, b"") * MANY,
    "outputs": field(6, b"") * MANY,
    "raw": field(7, b"") * MANY,
    "parameters": field(4, field(1, b"a") + field(2, b"")) * MANY,
    "sizes": field(5, b"\x18\x01" * MANY),
    "input parameters": field(5, field(4, field(1, b"a")) * MANY),
    "contents": field(5, field(5, b"") * MANY),
    "two tensors": field(5, b"\x18\x01" * 3000) * 2,
    "unknown": b"\xa0\x06\x01" * MANY,
    "fields of eight bytes": (b"\xa1\x06" + b"a" * 8) * MANY,
}


@pytest.mark.parametrize("content", FULL.values(), ids=FULL)
def test_a_message_of_very_many_fields_is_refused_before_it_is_parsed(content: bytes) -> None:
    assert ModelInferRequest.FromString(content) is not None
    with pytest.raises(InvalidInput, match=f"a message of over {MAX_FIELDS} fields"):
        parse(ModelInferRequest, content)


def test_a_shape_of_thousands_of_sizes_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(InvalidInput, match="a shape of more than 32 sizes"):
        parse(ModelInferRequest, field(5, field(3, b"\x01" * 10_000)))


@pytest.mark.parametrize("content", [b"\xff" * 60_000, b"\xa3\x06" * MANY, b"\x2a\xff\xff\x7f" + b"a" * 9000])
def test_a_large_text_that_is_no_message_is_refused_as_a_small_one(content: bytes) -> None:
    with pytest.raises(InvalidInput, match="message"):
        parse(ModelInferRequest, content)


def test_a_message_of_as_many_fields_as_may_be_is_read_with_any_number_of_elements() -> None:
    full = parse(ModelInferRequest, field(1, b"m" * 9000) + field(5, b"") * (MAX_FIELDS - 1))
    assert (len(full.inputs), len(full.model_name)) == (MAX_FIELDS - 1, 9000)
    message = ModelInferRequest(model_name="m", raw_input_contents=[b"x" * 100_000])
    message.inputs.add(name="words").contents.bytes_contents.extend([b"a"] * 2 * MANY)
    message.inputs.add(name="numbers", shape=[1] * 32).contents.fp32_contents.extend([0.5] * 2 * MANY)
    assert parse(ModelInferRequest, message.SerializeToString()) == message
