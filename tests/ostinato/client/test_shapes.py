"""Models of several inputs and outputs, nested ones and context: what is sent of what users have, and what an answer
is held to.
"""

from __future__ import annotations

import json
from typing import Any

import httpx2
import numpy as np
import pytest

from ostinato.errors import InputError, UnexpectedAnswer
from tests.ostinato.fake_frames import Frame, Series
from tests.ostinato.fake_service import KINDS, FakeService, Kept, Network, make_client

pytestmark = pytest.mark.parametrize("kind", KINDS)

MODEL = "/v1/models/half"
TENSORS: dict[str, Any] = {
    "version": "1",
    "inputs": [
        {"name": "load", "shape": ["B", "T", 2], "features": ["load", "price"]},
        {"name": "day", "shape": ["B", "T"], "features": ["day"]},
    ],
    "context": [
        {"name": "who", "shape": ["B", 2], "features": ["age", "size"]},
        {"name": "region", "shape": ["B"], "features": ["region"]},
    ],
    "outputs": [
        {"name": "level", "shape": ["B", "T", 2]},
        {"name": "kind", "shape": ["B", "T"]},
        {"name": "summary", "shape": ["B", 3]},
    ],
}
"""Two inputs and contexts; outputs at each step, and one that is made once."""
FRAMES: dict[str, Any] = {
    "version": "1",
    "inputs": [{"name": "frame", "shape": ["B", "T", 2, 3], "features": list("abcdef")}],
    "outputs": [{"name": "frame", "shape": ["B", "T", 2, 3], "features": list("abcdef")}],
}
STEPS = {"load": [[1, 2], [3, 4]], "day": [[0], [1]]}
OUTPUTS = {"level": [[1.0, 2.0], [3.0, 4.0]], "kind": [[5], [6]], "summary": [[0.5, 1.0, 2.0]]}
PICTURES = np.arange(12.0).reshape(2, 2, 3)


class Answering(FakeService):
    """A service that keeps the bodies it was sent, and answers them by what it is told."""

    def __init__(self, manifest: dict[str, Any], *answers: Any) -> None:
        super().__init__(manifest=manifest)
        self.sessions["a"] = Kept()
        self.bodies: list[Any] = []
        self.answers = list(answers)

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            return super().answer(request)
        self.bodies.append(json.loads(request.content))
        if request.url.path.endswith("/sessions"):
            return super().answer(request)
        return httpx2.Response(200, json=self.answers.pop(0))


def told(outputs: Any, seq: int = 0, num_steps: int = 2) -> dict[str, Any]:
    return {"session_id": "a", "seq": seq, "steps": seq + num_steps, "outputs": outputs}


def predicted(*outputs: Any) -> dict[str, Any]:
    return {"model": "half", "version": "1", "outputs": list(outputs)}


def outputs_with(**changes: Any) -> dict[str, Any]:
    """The outputs of two steps, with some of them changed, or left out where they are None."""
    return {name: words for name, words in (OUTPUTS | changes).items() if words is not None}


async def test_several_outputs_are_arrays_by_name_each_with_its_rows(kind: str) -> None:
    last = outputs_with(level=[[3.0, 4.0]], kind=[[6]])
    service = Answering(TENSORS, told(OUTPUTS), told(last, 2), told(OUTPUTS))
    async with make_client(kind, Network(service)) as client:
        session = client.resume("a")
        async with session:
            made = await session.step(STEPS)
            assert (made["level"].dtype, made["kind"].dtype) == (np.float32, np.int64)
            assert {name: array.tolist() for name, array in made.items()} == OUTPUTS
            made = await session.step(STEPS, return_sequences=False)
            assert {name: array.tolist() for name, array in made.items()} == last
            assert session.steps == 4
            assert (await session.forecast(2))["summary"].tolist() == [[0.5, 1.0, 2.0]]
    assert service.requests.count(("GET", MODEL)) == 1


@pytest.mark.parametrize(
    "outputs",
    [
        outputs_with(summary=None),
        outputs_with(other=[[1]]),
        outputs_with(level=[[1.0, 2.0]]),
        outputs_with(level=[[1.0], [2.0]]),
        outputs_with(kind=[5, 6]),
        outputs_with(kind=[[5], [6], [7]]),
        outputs_with(summary=[[0.5, 1.0, 2.0]] * 2),
        outputs_with(level=[[1.0, "2"], [3.0, 4.0]]),
        {},
        [[[1.0, 2.0]], [[1.0, 2.0]]],
    ],
    ids=str,
)
async def test_outputs_of_other_names_or_shapes_are_no_answer(kind: str, outputs: Any) -> None:
    async with make_client(kind, Network(Answering(TENSORS, predicted(outputs)))) as client:
        with pytest.raises(UnexpectedAnswer):
            await client.predict("half", [STEPS])


@pytest.mark.parametrize("made", [PICTURES[:1], PICTURES.transpose(0, 2, 1), PICTURES.reshape(2, 3, 2, 1)])
async def test_nested_outputs_are_held_to_their_shape(kind: str, made: Any) -> None:
    service = Answering(FRAMES, *[predicted(each.tolist()) for each in (PICTURES, made)])
    async with make_client(kind, Network(service)) as client:
        [sound] = await client.predict("half", [PICTURES])
        np.testing.assert_array_equal(sound, PICTURES.astype(np.float32), strict=True)
        with pytest.raises(UnexpectedAnswer, match="shape"):
            await client.predict("half", [PICTURES])


async def test_rows_of_several_outputs_fail_together(kind: str) -> None:
    outputs: Any = {"level": [[1.0, 2.0], None], "kind": [[5], None], "summary": [[1.0, 2.0, 3.0], None]}
    good = {
        "session_ids": ["a", "b"],
        "seq": [0, None],
        "outputs": outputs,
        "errors": [{"row": 1, "code": "unknown_session", "detail": "no"}],
    }
    half = {**good, "outputs": {**outputs, "kind": [[5], [6]]}}
    short = {**good, "outputs": {**outputs, "kind": [[5]]}}
    async with make_client(kind, Network(Answering(TENSORS, good, half, short))) as client:
        made = await client.step_many("half", ["a", "b"], STEPS)
        assert made.outputs["kind"].tolist() == [[5], [0]]
        np.testing.assert_array_equal(made.outputs["level"], np.array([[1, 2], [np.nan] * 2], np.float32))
        for _ in range(2):
            with pytest.raises(UnexpectedAnswer):
                await client.step_many("half", ["a", "b"], STEPS)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (STEPS, STEPS),
        ({"day": [0, 1], "load": np.array([[1, 2], [3, 4]])}, STEPS),
        ({"load": Frame({"price": [2.0, 4.0], "load": [1.0, 3.0]}), "day": np.array([0, 1])}, STEPS),
        ({"load": Frame({"price": [2.0, 4.0], "load": [1.0, 3.0]}), "day": Series([0, 1], index=[5, 6])}, STEPS),
        (Frame({"day": [0, 1], "price": [2, 4], "load": [1, 3]}), STEPS),
        ({"load": [[1, 2], [3, 4]], "day": ["monday", "friday"]}, {**STEPS, "day": [["monday"], ["friday"]]}),
    ],
    ids=range(6),
)
async def test_inputs_are_sent_by_name_in_the_order_of_their_features(kind: str, given: Any, sent: Any) -> None:
    service = Answering(TENSORS, predicted(OUTPUTS), told(OUTPUTS))
    async with make_client(kind, Network(service)) as client:
        await client.predict("half", [given])
        await client.resume("a").step(given) if kind == "blocking" else await (await client.resume("a").open()).step(
            given
        )
    assert service.bodies[0]["sequences"] == [sent]
    assert service.bodies[1]["inputs"] == sent


@pytest.mark.parametrize("given", [{"load": [1, 2], "day": 3}, {"load": np.array([1, 2]), "day": [3]}])
async def test_one_step_needs_no_axis_for_it(kind: str, given: Any) -> None:
    one = outputs_with(level=[[1.0, 2.0]], kind=[[5]])
    service = Answering(TENSORS, told(one, num_steps=1))
    async with make_client(kind, Network(service)) as client:
        session = client.resume("a")
        async with session:
            await session.step(given)
    assert service.bodies[0]["inputs"] == {"load": [[1, 2]], "day": [[3]]}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (PICTURES, PICTURES),
        (list(PICTURES), PICTURES),
        (PICTURES.tolist(), PICTURES),
        (PICTURES.reshape(2, 6), PICTURES.reshape(2, 6)),
        ({"frame": PICTURES}, PICTURES),
    ],
    ids=range(5),
)
async def test_nested_inputs_are_sent_nested_or_flat(kind: str, given: Any, sent: Any) -> None:
    service = Answering(FRAMES, predicted(PICTURES.tolist()))
    async with make_client(kind, Network(service)) as client:
        await client.predict("half", [given])
    assert service.bodies[0]["sequences"] == [sent.tolist()]


async def test_one_picture_is_one_step(kind: str) -> None:
    frame = {"name": "frame", "shape": ["B", "T", 1, 2, 3], "features": list("abcdef")}
    one = PICTURES[:1, None].tolist()
    service = Answering({"version": "1", "inputs": [frame], "outputs": [frame]}, told(one, num_steps=1))
    async with make_client(kind, Network(service)) as client:
        session = client.resume("a")
        async with session:
            made = await session.step(PICTURES[:1])
    assert service.bodies[0]["inputs"] == one
    assert made.shape == (1, 1, 2, 3)


@pytest.mark.parametrize(
    ("manifest", "given", "error"),
    [
        (TENSORS, {"load": [[1, 2]]}, "takes load, day, and this lacks day"),
        (TENSORS, {**STEPS, "sun": [[1]]}, "takes load, day, and this has sun"),
        (TENSORS, np.zeros(3), "takes several inputs: give a mapping with load, day"),
        (TENSORS, Frame({"day": [0], "load": [1]}), "lacks price"),
        (FRAMES, np.zeros((2, 3, 2)), r"is \[n, 2, 3\], and this has the shape \[2, 3, 2\]"),
        (FRAMES, np.zeros((1, 2, 2, 3)), r"is \[n, 2, 3\]"),
    ],
    ids=range(6),
)
async def test_what_fits_no_model_is_refused_before_it_is_sent(
    kind: str, manifest: Any, given: Any, error: str
) -> None:
    service = Answering(manifest)
    async with make_client(kind, Network(service)) as client:
        session = client.resume("a")
        async with session:
            with pytest.raises(InputError, match=error):
                await session.step(given)
        with pytest.raises(InputError, match="this is one sequence"):
            await client.predict("half", STEPS)
    assert service.bodies == []


ROW = Series([3, 0.5, 40.0], index=["region", "size", "age"])
CONTEXT = {"who": [40.0, 0.5], "region": 3}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (CONTEXT, CONTEXT),
        ({"who": np.array([40, 0.5]), "region": np.int64(3)}, CONTEXT),
        ({"who": Series([0.5, 40.0], index=["size", "age"]), "region": "north"}, {**CONTEXT, "region": "north"}),
        ({"who": Frame({"size": [0.5], "age": [40.0]}), "region": 3}, CONTEXT),
        (ROW, CONTEXT),
        (Frame({"region": [3], "size": [0.5], "age": [40.0]}), CONTEXT),
    ],
    ids=range(6),
)
async def test_a_context_is_sent_by_name_at_opening_and_with_sequences(kind: str, given: Any, sent: Any) -> None:
    service = Answering(TENSORS, predicted(OUTPUTS), predicted(OUTPUTS, OUTPUTS), predicted(OUTPUTS))
    async with make_client(kind, Network(service)) as client:
        session = client.session("half", context=given, keep=True)
        async with session:
            pass
        await client.predict("half", [STEPS], context=[given])
        await client.predict("half", [STEPS] * 2, context=[given, None])
        await client.predict("half", [STEPS], context=ROW)
    assert [body["context"] for body in service.bodies] == [sent, [sent], [sent, None], CONTEXT]


async def test_a_frame_has_a_context_for_each_sequence(kind: str) -> None:
    service = Answering(TENSORS, predicted(OUTPUTS, OUTPUTS))
    async with make_client(kind, Network(service)) as client:
        frame = Frame({"region": [3, 1], "age": [40.0, 7.0], "size": [0.5, 2.0]})
        await client.predict("half", [STEPS] * 2, context=frame)
    assert service.bodies[0]["context"] == [CONTEXT, {"who": [7.0, 2.0], "region": 1}]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (Series([1.0], index=["age"]), "lacks size"),
        (Series([1.0] * 4, index=["age", "size", "region", "x"]), "has no x"),
        ({"who": Series([1.0, 2.0], index=["age", "x"])}, "lacks size"),
        (3, "a context is a mapping by name, and 'half' has who, region"),
        ({"who": Frame({"age": [1.0, 2.0], "size": [1.0, 2.0]})}, "'who' of 'half' is one row, and these are 2"),
    ],
    ids=range(5),
)
async def test_a_context_of_other_names_is_refused_before_it_is_sent(kind: str, given: Any, error: str) -> None:
    service = Answering(TENSORS)
    async with make_client(kind, Network(service)) as client:
        with pytest.raises(InputError, match=error):
            await client.predict("half", [STEPS], context=[given])
    assert service.bodies == []


async def test_of_a_version_that_is_not_told_any_more_inputs_are_sent_as_they_are(kind: str) -> None:
    service = Answering({**TENSORS, "version": "2"}, predicted(OUTPUTS))
    async with make_client(kind, Network(service)) as client:
        [made] = await client.predict("half", [{"load": np.array([[1, 2], [3, 4]]), "day": [[0], [1]]}], version="1")
        assert made["kind"].tolist() == [[5], [6]]
        with pytest.raises(InputError, match="does not tell the features of half/1"):
            await client.predict("half", [{"load": Frame({"load": [1], "price": [2]}), "day": [[0]]}], version="1")
    assert service.bodies[0]["sequences"] == [STEPS]


class Versions(FakeService):
    """Serves versions 1 and 2, of which 2 has its features the other way round, and ``best`` is an alias."""

    def __init__(self) -> None:
        super().__init__()
        self.best = self.default = "1"
        self.asked: list[str] = []
        self.bodies: list[Any] = []

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "DELETE":
            return httpx2.Response(204)
        if request.method == "POST":
            self.bodies.append(json.loads(request.content))
            version = self.bodies[-1].get("version", self.default).replace("best", self.best).replace("3", "1")
            if session_id := self.bodies[-1].get("session_id"):
                session = {"session_id": session_id, "model": "half", "version": version, "steps": 0}
                return httpx2.Response(201, json=session)
            return httpx2.Response(200, json={"model": "half", "version": version, "outputs": [[[1.0]]]})
        self.asked.append(request.url.params.get("version", self.default))
        version = self.asked[-1].replace("best", self.best)
        if version == "3":
            return httpx2.Response(404, json={"code": "unknown_model", "detail": "half has no version 3"})
        features = ["load", "price"] if version == "1" else ["price", "load"]
        inputs = [{"name": "load", "shape": ["B", "T", 2], "features": features}]
        manifest = {"version": version, "inputs": inputs, "outputs": [{"name": "level", "shape": ["B", "T", 1]}]}
        return httpx2.Response(200, json={"model": "half", "version": version, "manifest": manifest})


async def test_each_version_and_an_alias_are_asked_for_their_own_features(kind: str) -> None:
    service = Versions()
    frame = Frame({"load": [1.0], "price": [2.0]})
    async with make_client(kind, Network(service)) as client:
        for version in ("1", "2", "1", "best"):
            await client.predict("half", [frame], version=version)
        service.best = "2"
        await client.predict("half", [frame], version="best")
        with pytest.raises(InputError, match="does not tell the features of half/3"):
            await client.predict("half", [frame], version="3")
    sent = [body["sequences"][0][0] for body in service.bodies]
    assert sent == [[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]
    assert service.asked == ["1", "2", "best", "best", "3"]


async def test_an_alias_may_be_asked_for_wherever_a_version_may(kind: str) -> None:
    service = Versions()
    async with make_client(kind, Network(service)) as client:
        async with client.session("half", session_id="a", version="best") as session:
            assert session.version == "1"
        service.best = "2"
        async with client.session("half", session_id="b", version="best") as session:
            assert session.version == "2"
        with pytest.raises(UnexpectedAnswer, match="it is about version '1', and '3' was asked for"):
            async with client.session("half", session_id="c", version="3"):
                pass
    assert service.asked == ["best", "3"]


async def test_names_are_put_in_the_order_of_the_version_that_is_meant_by_now(kind: str) -> None:
    service = Versions()
    frame = Frame({"load": [1.0], "price": [2.0]})
    async with make_client(kind, Network(service)) as client:
        for service.default in ("1", "2", "1"):
            await client.predict("half", [frame])
            await client.predict("half", [[[1.0, 2.0]]])
    assert [(body.get("version"), body["sequences"]) for body in service.bodies] == [
        ("1", [[[1.0, 2.0]]]),
        (None, [[[1.0, 2.0]]]),
        ("2", [[[2.0, 1.0]]]),
        (None, [[[1.0, 2.0]]]),
        ("1", [[[1.0, 2.0]]]),
        (None, [[[1.0, 2.0]]]),
    ]
