from __future__ import annotations

import torch

from ostinato.models.networks.language_model import LanguageModel, LanguageModelRecipe


def test_codes_one_by_one_score_as_all_at_once_with_the_state_carried() -> None:
    torch.manual_seed(2)
    network = LanguageModel(5, LanguageModelRecipe(embedding_size=3, hidden_size=4, num_layers=2, dropout=0.5)).eval()
    codes = torch.tensor([[0, 1, 2, 4], [0, 3, 3, 1]])
    with torch.no_grad():
        whole, *last = network(codes, *network.initial_state(2))
        state = network.initial_state(2)
        for step in range(4):
            scores, *after = network(codes[:, step : step + 1], *state)
            state = (after[0], after[1])
            torch.testing.assert_close(scores[:, 0], whole[:, step])
    assert whole.shape == (2, 4, 5)
    for carried, wanted in zip(state, last, strict=True):
        assert carried.shape == (2, 2, 4)
        torch.testing.assert_close(carried, wanted)


def test_one_step_is_the_equations_of_an_lstm() -> None:
    torch.manual_seed(4)
    network = LanguageModel(3, LanguageModelRecipe(embedding_size=2, hidden_size=2)).eval()
    h, c = torch.randn(1, 1, 2), torch.randn(1, 1, 2)
    weights = {name.rpartition(".")[2]: weight for name, weight in network.layers.state_dict().items()}
    with torch.no_grad():
        x = network.embedding.weight[1]
        gates = weights["weight_ih_l0"] @ x + weights["bias_ih_l0"]
        gates = gates + weights["weight_hh_l0"] @ h[0, 0] + weights["bias_hh_l0"]
        i, f, g, o = gates.split(2)
        c_next = torch.sigmoid(f) * c[0, 0] + torch.sigmoid(i) * torch.tanh(g)
        h_next = torch.sigmoid(o) * torch.tanh(c_next)
        scores, h_given, c_given = network(torch.tensor([[1]]), h, c)
        torch.testing.assert_close(c_given[0, 0], c_next)
        torch.testing.assert_close(h_given[0, 0], h_next)
        torch.testing.assert_close(scores[0, 0], network.head.weight @ h_next + network.head.bias)
