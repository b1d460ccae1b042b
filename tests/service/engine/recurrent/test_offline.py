from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from ostinato.service.artifact.manifest import ANY, Promise
from ostinato.service.catalogue.promise_checks import FIXED, TWO_ROWS
from ostinato.service.catalogue.recurrent_checks import LoadedModel, load_model
from ostinato.service.config import Settings
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.engine.recurrent.offline import run_offline
from ostinato.service.engine.recurrent.runner import Runner
from ostinato.service.inference.forecasting import Wanted, look_ahead
from ostinato.service.inference.prediction import predict
from ostinato.service.metrics.series import ModelMetrics
from ostinato.service.sessions.rows import Columns, step_columns
from tests import networks
from tests.networks import Network
from tests.rounding_networks import convolution, head, planted, tanh_rnn
from tests.service.puppet import House

Array = NDArray[Any]

NETWORKS: dict[str, Callable[[], Network]] = {
    "tanh-RNN": tanh_rnn,
    "softplus": lambda: head("softplus"),
    "log": lambda: head("log"),
    "mean of squares": lambda: head("mean of squares"),
    "batch norm": lambda: head("batch norm"),
    "convolution over steps": convolution,
    **{
        f"planted by {what}": lambda what=what: planted(what)  # type: ignore[misc]
        for what in ("batch of one", "batch", "steps", "place")
    },
    "many steps, one answer": networks.token_counter,
}


@pytest.fixture(scope="module", params=sorted(NETWORKS))
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model as it is loaded, with the promise that was found."""
    network = NETWORKS[request.param]()
    golden = draw(network.manifest["inputs"][0], np.random.default_rng(0), 3, 12)
    return load_model(network.write(tmp_path_factory.mktemp("models"), golden), Settings())


def draw(part: Any, generator: np.random.Generator, num_rows: int, num_steps: int) -> Array:
    """Sequences ``[B, T, F]``."""
    shape = (num_rows, num_steps, part.num_features)
    if part.dtype == "int64":
        return generator.integers(7, size=shape)
    return (generator.normal(size=shape) * 3).astype(part.dtype)


class ShapesOf:
    """The shapes ``(B, T)`` in which a runner's graph is bound from now on."""

    def __init__(self, runner: Runner) -> None:
        self.runs: set[tuple[int, int]] = set()
        bindings = runner.graph.binding
        fresh = runner.promising(runner.promise)  # binds anew what the checks have bound
        runner.__dict__.update(fresh.__dict__)

        def binding() -> Any:
            real = bindings()
            bind = real.bind_input

            def bind_input(name: str, *rest: Any) -> None:
                if name == "inputs":
                    self.runs.add((rest[3][0], rest[3][1]))
                bind(name, *rest)

            real.bind_input = bind_input
            return real

        runner.graph.binding = binding  # type: ignore[method-assign]


def engine_in(house: House, loaded: LoadedModel) -> Engine:
    manifest = loaded.manifest
    metrics = ModelMetrics(house.metrics, manifest.name, manifest.version)
    engine = Engine(manifest, loaded.runner, house.ledger, house.settings, metrics, max_resident=100)
    house.store.attach(engine.arena)
    house.catalogue.add(engine)
    return engine


@pytest.mark.parametrize("seed", [1, 2])
async def test_live_sessions_and_predict_equal_the_offline_run_whatever_shares_their_batch_and_however_they_are_cut(
    seed: int, loaded: LoadedModel
) -> None:
    generator = np.random.default_rng(seed)
    house, num_sessions, num_steps = House(), 20, 24
    engine = engine_in(house, loaded)
    sequences = draw(loaded.manifest.inputs[0], generator, num_sessions, num_steps)
    answered: list[list[Array]] = [[] for _ in range(num_sessions)]

    async def live(number: int) -> None:
        session = await house.sessions.open(loaded.manifest.name, session_id=str(number))
        done = 0
        while done < num_steps:
            length = int(generator.choice([1, 1, 1, 2, 3, 7]))
            answer = await house.ledger.step(session, sequences[number, done : done + length], done)
            answered[number].append(answer.outputs[-1])
            done += length
            for _ in range(int(generator.integers(4))):
                await asyncio.sleep(0)  # so that others are in its next run

    async def whole() -> list[Array]:
        made = await predict(engine, list(sequences), [None] * num_sessions, with_states=True)
        return [each.outputs for each in made]

    # One after the other alone, all at once, and sequences among them.
    await live(0)
    _, predicted = await asyncio.gather(asyncio.gather(*map(live, range(1, num_sessions))), whole())
    for number in range(num_sessions):
        expected, _ = run_offline(loaded.runner, sequences[number : number + 1])
        assert answered[number][-1].tobytes() == expected[0, -1].tobytes(), f"{seed=}, session {number}"
        assert predicted[number].tobytes() == expected[0].tobytes(), f"{seed=}, sequence {number}"


async def test_every_answer_of_a_session_is_the_offline_run_of_what_it_had_till_then(loaded: LoadedModel) -> None:
    house = House()
    engine_in(house, loaded)
    (sequence,) = draw(loaded.manifest.inputs[0], np.random.default_rng(5), 1, 9)
    session = await house.sessions.open(loaded.manifest.name, session_id="one")
    for step in range(9):
        answer = await house.ledger.step(session, sequence[step : step + 1], step)
        expected, _ = run_offline(loaded.runner, sequence[None, : step + 1])
        assert answer.outputs[-1].tobytes() == expected[0, -1].tobytes(), step


async def test_a_message_of_more_sessions_than_a_run_takes_equals_their_offline_runs(loaded: LoadedModel) -> None:
    house, num_sessions = House(), 90
    engine = engine_in(house, loaded)
    sequences = draw(loaded.manifest.inputs[0], np.random.default_rng(6), num_sessions, 3)
    names = [str(number) for number in range(num_sessions)]
    for name in names:
        await house.sessions.open(loaded.manifest.name, session_id=name)
    for step in range(3):
        columns = Columns.of(names, sequences[:, step], np.full(num_sessions, step), {})
        answers = await step_columns(house.sessions, house.ledger, engine, columns)
        assert not answers.errors
    expected, _ = run_offline(loaded.runner, sequences)
    assert answers.outputs.tobytes() == np.ascontiguousarray(expected[:, -1]).tobytes()


async def test_a_forecast_equals_the_offline_run_of_what_it_fed_back(tmp_path: Path) -> None:
    loaded = load_model(planted("batch").write(tmp_path, np.arange(12, dtype=np.float32).reshape(1, 12, 1)), Settings())
    house = House()
    engine_in(house, loaded)
    session = await house.sessions.open(loaded.manifest.name, session_id="one")
    first = np.array([[1.0], [2.0]], np.float32)
    await house.ledger.step(session, first, 0)
    made = (await look_ahead(house.sessions, session, 4, {}, Wanted())).outputs
    fed = np.concatenate([first, made[:-1]])
    expected, _ = run_offline(loaded.runner, fed[None])
    assert made.tobytes() == expected[0, 1:].tobytes()


@pytest.mark.parametrize(
    ("what", "promise", "shapes"),
    [
        ("steps", ANY, {(1, 12)}),
        ("batch of one", TWO_ROWS, {(2, 12)}),
        ("batch", FIXED, {(64, 1)}),
        ("place", Promise(holds="alone", steps=1), {(1, 1)}),
    ],
)
def test_the_graph_is_run_in_the_shape_that_is_promised(
    what: str, promise: Promise, shapes: set[tuple[int, int]], tmp_path: Path
) -> None:
    inputs = np.arange(24, dtype=np.float32).reshape(2, 12, 1)
    network = planted(what) if what != "steps" else networks.accumulator()
    runner = load_model(network.write(tmp_path, inputs), Settings()).runner
    assert runner.promise == promise
    shape_of = ShapesOf(runner)
    report: list[tuple[int, int]] = []
    run_offline(runner, inputs, lambda done, total: report.append((done, total)))
    assert report[-1] == (24, 24)
    assert shape_of.runs == shapes


def test_the_steps_before_one_without_an_answer_have_theirs_as_in_a_session(tmp_path: Path) -> None:
    # As the exporter's guard does: NaN anywhere in a run is NaN in what the run begins with.
    network = networks.accumulator()
    nodes = network.model.graph.node
    next(node for node in nodes if node.op_type == "Add" and "total3" in node.input).input[1] = "begun"
    nodes.extend(
        [
            helper.make_node("Log", ["inputs"], ["logs"]),
            helper.make_node("Clip", ["logs", "nothing", "nothing"], ["marks"]),
            helper.make_node("ReduceSum", ["marks", "one"], ["mark"], keepdims=1),
            helper.make_node("Add", ["total3", "mark"], ["begun"]),
        ]
    )
    network.model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "nothing"))
    golden = np.abs(draw(network.manifest["inputs"][0], np.random.default_rng(0), 3, 12)) + 1
    runner = load_model(network.write(tmp_path, golden), Settings()).runner
    inputs = np.array([[[3.0], [4.0], [-1.0], [5.0]], [[1.0], [1.0], [1.0], [1.0]]], np.float32)
    outputs, _ = run_offline(runner, inputs)
    assert outputs[:, :2, 0].tolist() == [[3.0, 7.0], [1.0, 2.0]]
    assert np.isnan(outputs[0, 2]).all()
    assert outputs[1, :, 0].tolist() == [1.0, 2.0, 3.0, 4.0]
