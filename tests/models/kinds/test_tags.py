from __future__ import annotations

from pathlib import Path

from ostinato.models.data.labelled import load_labelled
from ostinato.models.kinds.tags import RECIPE
from ostinato.models.recipe import read_recipe

EXAMPLE = Path(__file__).parents[3] / "examples" / "turkish_tags" / "tags.toml"


def test_the_example_has_the_sentences_and_tokens_that_its_authors_published() -> None:
    """4,851 sentences, 81,370 inflectional groups (Kayadelen et al., 2020), every tenth of each section held out."""
    recipe = read_recipe(EXAMPLE, RECIPE)
    data = load_labelled(recipe.data.located(EXAMPLE.parent), tagged=True)
    assert sum(map(len, data.parts.values())) == 4851
    assert sum(len(sentence.x) for own in data.parts.values() for sentence in own) == 81370
    assert len(data.parts["test"]) == 2541 // 10 + 2310 // 10
    assert len(data.classes) == 14
