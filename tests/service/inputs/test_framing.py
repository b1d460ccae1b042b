from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

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


def manifest_of(inputs: tuple[Input, ...], hop: int) -> Manifest:
    members = {**MANIFEST.model_dump(), "feedback": {}, "framing": {"window": hop, "hop": hop}}
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
@pytest.mark.parametrize("hop", [1, 2, 7])
def test_frames_are_the_same_however_the_steps_are_cut(inputs: tuple[Input, ...], hop: int) -> None:
    generator = np.random.default_rng(hop)
    manifest = manifest_of(inputs, hop)
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
        for kept, part in zip(left, manifest.given.unpack(steps[40 - 40 % hop :]), strict=hop > 1):
            assert kept[: 40 % hop].tobytes() == part.tobytes()
            assert not kept[40 % hop :].any()


@pytest.mark.parametrize("inputs", [ONE, WIDE, SEVERAL])
def test_a_frame_is_its_steps_behind_each_other(inputs: tuple[Input, ...]) -> None:
    manifest = manifest_of(inputs, 3)
    steps = draw(manifest, np.random.default_rng(0), 8)
    frames = manifest.of_graph.given.unpack(Framer(manifest).whole(steps))
    for frame, step in zip(frames, manifest.given.unpack(steps), strict=True):
        assert np.array_equal(frame.reshape(2, 3, *step.shape[1:]), step[:6].reshape(2, 3, *step.shape[1:]))


@pytest.mark.parametrize("inputs", [ONE, WIDE, SEVERAL])
@pytest.mark.parametrize("hop", [1, 2, 5])
def test_a_step_of_many_sessions_is_for_each_what_it_is_alone(inputs: tuple[Input, ...], hop: int) -> None:
    manifest = manifest_of(inputs, hop)
    framer, generator = Framer(manifest), np.random.default_rng(hop)
    steps = draw(manifest, generator, 6, 12)
    alone, together = [begin(manifest) for _ in range(6)], begin(manifest, 6)
    for at in range(12):
        counts = np.full(6, at)
        if (at + 1) % hop:
            together = list(framer.add_steps(steps[:, at], together, counts))
            frames = framer.whole(steps[0, :0])
        else:
            frames = framer.complete(steps[:, at], together)
            together = [np.zeros_like(part) for part in together]
        for row in range(6):
            frame, left = framer.frames(steps[row, at : at + 1], alone[row], at)
            alone[row] = list(left)
            assert frame.tobytes() == frames[row : row + len(frame)].tobytes()
            assert [part.tobytes() for part in left] == [part[row].tobytes() for part in together]
