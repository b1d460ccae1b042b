"""Each kind of end with a real broker, file or pipe; connectors are killed, and what they published is judged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from tests.connectors.mosquitto import Mosquitto
from tests.connectors.stage import ConnectorProcess, answers_of, check, reading, wait_until
from tests.redis_server import RedisServer
from tests.server import CHECKOUT, ServerProcess, free_port

pytestmark = pytest.mark.xdist_group("connectors")

ROWS = np.random.default_rng(5).normal(size=(600, 3)).round(3)


def keys(name: str) -> list[str]:
    """The keys of the rows, of this test alone."""
    return [f"{name}/{number % 7}" for number in range(len(ROWS))]


def expected(name: str, places: list[tuple[str, int]]) -> dict[str, list[tuple[str, int, Any]]]:
    """The rows of each key with their places."""
    found: dict[str, list[tuple[str, int, Any]]] = {}
    for key, row, (source, offset) in zip(keys(name), ROWS, places, strict=True):
        found.setdefault(key, []).append((source, offset, row))
    return found


def config(folder: Path, server: ServerProcess, text: str) -> Path:
    """A connector's file with this service; a batch has few readings, so that a kill comes between."""
    path = folder / "connect.toml"
    path.write_text(
        f'[service]\nurl = "{server.url}"\nmodel = "lstm"\n[batch]\nreadings = 25\nwait_seconds = 0.01\n{text}'
    )
    return path


def test_a_file_is_answered_once_though_the_connector_is_killed(
    server: ServerProcess, directory: Path, tmp_path: Path
) -> None:
    source, sink, dead = (tmp_path / name for name in ("in.jsonl", "out.jsonl", "dead.jsonl"))
    lines = [reading(key, row) for key, row in zip(keys("file"), ROWS, strict=True)]
    source.write_bytes(b"\n".join([*lines[:100], b"no reading", *lines[100:]]) + b"\n")
    path = config(
        tmp_path,
        server,
        f'[source]\nkind = "file"\npath = "{source}"\n[sink]\nkind = "file"\npath = "{sink}"\n'
        f'[mapping]\nkey = "key"\n[dead_letter]\nto = "{dead}"\n',
    )
    with ConnectorProcess(path) as connector:
        for size in (1, 15_000):
            connector.wait_until(lambda size=size: sink.exists() and sink.stat().st_size > size, "answers")
            connector.kill()
            # What a batch had written and not committed, half a line of it.
            with sink.open("ab") as file:
                file.write(b'{"key": "half')
            connector.start()
        assert connector.wait() == 0, connector.log()
    starts = np.cumsum([0, *(len(line) + 1 for line in [*lines[:100], b"no reading", *lines[100:]])])
    places = [("in.jsonl/0", int(start) + 1) for number, start in enumerate(starts[:-1]) if number != 100]
    check(directory, expected("file", places), answers_of(sink.read_bytes().splitlines()))
    letters = [json.loads(line) for line in dead.read_text().splitlines()]
    assert len(letters) == 1, letters
    letter = letters[0]
    assert (letter["value"], letter["offset"]) == ("no reading", int(starts[100]) + 1)


def test_a_late_reading_corrects_the_answers_behind_it_and_whatever_was_done_to_the_session_goes(
    server: ServerProcess, directory: Path, tmp_path: Path
) -> None:
    source, sink = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    ends = f'[source]\nkind = "file"\npath = "{source}"\nfollow = true\n[sink]\nkind = "file"\npath = "{sink}"\n'
    rule = '[mapping]\nkey = "key"\ntime = "at"\n[late]\nrule = "replay"\nwindow_seconds = 100\n'
    path = config(tmp_path, server, ends + rule)
    rows = [(at, ROWS[number]) for number, at in enumerate((10.0, 30.0, 40.0, 20.0, 50.0, 45.0, 131.0, 35.0, 20.0))]

    def told() -> list[Any]:
        return answers_of(sink.read_bytes().splitlines()) if sink.exists() else []

    def is_committed() -> bool:
        lengths = json.loads((tmp_path / "out.jsonl.position").read_text())["lengths"]
        return bool(lengths[str(sink)] == sink.stat().st_size)

    def look(name: str) -> dict[str, Any]:
        return dict(httpx2.get(f"{server.url}/v1/sessions/{name}", timeout=10).json())

    with ConnectorProcess(path) as connector:
        for number, (at, row) in enumerate(rows):
            if number == 2:  # somebody else steps the session; what it answers then is nobody's
                httpx2.post(f"{server.url}/v1/sessions/replay/step", json={"inputs": [[1, 1, 1]]}, timeout=10)
            if number == 4:
                httpx2.delete(f"{server.url}/v1/sessions/replay", timeout=10)
            if number == 5:  # what is not committed would come with the next, and need no correction
                connector.wait_until(is_committed, "the commit")
                connector.kill()
                connector.start()
            with source.open("ab") as file:
                file.write(reading("replay", row, at=at) + b"\n")
            count = number + 1 if number < 8 else 8  # the last has come before
            connector.wait_until(lambda n=count: len({one.offset for one in told()}) == n, "an answer")
        connector.wait_until(lambda: len(told()) == 8 + 2 + 1 + 4, "corrections")
        assert connector.terminate() == 0, connector.log()
    starts = [int(start) + 1 for start in np.cumsum([0, *(len(line) for line in source.read_bytes().splitlines(True))])]
    late = {at: starts[number] for number, (at, _) in enumerate(rows) if at in (20.0, 35.0, 45.0) and number < 8}
    corrected = [(one.time, one.correction) for one in told() if one.correction is not None]
    assert corrected == [
        *((at, late[20.0]) for at in (30.0, 40.0)),
        (50.0, late[45.0]),
        *((at, late[35.0]) for at in (40.0, 45.0, 50.0, 131.0)),
    ]
    last = {one.offset: one for one in told()}
    order = sorted(range(8), key=lambda number: rows[number][0])
    places = {"replay": [("in.jsonl/0", starts[number], rows[number][1]) for number in order]}
    check(directory, places, [last[starts[number]] for number in order])
    assert (look("replay")["steps"], look("replay:settled")["steps"]) == (8, 3)


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis."""
    with RedisServer() as running:
        yield running


def test_a_redis_stream_is_answered_once_though_connector_and_redis_are_killed(
    server: ServerProcess, directory: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    path = config(
        tmp_path,
        server,
        f'[source]\nkind = "redis"\nurl = "{redis_server.url}"\nstream = "in"\n'
        f'[sink]\nkind = "redis"\nurl = "{redis_server.url}"\nstream = "out"\n',
    )
    with closing(redis_server.client()) as client, ConnectorProcess(path) as connector:
        ids = []
        for key, row in zip(keys("redis"), ROWS, strict=True):
            ids.append(client.xadd("in", {"key": key, "value": reading(None, row)}))
        for count, victim in ((1, connector), (200, redis_server)):
            connector.wait_until(lambda count=count: client.xlen("out") > count, "answers")
            victim.kill()
            victim.start()
        connector.wait_until(lambda: client.xlen("out") >= len(ROWS), "all answers")
        assert connector.terminate() == 0, connector.log()
        published = client.xrange("out")
    places = []
    for entry in ids:
        milliseconds, _, sequence = entry.partition("-")
        places.append(("in/0", (int(milliseconds) << 20) + int(sequence)))
    check(directory, expected("redis", places), answers_of(fields["value"].encode() for _, fields in published))
    ids_told = [fields["id"] for _, fields in published]
    assert len(set(ids_told)) == len(ids_told) == len(ROWS)


def test_mqtt_readings_that_count_themselves_are_applied_once_and_each_answer_has_its_id(
    server: ServerProcess, directory: Path, tmp_path: Path
) -> None:
    with Mosquitto(tmp_path) as broker:
        path = config(
            tmp_path,
            server,
            f'[source]\nkind = "mqtt"\nport = {broker.port}\ntopic = "in/+"\noffset = "seq"\n'
            f'[sink]\nkind = "mqtt"\nport = {broker.port}\ntopic = "out/{{key}}"\n[mapping]\nkey = "key"\n',
        )
        with ConnectorProcess(path) as connector, broker.listener("out/#") as heard:
            connector.wait_until(lambda: broker.has_session("ostinato", connector.log), "the connector's subscription")
            sent = [reading(key, row, seq=seq) for seq, (key, row) in enumerate(zip(keys("mqtt"), ROWS, strict=True))]
            broker.publish("in/a", sent[:300])
            connector.wait_until(lambda: len(heard) > 20, "answers")
            connector.kill()
            broker.publish("in/a", [*sent[300:], sent[299]])  # meanwhile nobody listens; and one that comes twice
            connector.start()
            connector.wait_until(lambda: len({own_id for own_id, _ in heard}) >= len(ROWS), "all answers")
            assert connector.terminate() == 0, connector.log()
    by_id: dict[str, bytes] = {}
    for own_id, value in heard:
        assert by_id.setdefault(own_id, value) == value, "what is published again is the same"
    places = [("in/+/0", seq) for seq in range(len(ROWS))]
    answers = sorted(answers_of(by_id.values()), key=lambda one: one.offset)
    check(directory, expected("mqtt", places), answers)


def test_a_pipe_is_answered_as_it_comes(server: ServerProcess, directory: Path, tmp_path: Path) -> None:
    path = config(
        tmp_path,
        server,
        '[source]\nkind = "stdin"\n[sink]\nkind = "stdout"\n[mapping]\nkey = "id"\nformat = "csv"\n'
        'columns = ["id", "x0", "x1", "x2"]\n',
    )
    text = "".join(f"{key},{row[0]},{row[1]},{row[2]}\n" for key, row in zip(keys("pipe"), ROWS, strict=True))
    done = subprocess.run(
        [sys.executable, "-m", "ostinato.cli", "connect", str(path)],
        input=text.encode(),
        capture_output=True,
        cwd=CHECKOUT,
        timeout=100,
        check=True,
    )
    answers = answers_of(done.stdout.splitlines())
    source = answers[0].source
    assert source.startswith("stdin/")
    check(directory, expected("pipe", [(source, number) for number in range(len(ROWS))]), answers)
    assert b"as it comes" in done.stderr


def test_wrong_names_fail_at_the_start_with_the_nearest(server: ServerProcess, tmp_path: Path) -> None:
    ends = '[source]\nkind = "stdin"\n[sink]\nkind = "stdout"\n'
    for text, sentence in (
        (f'{ends}[mapping]\nkey = "key"\ninputs = {{x9 = "temp"}}\n', "the model has no feature 'x9'; did you mean x"),
        (f'{ends}[mapping]\nkye = "key"\n', "[mapping] has no member 'kye'; did you mean key?"),
        (f'{ends}[mapping]\nkey = "id"\nformat = "csv"\ncolumns = ["idx", "x0"]\n', "did you mean idx?"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "ostinato.cli", "connect", str(config(tmp_path, server, text)), "--check"],
            capture_output=True,
            cwd=CHECKOUT,
            timeout=100,
            check=False,
        )
        assert done.returncode == 1
        assert sentence in done.stderr.decode()


def test_the_metrics_tell_what_became_of_the_readings(server: ServerProcess, tmp_path: Path) -> None:
    source, port = tmp_path / "in.jsonl", free_port()
    late = [reading("metrics", row, at=at) for row, at in zip(ROWS, (1, 2, 2, 1.5, 3), strict=False)]
    source.write_bytes(b"\n".join([*late, b"?", reading("metrics", ROWS[0], at="never")]) + b"\n")
    path = config(
        tmp_path,
        server,
        f'[source]\nkind = "file"\npath = "{source}"\nfollow = true\n[sink]\nkind = "file"\npath = "{tmp_path}/out"\n'
        f'[mapping]\nkey = "key"\ntime = "at"\n[metrics]\nport = {port}\n',
    )

    def series() -> dict[str, float]:
        try:
            text = httpx2.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
        except httpx2.TransportError:
            return {}
        return {
            name.removeprefix("ostinato_connect_"): float(value)
            for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        }

    with ConnectorProcess(path) as connector:
        connector.wait_until(lambda: series().get("readings_total") == 7, "the readings")
        told = series()
        assert connector.terminate() == 0
    counted = {name: told[f"{name}_total"] for name in ("answers", "dead_letters", "late", "duplicates")}
    assert counted == {"answers": 3, "dead_letters": 2, "late": 1, "duplicates": 1}
    wait_until(lambda: "7 readings, 3 answers, 2 dead letters, 1 late" in connector.log(), "the last line")
