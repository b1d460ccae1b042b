from __future__ import annotations

import json
from pathlib import Path

import pytest

from ostinato.models.data.lines import EDGE
from ostinato.models.data.text import load_text
from ostinato.models.errors import DataError, Diverged, RecipeError
from ostinato.models.kinds.text import TextRecipe, load_run
from ostinato.models.networks.language_model import LanguageModel, LanguageModelRecipe
from ostinato.models.rivals.texts import FIRST_ORDER, LAST_ORDER
from ostinato.models.scores.text import score
from ostinato.models.training import ngram_table
from ostinato.models.training.ngram import NGram, as_characters
from ostinato.models.training.text import perplexity
from tests.training import train_run

EXAMPLES = Path(__file__).parents[3] / "examples"
SYMBOLS = (EDGE, "a", "b", "c")
RECIPE = """
kind = "text"
name = "toy"
[data]
file = "words.dict"
form = "cmudict"
unknown = false
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


def test_training_lowers_the_perplexity_and_a_run_loads_as_it_was_trained(recipe: Path, tmp_path: Path) -> None:
    shown: list[str] = []
    directory, (table,) = train_run(recipe, tmp_path / "run", 5, lambda _done, _total, text: shown.append(text))
    found = [float(text.split()[-1]) for text in shown if text.startswith("validation")]
    assert len(found) == 3
    assert found[-1] < found[0] < 4.0
    content = json.loads((directory / "run.json").read_text())
    assert (content["kind"], content["recipe"]["training"]["seed"]) == ("text", 5)
    assert content["vocabularies"]["target"]["symbols"] == list(SYMBOLS)
    metrics = content["metrics"]
    assert metrics["uniform"] == 4.0
    assert metrics["network"]["validation"] == pytest.approx(min(found), abs=1e-4)
    assert [row[0] for row in table.rows] == [
        "network",
        f"{metrics['ngram_order']}-gram, modified Kneser-Ney",
        "all symbols equally likely",
    ]
    run = load_run(directory)
    text = load_text(TextRecipe.read(recipe).data)
    held_out = text.parts["test"]
    assert perplexity(run.network, held_out, text) == pytest.approx(metrics["network"]["test"])
    # The letters of every word and one end each.
    assert (metrics["num_texts"], metrics["num_symbols"]) == (len(held_out), sum(len(word) + 1 for word in held_out))


def test_the_validation_words_choose_the_order_of_the_ngram_model(recipe: Path) -> None:
    text = load_text(TextRecipe.read(recipe).data)
    training, validation, test = ([as_characters(codes) for codes in part] for part in text.parts.values())
    scores, missing = score(LanguageModel(4, LanguageModelRecipe(hidden_size=3)), text)
    assert missing == ""
    assert scores.ngram is not None
    tried = {order: NGram(order, training, 4) for order in range(FIRST_ORDER, LAST_ORDER + 1)}
    found = {order: model.perplexity(validation) for order, model in tried.items()}
    chosen = scores.ngram_order
    assert scores.ngram.validation == found[chosen] == min(found[order] for order in found if order <= chosen)
    assert found.get(chosen + 1, 9.0) >= found[chosen], "the next order is worse, and ends the search"
    assert scores.ngram.test == tried[scores.ngram_order].perplexity(test)


def test_ngrams_that_fail_cost_no_training_and_the_report_says_why(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no room for all contexts")

    monkeypatch.setattr(NGram, "__init__", fail)
    directory, [table] = train_run(recipe, tmp_path / "run", None, silent)
    assert [row[0] for row in table.rows] == ["network", "all symbols equally likely"]
    assert table.note.endswith(
        "; the rival 'n-grams' is left out, since it failed: MemoryError: no room for all contexts"
    )
    assert load_run(directory).content["metrics"]["ngram"] is None


def test_the_same_seed_gives_the_same_weights(recipe: Path, tmp_path: Path) -> None:
    first, _ = train_run(recipe, tmp_path / "first", None, silent)
    again, _ = train_run(recipe, tmp_path / "again", None, silent)
    other, _ = train_run(recipe, tmp_path / "other", 1, silent)
    weights = [(directory / "model.safetensors").read_bytes() for directory in (first, again, other)]
    assert weights[0] == weights[1] != weights[2]


def test_an_ngram_model_is_a_part_of_the_network_that_is_scored_and_loaded(recipe: Path, tmp_path: Path) -> None:
    alone, _ = train_run(recipe, tmp_path / "alone", None, silent)
    recipe.write_text(RECIPE + "[ngram]\norder = 4\nmax_contexts = 15\n")
    both, (table,) = train_run(recipe, tmp_path / "both", None, silent)
    assert table.rows[0][0] == "network and n-grams together"
    told, before = (json.loads((directory / "run.json").read_text()) for directory in (both, alone))
    assert told["ngram"]["num_contexts"] == 15
    assert told["validation"] == told["metrics"]["network"]["validation"] <= before["validation"]
    run, text = load_run(both), load_text(TextRecipe.read(recipe).data)
    assert perplexity(run.network, text.parts["test"], text) == pytest.approx(told["metrics"]["network"]["test"])


def test_tables_of_ngrams_that_are_too_large_are_refused_before_the_network_trains(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ngram_table, "_MOST_ENTRIES", 5)
    recipe.write_text(RECIPE + "[ngram]\norder = 4\n")
    with pytest.raises(DataError, match=r"lower ngram\.max_contexts"):
        train_run(recipe, tmp_path / "run", None, silent)
    assert not list(tmp_path.glob("run/checkpoint*")), "not an epoch was trained"


def test_a_loss_that_is_no_number_is_reported_with_what_to_change(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE.replace("2e-2", "1e36"))
    with pytest.raises(Diverged, match=r"the loss is (inf|nan) in epoch \d: lower training\.learning_rate"):
        train_run(recipe, tmp_path / "run", None, silent)


@pytest.mark.parametrize("name", ["cmudict/spelling.toml", "python_topics/topics.toml"])
def test_the_examples_are_valid_and_their_data_lies_beside_them(name: str) -> None:
    assert TextRecipe.read(EXAMPLES / name).data.file.is_file()


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
        TextRecipe.read(recipe)
