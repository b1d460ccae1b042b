"""Ensembles of each kind, two with trees and n-grams among them: trained, exported, and run as live sessions are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ostinato.export.runs.registry import export_run
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.catalogue.loading import load_version
from ostinato.service.config import Settings
from tests.training import train_run

TRAINING = "[training]\nmembers = 2\nbatch_size = 8\nmax_epochs = 1\nwarm_up_epochs = 0.5\n"
SERIES = """
name = "own"
[data]
file = "wave.csv"
target = "level"
features = ["level", "wind"]
categorical = ["wind"]
time = ["time"]
validation_from = 2024-01-11
test_from = 2024-01-14
[network]
cell = "gru"
hidden_size = 4
{network}
{training}window_steps = 12
{more}
"""
RECIPES = {
    "forecaster": SERIES.format(network="", training=TRAINING, more=""),
    "a day ahead": SERIES.format(
        network='forecast = "attention"\nmemory_steps = 12\nmemory_size = 3',
        training=TRAINING,
        more='loss = "pinball"\nhorizon_steps = 3',
    ),
    "trees": SERIES.format(network="", training=TRAINING, more="[trees]\nlags = 12"),
    "trees, widths that adapt, and a recurrent head": SERIES.format(
        network='forecast = "direct"\nhead = "recurrent"\nadaptive_rate = 0.2',
        training=TRAINING,
        more='loss = "pinball"\nhorizon_steps = 3\n[trees]\nlags = 12\nmax_trees = 20',
    ),
    "trees, and what is known of a series": SERIES.format(network="", training=TRAINING, more="[trees]\nlags = 12")
    .replace("wave.csv", "waves.csv")
    .replace("[network]", 'series = "site"\nstatic = ["size"]\n[network]'),
    "text": f"""
kind = "text"
name = "own"
[data]
file = "words.txt"
[network]
embedding_size = 4
hidden_size = 8
{TRAINING}""",
    "text and n-grams": f"""
kind = "text"
name = "own"
[data]
file = "words.txt"
lines = true
[network]
embedding_size = 4
hidden_size = 8
{TRAINING}[ngram]
order = 3
max_contexts = 9""",
    "pairs": f"""
kind = "pairs"
name = "own"
[data]
file = "pairs.csv"
[network]
embedding_size = 4
encoder_size = 4
decoder_size = 8
{TRAINING}""",
    "captions": f"""
kind = "captions"
name = "own"
[data]
file = "pictures.csv"
text = "name"
height = 8
width = 8
[network]
num_channels = 2
hidden_size = 8
{TRAINING}""",
    "labels": f"""
kind = "labels"
name = "own"
[data]
file = "steps.csv"
id = "id"
features = ["x"]
answer = "label"
[network]
hidden_size = 4
{TRAINING}""",
    "tags": f"""
kind = "tags"
name = "own"
[data]
file = "steps.csv"
id = "id"
features = ["x"]
answer = "tag"
[network]
cell = "gru"
bidirectional = false
hidden_size = 4
{TRAINING}""",
    "frames": f"""
kind = "frames"
name = "own"
[data]
file = "frames.npz"
predict = "next_frame"
[network]
num_channels = 2
{TRAINING}""",
    "labels of frames": f"""
kind = "frames"
name = "own"
[data]
file = "frames.npz"
predict = "label"
[network]
hidden_size = 4
num_channels = 2
{TRAINING}""",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small file for each kind."""
    random = np.random.default_rng(0)
    rows = [
        f"2024-01-{1 + hour // 24:02d}T{hour % 24:02d}:00,{10 + math.sin(hour / 2):.3f},{'NE' if hour % 3 else 'SW'}"
        for hour in range(400)
    ]
    (tmp_path / "wave.csv").write_text("\n".join(["time,level,wind", *rows]) + "\n")
    of_sites = [f"{row},{site},{size}" for site, size in (("a", 2), ("b", 5)) for row in rows]
    (tmp_path / "waves.csv").write_text("\n".join(["time,level,wind,site,size", *of_sites]) + "\n")
    words = ["".join(random.choice(list("abc"), 1 + number % 6)) for number in range(200)]
    (tmp_path / "words.txt").write_text("\n".join(words) + "\n")
    pairs = sorted({f"{word},{word[::-1].upper()}" for word in words})
    (tmp_path / "pairs.csv").write_text("\n".join(["source,target", *pairs]) + "\n")
    pixels = random.integers(17, size=(60, 64))
    header = ",".join([f"pixel_{row}_{column}" for row in range(8) for column in range(8)] + ["name"])
    pictures = [",".join(map(str, row)) + f",{'ab' if row[0] > 8 else 'b'}" for row in pixels]
    (tmp_path / "pictures.csv").write_text("\n".join([header, *pictures]) + "\n")
    steps = [
        f"{own},{random.random():.3f},{'odd' if own % 2 else 'even'},{'up' if step % 2 else 'down'}"
        for own in range(40)
        for step in range(3 + own % 4)
    ]
    (tmp_path / "steps.csv").write_text("\n".join(["id,x,label,tag", *steps]) + "\n")
    frames, labels = random.random((20, 3, 4, 4)).astype(np.float32), np.arange(60).reshape(20, 3) % 2
    np.savez(tmp_path / "frames.npz", frames=frames, labels=labels)
    return tmp_path


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", RECIPES)
def test_an_ensemble_is_served_as_one_network(name: str, data: Path) -> None:
    (data / "own.toml").write_text(RECIPES[name], encoding="utf-8")
    run, _ = train_run(data / "own.toml", data / "run")
    exported = export_run(run, data / "repository")
    manifest = exported.manifest
    assert manifest.batch_invariant
    loaded = load_version(exported.directory, Settings(max_batch_size=8))
    assert manifest.parity is not None
    assert loaded.golden_difference <= manifest.parity.tolerance
    if manifest.task == "recurrent":
        check_live_is_offline(manifest, exported.directory / manifest.graphs["step"].file)


def check_live_is_offline(manifest: Manifest, graph: Path) -> None:
    """Five sessions in company, step by step, and one of them alone and whole."""
    session = onnxruntime.InferenceSession(str(graph))
    [part] = manifest.inputs
    x = np.random.default_rng(1).normal(10, 4, (5, 9, *part.row_shape)).astype(np.float32)

    def run(rows: slice, cuts: list[int]) -> NDArray[np.float32]:
        size = len(x[rows])
        states = [
            np.broadcast_to(
                np.expand_dims(np.asarray(state.initial, state.dtype), state.batch_axis)
                if np.ndim(state.initial)
                else np.asarray(state.initial, state.dtype),
                [size if axis == "B" else int(axis) for axis in state.shape],
            ).copy()
            for state in manifest.states
        ]
        answers = []
        for chunk in np.split(x[rows], cuts, axis=1):
            feeds = dict(zip((state.input for state in manifest.states), states, strict=True))
            feeds |= {own.name: np.full((size, *own.row_shape), 2.0, np.float32) for own in manifest.context}
            names = [manifest.outputs[0].name, *(state.output for state in manifest.states)]
            answer, *states = session.run(names, {part.name: chunk, **feeds})
            answers.append(answer)
        return np.concatenate(answers, axis=1)

    live = run(slice(None), [1, 2, 3, 6])
    offline = run(slice(2, 3), [])
    np.testing.assert_array_equal(live[2:3], offline)
