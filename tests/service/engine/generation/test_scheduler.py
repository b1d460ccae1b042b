"""The shell around the lanes: every generation is resolved once, and no lane is kept for nobody."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import numpy as np
import pytest

from ostinato.service.engine.generation.beam import Beam
from ostinato.service.engine.generation.decoding import Decoding, FinishedOutput, Greedy, OutputPlan, Sample
from ostinato.service.engine.generation.scheduler import Asked, GenerationScheduler
from ostinato.service.errors import Draining, Overloaded, RunFailed, TooLarge
from ostinato.service.metrics.generation import GenerationMetrics
from ostinato.service.metrics.series import Metrics
from tests.service.puppet import until
from tests.service.puppet_decoder import START, STOP, PuppetDecoder
from tests.service.puppet_encoder import PuppetEncoder

NUM_CODES = 6
# They are padded to 16, 16, 32 and 64.
SOURCE_STEPS = (3, 16, 17, 40)


class House:
    """A puppet decoder behind its shell.

    Args:
        encodes: whether an encoder stands before it, so that sources are padded to several lengths.
    """

    def __init__(
        self,
        *,
        max_lanes: int = 64,
        max_queue_lanes: int = 512,
        max_lane_steps: int = sys.maxsize,
        share_runs: bool = True,
        in_thread: bool = False,
        encodes: bool = False,
    ) -> None:
        self.decoder = PuppetDecoder(NUM_CODES)
        self.encoder = PuppetEncoder(self.decoder) if encodes else None
        self.metrics = GenerationMetrics(Metrics(), "puppet", "1")
        self.generations = GenerationScheduler(
            self.encoder,
            self.decoder,
            self.metrics,
            max_lanes=max_lanes,
            max_queue_lanes=max_queue_lanes,
            max_lane_steps=max_lane_steps,
            share_runs=share_runs,
            in_thread=in_thread,
        )

    def ask(
        self, number: int, on_step: Callable[[], None] | None = None, max_steps: int = 12, stop: int | None = STOP
    ) -> Asked:
        """Sources of mixed lengths, in mixed ways."""
        plan = OutputPlan(START, stop, max_steps)
        ways: tuple[Decoding, ...] = (
            Greedy(plan),
            Beam(plan, 3, 0.0, 2),
            Sample(plan, (number,), 1.2, 0, 1.0),
        )
        decoding = ways[number % 3]
        if self.encoder is not None:
            return Asked(np.arange(number + 1, number + 1 + SOURCE_STEPS[number % 4]), decoding, on_step)
        return Asked(self.decoder.start_from(float(number + 1), *range(number % 6)), decoding, on_step)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held for anybody."""
        return self.generations.num_rows == self.generations.num_lanes == self.metrics.lanes.read() == 0


def outputs(decodings: list[Decoding]) -> list[list[FinishedOutput]]:
    return [decoding.outputs for decoding in decodings]


@pytest.mark.parametrize("in_thread", [False, True])
async def test_what_runs_together_is_what_runs_alone(in_thread: bool) -> None:
    house = House(max_lanes=10, in_thread=in_thread)
    together = await house.generations.run([house.ask(number) for number in range(60)])
    assert max(house.decoder.runs) == 10
    for number in range(60):
        assert outputs(await house.generations.run([house.ask(number)])) == [together[number].outputs]
    await until(lambda: house.is_empty)
    house.generations.close()


async def test_a_newcomer_has_its_first_step_in_the_iteration_that_takes_it_in() -> None:
    house = House()
    long = asyncio.ensure_future(house.generations.run([house.ask(0, max_steps=400)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    steps: list[int] = []
    num_runs = len(house.decoder.runs)
    await house.generations.run([house.ask(3, lambda: steps.append(len(house.decoder.runs)))])
    assert steps[0] <= num_runs + 2
    long.cancel()
    await until(lambda: house.is_empty)


@pytest.mark.parametrize(("max_lane_steps", "num_iterations"), [(sys.maxsize, 3), (31, 4), (16, 6), (15, 12), (1, 12)])
async def test_an_iteration_has_several_steps_but_not_too_many(max_lane_steps: int, num_iterations: int) -> None:
    house, alone = House(max_lane_steps=max_lane_steps), House(max_lane_steps=1)
    # Greedy outputs of twelve steps on eight lanes: at most four steps an iteration.
    asked = [house.ask(3 * number, stop=None) for number in range(8)]
    made = await house.generations.run(asked)
    assert sum(house.metrics.run_seconds.counts) == num_iterations
    assert house.metrics.generated_steps.value == 8 * 12
    assert outputs(made) == outputs(await alone.generations.run([alone.ask(3 * n, stop=None) for n in range(8)]))


async def test_an_output_wider_than_all_lanes_runs_when_it_has_them_to_itself() -> None:
    house, wide = House(max_lanes=2), House()
    # Number 1 is a beam of three.
    asked = [0, 1, 2, 1]
    together = await house.generations.run([house.ask(number) for number in asked])
    assert max(house.decoder.runs) == 3
    assert outputs(together) == outputs(await wide.generations.run([wide.ask(number) for number in asked]))
    await until(lambda: house.is_empty)


async def test_a_source_that_cannot_be_encoded_fails_alone_among_those_of_its_length() -> None:
    house, alone = House(encodes=True), House(encodes=True)
    # All three are padded to 16.
    asked = [house.ask(number) for number in (0, 1, 4)]
    asked[1] = asked[1]._replace(source=np.array([1, 2, PuppetEncoder.BAD_STEP]))
    generations = house.generations.begin(asked)
    made = await asyncio.gather(*(generation.future for generation in generations), return_exceptions=True)
    assert isinstance(made[1], RunFailed)
    assert "one of the sources is bad" in str(made[1])
    for number, decoding in ((0, made[0]), (4, made[2])):
        assert isinstance(decoding, Decoding)
        assert outputs([decoding]) == outputs(await alone.generations.run([alone.ask(number)]))
    await until(lambda: house.is_empty)


@pytest.mark.parametrize("encodes", [False, True])
@pytest.mark.parametrize("in_thread", [False, True])
async def test_cancelled_outputs_leave_no_lane_behind_and_harm_no_other(in_thread: bool, encodes: bool) -> None:
    """300 are cancelled, each while it waits or at one of its steps; 150 are not."""
    generator = np.random.default_rng(5)
    house = House(max_lanes=40, max_queue_lanes=4000, in_thread=in_thread, encodes=encodes)
    alone = House(encodes=encodes)
    tasks: list[asyncio.Task[list[Decoding]]] = []
    victims: list[asyncio.Task[list[Decoding]]] = []
    for number in range(450):
        tasks.append(asyncio.ensure_future(house.generations.run([house.ask(number, max_steps=60, stop=None)])))
        # Of three that follow each other one stays, another each time, so that some stay of every way.
        if number % 3 != number // 3 % 3:
            victims.append(tasks[-1])
        while len(victims) > 12:
            victims.pop(int(generator.integers(4))).cancel()
            await asyncio.sleep(0)
    for victim in victims:
        victim.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in done) == 300
    assert len(house.decoder.runs) > 100
    assert min(house.decoder.runs) > 0
    for number, result in enumerate(done):
        if not isinstance(result, BaseException):
            assert outputs(result) == outputs(await alone.generations.run([alone.ask(number, max_steps=60, stop=None)]))
        else:
            assert isinstance(result, asyncio.CancelledError)
    await until(lambda: house.is_empty)
    # One that was cancelled before its task began was never the engine's.
    assert 250 < house.metrics.cancelled.value <= 300
    house.generations.close()


@pytest.mark.parametrize("share_runs", [False, True])
@pytest.mark.parametrize("goes_on", [0, 2])
async def test_nothing_runs_for_lanes_that_were_all_given_up(share_runs: bool, goes_on: int) -> None:
    """What is padded to another length, or runs alone, goes on; a graph must never see a batch of none."""
    house = House(share_runs=share_runs, encodes=True)
    assert house.encoder is not None
    staying = asyncio.ensure_future(house.generations.run([house.ask(goes_on, max_steps=40, stop=None)]))
    # Sources 3, 7 and 11 are padded to 64, source 0 to 16 and source 2 to 32.
    gone = [asyncio.ensure_future(house.generations.run([house.ask(number, stop=None)])) for number in (3, 7, 11)]
    while len(house.decoder.runs) < 6:
        await asyncio.sleep(0)
    assert set(house.encoder.runs) == {64, 16 if goes_on == 0 else 32}
    for each in gone:
        each.cancel()
    num_runs = len(house.decoder.runs)
    [other] = await staying
    # It runs on one lane: 0 is greedy, and 2 is sampled.
    assert set(house.decoder.runs[num_runs:]) == {1}
    assert outputs([other]) == outputs(
        await House(encodes=True).generations.run([house.ask(goes_on, max_steps=40, stop=None)])
    )
    for each in gone:
        with pytest.raises(asyncio.CancelledError):
            await each
    assert house.is_empty


async def test_what_does_not_fit_is_refused_before_anything_is_queued() -> None:
    house = House(max_queue_lanes=6)
    with pytest.raises(TooLarge, match="9 outputs and beams"):
        house.generations.begin([house.ask(1), house.ask(4), house.ask(7)])
    held = house.generations.begin([house.ask(1), house.ask(4)])
    with pytest.raises(Overloaded, match="6 of at most 6"):
        house.generations.begin([house.ask(0)])
    house.generations.let_go(held)
    await until(lambda: house.is_empty)
    house.generations.drain()
    with pytest.raises(Draining):
        house.generations.begin([house.ask(0)])


@pytest.mark.parametrize("in_thread", [False, True])
async def test_what_is_under_way_at_the_end_fails_and_what_drains_is_finished(in_thread: bool) -> None:
    house = House(in_thread=in_thread)
    task = asyncio.ensure_future(house.generations.run([house.ask(number) for number in range(8)]))
    await asyncio.sleep(0)
    house.generations.drain()
    assert len(await task) == 8
    other = House(in_thread=in_thread)
    endless = asyncio.ensure_future(other.generations.run([other.ask(0, max_steps=10**6, stop=None)]))
    await until(lambda: other.decoder.runs)
    assert not endless.done()
    other.generations.close()
    with pytest.raises(Draining):
        await endless


async def test_the_output_at_fault_fails_alone() -> None:
    house = House()
    house.decoder.fails_at = 5.0  # of job 4
    tasks = [asyncio.ensure_future(house.generations.run([house.ask(number)])) for number in range(9)]
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [number for number, result in enumerate(done) if isinstance(result, BaseException)] == [4]
    assert isinstance(done[4], RunFailed)
    assert house.is_empty


async def test_a_fault_of_the_engine_itself_fails_what_it_held_and_no_more() -> None:
    house = House()

    class Broken(Sample):
        def choose(self, *_: object) -> tuple[int, float]:
            raise ZeroDivisionError("as told")

    bad = house.ask(0)._replace(decoding=Broken(OutputPlan(START, STOP, 3), (0,), 1.0, 0, 1.0))
    done = await asyncio.gather(house.generations.run([bad]), return_exceptions=True)
    assert isinstance(done[0], RunFailed)
    assert house.is_empty
    assert len(await house.generations.run([house.ask(1)])) == 1


async def test_outputs_whose_starts_do_not_fit_each_other_fail_and_hold_nobody_up() -> None:
    house = House()
    # Memories of two widths in one table: nothing in it is to be trusted.
    narrow = house.ask(0)._replace(source=house.decoder.start_from(1.0, num_padded=4))
    generations = house.generations.begin([house.ask(3), narrow, house.ask(0)])
    done = await asyncio.gather(*(generation.future for generation in generations), return_exceptions=True)
    assert [type(result) for result in done] == [RunFailed] * 3
    assert house.is_empty
    assert len(await house.generations.run([house.ask(1)])) == 1


async def test_outputs_that_must_not_share_a_run_have_their_own() -> None:
    house = House(share_runs=False)
    # Greedy and sampled: a lane each.
    asked = [house.ask(number) for number in (0, 2, 3, 5)]
    together = await house.generations.run(asked)
    assert set(house.decoder.runs) == {1}
    shared = House()
    assert outputs(together) == outputs(await shared.generations.run([shared.ask(n) for n in (0, 2, 3, 5)]))
