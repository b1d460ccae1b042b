"""Forms of steps that came before: a client sends the same header with most steps of a sequence."""

from __future__ import annotations

from typing import NamedTuple

from ostinato.service.edge.oip.datatypes import BYTES, DTYPES
from ostinato.service.edge.oip.reading import BinaryOutputs
from ostinato.service.edge.oip.steps import Layout, SequenceStep, StepForm

MAX_FORMS = 8192
"""That are kept; of more the oldest is forgotten."""
MAX_HEADER_BYTES = 1024


class KnownForm(NamedTuple):
    """A form, and where the numbers of such a step are behind its header."""

    form: StepForm
    binary: BinaryOutputs
    layout: Layout
    num_bytes: int


class Forms:
    """The forms of plain steps whose tensors all lie behind their headers, by path and header."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bytes], KnownForm] = {}

    def find(self, path: str, body: bytes, size: int) -> tuple[SequenceStep, BinaryOutputs] | None:
        """The step that ``body`` is, whose header has ``size`` bytes; None where its form is not known."""
        known = self._known.get((path, body[:size]))
        if known is None or known.num_bytes != len(body) - size:
            return None
        return SequenceStep(known.form, None, body[size:], known.layout), known.binary

    def keep(self, path: str, body: bytes, size: int, step: SequenceStep, binary: BinaryOutputs) -> None:
        """Know a step's form from now on, where others may have it."""
        form, tensors = step.form, step.tensors
        if size > MAX_HEADER_BYTES or form.options.seq is not None or not form.is_plain:
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
        self._known[path, body[:size]] = KnownForm(form, binary, layout, at)
