from __future__ import annotations

import torch

from ostinato.models.networks.ensemble import first_of, joined
from ostinato.models.networks.language_model import LanguageModel, LanguageModelRecipe
from ostinato.models.networks.ngram_table import MixedLanguageModel, NGramTable


def table() -> NGramTable:
    """Symbols 0, 1, 2; context 1 is "after a 1" and has an entry of its own for 2 alone, else those of context 0."""
    made = NGramTable(num_codes=3, num_contexts=2, num_entries=7)
    made.offset.copy_(torch.tensor([0, 2]))
    made.penalty.copy_(torch.tensor([0, 8]))
    # Entry 4 is context 1's own for the symbol 2; entries 2 and 3 would be its for 0 and 1.
    made.follows.copy_(torch.tensor([0, 1, 2, 3, 2, 3, 3]))
    made.cost.copy_(torch.tensor([16, 32, 48, 0, 4, 0, 0]))
    made.next_context.copy_(torch.tensor([0, 1, 0, 0, 1, 0, 0]))
    return made


def network(ngram: NGramTable, weight: float) -> MixedLanguageModel:
    torch.manual_seed(0)
    members = [LanguageModel(3, LanguageModelRecipe(embedding_size=2, hidden_size=4)) for _ in range(2)]
    mixed = MixedLanguageModel(joined(members), ngram).eval()
    mixed.weight.fill_(weight)
    return mixed


def test_what_a_context_has_not_itself_is_its_bases_less_a_penalty() -> None:
    answered, context = table()(torch.tensor([[0, 1, 2, 0]]), torch.tensor([0]))
    # After 0 context 0, after 1 context 1, where a 2 stays, and anything else goes where context 0 says.
    shorter, longer = [-1.0, -2.0, -3.0], [-1.5, -2.5, -0.25]
    assert answered.tolist() == [[shorter, longer, longer, shorter]]
    assert context.tolist() == [0]


def test_rows_and_pieces_of_a_sequence_are_answered_as_each_row_whole() -> None:
    codes = torch.randint(3, (5, 9), generator=torch.Generator().manual_seed(1))
    made = table()
    whole, last = made(codes, *made.initial_state(5))
    first, context = made(codes[:, :4], *made.initial_state(5))
    second, context = made(codes[:, 4:], context)
    assert torch.equal(torch.cat([first, second], dim=1), whole)
    assert torch.equal(context, last)
    alone = torch.cat([made(row, *made.initial_state(1))[0] for row in torch.split(codes, 1)])
    assert torch.equal(alone, whole)


def test_many_symbols_have_entries_of_more_than_a_byte() -> None:
    made = NGramTable(num_codes=300, num_contexts=1, num_entries=300)
    made.follows.copy_(torch.arange(300))
    made.cost[299] = 16
    answered, _ = made(torch.tensor([[299]]), *made.initial_state(1))
    assert answered[0, 0, 298:].tolist() == [0.0, -1.0]


def test_scores_are_the_weighted_mean_and_the_state_is_that_of_both() -> None:
    ngram = table()
    mixed = network(ngram, 0.25)
    assert mixed.state_names == ("h_member_0", "c_member_0", "h_member_1", "c_member_1", "context")
    assert type(first_of(mixed)).__name__ == "LanguageModel"
    codes = torch.tensor([[0, 1, 2], [1, 1, 0]])
    scores, *after = mixed(codes, *mixed.initial_state(2))
    own, *states = mixed.members[0](codes, *mixed.members[0].initial_state(2))  # type: ignore[operator]
    theirs, context = ngram(codes, *ngram.initial_state(2))
    assert torch.equal(scores, 0.25 * own + 0.75 * theirs)
    assert all(map(torch.equal, after, [*states, context]))
