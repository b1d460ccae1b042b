"""Answers to something else than what was asked: each is one error, and none becomes a number."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import numpy as np
import pytest

from ostinato.errors import ServiceError, UnexpectedAnswer
from tests.ostinato.fake_generation import FakeWriter, event
from tests.ostinato.fake_service import KINDS, FakeService, Network, make_client
from tests.ostinato.fake_stream import FakeStreams, fake_streams

pytestmark = pytest.mark.parametrize("kind", KINDS)

Members = dict[str, Any]
Change = Members | str
"""Members in place of an answer's own; or the name of one that it lacks."""
Ask = Callable[[Any, Any], Awaitable[Any]]


def changed(answer: Members, change: Change) -> Members:
    if isinstance(change, str):
        return {name: content for name, content in answer.items() if name != change}
    return answer | change


class Swapped(Network):
    """Gives other answers than the service's, while ``change`` is set."""

    def __init__(self, service: FakeService) -> None:
        super().__init__(service)
        self.change: Change | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        answer = super().handle_request(request)
        if self.change is None or not answer.content:
            return answer
        return httpx2.Response(answer.status_code, json=changed(answer.json(), self.change))


SESSION_ANSWERS = [
    {"session_id": "another"},
    {"session_id": None},
    {"model": "another"},
    {"version": "2"},
    {"steps": -1},
    {"steps": 2.0},
    {"steps": True},
    {"steps": None},
    {"opened_at": "yesterday"},
    "steps",
    "session_id",
]
STEP_ANSWERS = [
    {"session_id": "another"},
    {"seq": 0},
    {"seq": None},
    {"seq": 3},
    {"steps": 2},
    {"steps": 4},
    {"seq": 0, "steps": 2},
    {"steps": "3"},
    {"outputs": []},
    {"outputs": None},
    {"outputs": [1.0, 2.0]},
    {"outputs": [["a"], ["b"]]},
    {"outputs": [[1.0], [2.0, 3.0]]},
    {"outputs": [[1.0]]},
    {"outputs": [[1.0]] * 3},
    "session_id",
    "seq",
    "steps",
    "outputs",
]


@pytest.mark.parametrize("change", STEP_ANSWERS, ids=str)
async def test_a_step_s_answer_is_that_session_s_and_that_chunk_s(kind: str, change: Change) -> None:
    network = Swapped(FakeService())
    async with make_client(kind, network) as client, client.session("half", keep=True) as session:
        await session.step([[8.0]])
        network.change = change
        with pytest.raises(UnexpectedAnswer, match="none to what was asked"):
            await session.step([[4.0], [2.0]])
        assert session.steps == 1
        network.change = None
        # It was applied, and is not applied twice.
        assert (await session.step([[4.0], [2.0]])).tolist() == [[8.0], [6.0]]
    assert network.service.num_applied == 2


async def test_one_row_may_be_all_that_a_model_gives_for_several_steps(kind: str) -> None:
    service = FakeService()
    service.manifest["outputs"] = [{"shape": ["B", 1]}]
    async with make_client(kind, Network(service)) as client, client.session("half") as session:
        assert (await session.step([[8.0], [4.0]])).tolist() == [[8.0]]
        assert (await session.step([[4.0], [2.0]])).tolist() == [[6.0]]
        # It was asked about once.
        assert service.requests.count(("GET", "/v1/models/half")) == 1


FRAMES = {"outputs": [[8.0]], "output_steps": [2]}


async def test_a_chunk_answers_the_frames_that_it_completes_with_their_steps(kind: str) -> None:
    network = Swapped(FakeService())
    async with make_client(kind, network) as client, client.session("half", keep=True) as session:
        network.change = FRAMES
        assert (await session.step([[8.0], [4.0], [2.0]])).tolist() == [[8.0]]
        assert session.output_steps.tolist() == [2]
        network.change = {"outputs": [[8.0], [4.0], [2.0]], "output_steps": [4, 4, 5]}  # more rows than steps
        assert (await session.step([[8.0], [4.0]])).tolist() == [[8.0], [4.0], [2.0]]
        assert session.output_steps.tolist() == [4, 4, 5]
        network.change = {"outputs": [], "output_steps": []}
        assert (await session.step([[8.0]])).shape == (0, 1)
        assert (session.output_steps.tolist(), session.steps) == ([], 6)
        network.change = None
        await session.step([[8.0]])
        assert session.output_steps is None


@pytest.mark.parametrize(
    "change",
    [
        {"output_steps": []},
        {"output_steps": [2, 3]},
        {"output_steps": [0]},
        {"output_steps": [4]},
        {"output_steps": [-1]},
        {"output_steps": [1.5]},
        {"output_steps": None},
        {"output_steps": {"y": [2]}},
        {"outputs": [[8.0], [4.0]], "output_steps": [3, 2]},
        {"outputs": [[8.0, 1.0]]},
        {"outputs": [8.0]},
    ],
    ids=str,
)
async def test_frames_that_are_not_of_the_chunk_are_not_taken(kind: str, change: Members) -> None:
    network = Swapped(FakeService())
    async with make_client(kind, network) as client, client.session("half", keep=True) as session:
        network.change = FRAMES | change
        with pytest.raises(UnexpectedAnswer):
            await session.step([[8.0], [4.0], [2.0]])
        assert session.steps == 0


async def test_rows_of_many_sessions_have_outputs_where_a_frame_is_complete(kind: str) -> None:
    network = Swapped(FakeService())
    async with (
        make_client(kind, network) as client,
        client.session("half", session_id="a", keep=True),
        client.session("half", session_id="b", keep=True),
    ):
        network.change = {"outputs": [[8.0], None], "output_steps": [2, None]}
        made = await client.step_many("half", ["a", "b"], [[8.0], [4.0]])
        assert (made.outputs[0].tolist(), np.isnan(made.outputs[1]).all()) == ([8.0], True)
        assert made.output_steps.tolist() == [2, 0]
        network.change = {"outputs": [None, None], "output_steps": [None, None]}
        assert (await client.step_many("half", ["a", "b"], [[8.0], [4.0]])).output_steps.tolist() == [0, 0]
        for change in ({"outputs": [[8.0], None], "output_steps": [2, 4]}, {"output_steps": [2, None]}):
            network.change = change
            with pytest.raises(UnexpectedAnswer):
                await client.step_many("half", ["a", "b"], [[8.0], [4.0]])


async def test_one_row_was_asked_for_and_two_are_not_taken(kind: str) -> None:
    network = Swapped(FakeService())
    async with make_client(kind, network) as client, client.session("half", keep=True) as session:
        network.change = {"outputs": [[8.0], [8.0]]}
        with pytest.raises(UnexpectedAnswer, match="2 rows of outputs"):
            await session.step([[8.0], [4.0]], return_sequences=False)


async def test_a_session_that_somebody_else_has_migrated_may_be_changed(kind: str) -> None:
    network = Swapped(FakeService())
    async with make_client(kind, network) as client, client.session("half", session_id="a", keep=True) as session:
        await session.step([[8.0]])
        network.change = {"version": "2"}
        copy = await session.fork("b")
        await session.reset()
        assert (session.version, copy.version, session.steps) == ("2", "2", 0)


@pytest.mark.parametrize("change", [*SESSION_ANSWERS, {"steps": 5}], ids=str)
async def test_a_session_that_was_opened_is_the_one_asked_for_and_has_no_step(kind: str, change: Change) -> None:
    network = Swapped(FakeService())
    network.change = change
    async with make_client(kind, network) as client:
        with pytest.raises(UnexpectedAnswer):
            async with client.session("half", session_id="a", version="1", keep=True):
                pass


@pytest.mark.parametrize(
    "ask",
    [
        lambda _, session: session.reset(),
        lambda _, session: session.fork("b"),
        lambda _, session: session.put_state(b"[3, 8.0]"),
    ],
)
@pytest.mark.parametrize("change", [each for each in SESSION_ANSWERS if each != {"version": "2"}], ids=str)
async def test_a_session_that_was_changed_is_still_that_session(kind: str, ask: Ask, change: Change) -> None:
    network = Swapped(FakeService())
    async with make_client(kind, network) as client, client.session("half", session_id="a", keep=True) as session:
        await session.step([[8.0]])
        network.change = change
        with pytest.raises(UnexpectedAnswer):
            await ask(client, session)
        assert session.steps == 1


async def test_a_look_is_at_the_session_asked_for_and_a_reset_one_has_no_step(kind: str) -> None:
    network = Swapped(FakeService())
    async with make_client(kind, network) as client, client.session("half", keep=True) as session:
        network.change = {"session_id": "another"}
        for ask in (session.look, session.sync):
            with pytest.raises(UnexpectedAnswer, match="session_id 'another'"):
                await ask()
        with pytest.raises(UnexpectedAnswer):
            async with client.resume(session.session_id):
                pass
        network.change = {"steps": 1}
        with pytest.raises(UnexpectedAnswer, match="the session has 1 steps, and would have 0"):
            await session.reset()


@pytest.mark.parametrize(
    "change",
    [
        {"session_ids": ["b", "a"]},
        {"session_ids": ["a"]},
        {"session_ids": None},
        {"seq": [0, 0]},
        {"seq": [1, 1]},
        {"seq": [1]},
        {"seq": [1, None]},
        {"seq": [1, 1.5]},
        {"outputs": [[1.0]]},
        {"outputs": [[1.0], None]},
        {"outputs": [[1.0]] * 3},
        {"outputs": [[1.0], "a"]},
        {"errors": [{"row": 0, "code": "c", "detail": "d"}]},
        {"errors": [{"row": 2, "code": "c", "detail": "d"}]},
        {"errors": [{"row": -1, "code": "c", "detail": "d"}]},
        {"errors": [{"row": 0}]},
        {"errors": ["no"]},
        "errors",
        "seq",
    ],
)
async def test_rows_are_answered_each_in_its_place(kind: str, change: Change) -> None:
    network = Swapped(FakeService())
    async with (
        make_client(kind, network) as client,
        client.session("half", session_id="a", keep=True) as session,
        client.session("half", session_id="b", keep=True),
    ):
        await session.step([[2.0]])
        network.change = change
        with pytest.raises(UnexpectedAnswer):
            await client.step_many("half", ["a", "b"], [[8.0], [4.0]], [1, 0])


def predicted(**members: Any) -> Members:
    return {"model": "m", "version": "1", "outputs": [[[1.0], [2.0]], [[3.0]]], **members}


@pytest.mark.parametrize(
    "answer",
    [
        predicted(model="another"),
        predicted(version="2"),
        predicted(outputs=[[[1.0], [2.0]]]),
        predicted(outputs=[[[3.0]], [[1.0], [2.0]]]),
        predicted(outputs=[[[1.0], [2.0], [3.0]], [[3.0]]]),
        predicted(outputs=[[[1.0], [2.0]], [[3.0]], [[3.0]]]),
        predicted(outputs=[[1.0, 2.0], [3.0]]),
        predicted(outputs=None),
        changed(predicted(), "outputs"),
        changed(predicted(), "version"),
    ],
)
async def test_a_prediction_is_of_the_sequences_and_the_version_asked_for(kind: str, answer: Members) -> None:
    network = Network(FakeService(), [httpx2.Response(200, json=each) for each in (predicted(), answer)])
    async with make_client(kind, network) as client:
        sequences = [[[1.0], [1.0]], [[3.0]]]
        first, second = await client.predict("m", sequences, version="1")
        assert (first.tolist(), second.tolist()) == ([[1.0], [2.0]], [[3.0]])
        with pytest.raises(UnexpectedAnswer):
            await client.predict("m", sequences, version="1")


async def test_a_prediction_has_the_last_outputs_and_states_where_they_were_asked_for(kind: str) -> None:
    states = [{"h": [1.0]}, {"h": [2.0]}]
    sound = predicted(outputs=[[2.0], [3.0]], states=states)
    answers = [
        sound,
        sound | {"outputs": [2.0, 3.0]},
        sound | {"states": states[:1]},
        sound | {"states": [1, 2]},
        changed(sound, "states"),
    ]
    async with make_client(
        kind, Network(FakeService(), [httpx2.Response(200, json=each) for each in answers])
    ) as client:

        async def ask() -> Any:
            return await client.predict("m", [[[1.0], [1.0]], [[3.0]]], return_sequences=False, return_state=True)

        outputs, made = await ask()
        assert ([each.tolist() for each in outputs], made[1]["h"].tolist()) == ([[2.0], [3.0]], [2.0])
        for _ in answers[1:]:
            with pytest.raises(UnexpectedAnswer):
                await ask()


async def test_a_prediction_with_too_few_rows_is_held_to_the_model(kind: str) -> None:
    service = FakeService()
    answer = {"model": "half", "version": "1", "outputs": [[[2.0]]]}
    network = Network(service, [httpx2.Response(200, json=answer)])
    async with make_client(kind, network) as client:
        with pytest.raises(UnexpectedAnswer, match="the model gives one for each step"):
            await client.predict("half", [[[1.0], [1.0]]])
    service.manifest["outputs"] = [{"shape": ["B", 1]}]
    network = Network(service, [httpx2.Response(200, json=answer)])
    async with make_client(kind, network) as client:
        [made] = await client.predict("half", [[[1.0], [1.0]]])
        np.testing.assert_array_equal(made, np.array([[2]], np.float32), strict=True)


@pytest.mark.parametrize(
    "members",
    [
        {"session_id": "another"},
        {"outputs": [[1.0]]},
        {"outputs": [[1.0]] * 3},
        {"outputs": [1.0, 2.0]},
        {"outputs": "no"},
    ],
)
async def test_a_forecast_is_of_that_session_and_that_far(kind: str, members: Members) -> None:
    def forecast(**members: Any) -> httpx2.Response:
        return httpx2.Response(200, json={"session_id": "a", "outputs": [[1.0], [2.0]], **members})

    network = Network(FakeService(), ["", forecast(), forecast(**members)])
    async with make_client(kind, network) as client, client.session("half", session_id="a", keep=True) as session:
        assert (await session.forecast(2)).tolist() == [[1.0], [2.0]]
        with pytest.raises(UnexpectedAnswer):
            await session.forecast(2)


async def test_a_page_is_of_the_model_and_is_not_the_one_before_it(kind: str) -> None:
    network = Swapped(FakeService())
    async with make_client(kind, network) as client, client.session("half", session_id="a", keep=True):
        network.change = {"next_cursor": "0"}
        with pytest.raises(UnexpectedAnswer, match="the page after it is itself"):
            [info async for info in client.sessions()]
        for change in ({"next_cursor": 7}, {"sessions": None}, {"sessions": ["a"]}, "next_cursor"):
            network.change = change
            with pytest.raises(UnexpectedAnswer):
                [info async for info in client.sessions()]
        network.change = None
        with pytest.raises(UnexpectedAnswer, match="model 'half', and 'another' was asked for"):
            [info async for info in client.sessions("another")]


async def test_a_page_tells_how_many_sessions_are_unreadable(kind: str) -> None:
    service = FakeService(num_unreadable=2)
    async with make_client(kind, Network(service)) as client, client.session("half", session_id="a", keep=True):
        pages = [page async for page in client.session_pages()]  # an empty one, and that of the session
        assert [([info.session_id for info in page.sessions], page.num_unreadable) for page in pages] == [
            ([], 2),
            (["a"], 2),
        ]
        assert [info.session_id async for info in client.sessions()] == ["a"]
        service.num_unreadable = 0
        assert [page.num_unreadable async for page in client.session_pages()] == [0, 0]


async def test_a_model_is_the_one_asked_for(kind: str) -> None:
    network = Swapped(FakeService())
    network.change = {"model": "another"}
    async with make_client(kind, network) as client:
        with pytest.raises(UnexpectedAnswer):
            await client.model("half")
        network.change = {"models": ["half"]}
        with pytest.raises(UnexpectedAnswer):
            await client.models()


@pytest.mark.parametrize(
    "answer",
    [
        lambda: httpx2.Response(200, html="<html>Log in</html>"),
        lambda: httpx2.Response(200, content=b'{"session_id": "a", "seq', headers={"content-type": "application/json"}),
        lambda: httpx2.Response(200, content=b'{"outputs": [[1.0]]}', headers={"content-type": "text/plain"}),
        lambda: httpx2.Response(200, json=[1]),
        lambda: httpx2.Response(200, json={}),
        lambda: httpx2.Response(204),
        lambda: httpx2.Response(404, html="<html>Nothing here</html>"),
    ],
)
async def test_a_page_or_half_an_answer_is_never_taken_for_one(
    kind: str, answer: Callable[[], httpx2.Response]
) -> None:
    network = Network(FakeService())
    async with make_client(kind, network) as client, client.session("half", session_id="a", keep=True) as session:
        asked: list[Callable[[], Awaitable[Any]]] = [
            client.models,
            lambda: client.model("half"),
            lambda: client.predict("half", [[[1.0]]]),
            lambda: client.step_many("half", ["a"], [[1.0]], [0]),
            lambda: client.generate("half", ["a"]),
            lambda: client.score("half", ["a"], ["b"]),
            lambda: session.step([[1.0]]),
            lambda: session.forecast(1),
            session.look,
            session.reset,
            session.fork,
            lambda: session.put_state(b"x"),
        ]
        for ask in asked:
            network.faults = iter([answer()])
            with pytest.raises(UnexpectedAnswer, match="is this the service"):
                await ask()


async def test_a_page_is_no_state_no_metrics_and_no_end_of_a_session(kind: str) -> None:
    page = "<html>Log in</html>"
    network = Network(FakeService(), ["", *[httpx2.Response(200, html=page) for _ in range(3)]])
    async with make_client(kind, network) as client, client.session("half", session_id="a", keep=True) as session:
        for ask in (session.state, client.metrics, session.close):
            with pytest.raises(UnexpectedAnswer, match="is this the service"):
                await ask()
        await session.close()
    assert network.service.ended == {"a"}


async def test_a_state_is_that_of_the_session_asked_for(kind: str) -> None:
    def file(session_id: str) -> bytes:
        header = json.dumps({"__metadata__": {"format": "ostinato-session", "session_id": session_id}}).encode()
        return len(header).to_bytes(8, "little") + header

    files = [httpx2.Response(200, content=file(session_id)) for session_id in ("a", "b")]
    network = Network(FakeService(), ["", *files])
    async with make_client(kind, network) as client, client.session("half", session_id="a", keep=True) as session:
        assert await session.state() == file("a")
        with pytest.raises(UnexpectedAnswer, match="session_id 'b', and 'a' was asked for"):
            await session.state()


async def test_a_missing_page_is_no_end_of_a_session(kind: str) -> None:
    network = Network(FakeService(), ["", httpx2.Response(404, html="<html>"), ""])
    async with make_client(kind, network) as client:
        with pytest.raises(UnexpectedAnswer):
            async with client.session("half"):
                pass


@pytest.mark.parametrize(
    "change",
    [
        {"model": "another"},
        {"version": "4"},
        {"outputs": ["AB"]},
        {"scores": [-1.0]},
        {"finish_reasons": None},
        {"outputs": ["AB", "C", "D"], "scores": [-1.0] * 3, "finish_reasons": ["stop"] * 3},
        "scores",
        "log_probs",
    ],
)
@pytest.mark.parametrize("is_stream", [False, True])
async def test_outputs_are_of_the_inputs_and_the_version_asked_for(kind: str, change: Change, is_stream: bool) -> None:
    writer = FakeWriter()
    network = Swapped(writer)
    asked: dict[str, Any] = {"version": "3", "return_log_probs": True}
    async with make_client(kind, network) as client:
        whole = await client.generate("capitals", ["ab", "c"], **asked)
        assert [output.value for output in whole.firsts] == ["AB", "C"]
        network.change = change
        if not is_stream:
            with pytest.raises(UnexpectedAnswer):
                await client.generate("capitals", ["ab", "c"], **asked)
            return
        sound = {
            "model": "capitals",
            "version": "3",
            "outputs": ["AB", "C"],
            "scores": [-1.5, -1.0],
            "finish_reasons": ["stop"] * 2,
            "log_probs": [[-0.5] * 3, [-0.5] * 2],
        }
        network.change = None
        writer.endings = [[event("done", changed(sound, change))]]
        with pytest.raises(UnexpectedAnswer):
            await read_all(client, ["ab", "c"], **asked)


@pytest.mark.parametrize("step", [{"index": 1}, {"place": 1}, {"index": -1}, {"step": None}, {"output": None}])
async def test_a_step_that_is_told_is_of_an_output_that_was_asked_for(kind: str, step: Members) -> None:
    told = event("step", {"index": 0, "step": 4, "output": [0.5], **step})
    async with make_client(kind, Network(FakeWriter([told]))) as client:
        with pytest.raises(UnexpectedAnswer):
            await read_all(client, ["abc"])


async def read_all(client: Any, inputs: list[str], **asked: Any) -> list[Any]:
    if not hasattr(client, "blocking"):
        return [item async for item in client.generate_stream("capitals", inputs, **asked)]
    return list(client.blocking.generate_stream("capitals", inputs, **asked))


async def test_the_scores_are_of_the_targets(kind: str) -> None:
    network = Swapped(FakeWriter())
    changes: list[Change] = [{"scores": [-1.0] * 2, "log_probs": [[-1.0]] * 2}, {"scores": []}, {"model": "another"}]
    async with make_client(kind, network) as client:
        for change in changes:
            network.change = change
            with pytest.raises(UnexpectedAnswer):
                await client.score("capitals", ["AB"], ["ab"])


@pytest.mark.parametrize("change", STEP_ANSWERS, ids=str)
async def test_a_frame_s_answer_is_that_session_s_and_that_chunk_s(kind: str, change: Change) -> None:
    def swapped(answer: Members) -> list[Members]:
        return [changed(answer, change)]

    with fake_streams(FakeService()) as streams:
        async with stream_client(kind, streams) as client, client.stream("half", create_missing=True) as stream:
            stream.steps["a"] = 0
            await stream.step("a", [[8.0]])
            streams.faults = iter([swapped])
            with pytest.raises(UnexpectedAnswer):
                await stream.step("a", [[4.0], [2.0]])
            assert stream.steps == {"a": 1}
            assert (await stream.step("a", [[4.0], [2.0]])).tolist() == [[8.0], [6.0]]
        # What came after it on that connection could have been another's, too.
        assert (streams.num_connections, streams.service.num_applied) == (2, 2)


@pytest.mark.parametrize("frame_id", [0, 99, None, "1", [1], True, 1.5])
async def test_an_answer_to_no_frame_that_waits_is_told(kind: str, frame_id: object) -> None:
    with fake_streams(FakeService()) as streams:
        async with stream_client(kind, streams) as client, client.stream("half", create_missing=True) as stream:
            stream.steps |= {"a": 0, "b": 0}
            await stream.step("b", [[1.0]])
            streams.faults = iter([lambda answer: [answer | {"id": frame_id}]])
            with pytest.raises(UnexpectedAnswer, match="for which nobody waits"):
                await stream.step("a", [[8.0]])
            assert (await stream.step("a", [[8.0]])).tolist() == [[8.0]]
        assert streams.service.num_applied == 2


@pytest.mark.parametrize("error", ["no", {}, {"status": "no"}, {"status": None, "code": "c"}])
async def test_an_error_frame_without_a_status_is_no_answer(kind: str, error: object) -> None:
    with fake_streams(FakeService()) as streams:
        async with stream_client(kind, streams) as client, client.stream("half", create_missing=True) as stream:
            stream.steps["a"] = 0
            streams.faults = iter([lambda answer: [{"id": answer["id"], "error": error}]])
            assert (await stream.step("a", [[8.0]])).tolist() == [[8.0]]
        assert (streams.num_connections, streams.service.num_applied) == (2, 1)


def stream_client(kind: str, streams: FakeStreams) -> Any:
    return make_client(kind, Network(streams.service), streams.url)


async def test_a_refusal_keeps_its_own_words(kind: str) -> None:
    async with make_client(kind, Network(FakeService())) as client:
        with pytest.raises(ServiceError, match="404 unknown_session") as refused:
            async with client.resume("nobody"):
                pass
        assert not isinstance(refused.value, UnexpectedAnswer)
        assert json.dumps([refused.value.status, refused.value.code]) == '[404, "unknown_session"]'
