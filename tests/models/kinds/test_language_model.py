from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from ostinato.models.data.lexicon import load_lexicon
from ostinato.models.data.parts import PARTS
from ostinato.models.data.spellings import EDGE, Spellings
from ostinato.models.errors import Diverged, RecipeError
from ostinato.models.kinds.language_model import (
    NGRAM_ORDERS,
    SpellingRecipe,
    load_run,
    perplexity,
    score,
)
from ostinato.models.networks.language_model import LanguageModel, LanguageModelRecipe
from ostinato.models.scores.ngram import NGram
from tests.training import train_run

EXAMPLE = Path(__file__).parents[3] / "examples" / "cmudict" / "language_model.toml"
SYMBOLS = (EDGE, "a", "b", "c")
RECIPE = """
kind = "language_model"
name = "toy"
[data]
file = "words.dict"
[network]
embedding_size = 4
hidden_size = 8
[training]
batch_size = 16
num_epochs = 3
learning_rate = 2e-2
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A dictionary of 300 words in which b always follows a."""
    words = [f"{'ab' * (1 + number % 3)}{'c' * (number % 4)}{'ab' * (number % 5)}" for number in range(60)]
    spellings = sorted({word + "c" * number for word in words for number in range(5)})
    (tmp_path / "words.dict").write_text("".join(f"{word} K AE1\n" for word in spellings))
    (tmp_path / "toy.toml").write_text(RECIPE)
    return tmp_path / "toy.toml"


def silent(_done: int, _total: int, _text: str) -> None:
    pass


def test_a_network_that_knows_nothing_is_as_perplexed_as_there_are_symbols() -> None:
    network = LanguageModel(4, LanguageModelRecipe(hidden_size=3))
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    assert perplexity(network, Spellings.of(["ab", "c", "abcabc"], SYMBOLS)) == pytest.approx(4.0)


def test_perplexity_is_that_of_all_symbols_and_the_ends_and_not_of_the_padding() -> None:
    network = LanguageModel(4, LanguageModelRecipe(hidden_size=3))
    torch.nn.init.zeros_(network.head.weight)
    with torch.no_grad():
        # The end has probability 1/2, each letter 1/6, whatever came before.
        network.head.bias.copy_(torch.tensor([3.0, 1.0, 1.0, 1.0]).log())
    # Words of 1 and 4 letters: 5 letters and 2 ends.
    wanted = math.exp((5 * math.log(6) + 2 * math.log(2)) / 7)
    assert perplexity(network, Spellings.of(["a", "bcab"], SYMBOLS)) == pytest.approx(wanted)


def test_training_lowers_the_perplexity_and_a_run_loads_as_it_was_trained(recipe: Path, tmp_path: Path) -> None:
    shown: list[str] = []
    directory, (table,) = train_run(recipe, tmp_path / "run", 5, lambda _done, _total, text: shown.append(text))
    found = [float(text.split()[-1]) for text in shown if text.startswith("validation")]
    assert len(found) == 3
    assert found[-1] < found[0] < 4.0
    content = json.loads((directory / "run.json").read_text())
    assert (content["kind"], content["recipe"]["training"]["seed"]) == ("language_model", 5)
    assert content["vocabularies"]["target"]["symbols"] == list(SYMBOLS)
    metrics = content["metrics"]
    assert metrics["uniform"] == 4.0
    assert metrics["network"]["validation"] == pytest.approx(min(found), abs=1e-4)
    assert [row[0] for row in table.rows] == [
        "network",
        f"{metrics['ngram_order']}-gram, Kneser-Ney",
        "all symbols equally likely",
    ]
    run = load_run(directory)
    held_out = list(load_lexicon(tmp_path / "words.dict", stress=False).parts["test"])
    assert perplexity(run.network, Spellings.of(held_out, run.symbols)) == pytest.approx(metrics["network"]["test"])
    # The letters of every word and one end each.
    assert (metrics["num_words"], metrics["num_symbols"]) == (len(held_out), sum(len(word) + 1 for word in held_out))


def test_the_validation_words_choose_the_order_of_the_ngram_model(recipe: Path) -> None:
    lexicon = load_lexicon(SpellingRecipe.read(recipe).data.file, stress=False)
    training, validation, test = (list(lexicon.parts[part]) for part in PARTS)
    scores = score(LanguageModel(4, LanguageModelRecipe(hidden_size=3)), lexicon, SYMBOLS)
    tried = {order: NGram(order, training, 4) for order in NGRAM_ORDERS}
    assert scores.ngram.validation == min(model.perplexity(validation) for model in tried.values())
    assert scores.ngram.test == tried[scores.ngram_order].perplexity(test)


def test_the_same_seed_gives_the_same_weights(recipe: Path, tmp_path: Path) -> None:
    first, _ = train_run(recipe, tmp_path / "first", None, silent)
    again, _ = train_run(recipe, tmp_path / "again", None, silent)
    other, _ = train_run(recipe, tmp_path / "other", 1, silent)
    weights = [(directory / "model.safetensors").read_bytes() for directory in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]


def test_a_loss_that_is_no_number_is_reported_with_what_to_change(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE.replace("2e-2", "1e36"))
    with pytest.raises(Diverged, match=r"the loss is (inf|nan) in epoch \d: lower training\.learning_rate"):
        train_run(recipe, tmp_path / "run", None, silent)


def test_the_example_is_valid_and_its_words_are_in_one_part_each() -> None:
    recipe = SpellingRecipe.read(EXAMPLE)
    parts = load_lexicon(recipe.data.file, stress=False).parts
    assert {name: len(words) for name, words in parts.items()} == {"training": 113484, "validation": 6221, "test": 6347}
    assert not set(parts["training"]) & (set(parts["validation"]) | set(parts["test"]))
    assert not set(parts["validation"]) & set(parts["test"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("hidden_size = 8", "hidden = 8", r"toy\.toml: network\.hidden: is no key of network; did you mean '"),
        ("num_epochs = 3", "num_epochs = 0", r"training\.num_epochs: Input should be greater than or equal to 1"),
        ('file = "words.dict"\n', "", r"data\.file: Field required"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_key(recipe: Path, old: str, new: str, message: str) -> None:
    recipe.write_text(RECIPE.replace(old, new))
    with pytest.raises(RecipeError, match=message):
        SpellingRecipe.read(recipe)
