from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ostinato.service.edge.oip.datatypes import datatype_of
from ostinato.service.edge.oip.descriptions import Descriptions
from ostinato.service.edge.oip.inference import Inference
from ostinato.service.edge.oip.messages import InferRequest, InferResponse, NamedTensor, RequestedOutput
from ostinato.service.edge.oip.sequences import SequenceSteps
from ostinato.service.errors import (
    InvalidInput,
    Overloaded,
    RunFailed,
    SeqConflict,
    SessionClosed,
    SessionExists,
    SessionExpired,
    StateStoreUnavailable,
    TooLarge,
    UnknownModel,
    UnknownSession,
)
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.session import Facts
from ostinato.service.sessions.sessions import Sessions
from ostinato.service.state.lmdb.store import LmdbStore
from tests import tensor_networks
from tests.service.edge.oip.protocol import add
from tests.service.puppet import Clock, House, until
from tests.service.puppet_generator import puppet_engine
from tests.service.state.places import SHARED, PlaceOf
from tests.waiting import PATIENCE_SECONDS

MUST_START = "must specify the START flag on the first request of the sequence"


def asked(values: Any, sequence_id: int | str = 5, *, model: str = "sum", **parameters: Any) -> InferRequest:
    array = np.array(values, np.float32)
    parameters["sequence_id"] = sequence_id
    return InferRequest(model, None, "", parameters, [NamedTensor("inputs", "FP32", array.shape, array)])


def total(response: InferResponse) -> float:
    """The last answer, which is the sum of all steps."""
    return float(response.outputs[0].data.reshape(-1)[-1])


@asynccontextmanager
async def inference(**settings: Any) -> AsyncIterator[tuple[House, Inference]]:
    house = House(**settings)
    try:
        yield house, Inference(house.catalogue, house.sessions, house.ledger)
    finally:
        house.engine.close()


@pytest.mark.parametrize(
    ("shape", "answered"),
    [((1, 3, 1), (1, 3, 1)), ((3, 1), (3, 1)), ((1, 1, 1), (1, 1, 1)), ((1, 1), (1, 1)), ((1,), (1,))],
)
async def test_an_answer_has_the_leading_axes_of_its_steps(shape: tuple[int, ...], answered: tuple[int, ...]) -> None:
    async with inference() as (_, service):
        response = await service.infer(asked(np.ones(shape), sequence_start=True))
    assert response.outputs[0].shape == response.outputs[0].data.shape == answered
    assert response.parameters == {"sequence_id": 5, "seq": 0, "steps": int(np.prod(shape))}


async def test_a_start_on_a_live_sequence_begins_anew_and_an_end_closes_it() -> None:
    async with inference() as (house, service):
        assert total(await service.infer(asked([1], sequence_start=True))) == 1
        assert total(await service.infer(asked([2]))) == 3
        assert total(await service.infer(asked([10], sequence_start=True))) == 10
        assert (await house.sessions.look("sum:5")).steps == 1
        assert total(await service.infer(asked([5], sequence_end=True))) == 15
        with pytest.raises(SessionClosed, match=MUST_START):
            await service.infer(asked([1]))
        assert total(await service.infer(asked([7], sequence_start=True, sequence_end=True))) == 7
        with pytest.raises(SessionClosed, match=MUST_START):
            await service.infer(asked([1]))


async def test_a_step_with_an_offset_is_applied_once_and_so_is_that_of_a_start() -> None:
    async with inference() as (house, service):
        await service.infer(asked([1], sequence_start=True, source="s", offset=3))
        with pytest.raises(SeqConflict) as refused:
            await service.infer(asked([2], source="s", offset=3))
        assert (refused.value.source, refused.value.offset, refused.value.expected_seq) == ("s", 3, 1)
        assert [total(await service.infer(asked([2], source="s", offset=4))) for _ in range(2)] == [3, 3]
        assert (await house.sessions.look("sum:5")).steps == 2
        with pytest.raises(InvalidInput, match="needs an offset"):
            await service.infer(asked([9], sequence_start=True, source="s"))
        assert (await house.sessions.look("sum:5")).steps == 2


async def test_an_end_without_steps_closes_alone_and_one_of_an_unknown_sequence_is_refused() -> None:
    async with inference() as (house, service):
        await service.infer(asked([1], sequence_start=True))
        response = await service.infer(asked(np.zeros((1, 0, 1)), sequence_end=True))
        assert [tensor.shape for tensor in response.outputs] == [(1, 0, 1)]
        await service.infer(asked([1], "a", sequence_start=True))
        await service.infer(asked([1], "a")._replace(inputs=[], parameters={"sequence_id": "a", "sequence_end": True}))
        assert (await house.sessions.page(None, 10, None)).sessions == []
        with pytest.raises(UnknownSession, match=MUST_START):
            await service.infer(asked(np.zeros((1, 0, 1)), 6, sequence_end=True))
        with pytest.raises(InvalidInput, match="no step in it"):
            await service.infer(asked(np.zeros((1, 0, 1)), 6, sequence_start=True, sequence_end=True))


async def test_a_step_of_a_sequence_that_was_not_started_or_expired_is_told_to_start() -> None:
    async with inference(ttl_seconds=60) as (house, service):
        with pytest.raises(UnknownSession, match=f"sequence 5 to model 'sum' {MUST_START}"):
            await service.infer(asked([1]))
        with pytest.raises(UnknownModel):
            await service.infer(asked([1], model="none"))
        await service.infer(asked([1], sequence_start=True, ttl_seconds=5))
        house.clock.now += 6
        house.sessions.expire()
        with pytest.raises(SessionExpired, match=MUST_START):
            await service.infer(asked([1]))
        await service.infer(asked([1], sequence_start=True))
        house.clock.now += 50
        assert total(await service.infer(asked([1]))) == 2


async def test_a_step_may_be_sent_again_by_its_seq_and_a_wrong_one_is_told_the_right_one() -> None:
    async with inference() as (_, service):
        for _ in range(2):
            assert total(await service.infer(asked([4], sequence_start=True, seq=0))) == 4
        for _ in range(2):
            response = await service.infer(asked([[1], [2]], seq=1))
            assert (response.parameters["seq"], response.parameters["steps"], total(response)) == (1, 3, 7)
        with pytest.raises(SeqConflict) as caught:
            await service.infer(asked([1], seq=1))
        assert caught.value.expected_seq == 3
        with pytest.raises(InvalidInput, match="has no step before"):
            await service.infer(asked([1], sequence_start=True, seq=3))


async def test_numbers_and_texts_are_different_sequences_and_each_model_has_its_own() -> None:
    ids: list[int | str] = [1, "1", "s:1", "h:1", "a b", "x" * 200, 2**64 - 1]
    async with inference() as (house, service):
        for value, sequence_id in enumerate(ids):
            await service.infer(asked([value], sequence_id, sequence_start=True))
        for value, sequence_id in enumerate(ids):
            assert total(await service.infer(asked([0], sequence_id))) == value
        names = {facts.session_id for facts in (await house.sessions.page("sum", 100, None)).sessions}
        assert {"sum:1", "sum:s:1", "sum:s:s:1", "sum:s:h:1", "sum:18446744073709551615"} < names


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"sequence_id": -1}, "-1 is no id"),
        ({"sequence_id": 2**64}, "is no id"),
        ({"sequence_id": 1.0}, "Expected `int | str`"),
        ({"sequence_id": True}, "Expected `int | str`"),
        ({"sequence_start": 1}, "Expected `bool`"),
        ({"seq": -1}, "Expected `int` >= 0"),
        ({"seq": "0"}, "Expected `int | null`"),
        ({"ttl_seconds": 60}, "given where a sequence starts"),
        ({"ttl_seconds": 1e-9, "sequence_start": True}, "at least"),
        ({"sequence": 1}, "unknown parameter 'sequence'; there are: at, first_offset, offset, return_sequences, seq"),
    ],
)
async def test_a_parameter_that_means_nothing_is_refused_and_ends_nothing(
    parameters: dict[str, Any], sentence: str
) -> None:
    async with inference() as (_, service):
        await service.infer(asked([1], sequence_start=True))
        with pytest.raises(InvalidInput, match=sentence):
            await service.infer(asked([1])._replace(parameters={"sequence_id": 5, **parameters}))
        assert (
            total(await service.infer(asked([1], priority=3, timeout=5, triton_enable_empty_final_response=True))) == 2
        )


@pytest.mark.parametrize("name", ["sequence_start", "sequence_end"])
async def test_a_start_or_an_end_needs_an_id(name: str) -> None:
    async with inference() as (_, service):
        for sequence_id in (0, ""):
            request = asked([[[1]]])._replace(parameters={"sequence_id": sequence_id, name: True})
            with pytest.raises(InvalidInput, match="needs a sequence_id"):
                await service.infer(request)
        assert total(await service.infer(asked([[[1]]], 0))) == 1, "an id of 0 is none"


@pytest.mark.parametrize(
    ("inputs", "outputs", "sentence"),
    [
        ([], (), "expected input 'inputs'"),
        ([("inputs", np.ones((1, 1, 1), np.float64))], (), "has datatype FP64; the model takes FP32"),
        ([("inputs", np.ones((1, 1, 2), np.float32))], (), "unexpected shape"),
        ([("inputs", np.ones((2, 1, 1), np.float32))], (), "steps of that one"),
        ([("inputs", np.ones((1, 1, 1, 1), np.float32))], (), "steps of that one"),
        ([("inputs", np.full((1, 2, 1), np.nan, np.float32))], (), "a value is missing"),
        ([("inputs", np.full((1, 2, 1), np.inf, np.float32))], (), "does not fit"),
        ([("inputs", np.ones(1, np.float32)), ("inputs", np.ones(1, np.float32))], (), "given twice"),
        (
            [("inputs", np.ones(1, np.float32)), ("more", np.ones(1, np.float32))],
            (),
            "unexpected inference input 'more'",
        ),
        ([("inputs", np.ones(1, np.float32))], ("none",), "unexpected inference output 'none'"),
        ([("inputs", np.ones(1, np.float32))], ("outputs", "outputs"), "asked for twice"),
        ([("inputs", np.ones(1, np.float32))], ("total_next",), "unexpected inference output"),
    ],
)
async def test_what_is_wrong_with_a_first_step_is_found_before_a_live_sequence_is_ended(
    inputs: list[tuple[str, Any]], outputs: tuple[str, ...], sentence: str
) -> None:
    tensors = [
        NamedTensor(name, {"f4": "FP32", "f8": "FP64"}[each.dtype.str[1:]], each.shape, each) for name, each in inputs
    ]
    async with inference() as (_, service):
        await service.infer(asked([1], sequence_start=True))
        request = InferRequest(
            "sum",
            None,
            "",
            {"sequence_id": 5, "sequence_start": True},
            tensors,
            [RequestedOutput(name) for name in outputs],
        )
        with pytest.raises(InvalidInput, match=sentence):
            await service.infer(request)
        assert total(await service.infer(asked([1]))) == 2


async def test_the_place_of_a_value_is_named_in_the_shape_that_was_sent() -> None:
    values = np.ones((1, 3, 1))
    values[0, 2, 0] = np.nan
    async with inference() as (_, service):
        for shaped, place in ((values, "inputs[0][2][0]"), (values[0], "inputs[2][0]"), (values[0, 2], "inputs[0]")):
            with pytest.raises(InvalidInput) as caught:
                await service.infer(asked(shaped, sequence_start=True))
            assert caught.value.field == place


async def test_a_session_of_another_model_under_the_name_is_left_alone() -> None:
    async with inference() as (house, service):
        house.catalogue.add(puppet_engine())
        await house.sessions.open("sum", session_id="other:5")
        add_other(house)
        for parameters in ({"sequence_start": True}, {}, {"sequence_end": True}):
            with pytest.raises(SessionExists, match="'other:5', which is this sequence's name, is of model 'sum'"):
                await service.infer(asked([1], model="other", **parameters))
        assert (await house.sessions.look("other:5")).steps == 0
        with pytest.raises(InvalidInput, match="encoder-decoder and has no steps"):
            await service.infer(asked([1], model="puppet"))


def add_other(house: House) -> None:
    """Have the house's network served as model ``other``, too."""
    manifest = house.engine.manifest.model_copy(update={"name": "other"})
    other = type(house.engine)(
        manifest, house.runner, house.ledger, house.settings, house.engine.metrics, max_resident=10
    )
    house.store.attach(other.arena)
    house.catalogue.add(other)


async def test_a_session_of_another_model_that_comes_while_a_sequence_starts_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with inference() as (house, service):
        add_other(house)
        look = house.sessions.look

        async def look_before_it_comes(session_id: str) -> Facts:
            monkeypatch.setattr(house.sessions, "look", look)
            try:
                return await look(session_id)
            finally:
                await house.sessions.open("sum", session_id="other:5")

        monkeypatch.setattr(house.sessions, "look", look_before_it_comes)
        with pytest.raises(SessionExists, match="is of model 'sum'"):
            await service.infer(asked([1], model="other", sequence_start=True))
        assert (await look("other:5")).model == "sum"


async def test_a_start_whose_step_fails_leaves_no_sequence_behind() -> None:
    async with inference() as (house, service):
        house.runner.fails = lambda _: True
        with pytest.raises(RunFailed):
            await service.infer(asked([1], sequence_start=True))
        house.runner.fails = lambda _: False
        with pytest.raises(UnknownSession, match=MUST_START):
            await service.infer(asked([1]))
        assert total(await service.infer(asked([2], sequence_start=True))) == 2


async def test_a_start_whose_caller_has_gone_leaves_no_sequence_that_could_go_on() -> None:
    async with inference(in_thread=True) as (house, service):
        house.runner.gate.clear()
        starting = asyncio.ensure_future(service.infer(asked([1], sequence_start=True)))
        await until(lambda: house.runner.is_held)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        house.runner.gate.set()

        async def is_gone() -> bool:
            return not (await house.sessions.page(None, 10, None)).sessions

        while not await is_gone():
            await asyncio.sleep(0)
        with pytest.raises(SessionClosed, match=MUST_START):
            await service.infer(asked([1]))


async def test_an_end_whose_caller_goes_after_its_step_closes_the_sequence() -> None:
    async with inference() as (house, service):
        await service.infer(asked([1], sequence_start=True))
        session = house.sessions.use("sum:5")
        assert session is not None
        async with house.sessions.alone(session):
            behind = asyncio.ensure_future(service.infer(asked([1], sequence_end=True)))
            await asyncio.sleep(0)
            # Who holds the session when its END has been applied, and so has the close wait.
            holding = house.sessions.alone(session)
            held = asyncio.ensure_future(holding.__aenter__())
            await asyncio.sleep(0)
        await held
        behind.cancel()
        await asyncio.gather(behind, return_exceptions=True)
        await holding.__aexit__(None, None, None)
        await until(lambda: house.sessions.use("sum:5") is None)


async def test_many_starts_of_one_sequence_at_once_are_one_after_the_other() -> None:
    async with inference() as (house, service):
        starts = [service.infer(asked([number], sequence_start=True)) for number in range(8)]
        responses = await asyncio.gather(*starts, service.infer(asked([100], sequence_start=True, sequence_end=True)))
        assert [total(response) for response in responses] == [*range(8), 100]
        assert (await house.sessions.page(None, 10, None)).sessions == []
        assert f"{service.sequences._locks._locks}" == "{}", "nothing is kept of sequences that are not under way"


async def test_steps_that_race_with_a_start_are_of_one_of_the_two_sequences() -> None:
    async with inference() as (_, service):
        await service.infer(asked([1000], sequence_start=True))
        results = await asyncio.gather(
            *(service.infer(asked([1])) for _ in range(3)),
            service.infer(asked([500], sequence_start=True)),
            *(service.infer(asked([1])) for _ in range(3)),
            return_exceptions=True,
        )
        totals = [total(each) for each in results if isinstance(each, InferResponse)]
        assert all(isinstance(each, InferResponse | SessionClosed) for each in results)
        old, new = [each for each in totals if each >= 1000], [each for each in totals if each < 1000]
        assert old == [1001.0 + number for number in range(len(old))]
        assert new == [500.0 + number for number in range(len(new))]


async def test_what_is_too_much_is_refused_and_changes_nothing() -> None:
    async with inference(max_queue_rows=1, max_chunk_steps=4, in_thread=True) as (house, service):
        await service.infer(asked([1], sequence_start=True))
        with pytest.raises(TooLarge, match="inputs has 5 steps; the most is 4"):
            await service.infer(asked(np.ones((1, 5, 1)), sequence_start=True))
        house.runner.gate.clear()
        held = asyncio.ensure_future(service.infer(asked([1])))
        await until(lambda: house.runner.is_held)
        with pytest.raises(Overloaded):
            await service.infer(asked([1], sequence_start=True))
        house.runner.gate.set()
        assert total(await held) == 2
        assert total(await service.infer(asked([1]))) == 3


async def test_a_sequence_goes_on_in_another_process_and_begins_anew_there(tmp_path: Path) -> None:
    houses = [
        House(store=LmdbStore(tmp_path, tombstone_seconds=10, memory_budget=1e6, clock=Clock())) for _ in range(2)
    ]
    services = [Inference(house.catalogue, house.sessions, house.ledger) for house in houses]
    assert total(await services[0].infer(asked([1], sequence_start=True))) == 1
    assert total(await services[1].infer(asked([2]))) == 3
    for house in houses:
        house.clock.now += 1
    assert total(await services[1].infer(asked([10], sequence_start=True))) == 10
    for house in houses:
        house.clock.now += 1
    assert total(await services[0].infer(asked([5]))) == 15
    assert total(await services[1].infer(asked([1], sequence_end=True))) == 16
    with pytest.raises(SessionClosed, match=MUST_START):
        await services[0].infer(asked([1]))
    for house in houses:
        await house.store.stop()


async def until_held(house: House) -> None:
    """Wait until the graph is about to run, whatever the store waits for first."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not house.runner.is_held:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("name", SHARED)
async def test_a_sequence_is_there_with_its_first_step_and_not_before(name: str, place_of: PlaceOf) -> None:
    place = place_of(name)
    houses = [House(store=place(memory_budget=1e6), in_thread=True) for _ in range(2)]
    services = [Inference(house.catalogue, house.sessions, house.ledger) for house in houses]
    for began_before in (False, True):
        if began_before:
            assert total(await services[1].infer(asked([1000], sequence_start=True))) == 1000
        for house in houses:
            house.clock.now += 1
        houses[0].runner.gate.clear()
        starting = asyncio.ensure_future(services[0].infer(asked([10], sequence_start=True)))
        await until_held(houses[0])
        with pytest.raises((SessionClosed, UnknownSession), match=MUST_START):
            await services[1].infer(asked([1]))
        houses[0].runner.gate.set()
        assert total(await starting) == 10
        assert total(await services[1].infer(asked([1]))) == 11
    for house in houses:
        house.engine.close()


@pytest.mark.parametrize("name", SHARED)
async def test_of_two_processes_that_start_a_sequence_both_begin_it_anew(name: str, place_of: PlaceOf) -> None:
    place = place_of(name)
    houses = [House(store=place(memory_budget=1e6), in_thread=True) for _ in range(2)]
    services = [Inference(house.catalogue, house.sessions, house.ledger) for house in houses]
    houses[0].runner.gate.clear()
    starting = asyncio.ensure_future(services[0].infer(asked([10], sequence_start=True)))
    await until_held(houses[0])
    for house in houses:
        house.clock.now += 1
    assert total(await services[1].infer(asked([500], sequence_start=True))) == 500
    for house in houses:
        house.clock.now += 1
    houses[0].runner.gate.set()
    response = await starting
    assert (total(response), response.parameters["steps"]) == (10, 1)
    assert total(await services[1].infer(asked([1]))) == 11
    for house in houses:
        house.engine.close()


UNIT = 256
"""The k-th START sends k of them, and steps send 1: an answer tells of which START it is, and which step of it."""


@pytest.mark.parametrize("name", ["lmdb", "redis"])
async def test_whatever_races_each_answer_is_of_one_start_and_its_steps_are_applied_once(
    name: str, place_of: PlaceOf
) -> None:
    place = place_of(name)
    houses = [House(store=place(memory_budget=1e6)) for _ in range(2)]
    services = [Inference(house.catalogue, house.sessions, house.ledger) for house in houses]
    ticks = itertools.count(1_000_000)
    for house in houses:
        house.clock.now = next(ticks)
    numbers = itertools.count(1)
    answered: list[tuple[int, int]] = []
    chance = random.Random(18)

    async def client() -> None:
        for _ in range(40):
            number = next(numbers) if chance.random() < 0.25 else 0
            request = asked([UNIT * number or 1], sequence_start=bool(number), sequence_end=chance.random() < 0.1)
            for house in houses:
                house.clock.now = next(ticks)
            asking = asyncio.ensure_future(chance.choice(services).infer(request))
            if chance.random() < 0.1:
                await asyncio.sleep(0)
                asking.cancel()
            try:
                response = await asking
            except (UnknownSession, SessionClosed):
                assert not number, "a START is never refused as a step"
            except asyncio.CancelledError:
                continue
            else:
                start, place_in_it = divmod(int(total(response)), UNIT)
                assert response.parameters["seq"] == place_in_it
                assert not number or (start, place_in_it) == (number, 0)
                answered.append((start, place_in_it))

    await asyncio.gather(*(client() for _ in range(4)))
    assert len(answered) == len(set(answered)) > 40
    assert all(start for start, _ in answered)


@pytest.mark.parametrize("name", SHARED)
async def test_an_end_closes_the_sequence_that_it_stepped_and_none_that_was_started_since(
    name: str, place_of: PlaceOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = place_of(name)
    houses = [House(store=place(memory_budget=1e6)) for _ in range(2)]
    services = [Inference(house.catalogue, house.sessions, house.ledger) for house in houses]
    assert total(await services[0].infer(asked([1], sequence_start=True))) == 1
    begin = SequenceSteps.begin
    is_first = True

    def begin_and_lose(*arguments: Any) -> asyncio.Future[StepAnswer]:
        """The answer to the END comes when the other process has started the sequence anew."""
        nonlocal is_first
        answering = begin(*arguments)
        if not is_first:
            return answering
        is_first = False

        async def answer_late() -> StepAnswer:
            answer = await answering
            for house in houses:
                house.clock.now += 1
            assert total(await services[1].infer(asked([100], sequence_start=True))) == 100
            for house in houses:
                house.clock.now += 1
            return answer

        return asyncio.ensure_future(answer_late())

    monkeypatch.setattr(SequenceSteps, "begin", begin_and_lose)
    assert total(await services[0].infer(asked([2], sequence_end=True))) == 3
    assert total(await services[1].infer(asked([5]))) == 105


@pytest.mark.parametrize("starts", [False, True])
async def test_a_store_that_fails_behind_the_last_step_does_not_take_back_that_step(
    starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inference() as (house, service):
        await service.infer(asked([1], sequence_start=True))
        seq = 0 if starts else 1
        request = asked([5], sequence_start=starts, sequence_end=True, seq=seq)
        with monkeypatch.context() as patch:
            # What has a START end first may end; what fails is the end behind its step.
            fail_after(patch, "close_opened", 1 if starts else 0)
            with pytest.raises(StateStoreUnavailable) as refused:
                await service.infer(request)
        assert str(refused.value).startswith("the step was applied, and its sequence continues until this is retried")
        assert "nothing was applied" not in str(refused.value)
        assert (await house.sessions.look("sum:5")).steps == (1 if starts else 2)
        assert total(await service.infer(request)) == (5 if starts else 6)
        with pytest.raises(SessionClosed, match=MUST_START):
            await service.infer(asked([1]))


async def test_a_store_that_fails_in_a_start_tells_whether_what_was_live_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with inference() as (house, service):
        with monkeypatch.context() as patch:
            fail_after(patch, "begin", 0)
            with pytest.raises(StateStoreUnavailable, match=r"^the store is away; nothing was applied$"):
                await service.infer(asked([1], sequence_start=True))
        await service.infer(asked([1], sequence_start=True))
        with monkeypatch.context() as patch:
            fail_after(patch, "close_opened", 0)
            with pytest.raises(StateStoreUnavailable, match=r"^the store is away; nothing was applied$"):
                await service.infer(asked([5], sequence_start=True))
        assert (await house.sessions.look("sum:5")).steps == 1
        with monkeypatch.context() as patch:
            fail_after(patch, "begin", 0)
            with pytest.raises(StateStoreUnavailable, match=r"^what was live of the sequence was ended .* is away$"):
                await service.infer(asked([5], sequence_start=True))
        with pytest.raises(SessionClosed, match=MUST_START):
            await service.infer(asked([1]))


def fail_after(patch: pytest.MonkeyPatch, name: str, count: int) -> None:
    """Have that method of all sessions work so often, and then find no store."""
    method, calls = getattr(Sessions, name), itertools.count()

    async def failing(*arguments: Any) -> Any:
        if next(calls) >= count:
            raise StateStoreUnavailable("the store is away; nothing was applied")
        return await method(*arguments)

    patch.setattr(Sessions, name, failing)


async def test_frames_are_answered_as_they_are_complete_and_their_steps_are_told() -> None:
    async with inference(hop=3) as (house, service):
        first = await service.infer(asked(np.ones((1, 2, 1)), sequence_start=True))
        assert first.outputs[0].shape == (1, 0, 1)
        second = await service.infer(asked(np.ones((1, 8, 1))))
        assert second.outputs[0].data.tolist() == [[[3], [6], [9]]]
        assert second.parameters["output_steps"] == "[3,6,9]"
        last = await service.infer(asked(np.ones((1, 5, 1)), return_sequences=False))
        assert (last.outputs[0].data.tolist(), last.parameters["output_steps"]) == ([[[15]]], "[15]")
        assert Descriptions(house.catalogue, house.metrics).model("sum")["outputs"][0]["shape"] == [-1, -1, 1]


async def test_what_an_output_with_a_delay_speaks_of_is_told(tmp_path: Path) -> None:
    network = tensor_networks.panel()
    late = {"level": 2, "kind": 1}
    outputs = tuple(part.model_copy(update={"delay": late.get(part.name, 0)}) for part in network.manifest["outputs"])
    manifest = {**network.manifest, "outputs": outputs, "feedback": {}}
    inputs = {"load": np.ones((1, 3, 2), np.float32), "weekday": np.ones((1, 3), np.int64)}
    context = {"customer": np.ones((1, 3), np.float32), "region": np.ones(1, np.int64)}
    async with inference() as (house, service):
        add(house, dataclasses.replace(network, manifest=manifest).write(tmp_path))

        def steps(**given: Any) -> InferRequest:
            tensors = [NamedTensor(name, datatype_of(each.dtype), each.shape, each) for name, each in given.items()]
            return InferRequest("panel", None, "", {"sequence_id": 5, "sequence_start": "region" in given}, tensors)

        first = await service.infer(steps(**inputs, **context))
        assert json.loads(str(first.parameters["speaks_of"])) == {"level": -2, "kind": -1}
        second = await service.infer(steps(**inputs))
        assert json.loads(str(second.parameters["speaks_of"])) == {"level": 1, "kind": 2}


@pytest.mark.parametrize(
    ("tensors", "outputs", "sentence"),
    [
        ({"region": np.ones(1, np.int64)}, [], "'region' for model 'panel'; that is context, and goes with sequence_s"),
        ({"h": np.ones((1, 1, 8), np.float32)}, [], "'h' for model 'panel'; that goes with whole sequences, without a"),
        ({"lengths": np.ones(1, np.int64)}, [], "'lengths' for model 'panel'; that goes with whole sequences"),
        ({}, ["c_n"], "output 'c_n' for model 'panel'; that goes with whole sequences"),
        ({"other": np.ones(1, np.int64)}, [], "'other' for model 'panel'; it has load, weekday"),
    ],
)
async def test_a_tensor_that_is_for_another_request_is_told_which(
    tensors: dict[str, Any], outputs: list[str], sentence: str, tmp_path: Path
) -> None:
    given = {"load": np.ones((1, 1, 2), np.float32), "weekday": np.ones((1, 1), np.int64)}
    context = {"customer": np.ones((1, 3), np.float32), "region": np.ones(1, np.int64)}
    async with inference() as (house, service):
        add(house, tensor_networks.panel().write(tmp_path))
        asking: list[tuple[bool, dict[str, Any]]] = [(True, given | context), (False, given | tensors)]
        for start, named in asking:
            parts = [NamedTensor(name, datatype_of(each.dtype), each.shape, each) for name, each in named.items()]
            request = InferRequest("panel", None, "", {"sequence_id": 5, "sequence_start": start}, parts)
            if start:
                await service.infer(request)
        with pytest.raises(InvalidInput) as refused:
            await service.infer(request._replace(outputs=[RequestedOutput(name, {}) for name in outputs]))
        assert sentence in str(refused.value)


async def test_a_model_without_steps_says_to_leave_the_id_out() -> None:
    async with inference() as (house, service):
        house.catalogue.add(puppet_engine())
        for start in (True, False):
            with pytest.raises(InvalidInput, match="leave sequence_id out"):
                await service.infer(asked([1], model="puppet", sequence_start=start))
