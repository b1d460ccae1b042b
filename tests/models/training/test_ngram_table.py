from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from ostinato.models.data.lines import EDGE_CODE
from ostinato.models.data.text import Text, TextData, load_text
from ostinato.models.errors import DataError
from ostinato.models.networks.language_model import LanguageModel, LanguageModelRecipe
from ostinato.models.networks.ngram_table import UNITS_PER_NAT, NGramRecipe
from ostinato.models.training import ngram_table
from ostinato.models.training.fitting import Fitted
from ostinato.models.training.ngram import NGram, NGramContext, as_characters, ngram_texts
from ostinato.models.training.ngram_table import kept_contexts, learned_table, packed, with_ngram
from ostinato.models.training.text import perplexity

ALL = 10**6


def text_of(folder: Path, content: str, **keys: object) -> Text:
    (folder / "text.txt").write_text(content)
    return load_text(TextData(file=folder / "text.txt", **keys))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Text:
    """Lines in which c follows ab, and otherwise anything."""
    drawn = random.Random(0)
    lines = ["".join(drawn.choices(["abc", "a", "b", "d"], k=drawn.randint(1, 6))) for _ in range(400)]
    return text_of(tmp_path_factory.mktemp("words"), "\n".join(lines), lines=True)


def test_contexts_have_the_probabilities_of_the_model_and_how_often_they_occur(words: Text) -> None:
    learned = ngram_texts(words)
    model = NGram(4, learned, len(words.symbols))
    contexts = model.contexts()
    before = [NGram.EDGE + word[:place] for word in learned for place in range(len(word) + 1)]
    for name, context in contexts.items():
        assert context.occurrences == sum(each.endswith(name) for each in before)
        if name.startswith(NGram.EDGE):
            for symbol, probability in context.followers.items():
                assert probability == pytest.approx(model.probability(symbol, name[1:]), abs=1e-12)


def test_with_all_contexts_the_tables_say_what_the_model_says_of_every_text(words: Text) -> None:
    table = learned_table(words, NGramRecipe(order=4, max_contexts=ALL))
    model = NGram(4, ngram_texts(words), len(words.symbols))
    unknown = words.symbols.unknown
    for codes in words.parts["test"][:30]:
        given = [EDGE_CODE, *codes]
        answered, _ = table(torch.tensor([given]), *table.initial_state(1))
        for place in range(len(given)):
            before = as_characters(codes[:place])
            for code in range(len(words.symbols)):
                if code == unknown:
                    continue
                wanted = math.log(model.probability(chr(code), before))
                # A cost and a penalty are each rounded to a unit.
                assert float(answered[0, place, code]) == pytest.approx(wanted, abs=1.001 / UNITS_PER_NAT)


def test_where_contexts_are_left_out_the_longest_that_is_kept_answers(words: Text) -> None:
    model = NGram(5, ngram_texts(words), len(words.symbols))
    kept = kept_contexts(model.contexts(), 60)
    assert len(kept) == 60
    assert all(name[1:] in kept and name[:-1] in kept for name in kept)
    table = learned_table(words, NGramRecipe(order=5, max_contexts=60))
    names = list(kept)
    for codes in words.parts["test"][:30]:
        (state,) = table.initial_state(1)
        read = ""
        for code in [EDGE_CODE, *codes]:
            read += chr(code)
            _, state = table(torch.tensor([[code]]), state)
            longest = next(read[start:] for start in range(len(read) + 1) if read[start:] in kept)
            assert names[int(state)] == longest


def test_a_context_is_worth_what_it_changes_as_often_as_it_occurs() -> None:
    contexts = {
        "": NGramContext({"a": 0.5, "b": 0.5}, 0.5, 100),
        "a": NGramContext({"a": 0.9}, 0.2, 2),
        "b": NGramContext({"b": 0.6}, 0.8, 50),
        "aa": NGramContext({"a": 0.99}, 0.1, 1),
    }
    # a: 2 (.9 ln 1.8 + .1 ln .2) = 0.74; b: 50 (.6 ln 1.2 + .4 ln .8) = 1.00; aa: .99 ln 1.1 + .01 ln .1 = 0.07.
    assert list(kept_contexts(contexts, 2)) == ["", "b"]
    assert list(kept_contexts(contexts, 3)) == ["", "a", "b"]


def test_rows_lie_within_each_other_and_no_two_at_one_place() -> None:
    rows = [[0, 1, 2, 3], [1, 3], [0, 2], [2], [2], [0, 1, 2, 3]]
    offsets, num_entries = packed(rows, 4)
    entries = [offset + code for offset, row in zip(offsets, rows, strict=True) for code in row]
    assert len(set(entries)) == len(entries)
    assert len(set(offsets)) == len(offsets)
    assert max(offsets) + 4 == num_entries < 4 * len(rows)


def test_the_validation_part_chooses_the_weight(words: Text) -> None:
    torch.manual_seed(0)
    network = LanguageModel(len(words.symbols), LanguageModelRecipe(hidden_size=4))
    alone = perplexity(network, words.parts["validation"], words)
    both, fitted = with_ngram(network, Fitted(1, 1, alone, 0.0), learned_table(words, NGramRecipe(order=4)), words)
    assert fitted.validation == perplexity(both, words.parts["validation"], words) < alone
    chosen = float(both.weight)
    for other in (chosen - 0.05, chosen + 0.05):
        if 0.0 <= other <= 1.0:
            both.weight.fill_(other)
            assert perplexity(both, words.parts["validation"], words) >= fitted.validation


def test_a_running_text_is_learned_too_and_what_is_unknown_is_not_written(tmp_path: Path) -> None:
    content = " ".join(random.Random(0).choices(["one", "two", "three", "rare"], [9, 9, 9, 1], k=3000))
    text = text_of(tmp_path, content, unit="words", max_symbols=3)
    table = learned_table(text, NGramRecipe(order=3))
    answered, _ = table(torch.tensor([[EDGE_CODE, 2, 3]]), *table.initial_state(1))
    assert (answered[..., text.symbols.unknown] < -15.0).all()
    assert perplexity(table, text.parts["test"], text) < 5.0


def test_a_stream_of_a_running_text_begins_anywhere_and_not_as_the_text_does(tmp_path: Path) -> None:
    content = "z" + "".join(random.Random(0).choices("abc", k=2000))
    text = text_of(tmp_path, content)
    table = learned_table(text, NGramRecipe(order=3, max_contexts=ALL))
    answered, context = table(torch.tensor([[EDGE_CODE]]), *table.initial_state(1))
    assert int(context) == 0
    (rare,) = text.symbols.encode("z")
    assert float(answered[0, 0, rare].exp()) < 0.1


def test_tables_that_would_be_too_large_are_refused_with_what_to_lower(
    words: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngram_table, "_MOST_ENTRIES", 50)
    with pytest.raises(DataError, match=r"ngram: 20 contexts and 6 symbols .* lower ngram\.max_contexts"):
        learned_table(words, NGramRecipe(order=4, max_contexts=20))
