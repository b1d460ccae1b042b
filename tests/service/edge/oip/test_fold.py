"""Sequences of the Open Inference Protocol against one offline run of each, to the bit."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.service.artifact.manifest import Manifest
from tests import networks, tensor_networks
from tests.live_sequences import draw
from tests.service.edge.oip.protocol import Reply, add, ask, binary_request, json_request
from tests.service.edge.test_http_connection import Client, serving
from tests.service.puppet import Clock, House
from tests.service.state.places import PlaceOf

Array = NDArray[Any]
NUM_STEPS = 12
NUM_SEQUENCES = 6


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    networks.lstm(3, 4).write(folder, np.ones((1, 3, 3), np.float32))
    tensor_networks.panel().write(folder)
    tensor_networks.frames().write(folder)
    networks.identifiers().write(folder, np.array([[[0, 1], [2**53 + 1, -5]]]))
    return folder


class Sent:
    """A sequence, what was sent of it and what was answered."""

    def __init__(self, directory: Path, sequence_id: int | str, seed: int) -> None:
        self.manifest = manifest = Manifest.read(directory)
        self.directory, self.sequence_id = directory, sequence_id
        inputs, context = draw(manifest, np.random.default_rng(seed), 1, NUM_STEPS)
        if manifest.name == "ids":
            inputs = {"ids": np.random.default_rng(seed).integers(-(2**62), 2**62, (1, NUM_STEPS, 2))}
        self.inputs, self.context = inputs, context
        self.done = 0
        self.answers: list[dict[str, Array]] = []

    def begin_anew(self) -> None:
        self.done = 0
        self.answers = []

    def request(self, num_steps: int, form: str, **parameters: Any) -> bytes:
        """The next steps; with START where there was none."""
        given = {name: array[:, self.done : self.done + num_steps] for name, array in self.inputs.items()}
        parameters["sequence_id"] = self.sequence_id
        if not self.done:
            given |= self.context
            parameters["sequence_start"] = True
        if self.done + num_steps == NUM_STEPS:
            parameters["sequence_end"] = True
        if form == "binary":
            return binary_request(self.manifest.name, given, parameters=parameters)
        return json_request(self.manifest.name, given, nested=form == "nested", parameters=parameters)

    def take(self, reply: Reply, num_steps: int) -> None:
        assert reply.status == 200, reply.content
        told = reply.content["parameters"]
        assert told == {"sequence_id": self.sequence_id, "seq": self.done, "steps": self.done + num_steps}
        self.answers.append(reply.outputs)
        self.done += num_steps

    def check(self) -> None:
        """All that was answered is what one run of the graph over all steps gives."""
        whole = {name: array[0, : self.done] for name, array in self.inputs.items()}
        context = {name: array[0] for name, array in self.context.items()}
        expected = tensor_networks.offline(self.directory, whole, context)
        for part in self.manifest.outputs:
            is_once = part.time_axis is None
            made = [answer[part.name][0] for answer in self.answers]
            if is_once:
                np.testing.assert_array_equal(made[-1][-1], expected[part.name], strict=True)
            else:
                np.testing.assert_array_equal(np.concatenate(made), expected[part.name], strict=True)


async def send(client: Client, sent: Sent, generator: np.random.Generator) -> None:
    """Some more of a sequence, which may be said twice, and may begin anew."""
    if sent.done == NUM_STEPS or (sent.done and generator.random() < 0.05):
        sent.begin_anew()
    num_steps = int(generator.integers(1, min(4, NUM_STEPS - sent.done) + 1))
    form = ("binary", "flat", "nested")[int(generator.integers(3))]
    ends = sent.done + num_steps == NUM_STEPS
    with_seq = bool(generator.integers(2))
    request = sent.request(num_steps, form, **({"seq": sent.done} if with_seq else {}))
    reply = await ask(client, request)
    before = sent.done
    sent.take(reply, num_steps)
    if with_seq and before and not ends:
        again = await ask(client, request)
        assert again.content["parameters"] == reply.content["parameters"]
        for name, array in again.outputs.items():
            np.testing.assert_array_equal(array, reply.outputs[name], strict=True)
    if ends:
        sent.check()


@pytest.mark.parametrize("place", ["memory", "lmdb"])
@pytest.mark.parametrize("model", ["lstm", "panel", "frames", "ids"])
async def test_interleaved_sequences_answer_as_one_offline_run_of_each(
    model: str, place: str, place_of: PlaceOf, repository: Path
) -> None:
    house = House(store=place_of(place)())
    house.clock = Clock()
    directory = repository / model / "1"
    add(house, directory)
    ids: list[int | str] = [1, 2**64 - 1, "1", "a b/c", "x" * 300, "e333c95a-07fc-42d2-ab16-033b1a566ed5"]
    sequences = [Sent(directory, sequence_id, number) for number, sequence_id in enumerate(ids)]
    generator = np.random.default_rng(7)

    async def follow(client: Client, mine: list[Sent]) -> None:
        for _ in range(15):
            await send(client, mine[int(generator.integers(len(mine)))], generator)

    async with serving(house) as server, Client.to(server) as first, Client.to(server) as second:
        await asyncio.gather(follow(first, sequences[:3]), follow(second, sequences[3:]))
        for sent in sequences:
            sent.check() if sent.done else None
