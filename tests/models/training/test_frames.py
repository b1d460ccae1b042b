from __future__ import annotations

import numpy as np
import torch

from ostinato.models.data.frames import FrameForm, FrameSequence
from ostinato.models.networks.frames import FrameClassifier, FrameNetworkRecipe, FramePredictor, FrameScale
from ostinato.models.training.frames import FrameLoss, FrameTrainingRecipe, loss_of, probabilities

FORM = FrameForm(1, 4, 4, "none")


def sequence(frames: list[float], *answers: int) -> FrameSequence:
    """Frames each full of one number."""
    x = np.broadcast_to(np.array(frames)[:, None, None], (len(frames), 4, 4))
    return FrameSequence("", x, np.array(answers, np.int64))


def predictor(sigmoid: bool = False) -> FramePredictor:
    """One that answers with the frame it is given, or with a half everywhere; pixels are from 0 to 10."""
    network = FramePredictor(FrameScale(FORM, (0.0,), (10.0,), 1), FrameNetworkRecipe(num_channels=2), sigmoid=sigmoid)
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)  # type: ignore[arg-type]
    return network


def loss(network: FramePredictor, kind: FrameLoss | None) -> float:
    sequences = [sequence([0, 2, 4, 4]), sequence([1, 9])]
    return loss_of(network, sequences, FrameTrainingRecipe(loss=kind)).item()


def test_losses_are_of_scaled_next_frames_that_there_are() -> None:
    # By a last frame's answer the scaled errors are 0.2, 0.2, 0 and 0.8; the padding of the second has none.
    np.testing.assert_allclose(loss(predictor(), None), (0.04 + 0.04 + 0.64) / 4, rtol=1e-5)
    np.testing.assert_allclose(loss(predictor(), "absolute"), (0.2 + 0.2 + 0.8) / 4, rtol=1e-5)
    np.testing.assert_allclose(loss(predictor(sigmoid=True), "cross_entropy"), np.log(2), rtol=1e-5)


def test_a_sequences_class_is_asked_for_after_each_of_its_frames() -> None:
    torch.manual_seed(0)
    network = FrameClassifier(FrameScale(FORM, (0.0,), (10.0,), 1), FrameNetworkRecipe(num_channels=2), 3).eval()
    sequences = [sequence([0, 2, 4], 2), sequence([1, 9], 0, 1)]
    found = probabilities(network, sequences)
    assert [one.shape for one in found] == [(3, 3), (2, 3)]
    wanted = -np.log([found[0][0, 2], found[0][1, 2], found[0][2, 2], found[1][0, 0], found[1][1, 1]]).mean()
    np.testing.assert_allclose(loss_of(network, sequences, FrameTrainingRecipe()).item(), wanted, rtol=1e-5)
