from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from ostinato.service.edge.desk import Desk
from ostinato.service.edge.v1.large import LARGE_BYTES
from ostinato.service.edge.websocket.channel import Message
from ostinato.service.edge.websocket.pending import Pending
from ostinato.service.edge.websocket.stream import ROUTE, StepStream
from ostinato.service.edge.witness import Witness
from ostinato.service.errors import InvalidInput
from ostinato.service.sessions.chunk import StepAnswer
from ostinato.service.sessions.session import LiveSession
from tests.service.puppet import House, column, until
from tests.waiting import until_true


class Recorder:
    """A connection that keeps what is sent over it."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self._reading = True
        self.closed: tuple[int, str] | None = None
        self.stream: StepStream | None = None

    def send(self, message: bytes, *, is_text: bool) -> None:
        self.sent.append(json.loads(message) if is_text else message)

    def read_more(self, wanted: bool) -> None:
        assert wanted != self._reading
        self._reading = wanted

    def reads(self) -> bool:
        return self._reading

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        assert self.stream is not None
        self.stream.end()

    @property
    def codes(self) -> list[str]:
        """Of each answer, its error's code or "ok"."""
        return [answer["error"]["code"] if "error" in answer else "ok" for answer in self.sent]

    async def until(self, num_sent: int) -> list[Any]:
        """What was sent, when it has become so many messages."""
        await until_true(lambda: len(self.sent) >= num_sent, f"{num_sent} messages")
        assert len(self.sent) == num_sent, self.sent
        return self.sent


class Line:
    """A stream over a house, and the other end of it."""

    def __init__(self, house: House, model: str = "sum", **options: Any) -> None:
        self.house = house
        self.recorder = Recorder()
        self.columns: list[tuple[str, bytes, bool]] = []
        self.stream = StepStream(
            self.recorder,
            model,
            house.sessions,
            house.ledger,
            Witness(Desk(house.metrics, house.settings), "FRAME", ROUTE, "/v1/models/sum/stream"),
            house.settings,
            self.step_columns,
            **options,
        )
        self.recorder.stream = self.stream

    async def step_columns(
        self, model: str, message: bytes, create_missing: bool, when_placed: Callable[[], object]
    ) -> bytes:
        """A message is ``<session>,<number>``; any other is refused."""
        self.columns.append((model, message, create_missing))
        session_id, _, number = message.decode().partition(",")
        session = self.house.sessions.use(session_id)
        if session is None:
            raise InvalidInput("this is no Arrow IPC stream")
        stepping = self.house.ledger.step(session, column(float(number)))
        when_placed()
        answer = await stepping
        return b"%g" % answer.outputs[0, 0]

    @property
    def observed(self) -> tuple[dict[str, float], dict[str, float]]:
        """How many frames were answered, by class of status, and how many with an error, by code."""
        counts = self.house.metrics.request_seconds.numbers()
        answered = {status: sum(each[:-1]) for (route, status), each in counts.items() if route == ROUTE}
        return answered, {code: each for (code,), (each,) in self.house.metrics.rejected.numbers().items() if each}

    def say(self, *messages: bytes | dict[str, Any]) -> None:
        """Have messages arrive together: text from JSON, or binary as it is."""
        now = time.perf_counter()
        self.stream.receive(
            Message(message, False, now)
            if isinstance(message, bytes)
            else Message(json.dumps(message).encode(), True, now)
            for message in messages
        )


@asynccontextmanager
async def line_over(house: House, *sessions: str, **options: Any) -> AsyncIterator[Line]:
    """A stream over sessions that are open; at the end nothing may be left of it."""
    for session_id in sessions:
        await house.sessions.open("sum", session_id=session_id)
    line = Line(house, **options)
    try:
        yield line
    finally:
        house.runner.gate.set()
        line.stream.end()
        await until_true(lambda: not house.engine.num_rows)
        assert house.engine.num_rows == 0
        assert line.stream.num_frames == 0
        house.engine.close()
        await asyncio.sleep(0)


def steps(house: House, session_id: str) -> int:
    session = house.sessions.use(session_id)
    assert isinstance(session, LiveSession)
    return session.steps


async def test_a_frame_may_ask_for_its_last_output_only() -> None:
    async with line_over(House(), "a") as line:
        line.say({"session_id": "a", "inputs": [[1], [2]], "return_sequences": False})
        sent = await line.recorder.until(1)
    assert sent == [{"session_id": "a", "seq": 0, "steps": 2, "outputs": [[3.0]]}]


@pytest.mark.parametrize("given", [{}, {"id": "mine"}, {"id": 7}])
async def test_a_frame_is_answered_as_a_step_is_and_its_id_comes_back(given: dict[str, Any]) -> None:
    async with line_over(House(), "a") as line:
        line.say({"session_id": "a", "inputs": [[1], [2]], "seq": 0, **given})
        sent = await line.recorder.until(1)
    assert sent == [{"session_id": "a", "seq": 0, "steps": 2, "outputs": [[1.0], [3.0]], **given}]
    assert line.observed == ({"2xx": 1}, {})


async def test_frames_that_arrive_together_run_together() -> None:
    house = House()
    async with line_over(house, "a", "b", "c") as line:
        line.say(*({"session_id": session_id, "inputs": [[1]]} for session_id in "abc"))
        await line.recorder.until(3)
    assert [len(slots) for slots, _ in house.runner.iterations] == [3]


async def test_frames_of_one_session_are_applied_in_the_order_sent() -> None:
    async with line_over(House(), "a") as line:
        line.say(*({"session_id": "a", "inputs": [[number]], "id": number} for number in (1, 10, 100, 1000)))
        sent = await line.recorder.until(4)
    assert [(answer["id"], answer["seq"], answer["outputs"]) for answer in sent] == [
        (1, 0, [[1.0]]),
        (10, 1, [[11.0]]),
        (100, 2, [[111.0]]),
        (1000, 3, [[1111.0]]),
    ]


@pytest.mark.parametrize(
    ("message", "session_id", "frame_id", "code", "field"),
    [
        (b"{", None, None, "invalid_input", None),
        (b"", None, None, "invalid_input", None),
        (b"[1]", None, None, "invalid_input", None),
        (b'{"inputs": [[1]], "id": 5}', None, 5, "invalid_input", "session_id"),
        (b'{"session_id": "a", "inputs": [["x"]], "id": "i"}', "a", "i", "invalid_input", "inputs[0][0]"),
        (b'{"session_id": "a", "inputs": [[NaN]]}', None, None, "invalid_input", "inputs[0][0]"),
        (b'{"session_id": "a", "inputs": [[1]], "sequence": 3}', "a", None, "invalid_input", "sequence"),
        (b'{"session_id": "no/id", "inputs": [[1]], "id": 5}', None, 5, "invalid_input", "session_id"),
        (b'{"session_id": "a", "inputs": [[1]], "id": [1]}', "a", None, "invalid_input", "id"),
        (b'{"session_id": "a", "inputs": [[1]], "id": "%s"}' % (b"i" * 129), "a", None, "invalid_input", "id"),
        (b'{"session_id": "a", "inputs": [[1]], "seq": -1}', "a", None, "invalid_input", "seq"),
        (b'{"session_id": "a", "inputs": []}', "a", None, "invalid_input", "inputs"),
        (b'{"session_id": "a", "inputs": [[1], [1, 2]]}', "a", None, "invalid_input", "inputs[1]"),
        (b'{"session_id": "a", "inputs": [[null]], "id": 0}', "a", 0, "invalid_input", "inputs[0][0]"),
        (b'{"session_id": "a", "inputs": [[1],[1],[1],[1]]}', "a", None, "too_large", None),
        (b'{"session_id": "b", "inputs": [[1]]}', "b", None, "unknown_session", None),
        (b'{"session_id": "a", "inputs": [[1]], "seq": 3}', "a", None, "seq_conflict", None),
        (b"[" * 100_000, None, None, "invalid_input", None),
    ],
)
async def test_a_bad_frame_gets_an_error_frame_and_fails_no_other(
    message: bytes, session_id: str | None, frame_id: str | int | None, code: str, field: str | None
) -> None:
    house = House(max_chunk_steps=3)
    async with line_over(house, "a") as line:
        good = b'{"session_id": "a", "inputs": [[4]], "id": "good"}'
        line.stream.receive(Message(text, True, time.perf_counter()) for text in (message, good))
        sent = await line.recorder.until(2)
        assert steps(house, "a") == 1
    (bad,) = (answer for answer in sent if "error" in answer)
    (answer,) = (answer for answer in sent if "error" not in answer)
    assert set(bad) == {"session_id", "id", "error"}
    assert (bad["session_id"], bad["id"], bad["error"]["code"]) == (session_id, frame_id, code)
    assert bad["error"].get("field") == field
    assert {"type", "title", "status", "detail", "code"} <= set(bad["error"])
    assert (answer["id"], answer["outputs"]) == ("good", [[4.0]])
    assert line.observed == ({"2xx": 1, f"{bad['error']['status'] // 100}xx": 1}, {code: 1})


async def test_a_session_of_another_model_is_refused() -> None:
    house = House()
    async with line_over(house, "a") as line:
        line.stream._model = "other"
        line.say({"session_id": "a", "inputs": [[1]]})
        (refused,) = await line.recorder.until(1)
    assert (refused["error"]["code"], refused["error"]["field"]) == ("invalid_input", "session_id")
    assert refused["error"]["detail"] == "the session is of model 'sum', and this stream of 'other'"


async def test_seq_means_what_it_means_over_http() -> None:
    async with line_over(House(), "a") as line:
        for _ in range(2):  # the second is a duplicate
            line.say({"session_id": "a", "inputs": [[1], [2]], "seq": 0})
        line.say({"session_id": "a", "inputs": [[5]], "seq": 1})
        first, again, conflict = await line.recorder.until(3)
    assert first == again
    assert (conflict["error"]["code"], conflict["error"]["expected_seq"]) == ("seq_conflict", 2)


async def test_create_missing_opens_a_session_and_keeps_the_order() -> None:
    house = House()
    async with line_over(house, create_missing=True) as line:
        line.say(*({"session_id": "new", "inputs": [[number]], "seq": seq} for seq, number in enumerate((1, 10, 100))))
        sent = await line.recorder.until(3)
    assert [answer["outputs"] for answer in sent] == [[[1.0]], [[11.0]], [[111.0]]]
    assert house.value('ostinato_sessions_total{event="opened",model="sum",version="1"}') == 1


async def test_create_missing_does_not_begin_a_session_anew_that_is_believed_to_have_steps() -> None:
    house = House()
    async with line_over(house, create_missing=True) as line:
        line.say({"session_id": "lost", "inputs": [[1]], "seq": 5})
        await line.recorder.until(1)
    assert line.recorder.codes == ["unknown_session"]
    assert house.sessions.use("lost") is None


async def test_each_frame_that_waits_for_a_missing_session_is_judged_by_its_own_right_to_open_it() -> None:
    house = House()
    async with line_over(house, create_missing=True) as line:
        line.say(
            *({"session_id": "new", "inputs": [[number]], "seq": seq} for number, seq in ((1, 5), (10, 0), (100, 1)))
        )
        await line.recorder.until(3)
    assert line.recorder.codes == ["unknown_session", "ok", "ok"]
    assert [answer["outputs"] for answer in line.recorder.sent[1:]] == [[[10.0]], [[110.0]]]


async def test_a_frame_that_may_open_nothing_is_not_refused_for_the_context_that_an_opening_needs() -> None:
    house = House()
    house.engine.needs_context = True
    async with line_over(house, create_missing=True) as line:
        line.say(*({"session_id": "new", "inputs": [[1]], "seq": seq} for seq in (0, 5, 0)))
        await line.recorder.until(3)
    assert line.recorder.codes == ["invalid_input", "unknown_session", "invalid_input"]


async def test_create_missing_does_not_begin_a_closed_session_anew() -> None:
    house = House()
    async with line_over(house, "a", create_missing=True) as line:
        await house.sessions.close("a")
        line.say({"session_id": "a", "inputs": [[1]]})
        await line.recorder.until(1)
    assert line.recorder.codes == ["session_closed"]


async def test_a_session_that_another_request_opens_meanwhile_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    opening = house.sessions.open

    async def open_second(model: str, **options: Any) -> LiveSession:
        await opening(model, **options)
        return await opening(model, **options)

    monkeypatch.setattr(house.sessions, "open", open_second)
    async with line_over(house, create_missing=True) as line:
        line.say({"session_id": "a", "inputs": [[1]]})
        await line.recorder.until(1)
    assert line.recorder.codes == ["ok"]


async def test_frames_of_a_session_that_is_not_in_memory_wait_for_it_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    async with line_over(house, "a", "b") as line:
        found = house.sessions.use("a")
        assert found is not None
        loaded = asyncio.Event()
        real = house.sessions.use

        async def find(session_id: str) -> LiveSession:
            await loaded.wait()
            session = real(session_id)
            assert session is not None
            return session

        with monkeypatch.context() as patch:
            patch.setattr(house.sessions, "use", lambda name: None if name == "a" else real(name))
            patch.setattr(house.sessions, "find", find)
            line.say(
                {"session_id": "a", "inputs": [[1]]},
                {"session_id": "b", "inputs": [[5]]},
                {"session_id": "a", "inputs": [[10]]},
                b"b,6",
                {"session_id": "b", "inputs": [[7]]},
            )
            # Those behind the columnar message wait with it, since it may name the session that is looked for.
            assert (await line.recorder.until(1))[0]["outputs"] == [[5.0]]
            assert not line.recorder.reads()
        loaded.set()
        sent = await line.recorder.until(5)
    assert [answer["outputs"] for answer in sent[1:] if not isinstance(answer, bytes)] == [[[1.0]], [[11.0]], [[18.0]]]
    assert [answer for answer in sent[1:] if isinstance(answer, bytes)] == [b"11"]
    assert line.recorder.reads()


async def test_a_full_queue_is_refused_and_says_when_to_come_back() -> None:
    house = House(max_queue_rows=2, in_thread=True)
    async with line_over(house, "a", "b", "c") as line:
        house.runner.gate.clear()
        line.say(*({"session_id": session_id, "inputs": [[1]]} for session_id in "abc"))
        (refused,) = await line.recorder.until(1)
        house.runner.gate.set()
        await line.recorder.until(3)
        line.say({"session_id": "c", "inputs": [[2]], "seq": 0})
        sent = await line.recorder.until(4)
    assert (refused["session_id"], refused["error"]["code"]) == ("c", "overloaded")
    assert refused["error"]["retry_after_seconds"] == 1
    assert sent[3]["outputs"] == [[2.0]]


async def test_a_failed_run_fails_its_own_frame_only() -> None:
    house = House()
    async with line_over(house, "a", "b") as line:
        slot = house.sessions.use("a")
        assert slot is not None
        house.runner.fails = lambda iteration: any(slot.slot in work.slots for work in iteration.works)
        line.say(*({"session_id": session_id, "inputs": [[1]]} for session_id in "ab"))
        sent = await line.recorder.until(2)
    assert {answer["session_id"]: code for answer, code in zip(sent, line.recorder.codes, strict=True)} == {
        "a": "run_failed",
        "b": "ok",
    }


class TestBackPressure:
    @pytest.mark.parametrize(
        "limits", [{"max_stream_frames": 3}, {"max_body_bytes": 2 * len('{"session_id": "a", "inputs": [[1]]}') + 1}]
    )
    async def test_no_more_is_looked_at_than_may_be_under_way(self, limits: dict[str, Any]) -> None:
        house = House(in_thread=True, **limits)
        async with line_over(house, "a") as line:
            house.runner.gate.clear()
            line.say(*({"session_id": "a", "inputs": [[1]]} for _ in range(10)))
            for _ in range(5):
                await asyncio.sleep(0)
            assert line.stream.num_frames == house.engine.num_rows == 3
            assert line.stream.is_full
            assert not line.recorder.reads()
            house.runner.gate.set()
            sent = await line.recorder.until(10)
            assert line.recorder.reads()
            assert line.stream.is_idle
        assert [answer["seq"] for answer in sent] == list(range(10))

    async def test_nothing_is_looked_at_while_the_client_does_not_read(self) -> None:
        async with line_over(House(), "a") as line:
            line.stream.set_client_reads(False)
            assert not line.recorder.reads()
            line.say({"session_id": "a", "inputs": [[1]]})
            for _ in range(10):
                await asyncio.sleep(0)
            assert (line.stream.num_frames, line.stream.is_idle, line.stream.is_full) == (0, True, False)
            line.stream.set_client_reads(True)
            await line.recorder.until(1)
            assert line.recorder.reads()

    async def test_a_flood_of_bad_frames_lets_others_have_their_turn(self) -> None:
        async with line_over(House(max_stream_frames=10), "a") as line:
            line.stream.receive(Message(b"{", True, time.perf_counter()) for _ in range(25))
            assert len(line.recorder.sent) == 10
            assert not line.recorder.reads()
            await asyncio.sleep(0)
            assert len(line.recorder.sent) == 20
            await line.recorder.until(25)
            assert line.recorder.reads()


async def test_a_frame_past_its_deadline_is_told_so_and_not_applied_while_it_waits() -> None:
    house = House(in_thread=True, deadline_seconds=30)
    async with line_over(house, "a") as line:
        house.runner.gate.clear()
        line.say({"session_id": "a", "inputs": [[1]], "id": 1})
        await until(lambda: house.runner.is_held)
        line.say({"session_id": "a", "inputs": [[1]], "id": 2}, b"a,3")
        await asyncio.sleep(0)
        line.stream.sweep(time.perf_counter() + 29)
        assert line.recorder.sent == []
        line.stream.sweep(time.perf_counter() + 31)
        assert line.recorder.codes == ["deadline_exceeded"] * 3
        assert [answer["id"] for answer in line.recorder.sent] == [1, 2, None]
        house.runner.gate.set()
        line.say({"session_id": "a", "inputs": [[1]], "id": 3})
        sent = await line.recorder.until(4)
    # The first had begun, so it was applied.
    assert (sent[3]["id"], sent[3]["outputs"]) == (3, [[2.0]])
    assert house.value('ostinato_cancelled_total{model="sum",version="1"}') == 2


async def test_a_frame_past_its_deadline_before_its_session_is_found_is_not_applied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = House()
    async with line_over(house, "a") as line:
        session, loaded = house.sessions.use("a"), asyncio.Event()
        assert session is not None

        async def find(_: str) -> LiveSession:
            await loaded.wait()
            return session

        with monkeypatch.context() as patch:
            patch.setattr(house.sessions, "use", lambda _: None)
            patch.setattr(house.sessions, "find", find)
            line.say({"session_id": "a", "inputs": [[1]]})
            line.stream.sweep(time.perf_counter() + 31)
            await line.recorder.until(1)
            loaded.set()
            await asyncio.sleep(0.01)
        assert line.recorder.codes == ["deadline_exceeded"]
        assert session.steps == 0


async def test_when_the_client_goes_what_has_begun_is_applied_and_the_rest_is_dropped() -> None:
    house = House(in_thread=True)
    async with line_over(house, "a", create_missing=True) as line:
        house.runner.gate.clear()
        line.say({"session_id": "a", "inputs": [[1]]})
        await until(lambda: house.runner.is_held)
        line.say({"session_id": "a", "inputs": [[10]]}, {"session_id": "new", "inputs": [[1]]}, b"a,100")
        await asyncio.sleep(0)
        line.stream.end()
        house.runner.gate.set()
        await until_true(lambda: not house.engine.num_rows)
        assert line.recorder.sent == []
        assert steps(house, "a") == 1
        line.say({"session_id": "a", "inputs": [[1]]})
        assert line.stream.is_idle


async def test_when_the_client_goes_nobody_looks_for_its_sessions_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    async with line_over(House()) as line:

        async def find(_: str) -> LiveSession:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(line.house.sessions, "find", find)
        line.say({"session_id": "a", "inputs": [[1]]})
        await asyncio.sleep(0)
        line.stream.end()
        # A task that is left behind fails the test.


class TestDrain:
    async def test_what_is_in_flight_is_answered_and_what_comes_is_refused_and_then_it_closes(self) -> None:
        house = House(in_thread=True)
        async with line_over(house, "a", "b") as line:
            house.runner.gate.clear()
            line.say({"session_id": "a", "inputs": [[1]]})
            house.engine.drain()
            line.stream.drain()
            line.say({"session_id": "b", "inputs": [[1]], "id": 1}, b"b,1")
            assert line.recorder.codes == ["draining", "draining"]
            assert line.recorder.sent[0]["error"]["retry_after_seconds"] == 1
            assert line.recorder.closed is None
            house.runner.gate.set()
            await line.recorder.until(3)
            assert line.recorder.codes == ["draining", "draining", "ok"]
            assert line.recorder.closed == (1001, "the server is shutting down")

    async def test_an_idle_stream_closes_at_once(self) -> None:
        async with line_over(House()) as line:
            line.stream.drain()
            assert line.recorder.closed == (1001, "the server is shutting down")

    async def test_a_bad_frame_does_not_keep_a_drained_stream_open(self) -> None:
        async with line_over(House(max_stream_frames=1), "a") as line:
            line.say({"session_id": "a", "inputs": [[1]]})
            line.stream.receive([Message(b"{", True, 0.0)])
            line.stream.drain()
            assert line.recorder.closed is None
            await line.recorder.until(2)
            assert line.recorder.codes == ["ok", "invalid_input"]
            assert line.recorder.closed is not None


class TestColumns:
    async def test_a_binary_message_is_handed_on_and_answered_by_one(self) -> None:
        async with line_over(House(), "a", create_missing=True) as line:
            line.say(b"a,4")
            assert await line.recorder.until(1) == [b"4"]
        assert line.columns == [("sum", b"a,4", True)]
        assert line.observed == ({"2xx": 1}, {})

    async def test_one_that_cannot_be_read_gets_a_text_error_frame(self) -> None:
        async with line_over(House(), "a") as line:
            line.say(b"?", b"a,4")
            refused, answer = await line.recorder.until(2)
        assert (refused["session_id"], refused["id"], refused["error"]["code"]) == (None, None, "invalid_input")
        assert answer == b"4"

    async def test_text_and_binary_frames_of_a_session_are_applied_in_the_order_sent(self) -> None:
        async with line_over(House(), "a") as line:
            text = {"session_id": "a", "inputs": [[1]]}
            line.say(text, b"a,10", text, b"a,100", b"a,1000", text)
            sent = await line.recorder.until(6)
        # The answers leave as they are done; what they say tells in which order the frames were applied.
        texts = [answer["outputs"][0][0] for answer in sent if not isinstance(answer, bytes)]
        columns = [float(answer) for answer in sent if isinstance(answer, bytes)]
        assert (texts, columns) == ([1, 12, 1113], [11, 112, 1112])

    async def test_what_comes_behind_one_waits_until_its_rows_are_put_to_their_sessions(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        is_read = asyncio.Event()
        async with line_over(House(), "a") as line:
            step_columns = line.step_columns

            async def slow(*given: Any) -> bytes:
                await is_read.wait()
                return await step_columns(*given)

            monkeypatch.setattr(line.stream, "_step_columns", slow)
            line.say(b"a,10", {"session_id": "a", "inputs": [[1]]})
            for _ in range(10):
                await asyncio.sleep(0)
            assert not line.recorder.sent
            is_read.set()
            columns, text = sorted(await line.recorder.until(2), key=lambda answer: isinstance(answer, dict))
        assert (columns, text["outputs"]) == (b"10", [[11.0]])

    async def test_one_that_fails_before_its_rows_are_put_there_holds_nothing_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with line_over(House(), "a") as line:

            async def refuse(*_: object) -> bytes:
                await asyncio.sleep(0)
                raise InvalidInput("no")

            monkeypatch.setattr(line.stream, "_step_columns", refuse)
            line.say(b"a,10", {"session_id": "a", "inputs": [[1]]})
            await line.recorder.until(2)
        assert line.recorder.codes == ["invalid_input", "ok"]

    async def test_a_bug_in_it_is_answered_and_its_words_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async with line_over(House(), "a") as line:

            async def broken(*_: object) -> bytes:
                raise RuntimeError("secret")

            monkeypatch.setattr(line.stream, "_step_columns", broken)
            line.say(b"a,4")
            (refused,) = await line.recorder.until(1)
        assert refused["error"]["code"] == "internal"
        assert "secret" not in json.dumps(refused)


async def test_text_that_is_not_utf_8_ends_the_stream() -> None:
    async with line_over(House(), "a") as line:
        line.stream.receive([Message(b'{"session_id": "\xff", "inputs": [[1]]}', True, 0.0)])
    assert line.recorder.closed == (1007, "a text message was not UTF-8")
    assert line.recorder.sent == []


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("in_thread", [False, True])
async def test_any_mixture_of_frames_adds_up(in_thread: bool, seed: int) -> None:
    """Every answer is the sum of what was sent before it to the same session, however messages and runs were cut."""
    generator = random.Random(seed)
    settings: dict[str, Any] = {"max_stream_frames": generator.choice([1, 3, 16]), "max_queue_rows": 10_000}
    expected: dict[int, list[list[float]]] = {}
    totals: dict[str, float] = {}
    messages: list[dict[str, Any]] = []
    for number in range(300):
        session_id = f"s{generator.randrange(12)}"
        if generator.random() < 0.2:
            messages.append({"session_id": session_id, "inputs": "no numbers", "id": number})
            continue
        inputs = [[float(generator.randrange(10))] for _ in range(generator.choice([1, 1, 2, 9]))]
        outputs = expected[number] = []
        for (value,) in inputs:
            totals[session_id] = totals.get(session_id, 0.0) + value
            outputs.append([totals[session_id]])
        messages.append({"session_id": session_id, "inputs": inputs, "id": number})
    async with line_over(House(in_thread=in_thread, **settings), create_missing=True) as line:
        rest = list(messages)
        while rest:
            count = generator.randrange(1, 40)
            line.say(*rest[:count])
            del rest[:count]
            for _ in range(generator.randrange(3)):
                await asyncio.sleep(0)
        sent = await line.recorder.until(len(messages))
    answered = {answer["id"]: answer.get("outputs") for answer in sent}
    assert answered == {message["id"]: expected.get(message["id"]) for message in messages}


async def test_a_large_frame_is_read_in_slices_and_those_behind_it_wait() -> None:
    house = House()
    many = [[1]] * 9_000
    padding = " " * LARGE_BYTES
    async with line_over(house, "a", "b") as line:
        line.say(
            {"session_id": "a", "id": 1, "inputs": many, "return_sequences": False, "seq": 0},
            {"session_id": "a", "id": 2, "inputs": [[2]], "seq": 9_000},
        )
        line.stream.receive(
            Message(text.encode(), True, time.perf_counter())
            for text in (
                json.dumps({"session_id": "a", "id": 3, "inputs": [[1]] * 10_001}) + padding,
                json.dumps({"session_id": "a", "id": 4, "inputs": [*many, ["x"]]}) + padding,
                '{"session_id": "a", "inputs": ' + padding,
            )
        )
        line.say({"session_id": "b", "id": 6, "inputs": [[3]]})
        assert not line.stream.is_idle
        assert not line.recorder.reads()
        sent = await line.recorder.until(6)
        assert steps(house, "a") == 9_001
    answers = {answer["id"]: answer for answer in sent}
    assert answers[1]["outputs"] == [[9_000.0]]
    assert answers[2]["outputs"] == [[9_002.0]]
    assert answers[6]["outputs"] == [[3.0]]
    codes = {frame: answers[frame]["error"]["code"] for frame in (3, 4, None)}
    assert codes == {3: "too_large", 4: "invalid_input", None: "invalid_input"}
    assert answers[4]["error"]["field"] == "inputs[9000][0]"


def unload(house: House) -> None:
    """Take the model away, as whoever unloads it does."""
    house.catalogue.remove(house.engine)
    house.engine.retire("unloaded")


async def test_a_large_frame_for_a_model_that_was_unloaded_is_refused_and_holds_up_nobody() -> None:
    house = House()
    async with line_over(house, "a") as line:
        unload(house)
        line.say(
            {"session_id": "a", "id": 1, "inputs": [[1]], "padding": " " * LARGE_BYTES},
            {"session_id": "a", "id": 2, "inputs": [[1]]},
            b"a,1",
        )
        sent = await line.recorder.until(3)
        assert "ok" not in line.recorder.codes
        assert [answer["id"] for answer in sent] == [1, 2, None]
        assert line.stream.is_idle


@pytest.mark.parametrize("create_missing", [False, True])
async def test_frames_of_a_model_that_was_unloaded_under_them_are_each_refused(create_missing: bool) -> None:
    house = House()
    async with line_over(house, "a", create_missing=create_missing) as line:
        line.say({"session_id": "a", "inputs": [[1]]})
        await line.recorder.until(1)
        unload(house)
        line.say({"session_id": "a", "inputs": [[1]], "id": 1})
        line.say({"session_id": "a", "inputs": [[1]], "id": 2}, {"session_id": "b", "inputs": [[1]], "id": 3})
        line.say(b"a,1", {"session_id": "a", "inputs": [[1]], "id": 4})
        sent = await line.recorder.until(6)
        assert line.recorder.codes.count("ok") == 1
        assert sorted(str(answer["id"]) for answer in sent[1:]) == ["1", "2", "3", "4", "None"]
        assert line.stream.is_idle


async def test_a_frame_that_was_answered_is_none_that_nobody_waited_for() -> None:
    """What is counted as given up is what a client left, or what its deadline took."""
    told: list[object] = []

    class Owner:
        def applied(self, pending: Pending, answer: StepAnswer) -> None:
            raise AssertionError(f"{pending} was not answered with {answer}")

        def refused(self, pending: Pending, error: Exception) -> None:
            told.append(error)
            pending.is_over = True

    refused, dropped = (Pending(Owner(), None, Message(b"", False, 0.0)) for _ in range(2))
    error = RuntimeError("told to fail")
    refused.set_exception(error)
    assert (refused.done(), refused.cancelled(), told) == (True, False, [error])
    dropped.drop()
    assert (dropped.done(), dropped.cancelled()) == (True, True)
