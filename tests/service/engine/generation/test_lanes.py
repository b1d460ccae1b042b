"""Lanes join, move and leave; what each writes is what it writes alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import pytest

from ostinato.service.engine.generation.beam import Beam
from ostinato.service.engine.generation.decoding import Decoding, FinishedOutput, Greedy, OutputPlan, Sample
from ostinato.service.engine.generation.lanes import Lanes
from ostinato.service.errors import RunFailed
from tests.service.puppet_decoder import START, STOP, PuppetDecoder

NUM_CODES = 6

Make = Callable[[], Decoding]


def jobs(seed: int, count: int) -> list[tuple[tuple[float, ...], Make]]:
    """Sources of mixed lengths with mixed ways of decoding."""
    generator = np.random.default_rng(seed)
    made: list[tuple[tuple[float, ...], Make]] = []
    for number in range(count):
        source = (float(number + 1), *generator.integers(1, 50, size=generator.integers(0, 7)).astype(float).tolist())
        plan = OutputPlan(START, STOP, int(generator.integers(1, 15)), with_attention=True)
        beams = int(generator.integers(1, 6))
        make: list[Make] = [
            lambda plan=plan: Greedy(plan),  # type: ignore[misc]
            lambda plan=plan, beams=beams: Beam(plan, beams, 0.5, beams),  # type: ignore[misc]
            lambda plan=plan, number=number: Sample(plan, (number,), 1.5, 0, 0.9),  # type: ignore[misc]
        ]
        made.append((source, make[number % 3]))
    return made


def alone(decoder: PuppetDecoder, source: tuple[float, ...], make: Make) -> list[FinishedOutput]:
    decoding, lanes = make(), Lanes(decoder)
    lanes.join([(decoding, decoder.start_from(*source))])
    while lanes.num_lanes:
        lanes.advance()
    return decoding.outputs


def same(one: list[FinishedOutput], other: list[FinishedOutput]) -> bool:
    """To the bit."""

    def bits(output: FinishedOutput) -> tuple[object, ...]:
        attention = None if output.attention is None else output.attention.tobytes()
        return (output.codes, output.score, output.log_probabilities, attention, output.finish_reason)

    return [bits(output) for output in one] == [bits(output) for output in other]


@pytest.mark.parametrize("seed", range(12))
def test_an_output_is_the_same_alone_and_among_others_that_come_and_go(seed: int) -> None:
    generator = np.random.default_rng(seed)
    decoder = PuppetDecoder(NUM_CODES)
    work = jobs(seed, 64)
    lanes = Lanes(decoder)
    running: dict[Decoding, int] = {}
    outputs: dict[int, list[FinishedOutput]] = {}
    waiting = deque(range(len(work)))
    num_dropped = 0
    while waiting or running:
        joining = [waiting.popleft() for _ in range(min(len(waiting), int(generator.integers(0, 9))))]
        made = [(work[number][1](), decoder.start_from(*work[number][0])) for number in joining]
        if made:
            lanes.join(made)
        running.update({decoding: number for (decoding, _), number in zip(made, joining, strict=True)})
        if running and generator.random() < 0.1:
            gone = next(iter(running))
            del running[gone]
            num_dropped += 1
            lanes.leave([gone])
        if not running:
            continue
        finished, failures = lanes.advance()
        assert not failures
        for decoding in finished:
            outputs[running.pop(decoding)] = decoding.outputs
        assert sorted(row for rows in lanes.decodings.values() for row in rows) == list(range(lanes.num_lanes))
    assert len(outputs) + num_dropped == len(work)
    assert len(outputs) > 40
    assert max(decoder.runs) > 8
    for number, found in outputs.items():
        assert same(found, alone(decoder, *work[number])), number


def test_attention_has_a_row_for_each_step_along_the_beam_that_won() -> None:
    decoder = PuppetDecoder(NUM_CODES)
    (output,) = alone(decoder, (5.0, 2.0), lambda: Beam(OutputPlan(START, STOP, 6, with_attention=True), 3, 0.0, 1))
    assert output.attention is not None
    assert output.attention.shape == (len(output.log_probabilities), 8)
    assert output.attention.tolist() == [[0.5, 0.5, 0, 0, 0, 0, 0, 0]] * len(output.log_probabilities)


@pytest.mark.parametrize("how", ["fails_at", "spoils"])
def test_only_the_output_at_fault_fails(how: str) -> None:
    decoder = PuppetDecoder(NUM_CODES)
    work = jobs(1, 12)
    expected = [alone(decoder, *job) for job in work]
    setattr(decoder, how, 4.0)  # the first number of the source of job 3
    lanes = Lanes(decoder)
    decodings = [make() for _, make in work]
    starts = [decoder.start_from(*source) for source, _ in work]
    lanes.join(list(zip(decodings, starts, strict=True)))
    failed: dict[Decoding, Exception] = {}
    while lanes.num_lanes:
        _, failures = lanes.advance()
        failed |= failures
    assert list(failed) == [decodings[3]]
    assert isinstance(failed[decodings[3]], RunFailed)
    others = [index for index in range(len(work)) if index != 3]
    assert all(same(decodings[index].outputs, expected[index]) for index in others)


def test_outputs_that_begin_with_states_of_their_own_go_on_from_them() -> None:
    decoder = PuppetDecoder(NUM_CODES)
    starts = [decoder.start_from(7.0)._replace(states=(np.array([key, 0.0]),)) for key in (0.0, 11.0, 400.0)]
    expected = []
    for start in starts:
        lanes, greedy = Lanes(decoder), Greedy(OutputPlan(START, None, 6))
        lanes.join([(greedy, start)])
        while lanes.num_lanes:
            lanes.advance()
        expected.append(greedy.outputs)
    lanes, together = Lanes(decoder), [Greedy(OutputPlan(START, None, 6)) for _ in starts]
    lanes.join(list(zip(together, starts, strict=True)))
    while lanes.num_lanes:
        lanes.advance()
    assert all(same(greedy.outputs, wanted) for greedy, wanted in zip(together, expected, strict=True))
    assert len({tuple(greedy.outputs[0].codes) for greedy in together}) == 3


def test_outputs_that_run_apart_from_one_that_fails_later_on_are_fed_their_own_codes() -> None:
    decoder, source = PuppetDecoder(NUM_CODES), (4.0, 2.0)
    plan = OutputPlan(START, None, 6)
    # A beam among them: its lanes follow each other.
    asked: list[tuple[tuple[float, ...], Make]] = [
        (source, lambda: Greedy(plan)),
        ((5.0,), lambda: Greedy(plan)),
        ((6.0, 1.0), lambda: Beam(plan, 3, 0.0, 3)),
        ((7.0, 3.0), lambda: Greedy(plan)),
    ]
    expected = [alone(decoder, *each) for each in asked]
    lanes, decodings = Lanes(decoder), [make() for _, make in asked]
    lanes.join([(one, decoder.start_from(*numbers)) for one, (numbers, _) in zip(decodings, asked, strict=True)])
    for _ in range(3):
        lanes.advance()
    decoder.fails_at = source[0]
    _, failures = lanes.advance()
    assert list(failures) == [decodings[0]]
    while lanes.num_lanes:
        lanes.advance()
    assert all(same(one.outputs, wanted) for one, wanted in zip(decodings[1:], expected[1:], strict=True))


def test_an_output_fails_of_which_one_lane_alone_is_no_number() -> None:
    decoder, source = PuppetDecoder(NUM_CODES), (4.0, 2.0)
    first = decoder.log_probabilities(source, ())
    first[STOP] = -np.inf
    decoder.spoils, decoder.spoils_behind = source[0], int(np.argsort(-first)[1])
    beam, other = Beam(OutputPlan(START, STOP, 9), 3, 0.0, 1), Greedy(OutputPlan(START, None, 9))
    lanes = Lanes(decoder)
    lanes.join([(beam, decoder.start_from(*source)), (other, decoder.start_from(5.0))])
    assert lanes.advance()[1] == {}
    _, failures = lanes.advance()
    assert list(failures) == [beam]
    assert lanes.decodings == {other: [0]}


def test_a_run_that_fails_with_one_output_in_it_frees_its_lanes() -> None:
    decoder = PuppetDecoder(NUM_CODES)
    decoder.fails_at = 4.0
    lanes = Lanes(decoder)
    greedy = Greedy(OutputPlan(START, STOP, 5))
    lanes.join([(greedy, decoder.start_from(4.0))])
    finished, failures = lanes.advance()
    assert (finished, list(failures), lanes.num_lanes, lanes.decodings) == ([], [greedy], 0, {})
