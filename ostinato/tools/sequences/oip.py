"""The Open Inference Protocol, which Triton speaks: the sequence extension over HTTP, tensors in binary or in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ostinato.client.addresses import part_of_path
from ostinato.errors import CommandError, WrongAnswer
from ostinato.service.edge.oip.datatypes import BYTES, DTYPES
from ostinato.tools.connection import PlainAnswer, http_request
from ostinato.tools.load import Script
from ostinato.tools.sequences.course import Course, Portion
from ostinato.tools.sequences.drawn import DrawnSequence, ManifestEntry, SteppedModel
from ostinato.tools.sequences.protocol import ReadAnswer, SequenceProtocol

Tensors = Literal["binary", "json"]
Ids = Literal["numbers", "strings"]


class InputShape(NamedTuple):
    """The axes of an input.

    Attributes:
        datatype: the protocol's name.
        row: the axes of one step.
        batch_axis: whether there is one in front, which is 1 in a request of a sequence.
        steps_axis: among the others; None = a request is one step.
    """

    datatype: str
    row: tuple[int, ...]
    batch_axis: bool
    steps_axis: int | None

    @classmethod
    def of(cls, tensor: Mapping[str, Any], *, is_batched: bool) -> InputShape:
        """The shape of an input in a model's metadata.

        Args:
            is_batched: whether the configuration says that the first axis is the batch's.

        Raises:
            CommandError: it is none that steps can be drawn for.
        """
        name, axes = tensor["name"], [int(axis) for axis in tensor["shape"]]
        open_axes = [place for place, axis in enumerate(axes) if axis < 0]
        batch_axis = bool(axes) and (is_batched or (len(open_axes) > 1 and open_axes[0] == 0))
        if batch_axis:
            axes, open_axes = axes[1:], [place - 1 for place in open_axes if place]
        if len(open_axes) > 1:
            raise CommandError(
                f"input {name!r} {tensor['shape']} has more than one axis of any length in addition to the batch's"
            )
        if tensor["datatype"] == BYTES or tensor["datatype"] not in DTYPES:
            raise CommandError(f"input {name!r} is of {tensor['datatype']}; bench draws numbers")
        steps_axis = open_axes[0] if open_axes else None
        row = tuple(axis for place, axis in enumerate(axes) if place != steps_axis)
        return cls(tensor["datatype"], row, batch_axis, steps_axis)

    def tensor(self, rows: Sequence[Sequence[float]]) -> NDArray[Any]:
        """Steps ``[n, F]`` as a request has them."""
        array = np.array(rows, DTYPES[self.datatype]).reshape(len(rows), *self.row)
        array = array[0] if self.steps_axis is None else np.moveaxis(array, 0, self.steps_axis)
        return np.ascontiguousarray(array[None] if self.batch_axis else array)


class OipProtocol(SequenceProtocol):
    """Sequences under ``/v2``, named by numbers or by strings.

    Args:
        version: of the model; empty = the server's choice.

    Raises:
        ServiceUnreachable: nobody answers there.
        CommandError: the model is not there, or takes what cannot be drawn.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: str = "",
        tensors: Tensors = "binary",
        ids: Ids = "numbers",
    ) -> None:
        super().__init__(url)
        self.title = f"{'binary tensors' if tensors == 'binary' else 'JSON'} under /v2"
        self._is_binary, self._has_strings = tensors == "binary", ids == "strings"
        self._version = version
        self._target = f"/v2/models/{part_of_path(model)}" + (f"/versions/{part_of_path(version)}" if version else "")
        described, config = self._describe(model, version)
        optional = {part["name"] for part in config.get("input", []) if part.get("optional")}
        is_batched = config.get("max_batch_size", 0) > 0
        shapes = {
            tensor["name"]: InputShape.of(tensor, is_batched=is_batched)
            for tensor in described["inputs"]
            if tensor["name"] not in optional
        }
        self._shapes = shapes
        first_only = _words(config, "context")
        parts = {name: _part(name, shape) for name, shape in shapes.items()}
        context = tuple(part for name, part in parts.items() if name in first_only)
        inputs = tuple(part for name, part in parts.items() if name not in first_only)
        self.has_steps = all(shapes[part["name"]].steps_axis is not None for part in inputs)
        versions = described.get("versions") or [""]
        self.model = SteppedModel(described["name"], version or str(versions[-1]), inputs, context)

    def draw_by(self, manifest_inputs: Iterable[ManifestEntry]) -> None:
        """Draw inputs as a manifest tells, which has them in the order of the server, whatever their names there."""
        pairs = zip(self.model.inputs, manifest_inputs, strict=False)
        parts = tuple({**told, "name": part["name"]} for part, told in pairs)
        if len(parts) == len(self.model.inputs):
            self.model = self.model._replace(inputs=parts)

    def script(self, number: int, sequence: DrawnSequence, course: Course) -> Script:
        """See ``SequenceProtocol``."""
        requests = [self._request(number, sequence, portion) for portion in course.portions]
        return Script(requests, [len(portion.places) for portion in course.portions], course.again_from)

    def end(self, number: int, sequence: DrawnSequence) -> bytes:
        """See ``SequenceProtocol``: a last step, since not every server ends a sequence without one."""
        return self._request(number, sequence, Portion((0,), is_first=False, is_last=True))

    def read(self, answer: PlainAnswer) -> ReadAnswer:
        """See ``SequenceProtocol``."""
        return read_answer(answer)

    def refusal(self, answer: PlainAnswer) -> str:
        """See ``SequenceProtocol``."""
        try:
            return str(json.loads(answer.body)["error"])
        except (ValueError, KeyError, TypeError):
            return answer.body[:200].decode(errors="replace")

    def _request(self, number: int, sequence: DrawnSequence, portion: Portion) -> bytes:
        name: int | str = self._first_id + number
        parameters: dict[str, Any] = {"sequence_id": f"bench-{name}" if self._has_strings else name}
        # A request says what it is: a flag that is left out is false.
        parameters |= {"sequence_start": True} if portion.is_first else {}
        parameters |= {"sequence_end": True} if portion.is_last else {}
        rows_of = sequence.rows(portion.places)
        if portion.is_first:
            rows_of |= {name: [row] for name, row in sequence.context.items()}
        tensors = {name: self._shapes[name].tensor(rows) for name, rows in rows_of.items()}
        return self._encode(number, parameters, tensors)

    def _encode(self, number: int, parameters: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> bytes:
        """An inference for sequence ``number``, as it goes over the wire."""
        del number
        return infer_request(f"{self._target}/infer", parameters, tensors, is_binary=self._is_binary, host=self.host)

    def _describe(self, model: str, version: str) -> tuple[Any, Any]:
        """A model's metadata and configuration."""
        del model, version  # the target has them
        return self._ask(self._target), self._ask(f"{self._target}/config")

    def _ask(self, target: str) -> Any:
        with self.asking() as ask:
            answer = ask(http_request("GET", target, host=self.host))
        if answer.status != 200:
            raise CommandError(f"{self.host} answers {answer.status} to GET {target}: {self.refusal(answer)}")
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise CommandError(f"{self.host} answers no JSON to GET {target}: {answer.body[:80]!r}") from error


def infer_request(
    target: str,
    parameters: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    *,
    is_binary: bool,
    host: str = "localhost",
) -> bytes:
    """A request for an inference, as it goes over the wire; of binary tensors the outputs are wanted so, too."""
    inputs: list[dict[str, Any]] = []
    for name, tensor in tensors.items():
        described = {"name": name, "shape": list(tensor.shape), "datatype": _DATATYPES[tensor.dtype]}
        if is_binary:
            inputs.append({**described, "parameters": {"binary_data_size": tensor.nbytes}})
        else:
            inputs.append({**described, "data": _json_numbers(tensor)})
    if not is_binary:
        return http_request("POST", target, _json({"parameters": parameters, "inputs": inputs}), host=host)
    head = _json({"parameters": {**parameters, "binary_data_output": True}, "inputs": inputs})
    return http_request(
        "POST",
        target,
        head + b"".join(tensor.tobytes() for tensor in tensors.values()),
        "application/octet-stream",
        host,
        headers={"Inference-Header-Content-Length": len(head)},
    )


def read_answer(answer: PlainAnswer) -> ReadAnswer:
    """What an answer to an inference says.

    Raises:
        WrongAnswer: it is none.
    """
    try:
        # Every byte is one character, so places are the same; tensors are behind the JSON, up to the end.
        content, _ = _DECODER.raw_decode(answer.body.decode("latin-1"))
        place = len(answer.body) - sum(_binary_size(output) for output in content["outputs"])
        read: dict[str, NDArray[Any]] = {}
        for output in content["outputs"]:
            size, name = _binary_size(output), output["name"]
            if "data" in output:
                dtype = None if output["datatype"] == BYTES else DTYPES[output["datatype"]]
                read[name] = np.array(output["data"], dtype)
            else:
                dtype = np.dtype(np.uint8) if output["datatype"] == BYTES else DTYPES[output["datatype"]]
                read[name] = np.frombuffer(answer.body, dtype, size // dtype.itemsize, place)
            place += size
        return ReadAnswer(read, content.get("parameters", {}).get("steps"))
    except (ValueError, KeyError, TypeError) as error:
        raise WrongAnswer(f"not an answer to steps ({error!r}): {answer.body[:200]!r}") from error


_DECODER = json.JSONDecoder()
_DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _json_numbers(tensor: NDArray[Any]) -> list[Any]:
    """The numbers of a tensor in as few digits as give them back, as a client would write them."""
    flat = tensor.reshape(-1)
    return [float(str(value)) for value in flat] if tensor.dtype.kind == "f" else flat.tolist()


def _words(config: Mapping[str, Any], name: str) -> list[str]:
    """A parameter of a model's configuration, by commas."""
    text = config.get("parameters", {}).get(name, {}).get("string_value", "")
    return text.split(",") if text else []


def _binary_size(output: Mapping[str, Any]) -> int:
    return int(output.get("parameters", {}).get("binary_data_size", 0))


def _part(name: str, shape: InputShape) -> ManifestEntry:
    """An input as a manifest would have it."""
    width = int(np.prod(shape.row, dtype=np.int64))
    features = [f"{name}{place}" for place in range(width)]
    return {"name": name, "dtype": DTYPES[shape.datatype].name, "shape": list(shape.row), "features": features}
