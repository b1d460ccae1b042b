"""Networks whose memory is their state (examples/memories), exported and streamed: to the bit, and what they recall."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from examples.memories import boltzmann, copying, hopfield
from ostinato.export.exporter import export_module
from ostinato.service.artifact.manifest import ANY, Manifest
from tests.export.writers import small_proofs
from tests.server import ServerProcess, running_server
from tests.zoo.keeper import stream_entry

pytestmark = pytest.mark.xdist_group("memories")

OPTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "hopfield": (hopfield.INPUTS, {"state_names": ("s",)}),
    "boltzmann": (boltzmann.INPUTS, {"context": [boltzmann.SEED], "state_names": ("v", "numbers")}),
    "copying": (copying.INPUTS, {"state_names": copying.STATE_NAMES}),
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two learn for some updates only: what they are worth is in the example's page, and not what is served."""
    folder = tmp_path_factory.mktemp("memories")
    modules = {"hopfield": hopfield.build(), "boltzmann": boltzmann.build(300), "copying": copying.build(5)}
    for name, (inputs, options) in OPTIONS.items():
        with small_proofs():
            export_module(modules[name], inputs, folder, name=name, **options)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(repository, tmp_path_factory.mktemp("server"), require_models=True) as running:
        yield running


@pytest.mark.parametrize("name", OPTIONS)
def test_sessions_at_once_are_answered_as_they_are_offline(name: str, repository: Path, server: ServerProcess) -> None:
    assert Manifest.read(repository / name / "1").promise == ANY
    stream_entry(repository / name / "1", server)


def stepped(server: ServerProcess, model: str, inputs: list[Any], **opening: Any) -> list[Any]:
    """What a new session is answered, step by step."""
    with server.client() as client:
        session = client.post(f"/v1/models/{model}/sessions", json=opening).json()["session_id"]
        answers = [client.post(f"/v1/sessions/{session}/step", json={"inputs": [row]}) for row in inputs]
    return [answer.json()["outputs"][0] for answer in answers]


@pytest.mark.parametrize("letter", hopfield.LETTERS)
def test_a_damaged_letter_is_recalled(letter: str, server: ServerProcess) -> None:
    whole = hopfield.pattern_of(letter)
    damaged = whole.clone()
    damaged[torch.randperm(49, generator=torch.Generator().manual_seed(0))[:10]] *= -1
    nothing = [0.0] * hopfield.NUM_UNITS
    first, *_, last = stepped(server, "hopfield", [damaged.tolist(), nothing, nothing])
    assert first == damaged.tolist()
    assert last == whole.tolist()


def test_a_seed_draws_the_same_again_and_another_draws_other_pictures(server: ServerProcess) -> None:
    free = [[-1.0] * boltzmann.NUM_VISIBLE] * 20
    one, again, other = (stepped(server, "boltzmann", free, context={"seed": [seed]}) for seed in (7, 7, 8))
    assert one == again
    assert one != other
    assert {dot for picture in one for dot in picture} == {0.0, 1.0}


def test_dots_that_are_held_stay(server: ServerProcess) -> None:
    held = [1.0, 0.0, *[-1.0] * 14]
    assert all(picture[:2] == held[:2] for picture in stepped(server, "boltzmann", [held] * 9, context={"seed": [1]}))
