from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest

from ostinato.service.edge import message
from ostinato.service.edge.message import json_in_slices, to_json
from ostinato.service.edge.v1 import codec, large, predict
from ostinato.service.edge.v1.large import LARGE_BYTES, SLICE_BYTES, read_large
from ostinato.service.edge.v1.schemas import (
    ColumnsBody,
    ForecastBody,
    GenerateBody,
    NestedStepBody,
    PredictBody,
    ScoreBody,
    StepBody,
)
from ostinato.service.errors import InvalidInput, OstinatoError
from ostinato.service.inputs import sequences, turns
from tests.hostile_messages import json_values
from tests.service.edge.test_asgi import Connection, edge_over
from tests.service.edge.test_typed import house_of_all

BODIES = [StepBody, ColumnsBody, PredictBody, ForecastBody, GenerateBody, ScoreBody]


def text(draw: random.Random) -> str:
    return "".join(draw.choices('ab"\\[]{},:é\n', k=draw.randrange(12)))


def rows(draw: random.Random, depth: int) -> Any:
    """Nested lists of numbers, of any lengths."""
    if not depth:
        return draw.choice([None, 0, -1, 2.5, 1e-300, 12345678])
    return [rows(draw, depth - 1) for _ in range(draw.randrange(9))]


def body_of(kind: type, draw: random.Random) -> dict[str, Any]:
    state = {text(draw): rows(draw, 2) for _ in range(4)}
    contents: dict[Any, dict[str, Any]] = {
        StepBody: {"inputs": rows(draw, 2), "seq": 3},
        ColumnsBody: {"session_ids": [text(draw) for _ in range(30)], "inputs": rows(draw, 2), "seq": [1, None] * 9},
        PredictBody: {"sequences": rows(draw, 3), "version": text(draw), "initial_state": [state, None] * 3},
        ForecastBody: {"horizon": 4, "known_future": {text(draw): rows(draw, 1) for _ in range(5)}},
        GenerateBody: {"inputs": [draw.choice([text(draw), rows(draw, 3)]) for _ in range(9)], "seed": 1},
        ScoreBody: {"targets": [text(draw) for _ in range(20)], "inputs": [[1, "a", {"b": [2]}]]},
    }
    return contents[kind]


def outcome(read: Any) -> Any:
    try:
        return read()
    except InvalidInput as error:
        return str(error).partition(": ")[0] if "is not JSON" in str(error) else str(error), error.field


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("seed", range(3))
async def test_a_body_in_slices_is_what_it_is_in_one_go(
    kind: type[msgspec.Struct], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(large, "SLICE_BYTES", draw.choice([8, 40]))
    monkeypatch.setattr(large, "BLOCK_BYTES", 100)
    # As deep as the least slices make it.
    monkeypatch.setattr(large, "MAX_DEPTH", 100)
    decoder = msgspec.json.Decoder(kind)
    content = json.dumps(body_of(kind, draw), indent=draw.choice([None, 1]), ensure_ascii=draw.choice([True, False]))
    whole = content.encode()
    assert await read_large(whole, decoder, None, "the body", {}) == decoder.decode(whole)
    for _ in range(4):
        # A character too few, too many or another.
        place = draw.randrange(len(whole))
        changed = whole[:place] + draw.choice([b"", b",", b'"', b"]", b"x", b"7"]) + whole[place + draw.randrange(2) :]
        expected = outcome(lambda changed=changed: codec.decode_json(changed, decoder, "the body"))
        try:
            made: Any = await read_large(changed, decoder, None, "the body", {})
        except InvalidInput as error:
            made = error
        if isinstance(expected, msgspec.Struct):
            assert made == expected, changed
        else:
            assert isinstance(made, InvalidInput), changed


async def test_of_a_member_that_is_there_twice_the_last_counts_as_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "SLICE_BYTES", 8)
    content = b'{"seq": 1, "inputs": [[1], [2], [3]], "seq": 2, "inputs": [[4], [5], [6]]}'
    decoder = msgspec.json.Decoder(StepBody)
    made = await read_large(content, decoder, None, "the body", {})
    assert made == decoder.decode(content)
    assert (made.inputs, made.seq) == ([[4], [5], [6]], 2)


@pytest.mark.parametrize("num_escapes", [1, 2, 3])
async def test_a_quote_may_stand_behind_escapes_wherever_a_block_ends(
    num_escapes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "SLICE_BYTES", 8)
    monkeypatch.setattr(large, "BLOCK_BYTES", 40)
    decoder = msgspec.json.Decoder(ColumnsBody)
    for length in range(40):
        name = "a" * length + "\\" * (num_escapes // 2) + '"' * (num_escapes % 2) + "],["
        content = json.dumps({"session_ids": [name, "b"], "inputs": [[1], [2]]}).encode()
        assert await read_large(content, decoder, None, "the body", {}) == decoder.decode(content), length


@pytest.mark.parametrize(
    ("body", "message", "field"),
    [
        ('{"inputs": [%s, [1, "a"]]}', "Expected `float | null`, got `str`", "inputs[20000][1]"),
        ('{"inputs": [%s, [1, true], %s]}', "got `bool`", "inputs[20000][1]"),
        ('{"inputs": [%s, 3]}', "Expected `array`, got `int`", "inputs[20000]"),
        ('{"inputs": [%s, [1]], "seq": 1.5}', "Expected `int | null`", "seq"),
        ('{"inputs": [%s], "sequence": 1}', "unknown field `sequence`", "sequence"),
        ('{"inputs": [[1]], "seq": [%s]}', "Expected `int | null`, got `array`", "seq"),
        ('{"inputs": [%s,, [1]]}', "the body is not JSON", None),
        ('{"inputs": [%s,]}', "the body is not JSON", None),
        ('{"inputs": [%s]', "the body is not JSON", None),
        ('{"inputs": [%s}]', "the body is not JSON", None),
        ('{"inputs": [%s]]}', "the body is not JSON", None),
        ('{"inputs": [%s] "seq": 1}', "the body is not JSON", None),
        ('{"inputs": [%s], "seq"}', "the body is not JSON", None),
        ('{"inputs": [%s], "seq": }', "the body is not JSON", None),
        ('{"inputs": [%s], }', "the body is not JSON", None),
    ],
)
async def test_what_is_wrong_with_a_large_body_is_said_by_its_place(body: str, message: str, field: str | None) -> None:
    given = body.replace("%s", ",".join(["[1]"] * 20_000)).encode()
    with pytest.raises(InvalidInput) as refusal:
        await read_large(given, msgspec.json.Decoder(StepBody), None, "the body", {})
    assert message in str(refusal.value)
    assert refusal.value.field == field


class Work:
    """What is done between two turns of the event loop, counted: bytes of JSON that are decoded, numbers that become
    arrays, values that are written.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most = {"decoded": 0, "written": 0, "read": 0}
        self.total = dict.fromkeys(self.most, 0)
        self._now = dict.fromkeys(self.most, 0)
        decode, write, read = codec.decode_json, message.to_json, sequences.to_sequence
        monkeypatch.setattr(
            large, "decode_json", lambda text, *rest: self._did("decoded", len(text), decode(text, *rest))
        )
        monkeypatch.setattr(
            codec, "decode_json", lambda text, *rest: self._did("decoded", len(text), decode(text, *rest))
        )
        monkeypatch.setattr(message, "to_json", lambda value: self._did("written", np.size(value), write(value)))
        monkeypatch.setattr(predict, "to_sequence", lambda *given: self._did("read", 1, read(*given)))

    def _did(self, what: str, amount: int, made: Any) -> Any:
        self._now[what] += amount
        self.total[what] += amount
        self.most[what] = max(self.most[what], self._now[what])
        return made

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        async def turn() -> None:
            while True:
                self._now = dict.fromkeys(self.most, 0)
                await asyncio.sleep(0)

        turns = asyncio.create_task(turn())
        try:
            yield
        finally:
            turns.cancel()


PATHS: dict[str, list[str]] = {
    "/v1/sessions/a/step": ['{"inputs": %s}'],
    "/v1/models/sum/step": ['{"session_ids": ["a"], "inputs": %s}', '{"session_ids": %s, "inputs": [[1]]}'],
    "/v1/models/sum/predict": [
        '{"sequences": %s}',
        '{"sequences": [[[1]]], "initial_state": %s}',
        '{"sequences": [[[1]]], "initial_state": {"sum": %s}}',
    ],
    "/v1/sessions/a/forecast": ['{"horizon": 2, "known_future": %s}', '{"horizon": 2, "known_future": {"x": %s}}'],
    "/v1/models/puppet/generate": ['{"inputs": %s}'],
    "/v1/models/puppet/score": ['{"inputs": [[3]], "targets": %s}', '{"inputs": %s, "targets": [[3]]}'],
    "/v1/models/sum/sessions": ['{"session_id": %s}', '{"ttl_seconds": %s}'],
    "/predict": ['{"model": "sum", "sequences": %s}'],
    "/step": ['{"session_id": "a", "inputs": %s}'],
    "/generate": ['{"model": "puppet", "inputs": %s}'],
}


@pytest.mark.parametrize("path", PATHS)
async def test_no_large_body_is_decoded_in_one_go(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = json_values(300_000)
    # A text is one value however long it is, which takes milliseconds for all that a body may have.
    texts = {"a long text", "escapes", "backslashes", "a key"}
    async with edge_over(await house_of_all()) as edge:
        for form in PATHS[path]:
            for name, value in values.items():
                work = Work(monkeypatch)
                body = form.encode().replace(b"%s", value)
                async with work.watched():
                    status, _ = await Connection("POST", path, body, content_type="application/json").through(edge)
                assert status in (200, 413, 422), (form, name, status)
                if name not in texts:
                    assert work.most["decoded"] <= 3 * SLICE_BYTES, (form, name)
                assert work.most["read"] <= predict.SLICE_SEQUENCES
                monkeypatch.undo()


@pytest.mark.parametrize(
    ("path", "form", "element", "count"),
    [
        ("/v1/models/sum/predict", '{"sequences": [%s]}', "[[1]]", 1001),
        ("/v1/models/puppet/generate", '{"inputs": [%s]}', "[1]", 4097),
        ("/v1/models/puppet/score", '{"inputs": [%s], "targets": [%s]}', "[1]", 4097),
        ("/v1/models/sum/step", '{"inputs": [], "session_ids": [%s]}', '"a"', 1001),
        ("/v1/sessions/a/step", '{"inputs": [%s]}', "[1]", 10_001),
    ],
)
@pytest.mark.parametrize("blanks", [1, 70])
async def test_too_many_elements_are_refused_by_their_number_before_one_is_read(
    path: str, form: str, element: str, count: int, blanks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = form.replace("%s", ("," + " " * blanks).join([element] * count)).encode()
    async with edge_over(await house_of_all()) as edge:
        work = Work(monkeypatch)
        status, problem = await Connection("POST", path, body, content_type="application/json").through(edge)
        assert status == 413, problem
        assert str(count) in problem["detail"]
        assert work.total["read"] == 0
        if len(body) > LARGE_BYTES:
            assert work.total["decoded"] < 100


SLOW_NUMBERS = ["1e300", "-1.7976931348623157E+308", "4e-310", "8.5e299"]


@pytest.mark.parametrize("number", SLOW_NUMBERS)
@pytest.mark.parametrize("num_bytes", [10_000, 60_000, 300_000])
@pytest.mark.parametrize("width", [1, 20_000])
async def test_numbers_that_take_long_to_be_rounded_are_decoded_fewer_at_a_time(
    number: str, num_bytes: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = num_bytes // len(number)
    numbers = [number] * count
    rows = ",".join(f"[{','.join(numbers[start : start + width])}]" for start in range(0, count, width))
    async with edge_over(await house_of_all()) as edge:
        work = Work(monkeypatch)
        async with work.watched():
            body = f'{{"inputs": [{rows}]}}'.encode()
            status, _ = await Connection("POST", "/v1/sessions/a/step", body, content_type="application/json").through(
                edge
            )
    assert status in (200, 413, 422)
    assert work.most["decoded"] <= 2 * large.FEW_BYTES


@pytest.mark.parametrize("text", [b"device", b"e", b"1.5", b"[-2.25,true,false,null]", b'"e1"', b"ee"])
def test_ordinary_text_of_middling_size_is_decoded_in_one_go(text: bytes) -> None:
    assert not large.is_large(b'{"inputs":[' + b",".join([text] * (60_000 // (len(text) + 1))) + b"]}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"%b": 1}' % (b"a" * 2_000_000),
        b'{"%b": 1}' % (b'\\"' * 700_000),
        b'{"inputs": {"%b": 1}}' % (b"a" * 2_000_000),
        b'{"inputs"%b: [[1]]}' % (b" " * 2_000_000),
    ],
)
async def test_a_name_as_long_as_a_body_is_refused_before_it_is_read(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edge_over(await house_of_all()) as edge:
        work = Work(monkeypatch)
        for path in ("/v1/sessions/a/step", "/v1/models/sum/predict", "/v1/sessions/a/reset", "/v1/sessions/a/fork"):
            status, problem = await Connection("POST", path, body, content_type="application/json").through(edge)
            assert (status, problem["code"]) == (422, "invalid_input")
        assert work.total["decoded"] < 1000


async def test_blanks_before_a_name_are_passed_over_however_many() -> None:
    body = b'{%b"inputs"\n:[[1],%b[2]]}' % (b" \n" * 50_000, b"\t" * 50_000)
    assert (await read_large(body, msgspec.json.Decoder(StepBody), None, "the body", {})).inputs == [[1], [2]]


@pytest.mark.parametrize("form", ['{"session_ids": ["%s"], "inputs": [[1]]}', '{"session_ids": "%s", "inputs": [[1]]}'])
async def test_a_text_longer_than_any_is_refused_before_it_is_read(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = form.replace("%s", "\\u0041" * 500_000).encode()
    async with edge_over(await house_of_all()) as edge:
        work = Work(monkeypatch)
        path = "/v1/models/sum/step"
        status, problem = await Connection("POST", path, body, content_type="application/json").through(edge)
        assert (status, problem["code"]) == (413, "too_large")
        assert "3000002 bytes" in problem["detail"]
        assert work.total["decoded"] < 1000


async def test_a_large_body_may_be_cancelled_while_it_is_decoded() -> None:
    given = b'{"inputs": %b}' % json_values(2_000_000)["rows"]
    reading = asyncio.create_task(read_large(given, msgspec.json.Decoder(StepBody), None, "the body", {}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not reading.done()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.parametrize("path", ["/v1/sessions/a/step", "/step", "/v1/models/sum/predict"])
async def test_a_large_body_is_answered_as_its_parts_are(path: str) -> None:
    steps = [[index % 100] for index in range(9000)]
    padding = " " * LARGE_BYTES
    bodies = {
        "/v1/sessions/a/step": {"inputs": steps},
        "/step": {"session_id": "a", "inputs": steps},
        "/v1/models/sum/predict": {"sequences": [[[5], *steps]]},
    }
    async with edge_over(await house_of_all()) as edge:
        body = (json.dumps(bodies[path]) + padding).encode()
        status, answer = await Connection("POST", path, body, content_type="application/json").through(edge)
    assert status == 200
    outputs = answer["outputs"] if "step" in path else answer["outputs"][0][1:]
    assert outputs == (np.cumsum(steps, axis=0, dtype=np.float32) + np.float32(5)).tolist()


@pytest.mark.parametrize("seed", range(5))
async def test_an_answer_in_slices_is_what_it_is_in_one_go(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(seed)
    monkeypatch.setattr(message, "SLICE_NUMBERS", 5)
    content = {
        "outputs": [draw.normal(size=(int(rows), 3)).astype(np.float32) for rows in draw.integers(0, 9, 8)],
        "wide": draw.normal(size=(2, 40)),
        "turned": draw.normal(size=(7, 4)).T,
        "states": [{"h": draw.normal(size=(2, 8)), "c": np.array(True)}] * 3,
        "texts": ["é", None, 3, []] * 5,
        "errors": [{"row": row, "code": "a"} for row in range(9)],
        "none": {},
    }
    assert (await json_in_slices(content)).body == to_json(content) + b"\n"


async def test_a_large_answer_is_not_written_in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch)
    async with work.watched():
        await json_in_slices({"outputs": [np.zeros((9_000, 10), np.float32), *[np.zeros((10, 3))] * 5_000]})
    assert work.total["written"] >= 240_000
    assert work.most["written"] <= 2 * turns.SLICE_NUMBERS


async def test_errors_of_a_check_are_raised_as_they_are() -> None:
    def refuse(place: str, count: int) -> None:
        raise OstinatoError(f"{place} {count}")

    body = b'{"inputs": [%b]}' % b",".join([b"[1]"] * 20_000)
    with pytest.raises(OstinatoError, match="inputs 20000"):
        await read_large(body, msgspec.json.Decoder(StepBody), lambda _: refuse, "the body", {})


@pytest.mark.parametrize("name", ["load", "a[0][1].b[2]", "." * 20, "[" * 20])
async def test_brackets_and_dots_in_the_name_of_an_input_are_no_lists_and_objects(name: str) -> None:
    seen = []

    def begin(_: StepBody) -> large.Check:
        return lambda place, count: seen.append((place.member, str(place), place.depth, count))

    steps = [[float(index), 0.5] for index in range(9000)]
    body = json.dumps({"inputs": {name: steps, "flag": [0] * 20_000}}).encode()
    read = await read_large(body, msgspec.json.Decoder(NestedStepBody), begin, "the body", {})
    assert read.inputs == {name: steps, "flag": [0] * 20_000}
    assert seen == [("inputs", f"inputs.{name}", 0, 9000), ("inputs", "inputs.flag", 0, 20_000)]
