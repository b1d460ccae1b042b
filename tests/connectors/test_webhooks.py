"""Webhooks of a connector that is killed: a receiver is told of every event, each with one id, and signed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import forecast_networks
from tests.connectors.stage import ConnectorProcess
from tests.forecast_networks import Count, drawn_steps, offline
from tests.ostinato.connectors.receiver import SECRET, Answer, Post, webhook_receiver
from tests.server import ServerProcess, running_server

pytestmark = pytest.mark.xdist_group("connectors")

KEYS = ("a", "b c", "d")
NUM_STEPS = 150


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a calibrated version."""
    repository = tmp_path_factory.mktemp("calibrated") / "repository"
    return forecast_networks.write(repository, calibration=forecast_networks.calibration())


@pytest.fixture(scope="module")
def service(calibrated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(calibrated.parent.parent, tmp_path_factory.mktemp("service")) as running:
        yield running


def expected_of(directory: Path, seed: int) -> tuple[list[float | None], list[list[dict[str, Any]]]]:
    """The anomaly of each step, and what begins and ends with it."""
    steps, count = drawn_steps(seed, NUM_STEPS), Count()
    anomalies, events = [], []
    for place, (step, answer) in enumerate(zip(steps, offline(directory, steps), strict=True)):
        anomalies.append(count.step(float(step[0]), float(answer[0])))
        told = count.events(anomalies[-1], float(step[0]), place + 1)
        events.append([{name: value for name, value in event.items() if value is not None} for event in told])
    return anomalies, events


def write_readings(path: Path) -> list[tuple[str, int, int]]:
    """Readings of all keys in turn; the key, the step's place and the offset of each line."""
    places, offset = [], 1
    with path.open("wb") as file:
        for place in range(NUM_STEPS):
            for seed, key in enumerate(KEYS):
                load, hour = (None if value != value else float(value) for value in drawn_steps(seed, NUM_STEPS)[place])
                line = json.dumps({"key": key, "load": load, "hour": hour}).encode() + b"\n"
                file.write(line)
                places.append((key, place, offset))
                offset += len(line)
    return places


def config(folder: Path, service: ServerProcess, url: str, more: str = "") -> Path:
    """A connector's file, of small batches."""
    (folder / "secret").write_text(SECRET)
    path = folder / "connect.toml"
    path.write_text(
        f'[service]\nurl = "{service.url}"\nmodel = "loads"\n[batch]\nreadings = 40\nwait_seconds = 0.01\n'
        f'[source]\nkind = "file"\npath = "{folder}/in.jsonl"\n[sink]\nkind = "file"\npath = "{folder}/out.jsonl"\n'
        f'[mapping]\nkey = "key"\nprefix = "{folder.name}."\n[dead_letter]\nto = "{folder}/dead.jsonl"\n'
        f'[webhook]\nurl = "{url}"\nsecret_file = "{folder}/secret"\noutbox = "{folder}/box.db"\n{more}'
    )
    return path


def test_each_event_comes_with_one_id_though_the_connector_is_killed(
    service: ServerProcess, calibrated: Path, tmp_path: Path
) -> None:
    expected = {key: expected_of(calibrated, seed) for seed, key in enumerate(KEYS)}
    places = write_readings(tmp_path / "in.jsonl")
    num_tries: dict[str, int] = {}

    def answer(_: int, post: Post) -> Answer:
        num_tries[post.id] = num_tries.get(post.id, 0) + 1
        return (503 if int(post.id[-1], 16) < 2 and num_tries[post.id] == 1 else 200), {"retry-after": "0"}

    with webhook_receiver(answer) as receiver, ConnectorProcess(config(tmp_path, service, receiver.url)) as connector:
        for count in (3, 12):
            connector.wait_until(lambda count=count: len(num_tries) >= count, "webhooks")
            assert connector.process is not None
            arguments = " ".join(psutil.Process(connector.process.pid).cmdline())
            assert SECRET not in arguments
            assert "very-secret" not in arguments
            connector.kill()
            connector.start()
        assert connector.wait() == 0, connector.log()
        # What was tried at the very end may wait for the next start.
        connector.start()
        assert connector.wait() == 0, connector.log()
    assert receiver.faults == []
    assert not any(word in connector.log() for word in (SECRET, "very-secret", "hidden"))
    due = {
        (key, offset, event["event"], event.get("above"), event.get("below")): event
        for key, place, offset in places
        for event in expected[key][1][place]
    }
    told: dict[Any, set[str]] = {}
    for post in receiver.posts:
        data = post.body["data"]
        about = (data["key"], data["offset"], post.body["type"], data.get("above"), data.get("below"))
        told.setdefault(about, set()).add(post.id)
        assert {name: data[name] for name in due[about]} == due[about]
        assert data["link"] == f"{service.url}/v1/sessions/{data['session'].replace(':', '%3A')}"
    assert told.keys() == due.keys()
    assert all(len(ids) == 1 for ids in told.values())
    assert len({own_id for ids in told.values() for own_id in ids}) == len(due) > 20
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(each["key"], each["offset"]) for each in answers] == [(key, offset) for key, _, offset in places]
    for each, (key, place, _) in zip(answers, places, strict=True):
        assert each["anomaly"] == expected[key][0][place]
        assert each.get("events", []) == expected[key][1][place]


def test_readings_go_on_without_a_receiver_and_what_is_given_up_is_with_the_dead_letters(
    service: ServerProcess, calibrated: Path, tmp_path: Path
) -> None:
    num_events = sum(len(told) for seed in range(3) for told in expected_of(calibrated, seed)[1])
    places = write_readings(tmp_path / "in.jsonl")
    with (
        webhook_receiver(lambda *_: (404, {})) as receiver,
        ConnectorProcess(config(tmp_path, service, receiver.url)) as connector,
    ):
        assert connector.wait() == 0, connector.log()
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == len(places)
    letters = [json.loads(line) for line in (tmp_path / "dead.jsonl").read_text().splitlines()]
    assert len(letters) == num_events == len(receiver.posts)
    assert all(letter["reason"].endswith("it answered with status 404") for letter in letters)
    assert {json.loads(letter["value"])["data"]["offset"] for letter in letters} == {
        post.body["data"]["offset"] for post in receiver.posts
    }
    assert "404" in connector.log()
    assert "very-secret" not in connector.log()
