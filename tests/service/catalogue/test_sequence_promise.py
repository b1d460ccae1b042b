from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ostinato.service.artifact.manifest import ANY, BY_ITSELF, Manifest, Promise
from ostinato.service.catalogue.sequence_checks import load_sequence_model
from ostinato.service.catalogue.sequence_promise import FIXED_ROWS
from ostinato.service.config import Settings
from ostinato.service.engine.sequence.runner import run_alone
from ostinato.service.errors import ModelRejected
from tests.sequence_networks import planted


@pytest.mark.parametrize(
    ("what", "takes_lengths", "promise"),
    [
        ("nothing", True, ANY),
        ("nothing", False, ANY),
        # The padded length follows from a sequence alone, and so does the number of rows.
        ("steps", True, FIXED_ROWS),
        ("rows", True, FIXED_ROWS),
        # Sequences of one length are never padded.
        ("steps", False, ANY),
        ("rows", False, FIXED_ROWS),
        ("place", True, BY_ITSELF),
        ("place", False, BY_ITSELF),
    ],
)
def test_the_promise_is_the_first_that_holds(tmp_path: Path, what: str, takes_lengths: bool, promise: Promise) -> None:
    directory = planted(tmp_path, what, takes_lengths=takes_lengths)
    loaded = load_sequence_model(Manifest.read(directory), directory, Settings())
    assert loaded.manifest.promise == promise
    rows = np.random.default_rng(3).normal(size=(21, 1)).astype(np.float32)
    wanted = run_alone(loaded.runner, rows)
    crowd = [rows] * min(3, loaded.runner.promise.rows if promise != ANY else 3)
    assert all(made.tobytes() == wanted.tobytes() for made in loaded.runner.run(crowd))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("neighbours", "the rows of a batch depend on each other"),
        ("padding", "a sequence's answer depends on its padding"),
    ],
)
def test_a_graph_without_an_answer_of_its_own_is_rejected(tmp_path: Path, what: str, message: str) -> None:
    directory = planted(tmp_path, what)
    with pytest.raises(ModelRejected, match=message):
        load_sequence_model(Manifest.read(directory), directory, Settings())


@pytest.mark.parametrize(("what", "stated"), [("steps", ANY), ("rows", ANY), ("place", FIXED_ROWS)])
def test_a_promise_that_does_not_hold_is_rejected(tmp_path: Path, what: str, stated: Promise) -> None:
    directory = planted(tmp_path, what, promise=stated)
    with pytest.raises(ModelRejected, match="so run the graph rounds a sequence differently from how it does"):
        load_sequence_model(Manifest.read(directory), directory, Settings())
