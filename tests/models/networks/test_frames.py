from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from ostinato.models.data.frames import FrameForm
from ostinato.models.networks.frames import FrameClassifier, FrameNetworkRecipe, FramePredictor, FrameScale

FORMS = {
    (4, 6): FrameForm(1, 4, 6, "none"),
    (2, 4, 6): FrameForm(2, 4, 6, "first"),
    (4, 6, 2): FrameForm(2, 4, 6, "last"),
}


def scale(shape: tuple[int, ...], patch_size: int = 2) -> FrameScale:
    form = FORMS[shape]
    return FrameScale(form, (-10.0,) * form.channels, (30.0, 10.0)[: form.channels], patch_size)


@pytest.mark.parametrize("shape", FORMS)
def test_what_is_read_and_cut_is_joined_and_written_as_it_was(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    own = scale(shape)
    x = torch.rand(3, 2, *shape) * 20 - 10
    seen = own.read(x)
    assert seen.shape == (3, 2, own.form.channels, 4, 6)
    patches = own.cut(seen)
    assert patches.shape == (3, 2, own.form.channels * 4, 2, 3)
    # A patch's channels are the pixels of its square.
    torch.testing.assert_close(patches[0, 0, :4, 1, 2], seen[0, 0, 0, 2:4, 4:6].flatten())
    torch.testing.assert_close(own.write(own.join(patches)), x)


def test_each_channel_has_its_own_range() -> None:
    own = scale((2, 4, 6))
    x = torch.tensor([[30.0], [10.0]])[None, None, :, :, None].expand(1, 1, 2, 4, 6)
    torch.testing.assert_close(own.read(x), torch.ones(1, 1, 2, 4, 6))
    torch.testing.assert_close(own.read(1e9 * x), torch.full((1, 1, 2, 4, 6), 2.0))


def test_an_untrained_predictor_answers_with_the_frame_that_it_is_given() -> None:
    network = FramePredictor(scale((4, 6)), FrameNetworkRecipe(num_channels=3, num_layers=2), sigmoid=False)
    x = torch.rand(2, 3, 4, 6) * 40 - 10
    made, *states = network(x, *network.initial_state(2))
    torch.testing.assert_close(made, x)
    assert len(states) == len(network.state_names) == 4


@pytest.mark.parametrize("sigmoid", [False, True])
def test_frames_stay_within_what_training_had(sigmoid: bool) -> None:
    network = FramePredictor(scale((4, 6)), FrameNetworkRecipe(num_channels=3), sigmoid=sigmoid)
    made, *_ = network(torch.full((1, 1, 4, 6), 1000.0), *network.initial_state(1))
    assert -10.0 <= float(made.detach().min()) <= float(made.detach().max()) <= 30.0


def test_a_predictor_may_leave_the_range_where_the_recipe_lets_it() -> None:
    network = FramePredictor(scale((4, 6)), FrameNetworkRecipe(num_channels=3, within_range=False), sigmoid=False)
    made, *_ = network(torch.full((1, 1, 4, 6), 40.0), *network.initial_state(1))
    torch.testing.assert_close(made, torch.full((1, 1, 4, 6), 40.0))


@pytest.mark.parametrize("kind", ["predictor", "classifier"])
def test_frames_answer_as_their_chunks_wherever_they_are_cut(kind: str) -> None:
    torch.manual_seed(0)
    recipe = FrameNetworkRecipe(cell=("gru", "lstm"), hidden_size=5, num_channels=3)
    form = FrameForm(2, 8, 12, "last")
    own = FrameScale(form, (0.0, 0.0), (1.0, 2.0), 2)
    network = (
        FramePredictor(own, FrameNetworkRecipe(num_channels=3, num_layers=2), sigmoid=True)
        if kind == "predictor"
        else FrameClassifier(own, recipe, 3)
    ).eval()
    x = torch.rand(2, 7, 8, 12, 2)
    whole, *last = network(x, *network.initial_state(2))
    states, parts = network.initial_state(2), []
    for chunk in torch.split(x, [1, 4, 2], dim=1):
        part, *states = network(chunk, *states)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    torch.testing.assert_close(list(states), last)
    if kind == "classifier":
        np.testing.assert_allclose(whole.detach().sum(dim=-1), 1.0, rtol=1e-5)


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValidationError, match="it is odd, so that frames keep their size"):
        FrameNetworkRecipe(kernel_size=4)
