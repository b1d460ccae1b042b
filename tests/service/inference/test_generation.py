"""What a request asks of a model that generates: what is drawn for each output, and what is refused, by name."""

from __future__ import annotations

from typing import Any

import pytest

from ostinato.service.errors import InvalidInput, TooLarge
from ostinato.service.inference.generation import GenerationRequest, Made, StepEvent, generate, score, stream
from ostinato.service.inference.generation_options import Options
from tests.service.puppet_generator import NUMBERS, puppet_engine

NUM_CODES = 30
SAMPLE = Options(method="sample", max_steps=8, num_return=3, seed=7)


def codes(made: list[Made]) -> list[list[tuple[int, ...]]]:
    """Of each input its outputs."""
    return [[tuple(output.codes) for output in each.outputs] for each in made]


async def test_outputs_of_one_input_and_those_of_inputs_alike_are_drawn_apart() -> None:
    engine = puppet_engine(NUM_CODES)
    first, second = codes(await generate(GenerationRequest(engine, [[4, 2], [4, 2]], SAMPLE)))
    # Two inputs alike, three outputs of each: six draws, of which no two are the same.
    assert len({*first, *second}) == 2 * 3
    # What is drawn depends on the seed, on the input's place and on the output's, and on nothing else.
    assert codes(await generate(GenerationRequest(engine, [[4, 2], [9]], SAMPLE)))[0] == first
    assert codes(await generate(GenerationRequest(engine, [[4, 2]], SAMPLE._replace(num_return=2)))) == [first[:2]]
    assert codes(await generate(GenerationRequest(engine, [[4, 2]], SAMPLE._replace(seed=8)))) != [first]


async def test_a_stream_draws_what_the_whole_answer_does_and_names_each_output() -> None:
    engine = puppet_engine(NUM_CODES)
    whole = await generate(GenerationRequest(engine, [[4, 2], [4, 2]], SAMPLE))
    *steps, last = [each async for each in stream(GenerationRequest(engine, [[4, 2], [4, 2]], SAMPLE))]
    assert isinstance(last, list)
    assert codes(last) == codes(whole)
    for index, made in enumerate(whole):
        for place, output in enumerate(made.outputs):
            own = [step for step in steps if isinstance(step, StepEvent) and step[:2] == (index, place)]
            assert [step.code for step in own][: len(output.codes)] == output.codes
            assert [step.log_probability for step in own] == output.log_probabilities


@pytest.mark.parametrize(
    ("options", "error", "field", "message"),
    [
        (Options(method="sample", top_k=7), InvalidInput, "top_k", "the model has 6 codes"),
        (Options(num_beams=2), InvalidInput, "num_beams", "num_beams is for method 'beam', not 'greedy'"),
        (Options(num_return=2), InvalidInput, "num_return", "at most 1 for each input"),
        (Options(max_steps=11), TooLarge, None, "max_steps 11; the most is 10"),
        (Options(method="beam", num_beams=9), TooLarge, None, "num_beams 9; the most is 8"),
        (Options(method="sample", num_return=9), TooLarge, None, "num_return 9; the most is 8"),
    ],
)
async def test_an_option_over_what_the_model_has_is_refused(
    options: Options, error: type[InvalidInput | TooLarge], field: str | None, message: str
) -> None:
    engine = puppet_engine(6, max_output_steps=10, max_beams=8)
    with pytest.raises(error, match=message) as refusal:
        GenerationRequest(engine, [[1]], options)
    assert getattr(refusal.value, "field", None) == field


@pytest.mark.parametrize(
    "options",
    [
        Options(method="sample", top_k=6),
        Options(max_steps=10),
        Options(method="beam", num_beams=8, num_return=8),
        Options(method="sample", num_return=8, seed=0),
    ],
)
async def test_a_limit_itself_is_within_it(options: Options) -> None:
    [made] = await generate(GenerationRequest(puppet_engine(6, max_output_steps=10, max_beams=8), [[1]], options))
    assert len(made.outputs) == (options.num_return or 1)
    # An output that did not stop has the most steps there may be.
    assert all(len(output.log_probabilities) == 10 for output in made.outputs if output.finish_reason == "length")


async def test_a_target_may_be_as_long_as_an_output_its_stop_among_its_steps() -> None:
    engine = puppet_engine(6, max_output_steps=10)
    request = GenerationRequest(engine, [[1]], Options())
    # Nine codes and the stop are ten steps, ten codes and the stop eleven.
    [scored] = await score(request, [[3] * 9])
    assert len(scored.log_probabilities) == 10
    with pytest.raises(TooLarge, match=r"targets\[0\] has 11 steps; the most is 10"):
        await score(request, [[3] * 10])


@pytest.mark.parametrize("targets", [[], [[3]], [[3], [4], [5]]])
async def test_there_is_one_target_for_each_input(targets: list[Any]) -> None:
    with pytest.raises(InvalidInput, match=f"{len(targets)} targets for 2 inputs") as refusal:
        await score(GenerationRequest(puppet_engine(), [[1], [2]], Options()), targets)
    assert refusal.value.field == "targets"


async def test_numbers_have_no_likelihood_and_none_of_them_is_chosen() -> None:
    engine = puppet_engine(part=NUMBERS)
    with pytest.raises(InvalidInput, match="which have no log-probability") as refusal:
        await score(GenerationRequest(engine, [[1]], Options()), [[3]])
    assert refusal.value.field == "targets"
    with pytest.raises(InvalidInput, match="of which none is chosen"):
        GenerationRequest(engine, [[1]], Options(method="sample"))
    with pytest.raises(InvalidInput, match="this model has no attention"):
        GenerationRequest(engine, [[1]], Options(with_attention=True))
