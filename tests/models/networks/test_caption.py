from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from ostinato.models.networks.caption import Captioner, ImageEncoder, spell


@pytest.fixture
def network() -> Captioner:
    torch.manual_seed(3)
    return Captioner(5, num_channels=4, embedding_size=3, hidden_size=6, shape=(1, 8, 8), most=16.0).eval()


def pictures(num: int) -> Tensor:
    return torch.randint(0, 17, (num, 64), generator=torch.Generator().manual_seed(1)).float()


def test_the_picture_is_read_row_by_row_and_moving_it_moves_what_a_convolution_sees() -> None:
    encoder = ImageEncoder(num_channels=1, output_size=1, dropout=0.0, shape=(1, 8, 8), most=16.0)
    with torch.no_grad():
        for convolution in (encoder.layers[0], encoder.layers[3]):
            assert isinstance(convolution, nn.Conv2d)
            assert convolution.bias is not None
            # Only the middle of the 3x3 window counts: each channel is the picture itself.
            convolution.weight.zero_()
            convolution.weight[:, 0, 1, 1] = 1.0
            convolution.bias.zero_()
        encoder.head.weight.zero_()
        encoder.head.bias.zero_()
        # Of the 2x2 that is left of the first channel, the corner at the top right.
        encoder.head.weight[0, 1] = 1.0
        picture = torch.zeros(8, 8)
        picture[2, 5] = 16.0
        found = encoder(picture.reshape(1, 64))
        transposed = encoder(picture.T.reshape(1, 64))
    assert found.item() == pytest.approx(np.tanh(16 / 16))
    assert transposed.item() == 0.0


def test_letters_given_one_by_one_score_as_when_given_at_once(network: Captioner) -> None:
    source, previous = pictures(3), torch.tensor([[0, 1, 2], [0, 4, 4], [0, 3, 1]])
    with torch.no_grad():
        at_once = network(source, previous)
        memory, states = network.encode(source)
        assert memory == ()
        assert [tuple(state.shape) for state in states] == [(1, 3, 6)]
        for step in range(3):
            scores, states, attention = network.decode(previous[:, step], states, memory, None)
            assert attention is None
            torch.testing.assert_close(scores, at_once[:, step])


class _Scripted(Captioner):
    """Scores that say, whatever the picture, what follows a code: 0 -> 2, 2 -> 1, 1 -> 0."""

    def decode(
        self, previous: Tensor, states: tuple[Tensor], _memory: tuple[()] = (), _lengths: None = None
    ) -> tuple[Tensor, tuple[Tensor], None]:
        following = torch.tensor([2, 0, 1])
        return nn.functional.one_hot(following[previous], 3).float(), states, None


def test_spelling_feeds_back_what_it_chose_and_ends_before_the_stop() -> None:
    network = _Scripted(3, num_channels=1, embedding_size=1, hidden_size=1, shape=(1, 8, 8), most=16.0)
    assert spell(network, pictures(2), start=0, stop=0, max_steps=9) == [[2, 1], [2, 1]]
    # Nothing ever says 3, so that only the number of steps ends it.
    assert spell(network, pictures(1), start=0, stop=3, max_steps=4) == [[2, 1, 0, 2]]


class _Encode(nn.Module):
    def __init__(self, network: Captioner) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: Tensor) -> Tensor:
        return self.network.encode(source)[1][0]


def test_as_a_graph_a_picture_is_read_the_same_to_the_bit_in_any_batch(network: Captioner, tmp_path: Path) -> None:
    source = pictures(64)
    shapes = ({0: torch.export.Dim("B", min=1, max=1 << 20)},)
    with warnings.catch_warnings():
        # The exporter's own, about itself.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(_Encode(network), (source[:3],), dynamo=True, dynamic_shapes=shapes, verbose=False)
    assert program is not None
    program.save(tmp_path / "encode.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "encode.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    alone = np.concatenate([session.run(None, {name: source[row : row + 1].numpy()})[0] for row in range(64)], axis=1)
    for batch_size in (2, 3, 64):
        together = session.run(None, {name: source[:batch_size].numpy()})[0]
        assert together.tobytes() == alone[:, :batch_size].tobytes()
    with torch.no_grad():
        np.testing.assert_allclose(alone, _Encode(network)(source).numpy(), atol=1e-6)
