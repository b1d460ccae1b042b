from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2

from ostinato.service.catalogue.catalogue import Rejection
from ostinato.service.edge.oip.descriptions import Descriptions
from ostinato.service.edge.oip.inference import Inference
from ostinato.service.edge.oip.messages import InferRequest, NamedTensor
from ostinato.service.errors import Starting, UnknownModel
from ostinato.service.metrics.series import Metrics
from tests import tensor_networks
from tests.service.edge.oip.protocol import add
from tests.service.puppet import House
from tests.service.puppet_generator import puppet_engine


async def test_descriptions_are_messages_of_the_protocol(tmp_path: Path) -> None:
    house = House()
    house.catalogue.add(puppet_engine())
    add(house, tensor_networks.panel().write(tmp_path))
    descriptions = Descriptions(house.catalogue, house.metrics, ttl_seconds=60)
    json_format.ParseDict(descriptions.server(), service_pb2.ServerMetadataResponse())
    json_format.ParseDict(descriptions.statistics(), service_pb2.ModelStatisticsResponse())
    json_format.ParseDict({"models": descriptions.index()}, service_pb2.RepositoryIndexResponse())
    for name in ("sum", "puppet", "panel"):
        json_format.ParseDict(descriptions.model(name), service_pb2.ModelMetadataResponse())
        json_format.ParseDict(descriptions.config(name), model_config_pb2.ModelConfig())


async def test_a_model_is_described_by_what_it_takes_gives_and_carries(tmp_path: Path) -> None:
    house = House(max_queue_rows=77)
    manifest = add(house, tensor_networks.panel().write(tmp_path))
    descriptions = Descriptions(house.catalogue, house.metrics, ttl_seconds=60)
    told = descriptions.model("panel")
    required = [*manifest.inputs, *(part for part in manifest.context if not part.missing)]
    assert [entry["name"] for entry in told["inputs"]] == [part.name for part in required]
    assert [entry["name"] for entry in told["outputs"]] == [part.name for part in manifest.outputs]
    config = descriptions.config("panel")
    assert config["max_batch_size"] == 77
    assert [entry["name"] for entry in config["input"] if not entry.get("optional")] == [part.name for part in required]
    optional = {entry["name"] for entry in config["input"] if entry.get("optional")}
    assert {"lengths", *(state.input for state in manifest.states)} <= optional
    assert config["parameters"]["context"]["string_value"].split(",") == [part.name for part in manifest.context]
    batching = config["sequence_batching"]
    assert batching["max_sequence_idle_microseconds"] == 60_000_000
    assert [(state["input_name"], state["output_name"]) for state in batching["state"]] == [
        (state.input, state.output) for state in manifest.states
    ]


async def test_statistics_count_what_was_asked_of_all_workers() -> None:
    house = House()
    inference = Inference(house.catalogue, house.sessions, house.ledger)
    ones = np.ones((2, 3, 1), np.float32)
    await inference.infer(InferRequest("sum", None, "", {}, [NamedTensor("inputs", "FP32", ones.shape, ones)]))
    descriptions = Descriptions(house.catalogue, house.metrics)
    (told,) = descriptions.statistics("sum", "1")["model_stats"]
    assert (told["name"], told["version"], told["inference_count"]) == ("sum", "1", 6)
    assert told["inference_stats"]["success"]["count"] == told["inference_stats"]["queue"]["count"] == 2
    assert told["execution_count"] == len(house.runner.iterations)
    other = Metrics()
    other.load(house.metrics.numbers())
    other.steps.labels(model="sum", version="1").inc(100)
    house.metrics.gather = other.numbers
    assert descriptions.statistics("sum")["model_stats"][0]["inference_count"] == 106


async def test_what_is_not_served_is_told_why() -> None:
    house = House()
    house.catalogue.reject(Rejection("sum", "2", "its graph is broken"))
    descriptions = Descriptions(house.catalogue, house.metrics)
    assert [(each["version"], each["state"], each["reason"]) for each in descriptions.index()] == [
        ("1", "READY", ""),
        ("2", "UNAVAILABLE", "its graph is broken"),
    ]
    assert [each["version"] for each in descriptions.index(ready_only=True)] == ["1"]
    assert (descriptions.is_ready("sum"), descriptions.is_ready("sum", "2")) == (True, False)
    with pytest.raises(UnknownModel, match="its graph is broken"):
        descriptions.config("sum", "2")
    with pytest.raises(UnknownModel):
        descriptions.is_ready("none")
    house.catalogue.complete = False
    with pytest.raises(Starting):
        descriptions.model("none")
