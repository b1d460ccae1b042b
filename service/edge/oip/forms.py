"""Forms of steps that came before: a client sends the same header with most steps of a sequence."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ostinato.service.edge.message import OCTETS, Response
from ostinato.service.edge.oip.datatypes import BYTES, DTYPES
from ostinato.service.edge.oip.messages import NamedTensor
from ostinato.service.edge.oip.reading import BinaryOutputs
from ostinato.service.edge.oip.steps import Fit, SequenceStep, StepForm
from ostinato.service.edge.oip.writing import header_length, write
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.sessions.chunk import StepAnswer

MAX_FORMS = 8192
"""That are kept; of more the oldest is forgotten."""
MAX_HEADER_BYTES = 1024
FEW_NUMBERS = 64
"""More of them are added up faster in an array."""
_SEQ, _STEPS = "<seq>", "<steps>"


class AnswerHead(NamedTuple):
    """The header of the answers to a form, in which only ``seq`` and ``steps`` differ.

    Attributes:
        fit: of the form, when they were worded.
        shape: of the outputs that are behind it.
        words: with a place for both numbers.
    """

    fit: Fit
    shape: tuple[int, ...]
    words: bytes


class KnownForm:
    """A form, and where the numbers of such a step are behind its header.

    Attributes:
        packs_for: the engine that takes the bytes behind the header as they are, one step of one tensor, if its numbers
            are finite; None = it is not known that one does.
        numbers: of those bytes.
        head: of the answers, where it is known.
    """

    __slots__ = ("binary", "form", "head", "layout", "num_bytes", "numbers", "packs_for")

    def __init__(
        self,
        form: StepForm,
        binary: BinaryOutputs,
        layout: Sequence[tuple[str, str, tuple[int, ...], np.dtype[Any], int, int]],
        num_bytes: int,
    ) -> None:
        self.form, self.binary, self.layout, self.num_bytes = form, binary, layout, num_bytes
        self.packs_for: Engine | None = None
        self.numbers: Callable[[bytes], tuple[float, ...]] | None = None
        self.head: AnswerHead | None = None


class HttpStep(SequenceStep):
    """A step as it came over HTTP; ``binary``: which outputs go behind the header of its answer."""

    __slots__ = ("binary",)

    def __init__(self, form: StepForm, tensors: Sequence[NamedTensor], binary: BinaryOutputs) -> None:
        super().__init__(form, tensors)
        self.binary = binary

    def write(self, answer: StepAnswer) -> Response:
        """Word an answer."""
        return write(self.response(answer), self.binary)


class KnownStep(HttpStep):
    """A step of a form that is known; ``behind``: what came behind its header."""

    __slots__ = ("_behind", "_known")

    def __init__(self, known: KnownForm, behind: bytes) -> None:
        super().__init__(known.form, (), known.binary)
        self._known = known
        self._behind = behind

    @property
    def tensors(self) -> Sequence[NamedTensor]:
        """See ``SequenceStep``."""
        return [
            NamedTensor(name, datatype, shape, np.frombuffer(self._behind, dtype, count, start).reshape(shape))
            for name, datatype, shape, dtype, count, start in self._known.layout
        ]

    def rows(self, engine: Engine) -> Any:
        """See ``SequenceStep``; of one step that needs no closer look the bytes, as the ledger takes them."""
        known = self._known
        if (
            known.packs_for is engine
            and known.numbers is not None
            and (fit := self.form.fit_for(engine)) is not None
            # The sum is finite only where every number is.
            and math.isfinite(sum(known.numbers(self._behind)))
        ):
            self._fit = fit
            return self._behind
        rows = super().rows(engine)
        if engine.pack_step is not None and len(rows) == 1 and rows.size <= FEW_NUMBERS:
            known.packs_for = engine
            known.numbers = struct.Struct(f"={rows.size}{rows.dtype.char}").unpack
        return rows

    def write(self, answer: StepAnswer) -> Response:
        """See ``HttpStep``."""
        known, outputs = self._known, answer.outputs
        head = known.head
        if head is not None and head.fit is self._fit and head.shape == outputs.shape:
            header = head.words % (answer.seq, answer.steps)
            return Response(200, header + outputs.tobytes(), OCTETS, header_length(header))
        known.head = self._learn_head(answer)
        return super().write(answer)

    def _learn_head(self, answer: StepAnswer) -> AnswerHead | None:
        """The head of the answers to this form; None where more than two numbers differ from one to the next."""
        fit, binary, model = self._fit, self.binary, self._fit.model
        if not model.made.is_flat or model.tells_more or model.outputs[0] not in binary or len(answer.outputs) != 1:
            return None
        response = self.response(answer)
        parameters = {**response.parameters, "seq": _SEQ, "steps": _STEPS}
        whole = write(response._replace(parameters=parameters), binary).body
        words = whole[: len(whole) - answer.outputs.nbytes].replace(b"%", b"%%")
        for mark in (_SEQ, _STEPS):
            text = b'"%b"' % mark.encode()
            if words.count(text) != 1:  # a sequence is called so
                return None
            words = words.replace(text, b"%d")
        return AnswerHead(fit, answer.outputs.shape, words)


class Forms:
    """The forms of plain steps whose tensors all lie behind their headers, by path and header."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], KnownForm] = {}

    def find(self, path: str, body: bytes, size: int) -> KnownStep | None:
        """The step that ``body`` is, whose header has ``size`` bytes; None where its form is not known."""
        known = self._known.get((path, body[:size]))
        if known is None or known.num_bytes != len(body) - size:
            return None
        return KnownStep(known, body[size:])

    def keep(self, path: str, body: bytes, size: int, step: HttpStep) -> None:
        """Know a step's form from now on, where others may have it."""
        form, tensors = step.form, step.tensors
        if size > MAX_HEADER_BYTES or form.is_placed or not form.is_plain:
            return
        layout, at = [], 0
        for tensor in tensors:
            dtype = DTYPES[tensor.datatype]
            if tensor.datatype == BYTES:
                return
            layout.append((tensor.name, tensor.datatype, tensor.shape, dtype, tensor.data.size, at))
            at += tensor.data.nbytes
        if at != len(body) - size:  # some are in the header
            return
        if len(self._known) >= MAX_FORMS:
            del self._known[next(iter(self._known))]
        self._known[path, body[:size]] = KnownForm(form, step.binary, layout, at)
