"""Text and pairs from files of one's own: a recipe by ``--init``, trained, exported, served, and to the bit."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ostinato.export.runs.registry import export_run
from ostinato.models.kinds.registry import write_draft
from ostinato.service.artifact.graphs import open_graph
from ostinato.service.artifact.manifest import Manifest
from tests.server import ServerProcess, running_server
from tests.training import train_run

pytestmark = [pytest.mark.xdist_group("trained-writers"), pytest.mark.long]

SENTENCE = "the clouds are in the sky"
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SMALL = {"hidden_size = 128": "hidden_size = 32", "learning_rate = 0.005": "learning_rate = 0.02"}
SMALL_PAIRS = {
    "decoder_size = 128": "decoder_size = 32",
    "encoder_size = 64": "encoder_size = 24",
    "dropout = 0.1": "dropout = 0.0",
    "learning_rate = 0.005": "learning_rate = 0.02",
}


def trained(kind: str, file: Path, changes: dict[str, str]) -> Path:
    """The run of a recipe that ``--init`` writes, with a few keys changed."""
    recipe = file.with_suffix(".toml")
    text = write_draft(kind, file, recipe)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text, encoding="utf-8")
    directory, _ = train_run(recipe, file.with_suffix(""))
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "sky.txt").write_bytes(f"\ufeff{SENTENCE}\r\n".encode())
    story = "".join(f"{NUMBERS[step % 10]} 雲🙂 and\ttwo e\u0301toiles;\r\n" for step in range(90))
    (folder / "story.txt").write_text(story, encoding="utf-8", newline="")
    (folder / "pairs.txt").write_text(story, encoding="utf-8", newline="")
    rows = [f"{tens}{ones}\t{NUMBERS[tens]} {NUMBERS[ones]}" for tens in range(10) for ones in range(10)]
    (folder / "spoken.tsv").write_text("\n".join(rows), encoding="utf-8")
    return {
        "sky": trained("text", folder / "sky.txt", {**SMALL, '"characters"': '"words"', "= 300": "= 60"}),
        "story": trained(
            "text", folder / "story.txt", {**SMALL, '"lstm"': '["gru", "rnn"]', "num_layers = 1": "", "= 75": "= 40"}
        ),
        "pairs": trained("text", folder / "pairs.txt", {**SMALL, '"characters"': '"byte_pairs"', "= 75": "= 25"}),
        "spoken": trained("pairs", folder / "spoken.tsv", {**SMALL_PAIRS, "max_epochs = 107": "max_epochs = 30"}),
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


def generate(server: ServerProcess, model: str, **body: Any) -> dict[str, Any]:
    with server.client() as client:
        answer = client.post(f"/v1/models/{model}/generate", json=body)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def offline(directory: Path, text: str, max_steps: int) -> tuple[str, list[float]]:
    """The greedy output and its log-probabilities by the version's graphs in plain onnxruntime, one row at a time."""
    manifest = Manifest.read(directory)
    decoder = manifest.decoder
    assert decoder is not None
    graphs = {name: open_graph(directory / graph.file) for name, graph in manifest.graphs.items()}
    target = manifest.vocabularies["target"]
    feeds: dict[str, NDArray[Any]] = {}
    fed = [int(np.asarray(decoder.start).item())]
    if "encode" in graphs:
        codes = manifest.vocabularies["source"].encode(text, "text")
        source = np.zeros((1, max(16, 1 << (len(codes) - 1).bit_length())), np.int64)
        source[0, : len(codes)] = codes
        names = [*(part.made_by for part in decoder.memory), *decoder.begun_by.values()]
        lengths = np.array([len(codes)])
        made = graphs["encode"].run(names, {manifest.inputs[0].name: source, str(manifest.encoder_lengths): lengths})
        inputs = {state.name: state.input for state in decoder.states}
        begun = [inputs[name] for name in decoder.begun_by]
        feeds = dict(zip([*(part.name for part in decoder.memory), *begun], made, strict=True))
        feeds |= {decoder.lengths: lengths} if decoder.lengths else {}
    else:
        fed += target.encode(text, "text")
        feeds = {
            state.input: np.zeros([size if isinstance(size, int) else 1 for size in state.shape], np.float32)
            for state in decoder.states
        }
    written: list[int] = []
    log_probs: list[float] = []
    fetches = [decoder.output.name, *(state.output for state in decoder.states)]
    while len(log_probs) < max_steps:
        scores, *after = graphs["decode"].run(fetches, {"previous": np.array(fed[:1]), **feeds})
        feeds |= {state.input: tensor for state, tensor in zip(decoder.states, after, strict=True)}
        fed = fed[1:]
        if fed:
            continue
        shifted = scores[0].astype(np.float64) - scores[0].max()
        fed = [int(scores[0].argmax())]
        log_probs.append(float(shifted[fed[0]] - np.log(np.exp(shifted).sum())))
        if fed[0] == decoder.stop:
            break
        written.append(fed[0])
    return target.decode(written), log_probs


ASKED = {
    "sky": ["", "the clouds are in the", "the rain", "clouds\tare"],
    "story": ["", "four 雲", "Ωmega and", "two e\u0301"],
    "pairs": ["", "four 雲", "Ωmega and", "two e\u0301"],
    "spoken": ["12", "7", "x4", "904"],
}


@pytest.mark.parametrize("name", list(ASKED))
def test_eight_at_once_are_answered_as_offline(name: str, repository: Path, server: ServerProcess) -> None:
    bodies: list[dict[str, Any]] = [
        {"inputs": [text], "max_steps": 20, "return_log_probs": True} for text in ASKED[name]
    ] * 2
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: generate(server, name, **body), bodies))
    for body, answer in zip(bodies, answers, strict=True):
        text, log_probs = offline(repository / name / "1", body["inputs"][0], 20)
        assert answer["outputs"] == [text]
        assert answer["log_probs"][0] == pytest.approx(log_probs, abs=1e-6)
    assert answers[:4] == answers[4:]


@pytest.mark.parametrize("name", list(ASKED))
def test_what_is_drawn_depends_on_nothing_but_its_seed(name: str, server: ServerProcess) -> None:
    bodies = [
        {"inputs": [text], "method": "sample", "seed": seed, "max_steps": 20, "return_log_probs": True}
        for seed in (3, 4)
        for text in ASKED[name]
    ]
    alone = [generate(server, name, **body) for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda body: generate(server, name, **body), bodies)) == alone


def test_a_sentence_that_was_learned_by_heart_is_written_and_ends(server: ServerProcess) -> None:
    answer = generate(server, "sky", inputs=["", "the clouds are in the"])
    assert answer["outputs"] == [SENTENCE, "sky"]
    assert answer["finish_reasons"] == ["stop", "stop"]


def test_a_running_text_goes_on_where_the_prompt_ends(server: ServerProcess) -> None:
    answer = generate(server, "story", inputs=["three 雲🙂 an"], max_steps=18)
    assert answer["outputs"][0].startswith("d\ttwo e\u0301toiles;\n")


@pytest.mark.parametrize(
    "options",
    [{"max_steps": 30}, {"method": "sample", "temperature": 3.0, "num_return": 4, "seed": 5, "max_steps": 50}],
)
def test_a_stream_of_byte_pairs_tells_whole_characters_and_all_of_them(
    options: dict[str, Any], server: ServerProcess
) -> None:
    """At a high temperature bytes that are no character are drawn, too, and outputs end within one."""
    body = {"inputs": ["four 雲", ""], **options}
    whole = generate(server, "pairs", **body)["outputs"]
    with server.client() as client:
        answer = client.post("/v1/models/pairs/generate", json={**body, "stream": True})
    events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    told: defaultdict[tuple[int, int], str] = defaultdict(str)
    for step in events[:-1]:
        told[step["index"], step.get("place", 0)] += step["output"]
    assert events[-1]["outputs"] == whole
    outputs = [*chain(*whole)] if "num_return" in options else whole
    assert [told[place] for place in sorted(told)] == outputs
    assert ("\N{REPLACEMENT CHARACTER}" in "".join(told.values())) == ("temperature" in options)


def test_pairs_are_written_for_sources_that_were_held_out(runs: dict[str, Path], server: ServerProcess) -> None:
    metrics = json.loads((runs["spoken"] / "run.json").read_text())["metrics"]
    assert metrics["greedy"]["symbol_error"] < metrics["nearest"]["symbol_error"]
    assert metrics["greedy"]["wrong"] < metrics["most_frequent"]["wrong"]
    assert generate(server, "spoken", inputs=["12"])["outputs"] == ["one two"]


def test_reports_show_examples(runs: dict[str, Path]) -> None:
    assert "what it writes" in (runs["sky"] / "report.html").read_text(encoding="utf-8")
    assert "attention: " in (runs["spoken"] / "report.html").read_text(encoding="utf-8")
