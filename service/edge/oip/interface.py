"""The interface of a served version: which tensors it takes and gives by the protocol, and how they become rows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import numpy as np
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.rows import RowLayout
from ostinato.service.artifact.tensors import Input, State
from ostinato.service.catalogue.catalogue import AnyEngine
from ostinato.service.edge.oip.datatypes import BYTES, datatype_of
from ostinato.service.edge.oip.messages import NamedTensor, RequestedOutput
from ostinato.service.edge.v1.steps import first_spoken_of
from ostinato.service.errors import InvalidInput
from ostinato.service.inputs.rows import to_rows
from ostinato.service.inputs.sequences import check_numbers, few

_WORD_COSTS = 32
_CELL = re.compile(r"(.*)\[(\d+)\]\[(\d+)\]", re.DOTALL)


class ModelInterface:
    """What one version of a model takes and gives.

    Attributes:
        inputs, context: the steps, and what is the same in all of them, by the names of the graph.
        states: what a sequence may begin with, by the graph's names of its inputs.
        last_states: which of them comes out under a name.
        lengths: the name of an input for how many steps each sequence has.
        tells_more: whether ``told_of`` has anything.
        outputs: names, as the model answers.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.model, self.version = manifest.name, manifest.version
        self.given, self.made = manifest.given, manifest.made
        self.inputs = {part.name: part for part in manifest.inputs}
        self.context = {part.name: part for part in manifest.context}
        self.states = {state.input: state for state in manifest.states}
        self.last_states = {state.output: place for place, state in enumerate(manifest.states)}
        self.lengths = manifest.lengths or "lengths"
        self.outputs = tuple(part.name for part in self.made.shown)
        self.output_datatypes = {part.name: datatype_of(part.dtype) for part in self.made.shown}
        self._row_shapes = {part.name: part.row_shape for part in self.made.shown}
        self._only = manifest.inputs[0]
        self._has_rows = all(self._row_shapes.values())
        self.tells_more = self.made.delay is not None or self.made.framing is not None

    def by_name(self, tensors: Iterable[NamedTensor], *others: Iterable[str]) -> dict[str, NamedTensor]:
        """The inputs of a request by their names; ``others``: names that may be there besides the model's steps.

        Raises:
            InvalidInput: one is unknown, or there twice.
        """
        found: dict[str, NamedTensor] = {}
        for tensor in tensors:
            name = tensor.name
            if name in found:
                raise InvalidInput("this input is given twice", name)
            if name not in self.inputs and not any(name in each for each in others):
                known = few([*self.inputs, *itertools.chain.from_iterable(others)])
                raise InvalidInput(
                    f"unexpected inference input {name[:60]!r} for model {self.model!r}; "
                    f"{self._where(name)}it has {known}"
                )
            found[name] = tensor
        return found

    def _where(self, name: str) -> str:
        """Where a tensor goes that the model has, and that is not for this request."""
        if name in self.context:
            return "that is context, and goes with sequence_start alone; else "
        if name in self.states or name in self.last_states or name == self.lengths:
            return "that goes with whole sequences, without a sequence_id, and a sequence keeps its states; else "
        return ""

    def steps(self, found: Mapping[str, NamedTensor]) -> list[NamedTensor]:
        """The inputs of the model's steps, in the manifest's order.

        Raises:
            InvalidInput: one is absent.
        """
        try:
            return [found[name] for name in self.inputs]
        except KeyError:
            absent = next(name for name in self.inputs if name not in found)
            raise InvalidInput(f"expected input {absent!r} for model {self.model!r}, and it is not there") from None

    def rows(self, tensors: Sequence[NamedTensor]) -> NDArray[Any]:
        """Steps as rows ``[n, width]``, checked; ``tensors``: of each input, with any axes before those of a row."""
        if self.given.is_single:
            return _numbers_of(tensors[0], self._only, self.given.width)
        arrays = [numbers_of(tensor, part) for tensor, part in zip(tensors, self.given.parts, strict=True)]
        return self.given.pack(
            [array.reshape(len(array), *part.row_shape) for array, part in zip(arrays, self.given.parts, strict=True)]
        )

    def requested(self, outputs: Sequence[RequestedOutput], *others: Iterable[str]) -> Sequence[str]:
        """The names of the outputs that are asked for, the model's own where none is; ``others`` may be named, too.

        Raises:
            InvalidInput: one is unknown, there twice, or wanted as classes.
        """
        if not outputs:
            return self.outputs
        names: list[str] = []
        for output in outputs:
            name = output.name
            if name not in self.outputs and not any(name in each for each in others):
                known = few([*self.outputs, *itertools.chain.from_iterable(others)])
                raise InvalidInput(
                    f"unexpected inference output {name[:60]!r} for model {self.model!r}; "
                    f"{self._where(name)}it has {known}"
                )
            if name in names:
                raise InvalidInput("this output is asked for twice", name)
            refuse_classes(output)
            names.append(name)
        return names

    def answers(self, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """What rows ``[n, width]`` of one sequence answer: of each output an array ``[m, *row_shape]``."""
        made = self.made
        words = made.words(rows)
        if made.is_flat and self._has_rows:
            return {self.outputs[0]: words}
        named = {self.outputs[0]: words} if made.is_single else words
        return {name: each.reshape(len(each), *self._row_shapes[name]) for name, each in named.items()}

    def tensor(self, name: str, data: NDArray[Any]) -> NamedTensor:
        """An output that the model answers."""
        return NamedTensor(name, self.output_datatypes[name], data.shape, data)

    def told_of(self, steps: int, num_answers: int) -> dict[str, Any]:
        """What is told of the answers to the last of ``steps`` steps, as parameters; see the routes under ``/v1``."""
        made = self.made
        told: dict[str, Any] = {}
        if made.delay is not None:
            speaks_of = first_spoken_of(steps - num_answers, made.delay)
            told["speaks_of"] = speaks_of if isinstance(speaks_of, int) else as_text(speaks_of)
        if made.framing is not None:
            told["output_steps"] = as_text(plain(made.steps_of(made.ends_of(steps, num_answers))))
        return told


def leading_axes(tensor: NamedTensor, part: Input) -> tuple[int, ...]:
    """The axes of a tensor before those of a row of the model's input.

    Raises:
        InvalidInput: its datatype or its last axes are not the input's.
    """
    check_datatype(tensor, part)
    row, shape = part.row_shape, tensor.shape
    split = len(shape) - len(row)
    if row:
        if split >= 0 and shape[split:] == row:
            return shape[:split]
    elif len(shape) < 3:
        # A row of no axes is one number, which may be in an axis of its own.
        return shape[:1] if len(shape) == 2 and shape[1] == 1 != shape[0] else shape
    elif shape[-1] == 1:
        return shape[:-1]
    raise InvalidInput(
        f"unexpected shape {list(shape)} of input {tensor.name!r}; a step has {list(row)} ({part.few_features})",
        tensor.name,
    )


def check_datatype(tensor: NamedTensor, part: Input | State) -> None:
    """Refuse a tensor of another datatype than the manifest's; words may stand for codes.

    Raises:
        InvalidInput.
    """
    wanted = datatype_of(part.dtype)
    if tensor.datatype == wanted:
        return
    has_words = isinstance(part, Input) and bool(part.categories)
    if tensor.datatype == BYTES and has_words:
        return
    also = f", or {BYTES} with words" if has_words else ""
    raise InvalidInput(
        f"input {tensor.name!r} has datatype {tensor.datatype}; the model takes {wanted}{also}", tensor.name
    )


def numbers_of(tensor: NamedTensor, part: Input) -> NDArray[Any]:
    """A tensor as rows ``[n, F]`` of its input, checked; its datatype and last axes have been looked at.

    Raises:
        InvalidInput: a value is none that the model takes; names its place.
    """
    return _numbers_of(tensor, part, part.num_features)


def _numbers_of(tensor: NamedTensor, part: Input, width: int) -> NDArray[Any]:
    try:
        if tensor.datatype == BYTES:
            return to_rows(_words(tensor, part), RowLayout([part]), tensor.name)
        numbers = tensor.data.reshape(-1, width)
        if not numbers.flags.c_contiguous:
            numbers = np.ascontiguousarray(numbers)
        if numbers.dtype.kind == "b":
            check_bools(numbers, tensor.name)
        check_numbers(numbers, part, tensor.name)
        return numbers
    except InvalidInput as error:
        raise InvalidInput(str(error), _in_tensor(error.field, tensor, width)) from error


def check_bools(data: NDArray[Any], field: str) -> None:
    """Refuse bytes that came for truth values, and are none.

    Raises:
        InvalidInput: names the first.
    """
    if data.dtype.kind == "b" and data.view(np.uint8).max(initial=0) > 1:
        place = "".join(f"[{index}]" for index in np.argwhere(data.view(np.uint8) > 1)[0])
        raise InvalidInput("neither true (1) nor false (0)", f"{field}{place}")


def _words(tensor: NamedTensor, part: Input) -> list[list[Any]]:
    """Texts as steps ``[n][F]``: words where a feature has some, and numbers as JSON writes them."""
    width = part.num_features
    texts: list[Any] = tensor.data.reshape(-1).tolist()
    for feature, name in enumerate(part.features):
        read = _word if name in part.categories else _number
        for place in range(feature, len(texts), width):
            texts[place] = read(texts[place], tensor.name, place // width, feature)
    return [texts[start : start + width] for start in range(0, len(texts), width)]


def _word(text: bytes, name: str, step: int, feature: int) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("this text is not UTF-8", f"{name}[{step}][{feature}]") from error


_NUMBER: msgspec.json.Decoder[int | float | None] = msgspec.json.Decoder(int | float | None)


def _number(text: bytes, name: str, step: int, feature: int) -> float | None:
    try:
        return _NUMBER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            "this feature has no words, and the text is no number", f"{name}[{step}][{feature}]"
        ) from error


def _in_tensor(place: str | None, tensor: NamedTensor, width: int) -> str | None:
    """A place among rows ``[n, F]`` as one in the tensor."""
    if place is None or not tensor.shape:
        return place
    found = _CELL.fullmatch(place)
    if found is None:
        return place
    indices = np.unravel_index(int(found[2]) * width + int(found[3]), tensor.shape)
    return found[1] + "".join(f"[{index}]" for index in indices)


def num_bytes_to_read(tensors: Iterable[NamedTensor]) -> int:
    """About how much work the numbers of tensors are; each word counts as many of them."""
    return sum(tensor.data.nbytes * (_WORD_COSTS if tensor.datatype == BYTES else 1) for tensor in tensors)


def refuse_classes(output: RequestedOutput) -> None:
    """Refuse an output that is wanted as classes, or elsewhere than in the answer.

    Raises:
        InvalidInput.
    """
    if "classification" in output.parameters:
        raise InvalidInput("outputs are not answered as classes; leave out the classification", output.name)
    refuse_shared_memory(output.parameters, output.name)


def refuse_shared_memory(parameters: Mapping[str, Any], name: str) -> None:
    """Refuse a tensor that lies elsewhere.

    Raises:
        InvalidInput.
    """
    if "shared_memory_region" in parameters:
        raise InvalidInput("shared memory is not read or written here: send the tensor in the message", name)


def as_text(value: Any) -> str:
    """What is no parameter of the protocol's, as JSON."""
    return msgspec.json.encode(value).decode()


def plain(value: Any) -> Any:
    """Arrays, and arrays by name, as lists."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value.tolist()


_made: WeakKeyDictionary[AnyEngine, ModelInterface] = WeakKeyDictionary()


def interface_of(engine: AnyEngine) -> ModelInterface:
    """The interface of a served version, made once."""
    found = _made.get(engine)
    if found is None:
        found = _made[engine] = ModelInterface(engine.manifest)
    return found
