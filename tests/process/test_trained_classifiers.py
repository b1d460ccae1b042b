"""Labels and tags from files of one's own: a recipe by ``--init``, trained, exported, served, and to the bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import ipc

from ostinato.export.runs.registry import export_run
from ostinato.models.kinds.registry import write_draft
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.edge.arrow.columns import ARROW
from tests.server import ServerProcess, running_server
from tests.training import train_run
from tests.zoo.keeper import predict_entry, stream_entry

pytestmark = [pytest.mark.xdist_group("trained-classifiers"), pytest.mark.long]


def gestures(folder: Path) -> Path:
    """A table of 90 sequences of 5 to 30 rows in disorder: circles to the left, to the right, and lines; with holes."""
    generator = np.random.default_rng(3)
    rows = []
    for number in range(90):
        length, kind = int(generator.integers(5, 31)), ("left", "right", "line")[number % 3]
        turn = {"left": 0.6, "right": -0.6, "line": 0.0}[kind]
        angle = generator.uniform(0, 6)
        for step in range(length):
            x, y = np.cos(angle + turn * step), np.sin(angle + turn * step)
            cells = [f"{value + generator.normal(0, 0.1):.3f}" if generator.random() > 0.05 else "" for value in (x, y)]
            rows.append((step, f"{number};{step};{cells[0]};{cells[1]};{'pen' if number % 2 else 'hand'};{kind}"))
    rows.sort(key=lambda row: row[0])
    text = "gesture_id;step;dx;dy;by;label\n" + "\n".join(line for _, line in rows) + "\n"
    (folder / "gestures.csv").write_text(text, encoding="utf-8")
    return folder / "gestures.csv"


def sentences(folder: Path) -> Path:
    """Words with their tags, where the tag of a word that may be two follows from the word before it."""
    generator = np.random.default_rng(4)
    lines = []
    for _ in range(150):
        for _ in range(int(generator.integers(1, 5))):
            article, noun, verb = (
                generator.choice(words) for words in (("the", "a"), ("dog", "run", "walk"), ("run", "walk"))
            )
            lines += [f"{article}\tDET", f"{noun}\tNOUN", f"{verb}\tVERB"]
        lines.append("")
    (folder / "sentences.conll").write_text("\n".join(lines), encoding="utf-8")
    return folder / "sentences.conll"


def trained(kind: str, file: Path, folder: Path, name: str, changes: dict[str, str]) -> Path:
    """The run of a recipe that ``--init`` writes, with a few keys changed."""
    recipe = folder / f"{name}.toml"
    text = write_draft(kind, file, recipe)
    for old, new in {**changes, "max_epochs = 60": "max_epochs = 12", "max_epochs = 20": "max_epochs = 4"}.items():
        text = text.replace(old, new)
    recipe.write_text(text, encoding="utf-8")
    directory, _ = train_run(recipe, folder / name)
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trained")
    small = {"hidden_size = 64": "hidden_size = 16", "learning_rate = 0.005": "learning_rate = 0.02"}
    one_way = {"bidirectional = true": "bidirectional = false"}
    moves, words = gestures(folder), sentences(folder)
    return {
        "gestures": trained("labels", moves, folder, "gestures", {**small, '"last"': '"attention"'}),
        "live-gestures": trained("labels", moves, folder, "live-gestures", {**small, **one_way, '"lstm"': '"gru"'}),
        "tags": trained("tags", words, folder, "tags", small),
        "live-tags": trained("tags", words, folder, "live-tags", {**small, **one_way}),
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


@pytest.mark.parametrize(
    ("name", "least"), [("gestures", 0.8), ("live-gestures", 0.8), ("tags", 0.97), ("live-tags", 0.97)]
)
def test_what_was_trained_is_better_than_the_most_frequent(runs: dict[str, Path], name: str, least: float) -> None:
    content = json.loads((runs[name] / "run.json").read_text())
    assert content["metrics"]["network"]["accuracy"] >= least
    assert content["metrics"]["most_frequent"]["accuracy"] < least
    assert (runs[name] / "report.html").is_file()


@pytest.mark.parametrize("name", ["gestures", "tags"])
def test_ragged_requests_are_answered_as_offline(name: str, repository: Path, server: ServerProcess) -> None:
    assert Manifest.read(repository / name / "1").task == "sequence"
    predict_entry(repository / name / "1", server)


@pytest.mark.parametrize("name", ["live-gestures", "live-tags"])
def test_streams_are_answered_as_offline(name: str, repository: Path, server: ServerProcess) -> None:
    assert Manifest.read(repository / name / "1").task == "recurrent"
    stream_entry(repository / name / "1", server)


def test_words_go_in_and_classes_come_out_by_name(repository: Path, server: ServerProcess) -> None:
    manifest = Manifest.read(repository / "tags" / "1")
    with server.client() as client:
        answer = client.post("/v1/models/tags/predict", json={"sequences": [[["the"], ["run"], ["run"]]]})
    assert answer.status_code == 200, answer.text
    tags = [manifest.outputs[0].features[int(np.argmax(step))] for step in answer.json()["outputs"][0]]
    assert tags == ["DET", "NOUN", "VERB"]


@pytest.mark.parametrize("word", ["zebra", "", "\u72d7", "<unknown>"])
def test_a_word_that_the_training_did_not_meet_is_taken_for_the_unknown_one(server: ServerProcess, word: str) -> None:
    with server.client() as client:
        asked = [[["the"], [word], ["walk"]], [["the"], ["<unknown>"], ["walk"]]]
        answer = client.post("/v1/models/tags/predict", json={"sequences": asked})
        table = pa.table({"inputs": pa.array([[[row[0]] for row in one] for one in asked])})
        sink = pa.BufferOutputStream()
        with ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        headers = {"content-type": ARROW, "accept": ARROW}
        arrow = client.post("/v1/models/tags/predict", content=sink.getvalue().to_pybytes(), headers=headers)
    assert answer.status_code == 200, answer.text
    first, second = answer.json()["outputs"]
    assert first == second
    assert arrow.status_code == 200, arrow.content
    made = ipc.open_stream(arrow.content).read_all()["outputs"].to_pylist()
    assert np.array(made, np.float32).tobytes() == np.array([first, second], np.float32).tobytes()
