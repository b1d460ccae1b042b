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
        # Greedy outputs without attention are tallied.
        plan = OutputPlan(START, STOP, int(generator.integers(1, 15)), with_attention=bool(generator.integers(2)))
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
        finished, failures = lanes.advance(int(generator.integers(1, 5)))
        assert not failures
        for decoding in finished:
            outputs[running.pop(decoding)] = decoding.outputs
        rows = [row for rows in lanes.decodings.values() for row in rows]
        assert len(set(rows)) == len(rows) == lanes.num_lanes
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
    assert (list(lanes.decodings), lanes.num_lanes) == ([other], 1)
    lanes.advance()
    # Where it was, it had others before it.
    assert lanes.decodings == {other: [0]}
    assert decoder.runs[-1] == 1


def test_a_run_that_fails_with_one_output_in_it_frees_its_lanes() -> None:
    decoder = PuppetDecoder(NUM_CODES)
    decoder.fails_at = 4.0
    lanes = Lanes(decoder)
    greedy = Greedy(OutputPlan(START, STOP, 5))
    lanes.join([(greedy, decoder.start_from(4.0))])
    finished, failures = lanes.advance()
    assert (finished, list(failures), lanes.num_lanes, lanes.decodings) == ([], [greedy], 0, {})


def together(decoder: PuppetDecoder, plans: list[OutputPlan], max_steps: int) -> tuple[list[Decoding], list[int]]:
    """Greedy outputs for sources of their own, run in as many steps at a time; and how many have ended behind each."""
    lanes, made = Lanes(decoder), [Greedy(plan) for plan in plans]
    lanes.join([(greedy, decoder.start_from(float(row + 1), 3.0)) for row, greedy in enumerate(made)])
    ended = []
    while lanes.num_lanes:
        ended.append(len(lanes.advance(max_steps)[0]))
    return list(made), ended


@pytest.mark.parametrize("max_steps", [2, 3, 4, 7])
def test_several_steps_at_a_time_make_what_one_makes(max_steps: int) -> None:
    decoder, by_steps = PuppetDecoder(NUM_CODES), PuppetDecoder(NUM_CODES)
    plans = [OutputPlan(START, STOP if row % 3 else None, 1 + row % 14) for row in range(40)]
    made, ended = together(decoder, plans, max_steps)
    expected, _ = together(by_steps, plans, 1)
    assert all(same(one.outputs, other.outputs) for one, other in zip(made, expected, strict=True))
    assert len(ended) < len(by_steps.runs)


def test_steps_are_run_in_a_row_until_many_outputs_have_ended() -> None:
    # A stop in none of them: of eight two end with the second step, which is a quarter, and one with the third.
    plans = [OutputPlan(START, None, num_steps) for num_steps in (2, 2, 3, 20, 20, 20, 20, 20)]
    decoder = PuppetDecoder(NUM_CODES)
    _, ended = together(decoder, plans, 16)
    assert ended == [3, 0, 5]
    assert decoder.runs == [8] * 3 + [5] * 16 + [5]


def test_an_output_that_is_watched_goes_by_single_steps_and_all_with_it() -> None:
    decoder, plan = PuppetDecoder(NUM_CODES), OutputPlan(START, None, 6)
    watched, other, *more = (Greedy(plan) for _ in range(8))
    watched.is_watched = True
    lanes = Lanes(decoder)
    lanes.join([(watched, decoder.start_from(1.0)), *[(one, decoder.start_from(2.0)) for one in (other, *more)]])
    told = []
    while lanes.num_lanes:
        lanes.advance(4)
        assert watched.latest is not None
        told.append((watched.latest.num_steps, watched.num_steps_made, other.num_steps_made))
    assert told == [(number, number, number) for number in range(1, 7)]
    unwatched, _ = together(decoder, [plan], 4)
    assert [len(one.outputs[0].codes) for one in (watched, other, *unwatched)] == [6, 6, 6]
    assert same(watched.outputs, alone(decoder, (1.0,), lambda: Greedy(plan)))


def test_a_prompt_is_fed_by_single_steps_and_what_follows_it_is_tallied() -> None:
    decoder = PuppetDecoder(NUM_CODES)
    plan = OutputPlan(START, None, 8, prompt=(4, 2, 3))
    watched, greedy = Greedy(plan), Greedy(plan)
    watched.is_watched = True
    made = [alone(decoder, (3.0,), lambda: watched)]
    num_runs = len(decoder.runs)
    lanes = Lanes(decoder)
    lanes.join([(greedy, decoder.start_from(3.0))])
    counts = []
    while lanes.num_lanes:
        lanes.advance(4)
        counts.append(greedy.num_steps_made)
    made.append(greedy.outputs)
    assert same(*made)
    assert counts == [0, 0, 0, 4, 8]
    assert num_runs == len(decoder.runs) - num_runs == 11
    assert (greedy.latest, watched.num_steps_made) == (None, 8)


def test_steps_of_a_tallied_output_are_counted_while_it_runs_and_when_it_was_given_up() -> None:
    decoder = PuppetDecoder(NUM_CODES)
    given_up, staying = Greedy(OutputPlan(START, None, 30)), Greedy(OutputPlan(START, None, 30))
    lanes = Lanes(decoder)
    lanes.join([(given_up, decoder.start_from(1.0))])
    lanes.advance(3)
    lanes.join([(staying, decoder.start_from(2.0))])
    lanes.advance(2)
    assert (given_up.num_steps_made, staying.num_steps_made) == (5, 2)
    lanes.leave([given_up])
    lanes.advance(4)
    assert (given_up.num_steps_made, staying.num_steps_made) == (5, 6)
    assert lanes.num_steps_made == 3 + 2 * 2 + 4


def test_what_goes_wrong_behind_the_end_of_an_output_harms_nobody() -> None:
    decoder, plan = PuppetDecoder(NUM_CODES), OutputPlan(START, None, 12)
    short = plan._replace(max_steps=2)
    expected = [alone(decoder, (4.0, 1.0), lambda: Greedy(short)), alone(decoder, (5.0,), lambda: Greedy(plan))]
    longer = alone(decoder, (4.0, 1.0), lambda: Greedy(plan))[0].codes
    # The lane of the short one is no number from what it would be fed behind its end.
    decoder.spoils, decoder.spoils_behind = 4.0, longer[1]
    assert longer[1] not in (START, longer[0])
    decodings = [Greedy(short), *(Greedy(plan) for _ in range(5))]
    lanes = Lanes(decoder)
    sources = [(4.0, 1.0), *[(5.0,)] * 5]
    lanes.join([(one, decoder.start_from(*source)) for one, source in zip(decodings, sources, strict=True)])
    num_runs = len(decoder.runs)
    assert lanes.advance(4) == ([decodings[0]], {})
    assert len(decoder.runs) == num_runs + 4
    while lanes.num_lanes:
        lanes.advance(4)
    assert same(decodings[0].outputs, expected[0])
    assert all(same(one.outputs, expected[1]) for one in decodings[1:])


@pytest.mark.parametrize("fault", ["fails", "spoils"])
def test_an_output_that_fails_in_a_later_one_of_several_steps_fails_alone(fault: str) -> None:
    plan = OutputPlan(START, None, 9)
    sound = PuppetDecoder(NUM_CODES)
    expected = [alone(sound, (float(row + 1),), lambda: Greedy(plan)) for row in range(5)]

    class Failing(PuppetDecoder):
        """The run fails that feeds a certain lane a certain code."""

        def run(self, previous, states, memory, lengths):  # type: ignore[no-untyped-def]
            if fault == "fails" and any((memory[0][:, 0] == 3.0) & (previous == bad)):
                raise RunFailed("as told")
            return super().run(previous, states, memory, lengths)

    bad = expected[2][0].codes[1]
    assert bad not in (START, expected[2][0].codes[0])
    decoder = Failing(NUM_CODES)
    if fault == "spoils":
        decoder.spoils, decoder.spoils_behind = 3.0, bad
    lanes, decodings = Lanes(decoder), [Greedy(plan) for _ in range(5)]
    lanes.join([(one, decoder.start_from(float(row + 1))) for row, one in enumerate(decodings)])
    failed: dict[Decoding, Exception] = {}
    while lanes.num_lanes:
        failed |= lanes.advance(4)[1]
    assert list(failed) == [decodings[2]]
    assert decodings[2].outputs == []
    assert all(same(decodings[row].outputs, expected[row]) for row in (0, 1, 3, 4))
