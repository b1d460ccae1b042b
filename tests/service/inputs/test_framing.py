from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input
from ostinato.service.inputs.framing import Framer
from tests.service.puppet import MANIFEST

ONE = (Input(name="x", dtype="float32", shape=("B", "T"), features=("x",)),)
WIDE = (Input(name="x", dtype="int16", shape=("B", "T", 2, 3), features=tuple("abcdef")),)
SEVERAL = (
    Input(name="x", dtype="float32", shape=("B", "T", 3), features=tuple("abc")),
    Input(name="code", dtype="int8", shape=("B", "T"), features=("code",)),
)


FRAMINGS = [
    Framing(window=1, hop=1),
    Framing(window=2, hop=2),
    Framing(window=9, hop=7),
    Framing(window=7, hop=3, begin="full"),
    Framing(window=5, hop=5, begin="full"),
    Framing(window=6, hop=1, begin="full"),
    Framing(window=3, hop=8, begin="full"),
    Framing(window=1, hop=4, begin="full"),
]


def manifest_of(inputs: tuple[Input, ...], framing: Framing) -> Manifest:
    members = {**MANIFEST.model_dump(), "feedback": {}, "framing": {**framing.model_dump(), "many": True}}
    return Manifest.model_validate({**members, "inputs": [part.model_dump() for part in inputs]})


def draw(manifest: Manifest, generator: np.random.Generator, *shape: int) -> NDArray[Any]:
    """Steps, rows ``[*shape, width]``."""
    return manifest.given.pack(
        [generator.integers(-100, 100, (*shape, *part.row_shape)).astype(part.dtype) for part in manifest.inputs]
    )


def begin(manifest: Manifest, *shape: int) -> list[NDArray[Any]]:
    states = manifest.carried[len(manifest.states) :]
    return [np.zeros((*shape, *state.row_shape), state.dtype) for state in states]


@pytest.mark.parametrize("inputs", [ONE, WIDE, SEVERAL])
@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_frames_are_the_same_however_the_steps_are_cut(inputs: tuple[Input, ...], framing: Framing) -> None:
    generator = np.random.default_rng(framing.window)
    manifest = manifest_of(inputs, framing)
    framer, steps = Framer(manifest), draw(manifest, generator, 40)
    for _ in range(20):
        cuts = sorted({0, 40, *generator.integers(0, 41, generator.integers(0, 30)).tolist()})
        left, made = begin(manifest), []
        for start, end in itertools.pairwise(cuts):
            frames, rest = framer.frames(steps[start:end], left, start)
            left = list(rest)
            assert len(frames) == framer.num_frames(start, end - start)
            made.append(frames)
        assert np.concatenate(made).tobytes() == framer.whole(steps).tobytes()
        held = framing.held(40)
        for kept, part in zip(left, manifest.given.unpack(steps[40 - held :]), strict=framing.size > 1):
            assert kept[:held].tobytes() == part.tobytes()
            assert not kept[held:].any()


@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_a_frame_ends_where_its_last_step_is(framing: Framing) -> None:
    numbers = np.arange(40, dtype=np.float32)
    frames = Framer(manifest_of(ONE, framing)).whole(numbers[:, None])
    first = framing.window if framing.begin == "full" else framing.hop
    ends = list(range(first, 41, framing.hop))
    assert [framing.end(frame) for frame in range(framing.count(40))] == ends
    assert frames.tolist() == [numbers[end - framing.size : end].tolist() for end in ends]
    completes = framing.completes(np.arange(40)).nonzero()[0] + 1
    assert completes.tolist() == ends


@pytest.mark.parametrize("inputs", [ONE, WIDE, SEVERAL])
def test_a_frame_is_its_steps_behind_each_other(inputs: tuple[Input, ...]) -> None:
    manifest = manifest_of(inputs, Framing(window=3, hop=3))
    steps = draw(manifest, np.random.default_rng(0), 8)
    frames = manifest.of_graph.given.unpack(Framer(manifest).whole(steps))
    for frame, step in zip(frames, manifest.given.unpack(steps), strict=True):
        assert np.array_equal(frame.reshape(2, 3, *step.shape[1:]), step[:6].reshape(2, 3, *step.shape[1:]))


@pytest.mark.parametrize("inputs", [ONE, WIDE, SEVERAL])
@pytest.mark.parametrize("framing", FRAMINGS, ids=str)
def test_a_step_of_many_sessions_is_for_each_what_it_is_alone(inputs: tuple[Input, ...], framing: Framing) -> None:
    manifest = manifest_of(inputs, framing)
    framer, generator = Framer(manifest), np.random.default_rng(framing.window)
    steps = draw(manifest, generator, 6, 24)
    alone, together = [begin(manifest) for _ in range(6)], begin(manifest, 6)
    for at in range(24):
        counts = np.full(6, at)
        if not framing.completes(counts).all():
            together = list(framer.add_steps(steps[:, at], together, counts))
            frames = framer.whole(steps[0, :0])
        else:
            frames, rest = framer.complete(steps[:, at], together)
            together = list(rest)
        for row in range(6):
            frame, left = framer.frames(steps[row, at : at + 1], alone[row], at)
            alone[row] = list(left)
            assert frame.tobytes() == frames[row : row + len(frame)].tobytes()
            assert [part.tobytes() for part in left] == [part[row].tobytes() for part in together]
