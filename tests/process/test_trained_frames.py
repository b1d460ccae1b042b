"""Frames from files of one's own: a recipe by ``--init``, trained, exported, served, and to the bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ostinato.export.runs.registry import export_run
from ostinato.models.data.frames import FrameForm
from ostinato.models.kinds.frames import load_run
from ostinato.models.kinds.registry import write_draft
from ostinato.models.networks.frames import FramePredictor
from ostinato.models.scores.frames import roll_out
from ostinato.service.artifact.manifest import Manifest
from tests.server import ServerProcess, running_server
from tests.training import train_run
from tests.zoo.keeper import stream_entry

pytestmark = [pytest.mark.xdist_group("trained-frames"), pytest.mark.long]
SIDE = 8


def bars(num_sequences: int, num_frames: int, seed: int) -> tuple[NDArray[np.uint8], list[str]]:
    """Frames of a bar that goes round, down or to the right, a pixel a frame, and which way it goes."""
    generator = np.random.default_rng(seed)
    frames = generator.integers(0, 20, (num_sequences, num_frames, SIDE, SIDE)).astype(np.uint8)
    ways = []
    for number, sequence in enumerate(frames):
        ways.append("right" if number % 2 else "down")
        begin = int(generator.integers(SIDE))
        for step, frame in enumerate(sequence):
            place = (begin + step) % SIDE
            if ways[-1] == "down":
                frame[place] = 200
            else:
                frame[:, place] = 200
    return frames, ways


def movie(folder: Path) -> Path:
    """Two channels, the last axis, the second of them a hundredth and below nothing."""
    frames, _ = bars(60, 8, 1)
    both = np.stack([frames, frames / -100], axis=-1).astype(np.float32)
    np.savez(folder / "movie.npz", movie=both)
    return folder / "movie.npz"


def pictures(folder: Path) -> Path:
    """A table that lists a PNG for each frame, and the way of its sequence."""
    frames, ways = bars(40, 5, 2)
    (folder / "png").mkdir()
    lines = []
    for number, (sequence, way) in enumerate(zip(frames, ways, strict=True)):
        for step, frame in enumerate(sequence):
            Image.fromarray(frame).save(folder / "png" / f"{number}-{step}.png")
            lines.append(f"clip {number};png/{number}-{step}.png;{way}")
    (folder / "clips.csv").write_text("clip;file;way\n" + "\n".join(lines), encoding="utf-8")
    return folder / "clips.csv"


def trained(file: Path, folder: Path, name: str, changes: dict[str, str]) -> Path:
    """The run of a recipe that ``--init`` writes, with a few keys changed."""
    recipe = folder / f"{name}.toml"
    text = write_draft("frames", file, recipe)
    for old, new in {**changes, "max_epochs = 40": "max_epochs = 20"}.items():
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text, encoding="utf-8")
    directory, _ = train_run(recipe, folder / name)
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trained")
    next_frame = {"num_channels = 16": "num_channels = 4", "num_layers = 2": "num_layers = 1"}
    label = {"num_channels = 16": "num_channels = 8", "hidden_size = 64": "hidden_size = 16"}
    return {
        "movie": trained(
            movie(folder), folder, "movie", {**next_frame, "learning_rate = 0.005": "learning_rate = 0.02"}
        ),
        "clips": trained(pictures(folder), folder, "clips", {**label, "learning_rate = 0.002": "learning_rate = 0.01"}),
    }


@pytest.fixture(scope="module")
def repository(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for name, run in runs.items():
        export_run(run, folder, name=name)
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(repository, tmp_path_factory.mktemp("server"), require_models=True) as running:
        yield running


def test_next_frames_are_better_than_the_last_and_the_mean(runs: dict[str, Path]) -> None:
    metrics = json.loads((runs["movie"] / "run.json").read_text())["metrics"]
    for asked in ("next_frame", "rollout"):
        errors = {name: own["mse"] for name, own in metrics[asked].items()}
        assert errors["network"] < 0.7 * min(errors["last_frame"], errors["mean_frame"])
    assert "frames ahead" in (runs["movie"] / "report.html").read_text()


def test_ways_are_told_better_than_by_the_most_frequent(runs: dict[str, Path]) -> None:
    content = json.loads((runs["clips"] / "run.json").read_text())
    assert content["classes"] == ["down", "right"]
    assert content["metrics"]["network"]["accuracy"] > content["metrics"]["most_frequent"]["accuracy"]
    assert content["metrics"]["network"]["accuracy"] >= 0.8


@pytest.mark.parametrize("name", ["movie", "clips"])
def test_streams_of_frames_are_answered_as_offline(name: str, repository: Path, server: ServerProcess) -> None:
    stream_entry(repository / name / "1", server)


def test_a_whole_frame_is_fed_back(runs: dict[str, Path], repository: Path, server: ServerProcess) -> None:
    run = load_run(runs["movie"])
    assert isinstance(run.network, FramePredictor)
    assert run.form == FrameForm(2, SIDE, SIDE, "last")
    assert len(Manifest.read(repository / "movie" / "1").feedback) == 2 * SIDE * SIDE
    frames, _ = bars(1, 4, 3)
    given = np.stack([frames, frames / -100], axis=-1).astype(np.float32)
    with server.client() as client:
        session = client.post("/v1/models/movie/sessions", json={}).json()["session_id"]
        client.post(f"/v1/sessions/{session}/step", json={"inputs": given[0].tolist(), "seq": 0})
        answer = client.post(f"/v1/sessions/{session}/forecast", json={"horizon": 3})
    assert answer.status_code == 200, answer.text
    wanted = roll_out(run.network, given, 3)[0]
    np.testing.assert_allclose(np.array(answer.json()["outputs"]).reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-2)
