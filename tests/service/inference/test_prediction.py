from __future__ import annotations

import asyncio

import numpy as np
import pytest

from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import Input, Output
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import InvalidInput, RunFailed, TooLarge
from ostinato.service.inference.forecasting import Wanted, look_ahead
from ostinato.service.inference.prediction import ForecastPlan, predict
from ostinato.service.metrics.series import ModelMetrics
from tests.service.puppet import MANIFEST, House, PuppetRunner, column

WEATHER = MANIFEST.model_copy(
    update={
        "inputs": (
            Input(
                name="inputs",
                dtype="float32",
                shape=("B", "T", 3),
                features=("x", "wind", "rain"),
                missing=True,
                categories={"rain": ("no", "yes")},
            ),
        ),
        "outputs": (Output(name="outputs", dtype="float32", shape=("B", "T", 1), features=("total",)),),
    }
)


@pytest.mark.parametrize(
    ("framing", "lengths"),
    [("2:2", {2, 4, 6, 8}), ("2:2:full", {2, 4, 6, 8}), ("2:3:full", {3, 6}), ("2:1:full", set())],
)
async def test_a_sequence_has_a_state_behind_it_where_a_frame_begins(framing: str, lengths: set[int]) -> None:
    house = House()
    members = {**MANIFEST.model_dump(), "name": "framed", "feedback": {}}
    members["framing"] = Framing.parse(framing).model_dump() | {"many": True}
    metrics = ModelMetrics(house.metrics, "framed", "1")
    manifest, runner = Manifest.model_validate(members), PuppetRunner(hop=2)
    engine = Engine(manifest, runner, house.ledger, house.settings, metrics, max_resident=1)
    values = column(*range(1, 15))
    ((whole, _),) = await predict(engine, [values], [None])
    for length in range(1, 9):
        if length not in lengths:
            with pytest.raises(InvalidInput, match=f"after its {length} steps no frame begins .* use a session"):
                await predict(engine, [values[:length]], [None], with_states=True)
            continue
        ((begun, states),) = await predict(engine, [values[:length]], [None], with_states=True)
        ((rest, _),) = await predict(engine, [values[length:]], [states])
        assert np.concatenate([begun, rest]).tolist() == whole.tolist()


async def test_mixed_lengths_equal_one_by_one_runs_and_compute_no_padding() -> None:
    house = House()
    sequences = [column(*[float(length)] * length) for length in (3, 17, 1, 9, 9)]
    together = await predict(house.engine, sequences, [None] * 5, with_states=True)
    assert sum(len(slots) * steps for slots, steps in house.runner.iterations) == 3 + 17 + 1 + 9 + 9
    for sequence, made in zip(sequences, together, strict=True):
        (alone,) = await predict(house.engine, [sequence], [None])
        np.testing.assert_array_equal(made.outputs, alone.outputs)
        np.testing.assert_array_equal(made.states[0], np.array([sequence.sum()]))
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 0)


async def test_a_sequence_may_start_from_a_given_state() -> None:
    house = House()
    made = await predict(house.engine, [column(1), column(1)], [[np.array([10.0], np.float32)], None])
    assert [float(each.outputs[0, 0]) for each in made] == [11, 1]


async def test_a_sequence_that_fails_fails_the_request_and_frees_every_slot() -> None:
    house = House()
    with pytest.raises(RunFailed):
        await predict(house.engine, [column(1), column(np.inf), column(*[1.0] * 30)], [None] * 3)
    for _ in range(20):  # until the long one has been dropped, too
        await asyncio.sleep(0)
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 0)


async def test_a_request_that_is_cancelled_frees_every_slot() -> None:
    house = House()
    task = asyncio.ensure_future(predict(house.engine, [column(*[1.0] * 30)] * 12, [None] * 12))
    while not house.runner.iterations:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    ran = len(house.runner.iterations)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 0)
    assert len(house.runner.iterations) <= ran + 1  # nobody waits for the rest, so it is not computed


async def test_a_forecast_feeds_itself_and_leaves_the_session_as_it_was() -> None:
    house = House()
    session = await house.sessions.open("sum")
    await house.ledger.step(session, column(1, 2))
    # The total so far is 3; each further step adds the total before it: 3, 3 + 3, 6 + 6, ...
    outlook = await look_ahead(house.sessions, session, 5, {}, Wanted())
    assert outlook.at is None
    assert outlook.outputs[:, 0].tolist() == [3, 6, 12, 24, 48]
    answer = await house.ledger.step(session, column(1), seq=2)
    assert answer.outputs.tolist() == [[4]]
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 1)


async def test_a_forecast_waits_for_the_chunks_before_it() -> None:
    house = House()
    session = await house.sessions.open("sum")
    step = asyncio.ensure_future(house.ledger.step(session, column(*[1.0] * 9)))
    await asyncio.sleep(0)
    assert (await look_ahead(house.sessions, session, 1, {}, Wanted())).outputs.tolist() == [[9]]
    await step


async def test_a_cancelled_forecast_frees_its_slot_and_its_session() -> None:
    house = House()
    session = await house.sessions.open("sum")
    await house.ledger.step(session, column(1))
    task = asyncio.ensure_future(look_ahead(house.sessions, session, 50, {}, Wanted()))
    for _ in range(6):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for _ in range(5):
        await asyncio.sleep(0)
    assert (house.engine.num_rows, house.engine.arena.num_used) == (0, 1)
    await house.ledger.step(session, column(1))


async def test_a_forecast_needs_a_step_and_a_horizon_within_the_limit() -> None:
    house = House(max_horizon=5)
    session = await house.sessions.open("sum")
    with pytest.raises(InvalidInput, match="no step yet"):
        await look_ahead(house.sessions, session, 1, {}, Wanted())
    with pytest.raises(TooLarge, match="a horizon of 6 steps; the most is 5"):
        await look_ahead(house.sessions, session, 6, {}, Wanted())


class TestForecastPlan:
    def test_what_is_known_is_filled_in_and_the_rest_is_missing(self) -> None:
        rows = ForecastPlan(WEATHER).inputs(3, {"rain": [1, None, 0]})
        np.testing.assert_array_equal(rows, [[np.nan, np.nan, 1], [np.nan, np.nan, np.nan]])

    def test_words_of_the_future_are_codes(self) -> None:
        rows = ForecastPlan(WEATHER).inputs(4, {"rain": ["yes", None, "no"]})
        np.testing.assert_array_equal(rows[:, 2], [1, np.nan, 0])

    def test_the_value_of_the_last_step_may_be_left_out(self) -> None:
        rows = ForecastPlan(WEATHER).inputs(3, {"wind": [1, 2]})
        np.testing.assert_array_equal(rows[:, 1], [1, 2])

    @pytest.mark.parametrize(
        ("known_future", "message", "field"),
        [
            ({"snow": [1, 2, 3]}, "'snow' is not an input .* there are: wind, rain", "known_future"),
            ({"x": [1, 2, 3]}, "'x' is not an input that the future may be known of", "known_future"),
            ({"wind": [1]}, "1 values for a horizon of 3", "known_future.wind"),
            ({"wind": [1, 1e39]}, "does not fit float32", "known_future.wind[1]"),
            ({"rain": [1, 2]}, "2 is no code of 'rain'", "known_future.rain[1]"),
            ({"rain": ["yes", "hail"]}, "'hail' is no word of 'rain'; it has no, yes", "known_future.rain[1]"),
            ({"wind": [1, "no"]}, "got `str`", "known_future.wind[1]"),
        ],
    )
    def test_what_does_not_fit_is_refused_by_name(
        self, known_future: dict[str, list[float | str | None]], message: str, field: str
    ) -> None:
        with pytest.raises(InvalidInput, match=message) as refusal:
            ForecastPlan(WEATHER).inputs(3, known_future)
        assert refusal.value.field == field

    def test_a_model_without_missing_values_needs_the_whole_future(self) -> None:
        strict = without_missing(WEATHER)
        with pytest.raises(InvalidInput, match="needs the future of rain"):
            ForecastPlan(strict).inputs(3, {"wind": [1, 2]})
        with pytest.raises(InvalidInput, match="a value is missing") as refusal:
            ForecastPlan(strict).inputs(3, {"wind": [1, None], "rain": [1, 0]})
        assert refusal.value.field == "known_future.wind[1]"
        assert ForecastPlan(strict).inputs(1, {}).shape == (0, 3)

    def test_a_model_that_predicts_none_of_its_inputs_cannot(self) -> None:
        with pytest.raises(InvalidInput, match="cannot forecast"):
            ForecastPlan(MANIFEST.model_copy(update={"feedback": {}}))


def without_missing(manifest: Manifest) -> Manifest:
    return manifest.model_copy(update={"inputs": (manifest.inputs[0].model_copy(update={"missing": False}),)})
