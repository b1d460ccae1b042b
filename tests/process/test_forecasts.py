"""Forecasts with intervals, quantiles and sample paths at a real server, beside plain Python."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import httpx2
import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import ipc

from ostinato.client.async_client import AsyncClient
from ostinato.client.client import Client
from ostinato.client.forecasts import Forecast, forecast_of
from ostinato.errors import InputError, RowsFailed, ServiceError
from tests import forecast_networks
from tests.forecast_networks import FEATURES, drawn_steps, offline
from tests.networks import Array
from tests.server import ServerProcess, running_server

ARROW = "application/vnd.apache.arrow.stream"
STEPS = drawn_steps(11, 20)


class Models:
    """A server with a model of each kind, and the folders of their versions."""

    def __init__(self, server: ServerProcess, repository: Path) -> None:
        self.server = server
        self.repository = repository

    def answers(self, kind: str) -> Array:
        """What the model answers to the steps."""
        return offline(self.repository / kind / "1", STEPS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    home = tmp_path_factory.mktemp("forecasts")
    repository = home / "repository"
    for kind in FEATURES:
        forecast_networks.write(repository, kind, name=kind)
    calibration = forecast_networks.calibration(lags=False)
    forecast_networks.write(repository, "quantiles", name="corrected", calibration=calibration)
    with running_server(repository, home) as server:
        yield Models(server, repository)


@pytest.fixture
def http(models: Models) -> Iterator[httpx2.Client]:
    with models.server.client() as client:
        yield client


def forecast(http: httpx2.Client, kind: str, **body: Any) -> dict[str, Any]:
    """A forecast of a session that has taken the steps."""
    answer = ask(http, kind, **body)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def ask(http: httpx2.Client, kind: str, **body: Any) -> httpx2.Response:
    opened = http.post(f"/v1/models/{kind}/sessions", json={}).raise_for_status().json()
    inputs = [[None if np.isnan(value) else float(value) for value in row] for row in STEPS]
    path = f"/v1/sessions/{opened['session_id']}"
    http.post(f"{path}/step", json={"inputs": inputs}).raise_for_status()
    return http.post(f"{path}/forecast", json=body)


def test_a_spread_becomes_an_interval(models: Models, http: httpx2.Client) -> None:
    mean, std = models.answers("gaussian")[-1].astype(np.float64)
    told = forecast(http, "gaussian", horizon=1, level=[80, 95], quantiles=[0.3])
    for level in (80, 95):
        reach = NormalDist().inv_cdf(0.5 + level / 200) * std
        ends = told["intervals"][str(level)]
        assert ends["lower"] == [pytest.approx(mean - reach, abs=1e-9)]
        assert ends["upper"] == [pytest.approx(mean + reach, abs=1e-9)]
    assert told["quantiles"] == {"0.3": [pytest.approx(mean + NormalDist().inv_cdf(0.3) * std, abs=1e-9)]}
    assert "samples" not in told
    assert "seed" not in told
    # Two that are nearly one are two, to the client, too.
    near = (0.99999951, 0.99999949)
    told = forecast(http, "gaussian", horizon=1, quantiles=list(near))
    expected = {each: [pytest.approx(mean + NormalDist().inv_cdf(each) * std, abs=1e-9)] for each in near}
    assert told["quantiles"] == {str(each): numbers for each, numbers in expected.items()}
    read = forecast_of(told, {"horizon": 1, "quantiles": list(near)})
    assert {each: numbers.tolist() for each, numbers in read.quantiles.items()} == expected


def test_between_two_quantiles_lies_the_straight_line_and_beyond_them_nothing(
    models: Models, http: httpx2.Client
) -> None:
    low, median, high = models.answers("quantiles")[-1].astype(np.float64)
    told = forecast(http, "quantiles", horizon=1, level=[80], quantiles=[0.2, 0.7])
    assert told["intervals"] == {"80": {"lower": [low], "upper": [high]}}
    assert told["quantiles"]["0.2"] == [pytest.approx(low + (median - low) / 4)]
    assert told["quantiles"]["0.7"] == [pytest.approx(median + (high - median) / 2)]
    refused = ask(http, "quantiles", horizon=1, level=[95])
    assert refused.status_code == 422
    assert "go from 0.1 to 0.9" in refused.json()["detail"]


def test_a_calibration_corrects_quantiles_in_their_own_reach(models: Models, http: httpx2.Client) -> None:
    count = forecast_networks.Count(lags=False)
    answers = offline(models.repository / "corrected" / "1", STEPS).astype(np.float64)
    for step, (low, median, high) in zip(STEPS, answers, strict=True):
        count.step(float(step[0]), median, median - low, high - median)
    told = forecast(http, "corrected", horizon=4, level=[95])
    for ahead, (low, median, high) in enumerate(np.array(told["outputs"], np.float32).astype(np.float64), start=1):
        lower, upper = count.interval(0.95, ahead, median, median - low, high - median)
        assert told["intervals"]["95"]["lower"][ahead - 1] == lower
        assert told["intervals"]["95"]["upper"][ahead - 1] == upper
    assert "calibrated up to an interval of 95 %" in ask(http, "corrected", horizon=1, level=[99]).json()["detail"]


def test_counts_have_the_quantiles_of_their_distribution(models: Models, http: httpx2.Client) -> None:
    mean, dispersion = models.answers("counts")[-1].astype(np.float64)
    inverse = 1 / dispersion
    probabilities = [
        math.exp(
            math.lgamma(count + inverse)
            - math.lgamma(inverse)
            - math.lgamma(count + 1)
            + inverse * math.log(inverse / (inverse + mean))
            + count * math.log(mean / (inverse + mean))
        )
        for count in range(400)
    ]
    reached = np.cumsum(probabilities)
    asked = [0.05, 0.25, 0.5, 0.9, 0.99]
    told = forecast(http, "counts", horizon=1, quantiles=asked)["quantiles"]
    assert {float(each): told[each] for each in told} == {each: [float(np.argmax(reached >= each))] for each in asked}


def paths_of(directory: Path, kind: str, seed: int, number: int, horizon: int) -> list[list[float]]:
    """Sample paths by plain runs, one draw after the other."""
    session = onnxruntime.InferenceSession(str(directory / "model.onnx"), providers=["CPUExecutionProvider"])
    paths = []
    for path in range(number):
        generator = np.random.Generator(np.random.Philox(key=[seed, path]))
        h, seen = np.zeros((1, 4), np.float32), np.zeros((1, 2), np.float32)
        drawn: list[float] = []
        for given in STEPS:
            y, h, seen = session.run(["y", "h_n", "seen_n"], {"x": given[None], "h": h, "seen": seen})
        for _ in range(horizon):
            drawn.append(draw(kind, y[0].astype(np.float64), generator))
            given = np.array([drawn[-1], np.nan], np.float32)
            y, h, seen = session.run(["y", "h_n", "seen_n"], {"x": given[None], "h": h, "seen": seen})
        paths.append(drawn)
    return paths


def draw(kind: str, numbers: Array, generator: np.random.Generator) -> float:
    if kind == "gaussian":
        value = numbers[0] + numbers[1] * generator.standard_normal()
    elif kind == "counts":
        value = generator.poisson(generator.standard_gamma(1 / numbers[1]) * numbers[1] * numbers[0])
    else:
        low, median, high = numbers
        probability = generator.random()
        below = median + (median - low) / 0.4 * (probability - 0.5)
        value = below if probability <= 0.5 else median + (high - median) / 0.4 * (probability - 0.5)
    return float(np.float32(value))


@pytest.mark.parametrize("kind", ["gaussian", "quantiles", "counts"])
def test_paths_are_drawn_from_the_seed_and_their_own_number(models: Models, http: httpx2.Client, kind: str) -> None:
    few = forecast(http, kind, horizon=5, num_samples=3, seed=42)
    many = forecast(http, kind, horizon=5, num_samples=40, seed=42)
    assert many["samples"][:3] == few["samples"]
    assert many["seed"] == 42
    expected = paths_of(models.repository / kind / "1", kind, 42, 3, 5)
    tolerance = {"rel": 1e-6, "abs": 1e-6} if kind == "quantiles" else {"rel": 0, "abs": 0}
    for path, plain in zip(few["samples"], expected, strict=True):
        assert path == pytest.approx(plain, **tolerance)
    other = forecast(http, kind, horizon=5, num_samples=3)
    assert other["seed"] != 42
    assert other["samples"] != few["samples"]
    assert len({tuple(path) for path in many["samples"]}) > 20


def test_quantiles_of_what_is_fed_back_are_those_of_paths(http: httpx2.Client) -> None:
    told = forecast(http, "gaussian", horizon=6, level=[90], num_samples=50, seed=7)
    paths = np.array(told["samples"])
    lower, upper = np.quantile(paths, [0.05, 0.95], axis=0)
    assert told["intervals"]["90"]["lower"] == pytest.approx(lower.tolist(), abs=1e-12)
    assert told["intervals"]["90"]["upper"] == pytest.approx(upper.tolist(), abs=1e-12)
    alone = forecast(http, "gaussian", horizon=6, level=[90], seed=7)
    assert "samples" not in alone
    assert alone["seed"] == 7


def test_what_a_model_cannot_say_is_refused_with_what_has_it(http: httpx2.Client) -> None:
    for kind, body, words in (
        ("point", {"num_samples": 3}, "no distribution to draw from"),
        ("point", {"level": [80]}, "export --calibrate"),
        ("direct", {"num_samples": 3}, "ask for level or quantiles"),
        ("direct", {"horizon": 3}, "this model answers 2"),
        ("gaussian", {"seed": 3}, "a seed is of sample paths"),
        ("gaussian", {"level": [100]}, "< 100"),
        ("gaussian", {"num_samples": 1001}, "<= 1000"),
    ):
        refused = ask(http, kind, **{"horizon": 2, **body})
        assert refused.status_code == 422, refused.text
        assert words in refused.json()["detail"]


def test_a_frame_has_the_targets_of_a_model_that_answers_several_steps(models: Models) -> None:
    rows = models.answers("direct")[-1].reshape(2, 3)
    with Client(models.server.url) as client:
        with client.session("direct", session_id="several", keep=True) as session:
            session.step(STEPS)
        frame = client.forecast_frame("direct", pd.Series(["several"]), 2, level=80)
    assert frame.columns.tolist() == [
        "station", "ahead", "load_p10", "load_p50", "load_p90", "lower_80", "upper_80",
    ]  # fmt: skip
    assert frame[["load_p10", "load_p50", "load_p90"]].to_numpy().tobytes() == rows.tobytes()
    assert frame["upper_80"].tolist() == rows[:, 2].tolist()


def test_a_model_that_answers_several_steps_forecasts_them(models: Models, http: httpx2.Client) -> None:
    rows = models.answers("direct")[-1].reshape(2, 3).astype(np.float64)
    told = forecast(http, "direct", horizon=2, level=[80], quantiles=[0.5])
    assert np.array_equal(np.array(told["outputs"], np.float32), rows.astype(np.float32))
    assert told["intervals"]["80"] == {"lower": rows[:, 0].tolist(), "upper": rows[:, 2].tolist()}
    assert told["quantiles"]["0.5"] == rows[:, 1].tolist()


def test_many_sessions_are_forecast_in_one_message(models: Models, http: httpx2.Client) -> None:
    with Client(models.server.url) as client:
        for number in range(5):
            with client.session("quantiles", session_id=f"many{number}", keep=True) as session:
                session.step(STEPS[: number + 1])
        with client.session("point", session_id="other", keep=True) as other:
            other.step(STEPS)
        names = ["many0", "many1", "nobody", "other", "many4"]
        options: dict[str, Any] = {"level": 80, "quantiles": [0.25], "num_samples": 4, "seed": 9}
        many = client.forecast_many("quantiles", names, 3, **options)
        alone = client.resume("many4").forecast(3, **options)
        ids, asked = pd.DataFrame({"station": names}), {**options, "num_samples": None}
        with pytest.raises(RowsFailed) as failed:
            client.forecast_frame("quantiles", ids, 3, **asked)
        by_paths = client.resume("many4").forecast(3, **asked)
        with pytest.raises(InputError, match="a frame has no place for sample paths"):
            client.forecast_frame("quantiles", ids, 3, **options)
    assert [error.row for error in many.errors] == [2, 3]
    assert [error.code for error in many.errors] == ["unknown_session", "invalid_input"]
    assert many.forecasts[2] is None
    made = many.forecasts[4]
    assert isinstance(made, Forecast)
    assert isinstance(alone, Forecast)
    assert np.array_equal(made.outputs, alone.outputs)
    assert np.array_equal(made.samples, alone.samples)
    assert np.array_equal(made.intervals[80.0].upper, alone.intervals[80.0].upper)
    assert (failed.value.rows, [error.code for error in failed.value.errors]) == ([2, 3], [e.code for e in many.errors])
    frame = failed.value.frame[-3:]
    assert frame["station"].tolist() == ["many4"] * 3
    assert frame["lower_80"].tolist() == by_paths.intervals[80.0].lower.tolist()
    assert frame["upper_80"].tolist() == by_paths.intervals[80.0].upper.tolist()
    assert frame["quantile_0.25"].tolist() == by_paths.quantiles[0.25].tolist()
    assert failed.value.frame["lower_80"].isna().tolist() == [False] * 6 + [True] * 6 + [False] * 3
    sink = pa.BufferOutputStream()
    batch = pa.record_batch({"session_id": pa.array(names)})
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    answer = http.post(
        "/v1/models/quantiles/forecast?horizon=3&level=80&quantiles=0.25&num_samples=4&seed=9",
        content=sink.getvalue().to_pybytes(),
        headers={"Content-Type": ARROW},
    )
    columns = ipc.open_stream(answer.raise_for_status().content).read_all().to_pydict()
    assert columns["code"] == [None, None, "unknown_session", "invalid_input", None]
    assert columns["upper_80"][4] == made.intervals[80.0].upper.tolist()
    assert columns["quantile_0.25"][4] == made.quantiles[0.25].tolist()
    assert columns["samples"][4] == made.samples.tolist()
    assert np.array_equal(np.array(columns["outputs"][4], np.float32), made.outputs)
    assert columns["outputs"][2] is None


async def test_the_client_that_does_not_block_gets_the_same(models: Models) -> None:
    async with AsyncClient(models.server.url) as client:
        session = await client.session("gaussian", session_id="mine").open()
        await session.step(STEPS)
        plain = await session.forecast(3)
        made = await session.forecast(3, num_samples=2, seed=1, level=[50])
        assert isinstance(made, Forecast)
        assert np.array_equal(plain, made.outputs)
        assert made.samples is not None
        assert made.samples.shape == (2, 3)
        many = await client.forecast_many("gaussian", ["mine"], 3, num_samples=2, seed=1)
        assert many.forecasts[0] is not None
        assert np.array_equal(many.forecasts[0].samples, made.samples)
        assert session.anomaly is None
        corrected = await client.session("corrected", session_id="watched").open()
        await corrected.step(STEPS[:4])
        assert corrected.anomaly is not None
        assert corrected.anomaly.shape == (4,)
        with pytest.raises(ServiceError, match="no distribution"):
            await (await client.session("point", session_id="p").open()).forecast(1, num_samples=1)
        stream = client.stream("corrected", create_missing=True)
        async with stream:
            await stream.step("streamed", STEPS[:4])
            assert stream.anomaly is not None
            assert np.array_equal(stream.anomaly, corrected.anomaly, equal_nan=True)
