"""Sequences that NVIDIA's client sends bit by bit, and what one offline run answers for each of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ostinato.service.artifact.manifest import Manifest
from tests import networks, tensor_networks
from tests.histories.network import KINDS
from tests.live_sequences import draw
from tests.triton_client.clients import Answer, Array, texts

WEATHER = ("dry", "wet", "snow")
FRAMED = "sliding"
MAX_CHUNK_STEPS = 4


def write_models(repository: Path) -> None:
    """A recurrent model of each form: ``lstm``, ``panel`` (several inputs and outputs, a context), ``frames`` (nested
    rows), ``weather`` (words), ``tokens`` (int64) and ``sliding`` (windows of steps).
    """
    generator = np.random.default_rng(0)
    networks.lstm(hidden_size=16).write(repository, generator.normal(size=(3, 20, 3)).astype(np.float32))
    tensor_networks.panel().write(repository)
    tensor_networks.frames().write(repository)
    networks.token_counter(dtype="int64").write(repository, generator.integers(0, 7, (3, 5, 1)))
    words = networks.token_counter(len(WEATHER), "int64")
    part = words.manifest["inputs"][0].model_copy(update={"num_codes": None})
    part = part.model_copy(update={"categories": {part.features[0]: WEATHER}})
    words.named("weather", inputs=(part,)).write(repository, np.array([[[0], [1], [2]]]))
    KINDS[FRAMED, "1"].network().write(repository, generator.integers(0, 1000, (3, 1, 3)).astype(np.float32))


MODELS = ("lstm", "panel", "frames", "tokens", "weather", FRAMED)


class Piece(NamedTuple):
    """The steps of one request.

    Attributes:
        inputs: as the client sends them, ``[1, n, ...]``; of the first piece with the context.
    """

    seq: int
    num_steps: int
    inputs: dict[str, Array]
    is_first: bool
    is_last: bool


class WholeSequence:
    """A sequence ``[T, ...]`` by names, its context, and what was answered.

    Args:
        seed: of the numbers, and of how it is cut.
    """

    def __init__(self, repository: Path, model: str, seed: int, num_steps: int = 12) -> None:
        self.model = model
        self._directory = repository / model / "1"
        self._manifest = _manifest(self._directory)
        self._seed = seed
        generator = np.random.default_rng(seed)
        if model == FRAMED:
            samples: Array = generator.integers(0, 1000, (num_steps, 1)).astype(np.float32)
            self._inputs = {"x": samples}
            self._context: dict[str, Array] = {}
        else:
            inputs, context = draw(self._manifest, generator, 1, num_steps)
            self._inputs = {name: array[0] for name, array in inputs.items()}
            self._context = context
            if model == "tokens":
                codes: Array = generator.integers(0, 7, inputs["tokens"].shape[1:])
                self._inputs = {"tokens": codes}
        self.num_steps = num_steps
        self._answers: dict[int, Answer] = {}

    def pieces(self) -> Iterator[Piece]:
        """The sequence in requests, cut by chance, always the same."""
        cuts, seq = random.Random(self._seed), 0
        while seq < self.num_steps:
            num_steps = min(cuts.randint(1, MAX_CHUNK_STEPS), self.num_steps - seq)
            end = seq + num_steps
            inputs = {name: self._worded(array[seq:end])[None] for name, array in self._inputs.items()}
            yield Piece(seq, num_steps, inputs | ({} if seq else self._context), not seq, end == self.num_steps)
            seq = end

    def take(self, piece: Piece, answer: Answer) -> None:
        """Keep an answer; one that comes again has to be the first one again."""
        assert answer.model == self.model
        assert (answer.parameters["seq"], answer.parameters["steps"]) == (piece.seq, piece.seq + piece.num_steps)
        before = self._answers.setdefault(piece.seq, answer)
        assert {name: made.tobytes() for name, made in before.outputs.items()} == {
            name: made.tobytes() for name, made in answer.outputs.items()
        }

    def check(self, *, but: frozenset[int] = frozenset()) -> None:
        """Hold all that was answered to one offline run, to the bit; ``but``: the ``seq`` of answers that were lost."""
        answers = [self._answers[seq] for seq in sorted(self._answers)]
        assert not but.intersection(self._answers)
        if self.model == FRAMED:
            (made,) = ([answer.outputs["y"] for answer in answers],)
            exact, _ = KINDS[FRAMED, "1"].run(0, tuple((int(x),) for x in self._inputs["x"].ravel()))
            numbers = [int(each) for array in made for each in array.ravel()]
            assert numbers == list(exact)
            return
        wanted = tensor_networks.offline(self._directory, self._inputs, self._context_row)
        for part in self._manifest.outputs:
            arrays = [answer.outputs[part.name] for answer in answers]
            assert all(array.dtype == part.dtype for array in arrays)
            golden = wanted[part.name]
            if part.time_axis is None:
                if not but:
                    assert arrays[-1].tobytes() == golden.tobytes(), f"{self.model}: {part.name}"
                continue
            assert all(array.shape[0] == 1 for array in arrays)
            steps = self.num_steps if not but else min(but)
            whole = np.concatenate([array[0] for array in arrays])
            assert whole.tobytes() == golden[:steps].tobytes(), f"{self.model}: {part.name}"

    @property
    def _context_row(self) -> Mapping[str, Array]:
        return {name: array[0] for name, array in self._context.items()}

    def _worded(self, steps: Array) -> Array:
        """Words instead of codes, where the model has some."""
        if self.model != "weather":
            return steps
        return texts(*(WEATHER[code] for code in steps.ravel())).reshape(steps.shape)


@cache
def _manifest(directory: Path) -> Manifest:
    return Manifest.read(directory)


def play(way: Any, whole: WholeSequence, sequence_id: int | str, **parameters: Any) -> None:
    """Send a whole sequence, one request after the other."""
    for piece in whole.pieces():
        options = {"sequence_id": sequence_id, "start": piece.is_first, "end": piece.is_last, **parameters}
        whole.take(piece, way.infer(whole.model, piece.inputs, **options))
