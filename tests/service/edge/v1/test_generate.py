from __future__ import annotations

from typing import Any

import numpy as np

from ostinato.service.catalogue.catalogue import Catalogue
from ostinato.service.edge.v1.generate import generate_content, score_content
from ostinato.service.edge.v1.schemas import GenerateBody, ScoreBody
from tests.service.puppet_generator import puppet_engine

# Of 2 to 11 codes each.
SOURCES: list[str | list[Any]] = [[first, *range(first)] for first in range(1, 11)]


def catalogue() -> Catalogue:
    """One model, ``puppet``, that writes six codes; 0 is its stop."""
    served = Catalogue()
    served.add(puppet_engine(6, max_output_steps=12))
    return served


async def test_attention_has_no_row_for_the_stop() -> None:
    content = await generate_content(
        catalogue(), "puppet", GenerateBody(inputs=SOURCES, return_attention=True, return_log_probs=True)
    )
    # Some end by their stop, which has a log-probability and no symbol; some by their length.
    assert set(content["finish_reasons"]) == {"stop", "length"}
    for source, output, reason, log_probs, attention in zip(
        SOURCES,
        content["outputs"],
        content["finish_reasons"],
        content["log_probs"],
        content["attention"],
        strict=True,
    ):
        assert len(log_probs) == len(output) + (reason == "stop")
        # One column for each step of the source, of which each row is shared out whole.
        assert attention.shape == (len(output), len(source))
        assert np.allclose(attention.sum(axis=1), 1)


async def test_several_outputs_stand_in_a_list_for_each_input() -> None:
    body = GenerateBody(inputs=[[3], [3]], method="sample", num_return=3, seed=1, max_steps=6)
    content = await generate_content(catalogue(), "puppet", body)
    assert content["seed"] == 1
    for member in ("outputs", "scores", "finish_reasons"):
        assert [len(each) for each in content[member]] == [3, 3]
    alone = await generate_content(catalogue(), "puppet", GenerateBody(inputs=[[3], [3]], max_steps=6))
    assert alone["outputs"][0] == alone["outputs"][1]
    assert "seed" not in alone


async def test_the_score_of_an_output_is_the_one_it_was_found_with() -> None:
    served = catalogue()
    found = await generate_content(served, "puppet", GenerateBody(inputs=SOURCES))
    stopped = [index for index, reason in enumerate(found["finish_reasons"]) if reason == "stop"]
    assert stopped
    scored = await score_content(
        served,
        "puppet",
        ScoreBody(inputs=[SOURCES[index] for index in stopped], targets=[found["outputs"][index] for index in stopped]),
    )
    assert scored["scores"] == [found["scores"][index] for index in stopped]
