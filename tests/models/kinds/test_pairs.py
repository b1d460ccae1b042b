from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ostinato.models.data.written_pairs import PairsData, load_pairs
from ostinato.models.errors import Diverged, RecipeError, RunError
from ostinato.models.kinds.pairs import PairsRecipe, load_run
from ostinato.models.scores.pairs import write_for
from tests.training import train_run

EXAMPLES = Path(__file__).parents[3] / "examples" / "cmudict"
RECIPE = """
kind = "pairs"
name = "small"
[data]
file = "small.dict"
form = "cmudict"
[network]
embedding_size = 8
encoder_size = 12
decoder_size = 24
[training]
seed = 3
batch_size = 16
max_epochs = 12
learning_rate = 2e-2
"""
SOUNDS = {"a": "AE1", "b": "B", "k": "K", "m": "M", "o": "OW0", "t": "T"}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Words of four letters, each spoken as it is spelled: what can be learned in seconds."""
    spelled = [
        first + second + third + fourth for first in "bkmt" for second in "ao" for third in "bkmt" for fourth in SOUNDS
    ]
    lines = [f"{word} {' '.join(SOUNDS[letter] for letter in word)}" for word in spelled]
    (tmp_path / "small.dict").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return tmp_path / "recipe.toml"


def no_report(_done: int, _total: int, _text: str) -> None:
    """Nobody looks."""


def test_a_run_learns_writes_what_it_needs_and_shows_its_scores(recipe: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    directory, (table,) = train_run(recipe, tmp_path / "run", 4, lambda *step: seen.append(step))
    content = json.loads((directory / "run.json").read_text())
    assert content["kind"] == "pairs"
    assert content["recipe"]["training"]["seed"] == 4
    assert content["recipe"]["data"]["file"] == "small.dict"
    assert content["vocabularies"]["target"]["symbols"][: content["stop"] + 1] == ["<start>", "<stop>"]
    metrics = content["metrics"]
    # Untrained, hardly a word of four phonemes would be right.
    assert metrics["greedy"]["wrong"] < 0.5
    assert metrics["greedy"]["symbol_error"] <= metrics["greedy"]["wrong"]
    assert metrics["num_sources"] == content["data"]["num_sources"]["test"] > 0
    assert 0 <= metrics["num_beam_below_greedy"] <= metrics["num_sources"]
    assert table.rows[0] == (
        "network, greedily",
        f"{1 - metrics['greedy']['wrong']:.2%}",
        f"{metrics['greedy']['wrong']:.2%}",
        f"{metrics['greedy']['symbol_error']:.2%}",
    )
    assert len(table.rows) == 5  # two ways, three rivals
    # Within an epoch, too, where it takes long.
    assert sorted({done for done, _, _ in seen} - {0}) == list(range(1, content["num_epochs"] + 1))
    assert all(total == 12 and "validation: wrong" in text for done, total, text in seen if done)


def test_a_run_is_read_back_with_the_weights_it_was_scored_with(recipe: Path, tmp_path: Path) -> None:
    directory, _ = train_run(recipe, tmp_path / "run", None, no_report)
    run = load_run(directory)
    data = load_pairs(PairsData(file=tmp_path / "small.dict", form="cmudict"))
    entries = data.parts["test"]
    written = write_for(run.network, list(entries), data)
    right = [run.targets.units(one.codes) in all_ for one, all_ in zip(written, entries.values(), strict=True)]
    assert 1 - sum(right) / len(right) == pytest.approx(run.content["metrics"]["greedy"]["wrong"])
    assert not run.network.training


def test_the_same_recipe_gives_the_same_weights_and_leaves_the_callers_random_numbers_alone(
    recipe: Path, tmp_path: Path
) -> None:
    recipe.write_text(RECIPE.replace("max_epochs = 12", "max_epochs = 1"))
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    runs = [train_run(recipe, tmp_path / name, None, no_report)[0] for name in ("first", "second")]
    assert torch.equal(torch.rand(3), expected)
    first, second = ((run / "model.safetensors").read_bytes() for run in runs)
    assert first == second


def test_scheduled_sampling_and_label_smoothing_are_trained_with(recipe: Path, tmp_path: Path) -> None:
    added = "\nsampling_rate = 0.5\nlabel_smoothing = 0.1\n"
    recipe.write_text(RECIPE + added)
    directory, _ = train_run(recipe, tmp_path / "run", None, no_report)
    assert json.loads((directory / "run.json").read_text())["metrics"]["greedy"]["wrong"] < 0.5


def test_with_stress_the_phonemes_have_their_digits(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE.replace("form =", "stress = true\nform =").replace("= 12\nlearn", "= 1\nlearn"))
    directory, _ = train_run(recipe, tmp_path / "run", None, no_report)
    symbols = json.loads((directory / "run.json").read_text())["vocabularies"]["target"]["symbols"]
    assert symbols == ["<start>", "<stop>", "AE1", "B", "K", "M", "OW0", "T"]


def test_a_loss_that_is_no_number_is_reported_with_what_to_change(recipe: Path, tmp_path: Path) -> None:
    recipe.write_text(RECIPE.replace("2e-2", "1e36"))
    with pytest.raises(Diverged, match=r"the loss is (inf|nan) in epoch \d+: lower training\.learning_rate"):
        train_run(recipe, tmp_path / "run", None, no_report)


@pytest.mark.parametrize("name", ["g2p", "g2p_one", "g2p_quick", "g2p_fixed"])
def test_the_examples_are_valid_and_their_data_lies_beside_them(name: str) -> None:
    recipe = PairsRecipe.read(EXAMPLES / f"{name}.toml")
    assert recipe.data.file == EXAMPLES / "cmudict.dict.xz"
    assert recipe.data.file.is_file()
    assert (recipe.network.context == "attention") == (name != "g2p_fixed")


def test_the_example_of_dates_has_its_columns() -> None:
    data = load_pairs(PairsRecipe.read(EXAMPLES.parent / "dates" / "dates.toml").data)
    assert sum(map(len, data.parts.values())) > 5_900
    assert all(len("".join(target)) == 10 for own in data.parts["test"].values() for target in own)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[network]", '[network]\nscore = "euclid"', r"recipe\.toml: network\.score: Input should be 'dot', 'general'"),
        ("[network]", "[network]\nlayers = 2", r"network\.layers: is no key of network; did you mean '"),
        ("[network]", '[network]\nscore = "dot"\ndecoder_layers = 0', r"network\.decoder_layers: Input should be gr"),
        ("decoder_size = 24", 'score = "dot"\ndecoder_size = 9', r"network: score: 'dot' compares vectors of one size"),
        ('file = "small.dict"', "", r"data\.file: Field required"),
        ("seed = 3", "sampling_rate = 1.5", r"training\.sampling_rate: Input should be less than or equal to 1"),
    ],
)
def test_a_wrong_recipe_is_refused_with_file_and_key(recipe: Path, old: str, new: str, message: str) -> None:
    recipe.write_text(RECIPE.replace(old, new))
    with pytest.raises(RecipeError, match=message):
        train_run(recipe, None, None, no_report)


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a run directory"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"kind": "pairs"}')
    with pytest.raises(RunError, match=r"run\.json is damaged"):
        load_run(tmp_path)
