"""What is fed back, against references that are worked out step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import pytest

from ostinato.service.engine.generation.beam import Beam, best_positions
from ostinato.service.engine.generation.decoding import (
    Decoding,
    FinishedOutput,
    Forced,
    Greedy,
    Numbers,
    OutputPlan,
    Sample,
    Scores,
)
from ostinato.service.engine.generation.lanes import Lanes
from tests.service.puppet_decoder import START, STOP, PuppetDecoder

SOURCES = [(3.0, 1.0, 4.0), (1.0,), (5.0, 9.0), (2.0, 6.0, 5.0, 3.0)]


def decode(decoder: PuppetDecoder, source: Sequence[float], decoding: Decoding) -> list[FinishedOutput]:
    lanes = Lanes(decoder)
    lanes.join([(decoding, decoder.start_from(*source))])
    while lanes.num_lanes:
        lanes.advance()
    return decoding.outputs


def plan(max_steps: int, *, stop: int | None = STOP, prompt: tuple[int, ...] = ()) -> OutputPlan:
    return OutputPlan(START, stop, max_steps, prompt)


def all_outputs(decoder: PuppetDecoder, source: Sequence[float], max_steps: int) -> Iterator[tuple[float, list[int]]]:
    """Every output of at most ``max_steps`` steps with its log-probability: stopped, or cut off at the last step."""
    num_codes = decoder.part.output.num_features
    for num_steps in range(1, max_steps + 1):
        for codes in product(range(num_codes), repeat=num_steps):
            if STOP in codes[:-1] or (codes[-1] != STOP and num_steps < max_steps):
                continue
            yield (
                sum(decoder.log_probabilities(source, codes[:step])[codes[step]] for step in range(num_steps)),
                [*codes],
            )


@pytest.mark.parametrize("source", SOURCES)
def test_greedy_takes_the_most_likely_code_at_each_step(source: tuple[float, ...]) -> None:
    decoder = PuppetDecoder(6)
    (output,) = decode(decoder, source, Greedy(plan(12)))
    codes: list[int] = []
    total = 0.0
    for _ in range(12):
        expected = decoder.log_probabilities(source, codes)
        codes.append(int(expected.argmax()))
        total += expected.max()
        if codes[-1] == STOP:
            break
    assert output.codes == [code for code in codes if code != STOP]
    assert output.score == pytest.approx(total, abs=1e-5)
    assert output.finish_reason == ("stop" if codes[-1] == STOP else "length")
    assert sum(output.log_probabilities) == pytest.approx(output.score)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("num_codes", "max_steps"), [(2, 5), (3, 4), (4, 3), (5, 2)])
@pytest.mark.parametrize("length_penalty", [0.0, 0.7, 1.0, 2.0])
def test_a_beam_as_wide_as_all_outputs_finds_the_best_of_them(
    source: tuple[float, ...], num_codes: int, max_steps: int, length_penalty: float
) -> None:
    decoder = PuppetDecoder(num_codes)
    every = [(total / len(codes) ** length_penalty, codes) for total, codes in all_outputs(decoder, source, max_steps)]
    ranked = sorted(every, key=lambda entry: -entry[0])[:4]
    found = decode(decoder, source, Beam(plan(max_steps), num_codes**max_steps, length_penalty, len(ranked)))
    assert [[*output.codes, STOP] if output.finish_reason == "stop" else output.codes for output in found] == [
        codes for _, codes in ranked
    ]
    ranks = [output.score / len(output.log_probabilities) ** length_penalty for output in found]
    assert ranks == pytest.approx([rank for rank, _ in ranked], abs=1e-5)


def plain_beam_search(
    decoder: PuppetDecoder, source: Sequence[float], num_beams: int, max_steps: int
) -> tuple[float, list[int]]:
    """A beam search without lanes, nodes or early ends: all beams are followed to the last step."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for step in range(max_steps):
        grown = [
            (total + log_probability, [*codes, code])
            for total, codes in beams
            for code, log_probability in enumerate(decoder.log_probabilities(source, codes))
        ]
        grown.sort(key=lambda entry: -entry[0])
        finished += [entry for entry in grown[:num_beams] if entry[1][-1] == STOP or step == max_steps - 1]
        beams = [entry for entry in grown[: 2 * num_beams] if entry[1][-1] != STOP][:num_beams]
    return max(finished, key=lambda entry: entry[0])


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("num_beams", [2, 3, 5])
def test_a_narrow_beam_ends_early_and_loses_nothing_by_it(seed: int, num_beams: int) -> None:
    decoder = PuppetDecoder(7)
    source = (float(seed), 2.0)
    total, codes = plain_beam_search(decoder, source, num_beams, 10)
    (output,) = decode(decoder, source, Beam(plan(10), num_beams, 0.0, 1))
    assert output.codes == [code for code in codes if code != STOP]
    assert output.score == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    decoder, source = PuppetDecoder(5), (float(seed),)
    (greedy,) = decode(decoder, source, Greedy(plan(9)))
    (beam,) = decode(decoder, source, Beam(plan(9), 1, 0.0, 1))
    assert beam == greedy


def test_a_code_that_is_ruled_out_is_never_written() -> None:
    scores = np.array([[-np.inf, 1.0, -np.inf, 0.5]], np.float32)
    beam = Beam(OutputPlan(START, STOP, 1), 4, 0.0, 4)
    assert beam.advance(Scores(scores, None, has_codes=True), [0]) == []
    assert [output.codes for output in beam.outputs] == [[1], [3]]


@pytest.mark.parametrize("source", SOURCES)
def test_a_forced_output_has_the_score_that_it_had_when_it_was_found(source: tuple[float, ...]) -> None:
    decoder = PuppetDecoder(6)
    for output in decode(decoder, source, Beam(plan(8), 4, 0.0, 4)):
        codes = [*output.codes, STOP] if output.finish_reason == "stop" else output.codes
        (forced,) = decode(decoder, source, Forced(plan(8), codes))
        assert forced.score == output.score
        assert forced.log_probabilities == output.log_probabilities


def test_a_prompt_is_fed_and_is_no_part_of_the_output() -> None:
    decoder = PuppetDecoder(6)
    (output,) = decode(decoder, (2.0,), Greedy(plan(1, prompt=(4, 2, 5))))
    assert output.codes == [code for code in [int(decoder.log_probabilities((2.0,), (4, 2, 5)).argmax())] if code]
    (beam,) = decode(decoder, (2.0,), Beam(plan(6, prompt=(4, 2, 5)), 1, 0.0, 1))
    (greedy,) = decode(decoder, (2.0,), Greedy(plan(6, prompt=(4, 2, 5))))
    assert beam == greedy


def test_the_same_seed_draws_the_same_output_and_another_seed_another() -> None:
    decoder = PuppetDecoder(9, peak=0.5)

    def sample(seed: int) -> list[int]:
        codes: list[int] = decode(decoder, (1.0,), Sample(plan(30, stop=None), (seed, 0), 1.0, 0, 1.0))[0].codes
        return codes

    assert sample(7) == sample(7)
    assert len({tuple(sample(seed)) for seed in range(20)}) == 20


def draws(scores: list[float], count: int, temperature: float, top_k: int, top_p: float) -> list[float]:
    """How often each code is drawn."""
    row = Scores(np.array([scores], np.float32), None, has_codes=True)
    sample = Sample(OutputPlan(START, None, 1), (3,), temperature, top_k, top_p)
    drawn = np.bincount([sample.choose(row, 0)[0] for _ in range(count)], minlength=len(scores))
    shares: list[float] = (drawn / count).tolist()
    return shares


def test_draws_follow_the_distribution() -> None:
    """4000 draws: each share within 3 standard deviations, at most 3 x sqrt(0.25 / 4000) = 0.024."""
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    shares = draws(np.log(probabilities).tolist(), 4000, 1.0, 0, 1.0)
    assert shares == pytest.approx(probabilities.tolist(), abs=0.024)
    # At a temperature of 0.5 they are squared: 0.25, 0.09, 0.0225, 0.0025, together 0.365.
    shares = draws(np.log(probabilities).tolist(), 4000, 0.5, 0, 1.0)
    assert shares == pytest.approx([0.685, 0.247, 0.062, 0.007], abs=0.024)


def test_top_k_and_top_p_cut_the_unlikely_off() -> None:
    scores = np.log([0.5, 0.3, 0.15, 0.05]).tolist()
    assert draws(scores, 2000, 1.0, 2, 1.0) == pytest.approx([0.625, 0.375, 0, 0], abs=0.035)
    assert draws(scores, 200, 1.0, 1, 1.0) == [1, 0, 0, 0]
    # 0.5 does not reach 0.7, 0.5 + 0.3 does.
    assert draws(scores, 2000, 1.0, 0, 0.7) == pytest.approx([0.625, 0.375, 0, 0], abs=0.035)
    assert draws(scores, 200, 1.0, 0, 1e-9) == [1, 0, 0, 0]
    # Of three, 0.526 + 0.316 reach 0.8 together.
    assert draws(scores, 2000, 1.0, 3, 0.8) == pytest.approx([0.625, 0.375, 0, 0], abs=0.035)


@pytest.mark.parametrize("temperature", [1e-30, 1e-308, 5e-324])
def test_near_absolute_zero_the_most_likely_is_drawn(temperature: float) -> None:
    assert draws([-1.0, -50.0, 2.0, -np.inf], 20, temperature, 0, 1.0) == [0, 0, 1, 0]
    assert draws([-1.0, 2.0, 2.0], 400, temperature, 0, 1.0) == pytest.approx([0, 0.5, 0.5], abs=0.075)


def log_probabilities(rows: np.ndarray) -> np.ndarray:
    return Scores(rows, None, has_codes=True).log_probabilities


def test_the_best_code_has_its_log_probability_to_the_bit() -> None:
    generator = np.random.default_rng(1)
    rows = (generator.normal(size=(500, 41)) * 8).astype(np.float32)
    rows[:100, 3:9] = -np.inf
    rows[100:110] = [-200.0] * 7 + [0.0] + [-200.0] * 33  # so likely that its log-probability is 0
    scores = Scores(rows, None, has_codes=True)
    codes = [code for code, _ in scores.best]
    assert codes == rows.argmax(axis=1).tolist()
    assert codes[100] == 7
    best = np.array([log_probability for _, log_probability in scores.best], np.float32)
    assert best.tobytes() == scores.log_probabilities[np.arange(500), codes].tobytes()
    assert scores.failed is None


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_distribution_are_told_by_their_lane(wrong: float) -> None:
    rows = np.zeros((3, 5), np.float32)
    rows[0, 2] = -np.inf  # rules a code out
    rows[1] = wrong if wrong == -np.inf else 0.0
    rows[1, 4] = wrong
    scores = Scores(rows, None, has_codes=True)
    assert scores.failed is not None
    assert scores.failed.tolist() == [False, True, False]
    assert np.isnan(scores.log_probabilities).any(axis=1).tolist() == [False, True, False]


def test_a_log_softmax_is_rounded_the_same_whatever_the_other_rows_are() -> None:
    generator = np.random.default_rng(0)
    for num_codes in (2, 7, 42, 129, 1000):
        rows = (generator.normal(size=(64, num_codes)) * 5).astype(np.float32)
        together = log_probabilities(rows)
        assert np.exp(together.astype(np.float64)).sum(axis=1) == pytest.approx(np.ones(64), abs=1e-5)
        for count in (1, 2, 3, 63):
            assert log_probabilities(rows[:count]).tobytes() == together[:count].tobytes()
            assert log_probabilities(rows[-count:]).tobytes() == together[-count:].tobytes()


def test_the_best_of_many_come_falling_and_equals_in_their_order() -> None:
    values = np.array([1.0, 5.0, 3.0, 5.0, 2.0, -np.inf, 3.0, 4.0, 0.0] * 20)
    expected = sorted(range(len(values)), key=lambda place: (-values[place], place))
    for num_wanted in (1, 2, 5, 50, 180, 500):
        assert best_positions(values, num_wanted) == expected[:num_wanted]


def test_what_an_output_keeps_of_a_run_is_its_own() -> None:
    numbers, attention = np.array([[1.5], [2.5]], np.float32), np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)
    decoding = Numbers(OutputPlan(0.0, None, 2, with_attention=True))
    for _ in range(2):
        decoding.advance(Scores(numbers, attention, has_codes=False), [1])
        # The memory of a run is used again for the next.
        numbers[1] += 1
        attention[1] = [0.5, 0.5]
    [output] = decoding.outputs
    assert output.codes.tolist() == [[2.5], [3.5]]
    assert output.attention is not None
    assert output.attention.tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_a_beam_of_which_every_best_step_is_a_stop_goes_on_with_the_others() -> None:
    beam = Beam(OutputPlan(START, STOP, 3), 2, 2.0, 1)

    def step(*probabilities: list[float]) -> list[int]:
        with np.errstate(divide="ignore"):
            scores = np.log(np.array(probabilities, np.float32))
        return beam.advance(Scores(scores, None, has_codes=True), range(len(probabilities)))

    assert step([0.0, 0.5, 0.5]) == [0, 0]
    # The two most likely steps are the stops of both beams.
    assert step([0.6, 0.4, 0.0], [0.6, 0.0, 0.4]) == [0, 1]
    assert step([1.0, 0.0, 0.0], [1.0, 0.0, 0.0]) == []
    # ln 0.2 over 3 squared is more than ln 0.3 over 2 squared.
    assert beam.outputs[0].codes in ([1, 1], [2, 2])
    assert beam.outputs[0].score == pytest.approx(np.log(0.2))
