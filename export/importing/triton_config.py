"""TritonConfig: what a ``config.pbtxt`` of Triton says of a model, as far as it bears on how the model is imported.

The file is a protocol buffer's text, read by that library. The messages are made here, with the fields that are read
alone; all others are passed over, of which the library has to know those that may hold a list of messages. Source:
``model_config.proto`` of Triton's ``common`` repository, and "Implicit State Management" of its user
guide.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from ostinato.export.errors import ExportError, first_line

CONFIG_FILE = "config.pbtxt"
_MAX_BYTES = 1 << 20
_PACKAGE = "ostinato.triton"

# In the order of their numbers.
DATA_TYPES = (
    *("INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "STRING", "BF16"),
)
CONTROLS = ("START", "READY", "END", "CORRID")

# Lists of messages, in the parts of a configuration that nobody here reads.
_PASSED_OVER = (
    *("agents", "cc_model_filenames", "cpu_execution_accelerator", "cuda", "default_queue_policy"),
    *("execution_accelerators", "gpu_execution_accelerator", "graph_lower_bound", "graph_spec", "input", "input_map"),
    *("inputs", "metric_tags", "output_map", "parameters", "priority_queue_policy", "rate_limiter", "resources"),
    *("secondary_devices", "step"),
)
# Of each message its fields: a kind of number or text, or another message or an enumeration; "*" = any number of them.
_MESSAGES: dict[str, dict[str, str]] = {
    "Reshape": {"shape": "int64*"},
    "Input": {"name": "string", "data_type": "DataType", "dims": "int64*", "reshape": "Reshape", "optional": "bool"},
    "Output": {"name": "string", "data_type": "DataType", "dims": "int64*", "reshape": "Reshape"},
    "Control": {
        "kind": "ControlKind",
        "int32_false_true": "int32*",
        "fp32_false_true": "float*",
        "bool_false_true": "bool*",
        "data_type": "DataType",
    },
    "ControlInput": {"name": "string", "control": "Control*"},
    "InitialState": {
        "data_type": "DataType",
        "dims": "int64*",
        "zero_data": "bool",
        "data_file": "string",
        "name": "string",
    },
    "State": {
        "input_name": "string",
        "output_name": "string",
        "data_type": "DataType",
        "dims": "int64*",
        "initial_state": "InitialState*",
        "use_same_buffer_for_input_output": "bool",
        "use_growable_memory": "bool",
    },
    "PassedOver": dict.fromkeys(_PASSED_OVER, "PassedOver*"),
    "SequenceBatching": {
        "max_sequence_idle_microseconds": "uint64",
        "control_input": "ControlInput*",
        "state": "State*",
        "iterative_sequence": "bool",
    },
    "TransactionPolicy": {"decoupled": "bool"},
    "ModelConfig": {
        "name": "string",
        "platform": "string",
        "backend": "string",
        "max_batch_size": "int32",
        "default_model_filename": "string",
        "input": "Input*",
        "output": "Output*",
        "batch_input": "PassedOver*",
        "batch_output": "PassedOver*",
        "sequence_batching": "SequenceBatching",
        "ensemble_scheduling": "PassedOver",
        "instance_group": "PassedOver*",
        "optimization": "PassedOver",
        "model_warmup": "PassedOver*",
        "dynamic_batching": "PassedOver",
        "model_operations": "PassedOver",
        "model_repository_agents": "PassedOver",
        "parameters": "PassedOver*",
        "metric_tags": "PassedOver*",
        "cc_model_filenames": "PassedOver*",
        "model_transaction_policy": "TransactionPolicy",
    },
}
_ENUMS: dict[str, Mapping[str, int]] = {
    "DataType": {f"TYPE_{name}": number for number, name in enumerate(DATA_TYPES)},
    "ControlKind": {f"CONTROL_SEQUENCE_{name}": number for number, name in enumerate(CONTROLS)},
}


def read_config(path: Path) -> Any:
    """The ``ModelConfig`` of a file.

    Raises:
        ExportError: it cannot be read, is longer than a megabyte, or is not what the fields say; names the line.
    """
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise ExportError(f"{path}: not a file of at most {_MAX_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{path}: cannot be read as text: {first_line(error)}") from error
    config = _model_config()()
    try:
        text_format.Parse(text, config, allow_unknown_field=True)
    except (text_format.ParseError, RecursionError, ValueError) as error:
        raise ExportError(f"{path}: not a configuration of Triton: {first_line(error)}") from error
    return config


@functools.cache
def _model_config() -> Any:
    """The class of the message at the top."""
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="ostinato_triton.proto", package=_PACKAGE, syntax="proto2")
    for name, values in _ENUMS.items():
        described = file.enum_type.add(name=name)
        for value, number in values.items():
            described.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            _add_field(message, field, kind, number)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.ModelConfig"))


def _add_field(message: Any, name: str, kind: str, number: int) -> None:
    types = descriptor_pb2.FieldDescriptorProto
    label = types.LABEL_REPEATED if kind.endswith("*") else types.LABEL_OPTIONAL
    kind = kind.removesuffix("*")
    field = message.field.add(name=name, number=number, label=label)
    if kind in _MESSAGES or kind in _ENUMS:
        field.type = types.TYPE_MESSAGE if kind in _MESSAGES else types.TYPE_ENUM
        field.type_name = f".{_PACKAGE}.{kind}"
    else:
        field.type = types.Type.Value(f"TYPE_{kind.upper()}")
