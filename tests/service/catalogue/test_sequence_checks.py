from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from ostinato.service.artifact.manifest import GOLDEN_FILE, Manifest
from ostinato.service.catalogue.sequence_checks import load_sequence_model, read_golden_sequences
from ostinato.service.config import Settings
from ostinato.service.errors import ModelRejected
from tests.sequence_networks import LENGTHS, planted


def load(directory: Path) -> None:
    load_sequence_model(Manifest.read(directory), directory, Settings())


def test_golden_sequences_are_cut_to_their_lengths(tmp_path: Path) -> None:
    directory = planted(tmp_path, "nothing")
    golden = read_golden_sequences(Manifest.read(directory), directory)
    assert [len(each.probe.rows) for each in golden] == [len(each.outputs) for each in golden] == list(LENGTHS)


def test_a_graph_that_is_off_from_its_network_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="the graph is off by"):
        load(planted(tmp_path, "nothing", factor=2.1))


def test_what_stands_in_the_padding_of_golden_answers_is_no_answer(tmp_path: Path) -> None:
    directory = planted(tmp_path, "nothing")
    golden = load_file(directory / GOLDEN_FILE)
    golden["0/outputs"][1, LENGTHS[1] :] = 77.0
    save_file(golden, directory / GOLDEN_FILE)
    load(directory)


@pytest.mark.parametrize("lacking", ["0/lengths", "0/outputs", "0/inputs"])
def test_golden_answers_that_lack_a_tensor_are_rejected(tmp_path: Path, lacking: str) -> None:
    directory = planted(tmp_path, "nothing")
    golden = load_file(directory / GOLDEN_FILE)
    del golden[lacking]
    save_file(golden, directory / GOLDEN_FILE)
    with pytest.raises(ModelRejected, match="case '0' does not fit the manifest"):
        load(directory)
