from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from ostinato.export.contracts.encoder_decoder import inspect_encoder_decoder
from ostinato.export.proofs.golden import golden_generation
from tests.export.conftest import Written
from tests.export.contracts.test_encoder_decoder import LOADS
from tests.export.writers import LETTERS, NUM_SOUNDS, PAIRS, PATCH, SOUNDS, NumberWriter, PatchWriter, Writer


def test_each_row_is_what_the_network_writes_from_its_source_alone() -> None:
    contract = inspect_encoder_decoder(Writer(), LETTERS, SOUNDS)
    golden = golden_generation(contract, contract.decoder)
    assert golden["batch/lengths"].tolist() == [16, 1, 7, 11, 4]
    assert golden["batch/source"].shape == (5, 16)
    assert golden["batch/previous"].shape == (5, 9)
    assert golden["batch/scores"].shape == (5, 9, NUM_SOUNDS)
    weights = golden["batch/attention"]
    assert weights.shape == (5, 9, 16)
    np.testing.assert_allclose(weights.sum(axis=2), 1.0, atol=1e-6)
    assert weights[2, :, 7:].max() == 0.0
    memory, states = contract.encode(golden["batch/source"][2:3, :7], np.array([7]))
    for step in range(9):
        made = contract.decode(golden["batch/previous"][2:3, step], states, memory, np.array([7]))
        states = made.states
        assert made.output.tobytes() == golden["batch/scores"][2:3, step].tobytes()
    assert states[0].tobytes() == golden["batch/state_0_next"][2:3].tobytes()


def test_a_decoder_of_numbers_is_fed_its_own() -> None:
    contract = inspect_encoder_decoder(NumberWriter(), PAIRS, LOADS)
    golden = golden_generation(contract, contract.decoder)
    previous, outputs = golden["long/previous"], golden["long/outputs"]
    assert previous.shape == outputs.shape == (1, 40, 1)
    assert previous[:, 0].tolist() == [[0.0]]
    assert previous[:, 1:].tobytes() == outputs[:, :-1].tobytes()
    assert "long/attention" not in golden


def test_sources_of_a_fixed_size_have_no_lengths() -> None:
    contract = inspect_encoder_decoder(PatchWriter(), PATCH, SOUNDS)
    golden = golden_generation(contract, contract.decoder)
    assert "batch/lengths" not in golden
    assert golden["batch/patch"].shape == (5, 2, 2)


@pytest.mark.parametrize(("case", "shape"), [("first", (1, 1)), ("one_row", (1, 12)), ("batch", (5, 8))])
def test_texts_of_a_generator_begin_with_its_start(
    written: dict[str, Written], case: str, shape: tuple[int, int]
) -> None:
    golden = load_file(written["letters"].directory / "golden.safetensors")
    assert golden[f"{case}/previous"].shape == shape
    assert set(golden[f"{case}/previous"][:, 0]) == {1}
    assert golden[f"{case}/scores"].shape == (*shape, 11)
    assert golden[f"{case}/h_next"].shape == (2, shape[0], 6)
