"""Blocks with the mark ``not-run``: those that no test can type, each with its reason, and what is checked instead."""

from __future__ import annotations

import re
from typing import Any

import typer

from ostinato.cli import app
from tests.docs.markdown import ROOT, Command

_TRAINS = "it trains for minutes"
_TRAINED = "it needs what is trained above it"
_CLUSTER = "it changes a cluster"
_LIBRARY = "it needs a library that is not installed here; tests/libraries runs it with it"
_GATE = "it runs these tests, or longer ones"

NOT_RUN: dict[tuple[str, str], str] = {
    ("docs/migrate_fastapi.md", "# The application"): "it is a part of somebody else's program",
    ("CONTRIBUTING.md", "$ make check"): _GATE,
    ("CONTRIBUTING.md", "$ make mutants"): _GATE,
    ("CONTRIBUTING.md", "$ make faults"): _GATE,
    ("CONTRIBUTING.md", "$ make rollout"): _GATE,
    ("CONTRIBUTING.md", "$ make connect-faults"): _GATE,
    ("docs/connectors.md", "$ ostinato connect"): "it asks a Kafka; tests/connectors runs it with one",
    ("CONTRIBUTING.md", "$ make hostile"): _GATE,
    ("CONTRIBUTING.md", "$ make contract"): _GATE,
    ("CONTRIBUTING.md", "$ make zoo"): _GATE,
    ("CONTRIBUTING.md", "$ make libraries"): _GATE,
    ("CONTRIBUTING.md", "$ make kserve"): _GATE,
    ("CONTRIBUTING.md", "$ make soak"): _GATE,
    (
        "docs/export.md",
        "$ ostinato export big.py",
    ): "a large network, timed; tests/export has small ones",
    ("deploy/README.md", "$ make models"): "it trains, and needs Docker; tests/deploy holds the recipe",
    ("deploy/README.md", "$ docker run --rm"): "it needs Docker; tests/deploy/test_wheel.py has what is listed",
    ("deploy/README.md", "$ kubectl apply"): _CLUSTER,
    ("deploy/README.md", "$ kubectl --namespace forecasting create secret"): _CLUSTER,
    ("deploy/README.md", "$ ostinato keys new"): _CLUSTER,
    ("deploy/README.md", "$ prometheus"): "it needs a Prometheus; tests/deploy checks the files",
    ("deploy/README.md", "$ helm install"): _CLUSTER,
    ("deploy/README.md", "$ chmod 644 secrets/password"): "it needs Docker",
    ("docs/device.md", "$ ostinato verify"): "it needs a GPU; tests/service/artifact/test_cuda.py has all but that",
    ("docs/back_fills.md", "$ ostinato run"): "it needs a cluster of Ray",
    ("docs/sources.md", "$ oras push"): "it needs a registry; tests/service/fetching/test_registry.py has one",
    (
        "docs/sources.md",
        "$ .venv/bin/bentoml build",
    ): "it packs the checkout; tests/deploy/test_bento_models.py does it",
    ("docs/operating.md", "$ kubectl"): _CLUSTER,
    ("docs/keras.md", "# export_keras.py"): "it needs Keras, and a model that was trained with it",
    ("docs/windows.md", "# from_darts.py"): _LIBRARY,
    ("docs/windows.md", "# from_neuralforecast.py"): _LIBRARY,
    ("docs/windows.md", "# from_pytorch_forecasting.py"): _LIBRARY,
    ("docs/bench.md", "$ tritonserver"): "it needs a server of somebody else's",
    ("docs/bench.md", "$ ostinato bench -m my-lstm"): "it needs a server of somebody else's",
    ("docs/stores.md", "$ ostinato serve --state 'rediss+sentinel"): "three Sentinels on other machines",
    ("examples/control_policy/README.md", "$ python -m examples.control_policy.train"): _TRAINS,
    (
        "examples/memories/README.md",
        "$ python -m examples.memories.boltzmann",
    ): "tests/process/test_memories.py does it",
    ("examples/beijing_panel/README.md", "$ ostinato train examples/beijing_panel/panel.toml"): _TRAINS,
    ("examples/beijing_pm25/README.md", "$ ostinato train examples/beijing_pm25/lstm.toml"): _TRAINS,
    ("examples/beijing_pm25/README.md", "$ ostinato train examples/beijing_pm25/seq2seq.toml"): _TRAINS,
    ("examples/beijing_pm25/README.md", "$ ostinato train examples/beijing_pm25/day_ahead.toml"): _TRAINS,
    ("examples/cmudict/README.md", "$ ostinato train examples/cmudict/g2p.toml"): _TRAINS,
    ("examples/cmudict/README.md", "$ ostinato train examples/cmudict/spelling.toml"): _TRAINS,
    ("examples/dates/README.md", "$ ostinato train examples/dates/dates.toml"): _TRAINS,
    ("examples/digits/README.md", "$ ostinato train examples/digits/captions.toml"): _TRAINS,
    ("examples/digits/README.md", "$ ostinato serve"): _TRAINED,
    ("examples/digits/README.md", "$ curl"): _TRAINED,
    ("examples/python_topics/README.md", "$ ostinato train examples/python_topics/topics.toml"): _TRAINS,
    ("examples/turkish_tags/README.md", "$ ostinato train examples/turkish_tags/tags.toml"): _TRAINS,
    ("examples/digits/README.md", "$ ostinato train examples/digits/moving.toml"): _TRAINS,
}
"""Page and how the block begins -> why it is not run."""

PROGRAMS = (
    "chmod",
    "curl",
    "docker",
    "helm",
    "kubectl",
    "oras",
    "prometheus",
    "tritonserver",
    ".venv/bin/bentoml",
)
"""Of other projects; what a page tells them is read by people."""


def faults_of(command: Command) -> list[str]:
    """What is wrong with a command that is not run, as far as its words tell."""
    words = command.words
    if ">" in words:
        words = words[: words.index(">")]
    missing = [
        word for word in words if re.match(r"(deploy|docs|examples|benchmarks)/", word) and not (ROOT / word).exists()
    ]
    faults = [f"{word} is not in the checkout" for word in missing]
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        faults += [f"make has no target {word}" for word in words[1:] if "=" not in word and word not in targets]
    elif words[0] == "ostinato":
        faults += _parse(words[1:])
    elif words[:2] == ["python", "-m"]:
        module = ROOT / f"{words[2].replace('.', '/')}.py"
        faults += [] if module.is_file() else [f"there is no module {words[2]}"]
    elif words[0] not in PROGRAMS:
        faults.append(f"{words[0]} is no program that a page may leave to its reader")
    return faults


def _parse(arguments: list[str]) -> list[str]:
    """Parse a call of the command line as far as the function that it would call."""
    command: Any = typer.main.get_command(app)
    name = "ostinato"
    try:
        while hasattr(command, "resolve_command"):
            context = command.make_context(name, [], resilient_parsing=True)
            asked, (name, command, arguments) = arguments, command.resolve_command(context, arguments)
            if command is None:
                return [f"there is no command {asked[0]}"]
        command.make_context(name, list(arguments))
    except Exception as error:  # of click, or of the copy of it that typer may carry
        return [f"{type(error).__name__}: {error}"]
    return []
