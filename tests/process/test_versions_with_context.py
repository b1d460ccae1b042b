"""Another version of a model of several inputs and outputs and of a context: shadows and migrations have the session's
context, and what they answer is what that version answers offline.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.client.client import Client
from ostinato.service.artifact.manifest import Manifest
from tests import tensor_networks
from tests.live_sequences import draw
from tests.server import ServerProcess, running_server
from tests.tensor_networks import Array, Arrays, offline
from tests.waiting import until

NUM_SESSIONS, NUM_STEPS = 6, 20
NAMES = ("level", "kind", "summary")


def write(repository: Path, version: str) -> Path:
    network = tensor_networks.panel(seed=int(version))
    changes: dict[str, Any] = {"version": version, "keep_inputs": NUM_STEPS}
    return replace(network, manifest={**network.manifest, **changes}).write(repository)


def drawn(directory: Path, seed: int) -> tuple[Arrays, Arrays]:
    """Steps and the context of a session."""
    inputs, context = draw(Manifest.read(directory), np.random.default_rng(seed), 1, NUM_STEPS)
    return {name: array[0] for name, array in inputs.items()}, {name: array[0] for name, array in context.items()}


def part_of(inputs: Arrays, start: int, end: int) -> dict[str, Array]:
    return {name: array[start:end] for name, array in inputs.items()}


def apart(one: Arrays, two: Arrays) -> float:
    """The largest difference of a number of a step's outputs, and of the summary as it is after that step."""
    return max(float(np.abs(one[name].astype(float) - two[name].astype(float)).max()) for name in NAMES)


def last_step(directory: Path, inputs: Arrays, context: Arrays, end: int) -> dict[str, Array]:
    made = offline(directory, part_of(inputs, 0, end), context)
    return {**{name: made[name][-1] for name in NAMES[:2]}, "summary": made["summary"]}


def counted(server: ServerProcess, series: str) -> float:
    labels = 'model="panel",shadow="2",version="1"'
    found = re.search(rf"^ostinato_shadow_{series}\{{{labels}\}} (\S+)$", server.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else -1


def test_a_shadow_has_the_context_of_the_session(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    one, two = write(repository, "1"), write(repository, "2")
    expected = 0.0
    with running_server(repository, tmp_path) as server:
        for part, body in (("default", {"version": "1"}), ("shadow", {"version": "2", "share": 1.0})):
            answer = server.request("PUT", f"/v1/admin/models/panel/{part}", json=body)
            assert answer.status_code == 200, answer.text
        with Client(server.url) as client:
            for seed in range(NUM_SESSIONS):
                inputs, context = drawn(one, seed)
                session = client.session("panel", context=context)
                for end in range(1, NUM_STEPS + 1):  # one at a time, so that each step has a summary
                    session.step(part_of(inputs, end - 1, end))
                    expected += apart(*(last_step(each, inputs, context, end) for each in (one, two)))
        until(lambda: counted(server, "steps_total") == NUM_SESSIONS * NUM_STEPS, "all steps")
        assert np.isclose(counted(server, "difference_sum"), expected, rtol=1e-5)


def test_a_migrated_session_keeps_its_context(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    one, two = write(repository, "1"), write(repository, "2")
    half = NUM_STEPS // 2
    with running_server(repository, tmp_path) as server, Client(server.url) as client:
        for seed in range(NUM_SESSIONS):
            inputs, context = drawn(one, seed)
            session = client.session("panel", context=context, version="1", keep=True)
            before = session.step(part_of(inputs, 0, half))
            session.migrate("2")
            after = session.step(part_of(inputs, half, NUM_STEPS))
            former, golden = offline(one, part_of(inputs, 0, half), context), offline(two, inputs, context)
            for name in NAMES[:2]:
                assert before[name].tobytes() == former[name].tobytes(), name
                assert after[name].tobytes() == golden[name][half:].tobytes(), name
            assert after["summary"].tobytes() == golden["summary"].tobytes()
