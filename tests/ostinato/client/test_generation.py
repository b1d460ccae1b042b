"""Both kinds of client and a small service that writes."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import httpx2
import numpy as np
import pytest

from ostinato.client.generation import GeneratedOutput, GeneratedStep, Generation, Scored
from ostinato.errors import ServiceError, ServiceUnreachable, UnexpectedAnswer
from tests.ostinato.fake_generation import FakeWriter, Pieces, event
from tests.ostinato.fake_service import KINDS, Network, make_client, problem

pytestmark = pytest.mark.parametrize("kind", KINDS)


def network_with(*faults: str | httpx2.Response, writer: FakeWriter | None = None) -> Network:
    return Network(writer or FakeWriter(), faults)


def bodies(network: Network) -> list[dict[str, Any]]:
    assert isinstance(network.service, FakeWriter)
    return network.service.bodies


def streams(network: Network) -> list[Pieces]:
    assert isinstance(network.service, FakeWriter)
    return network.service.streams


async def read(items: Any, into: list[Any]) -> None:
    async for item in items:
        into.append(item)  # noqa: PERF401 - what came before a failure counts


def streamed(client: Any, *arguments: Any, **options: Any) -> Any:
    """The stream of either client, as an asynchronous generator."""
    if not hasattr(client, "blocking"):
        return client.generate_stream(*arguments, **options)

    async def each() -> Any:
        with contextlib.closing(client.blocking.generate_stream(*arguments, **options)) as items:
            for item in items:
                yield item

    return each()


async def test_an_output_for_each_input(kind: str) -> None:
    network = network_with()
    async with make_client(kind, network) as client:
        made = await client.generate("capitals", ["ab", "c"])
    assert made == Generation(
        "capitals", "3", None, ((GeneratedOutput("AB", -1.5, "stop"),), (GeneratedOutput("C", -1.0, "stop"),))
    )
    assert [output.value for output in made.firsts] == ["AB", "C"]
    # What was not said is not sent: it is as the service has it.
    assert bodies(network) == [{"inputs": ["ab", "c"]}]


async def test_everything_asked_for_comes_with_it(kind: str) -> None:
    network = network_with()
    options: dict[str, Any] = {"method": "sample", "num_return": 2, "top_p": 0.5, "seed": None}
    async with make_client(kind, network) as client:
        made = await client.generate("capitals", ["ab"], return_attention=True, return_log_probs=True, **options)
    assert made.seed == 11
    [[first, second]] = made.outputs
    assert first.log_probs == second.log_probs == [-0.5, -0.5, -0.5]
    np.testing.assert_array_equal(first.attention, np.eye(2, dtype=np.float32), strict=True)
    [body] = bodies(network)
    assert body.keys() == {"inputs", "method", "num_return", "top_p", "return_attention", "return_log_probs"}


async def test_arrays_and_nothing_are_sent_as_the_route_has_them(kind: str) -> None:
    network = network_with()
    async with make_client(kind, network) as client:
        for inputs in ([np.array([[1.5, np.nan]], np.float32), [1, 2]], None):
            with pytest.raises(ServiceError, match="404 unknown_model"):
                await client.generate("nobody", inputs)
    assert bodies(network) == [{"inputs": [[[1.5, None]], [1, 2]]}, {}]


async def test_numbers_come_as_an_array_and_codes_as_a_list(kind: str) -> None:
    content = {
        "model": "m",
        "version": "1",
        "outputs": [[[1.5], [2]], [7, 8]],
        "scores": [None, -1.0],
        "finish_reasons": ["length", "stop"],
        "attention": [[[1]], []],
    }
    async with make_client(kind, network_with(httpx2.Response(200, json=content))) as client:
        numbers, codes = (await client.generate("m", [[[0.0]], [3]])).firsts
    np.testing.assert_array_equal(numbers.value, np.array([[1.5], [2]], np.float32), strict=True)
    assert (numbers.score, numbers.finish_reason, codes.value) == (None, "length", [7, 8])
    assert codes.attention.shape == (0, 0)


async def test_a_score_for_each_target(kind: str) -> None:
    network = network_with("after")
    async with make_client(kind, network) as client:
        assert await client.score("capitals", ["AB"], ["ab"]) == [Scored(-1.5, [-0.5, -0.5, -0.5])]
    assert bodies(network) == [{"targets": ["AB"], "inputs": ["ab"]}] * 2


async def test_what_a_model_rules_out_is_infinitely_unlikely(kind: str) -> None:
    content = {"model": "m", "version": "1", "scores": [None], "log_probs": [[None, -0.5]]}
    async with make_client(kind, network_with(httpx2.Response(200, json=content))) as client:
        [scored] = await client.score("m", [[6]], ["a"])
    assert scored == Scored(-math.inf, [-math.inf, -0.5])


@pytest.mark.parametrize("wrong", ["scores", "log_probs", "attention"])
async def test_a_score_beyond_what_a_number_holds_is_none(kind: str, wrong: str) -> None:
    parts = {"scores": "-1.5", "log_probs": "[-1.5]", "attention": "[[1.0]]"}
    for number in ("1e400", "-1e400"):
        told = {**parts, wrong: parts[wrong].replace("-1.5", number).replace("1.0", number)}
        body = ", ".join(f'"{name}": [{value}]' for name, value in told.items())
        made = '{"model": "m", "version": "1", "outputs": [[1]], "finish_reasons": ["stop"], ' + body + "}"
        answer = httpx2.Response(200, text=made, headers={"content-type": "application/json"})
        async with make_client(kind, network_with(answer, answer)) as client:
            with pytest.raises(UnexpectedAnswer, match=r"no number|beyond float32"):
                await client.generate("m", [[1]], return_log_probs=True, return_attention=True)
            if wrong != "attention":
                with pytest.raises(UnexpectedAnswer, match="no number"):
                    await client.score("m", [[1]], [[1]])


async def test_what_was_lost_or_refused_for_now_is_asked_again(kind: str) -> None:
    faults = ("before", "after", problem(429, "overloaded", retry_after="3"), problem(503, "draining"))
    network = network_with(*faults)
    async with make_client(kind, network) as client:
        assert (await client.generate("capitals", ["a"])).firsts[0].value == "A"
        # 0.1 s, doubled, three quarters of them by chance; what the service asked for; doubled again.
        assert client.pauses == pytest.approx([0.075, 0.15, 3.0, 0.6])


async def test_an_unknown_option_is_a_mistake_in_the_program(kind: str) -> None:
    async with make_client(kind, network_with()) as client:
        with pytest.raises(TypeError, match="'num_beam' is no option of generation; they are method, max_steps"):
            await client.generate("capitals", ["a"], num_beam=3)
        with pytest.raises(TypeError, match="'stream' is no option"):
            await client.generate("capitals", ["a"], stream=True)


async def test_a_text_that_is_in_no_list_is_a_mistake_in_the_program(kind: str) -> None:
    async with make_client(kind, network_with()) as client:
        with pytest.raises(TypeError, match="inputs is a list of texts"):
            await client.generate("capitals", "ab")
        with pytest.raises(TypeError, match="targets is a list of texts"):
            await client.score("capitals", "AB", ["ab"])


async def test_a_stream_tells_each_step_and_ends_with_the_whole(kind: str) -> None:
    network = network_with()
    async with make_client(kind, network) as client:
        *steps, whole = [item async for item in streamed(client, "capitals", ["ab", "c"])]
        assert whole == await client.generate("capitals", ["ab", "c"])
    assert steps == [
        GeneratedStep(0, 0, 1, "A", -0.5),
        GeneratedStep(0, 0, 2, "B", -0.5),
        GeneratedStep(0, 0, 3, "", -0.5),
        GeneratedStep(1, 0, 1, "C", -0.5),
        GeneratedStep(1, 0, 2, "", -0.5),
    ]
    assert [stream.is_closed for stream in streams(network)] == [True]


async def test_steps_of_codes_and_numbers(kind: str) -> None:
    events = [
        event("step", {"index": 0, "place": 1, "step": 1, "output": [4], "log_prob": -0.1}),
        event("step", {"index": 0, "place": 1, "step": 2, "output": [], "log_prob": -0.2}),
        event("step", {"index": 1, "step": 1, "output": [0.5, 2]}),
        event("later", {"what": "is not known yet"}),
    ]
    writer = FakeWriter([*events, event("done", {})])
    async with make_client(kind, network_with(writer=writer)) as client:
        seen: list[Any] = []
        with pytest.raises(ServiceError, match="is this the service"):
            await read(streamed(client, "capitals", ["", ""], num_return=2), seen)
    _, _, code, stop, numbers = seen
    assert (code, stop) == (GeneratedStep(0, 1, 1, 4, -0.1), GeneratedStep(0, 1, 2, None, -0.2))
    assert (numbers.index, numbers.log_prob) == (1, None)
    np.testing.assert_array_equal(numbers.value, np.array([0.5, 2], np.float32), strict=True)


async def test_leaving_the_loop_hangs_up(kind: str) -> None:
    network = network_with()
    async with (
        make_client(kind, network) as client,
        contextlib.aclosing(streamed(client, "capitals", ["abc"])) as items,
    ):
        assert await anext(items) == GeneratedStep(0, 0, 1, "A", -0.5)
    [stream] = streams(network)
    # The first of five pieces, and no more.
    assert (stream.is_closed, stream.num_read, len(stream.pieces)) == (True, 1, 5)


async def test_a_stream_is_asked_for_again_until_it_has_begun(kind: str) -> None:
    network = network_with("before", problem(429, "overloaded", retry_after="2"), problem(503, "starting"))
    async with make_client(kind, network) as client:
        items = [item async for item in streamed(client, "capitals", ["a"])]
        assert len(items) == 3  # A, the stop, and the whole
        assert len(client.pauses) == 3
    assert len(network.hosts) == 4


@pytest.mark.parametrize("ending", [[httpx2.ReadError("the line was cut")], [b"event: done\ndata: {"], []])
async def test_a_stream_that_broke_off_is_not_asked_for_again(kind: str, ending: list[bytes | Exception]) -> None:
    network = network_with(writer=FakeWriter(ending))
    seen: list[Any] = []
    async with make_client(kind, network) as client:
        with pytest.raises(ServiceUnreachable, match=r"broke off after 3 steps.*not retried"):
            await read(streamed(client, "capitals", ["ab"]), seen)
    assert len(seen) == 3
    assert (len(network.hosts), client.pauses) == (1, [])


async def test_what_breaks_after_the_whole_answer_harms_nobody(kind: str) -> None:
    answer = {"model": "capitals", "version": "1", "outputs": ["A"], "scores": [-1.0], "finish_reasons": ["stop"]}
    writer = FakeWriter([event("done", answer), httpx2.ReadError("cut")])
    async with make_client(kind, network_with(writer=writer)) as client:
        items = [item async for item in streamed(client, "capitals", [""])]
    assert items[1:] == [Generation("capitals", "1", None, ((GeneratedOutput("A", -1.0, "stop"),),))]


async def test_a_failure_on_the_way_is_told_in_the_service_s_words(kind: str) -> None:
    failure = {"status": 500, "code": "run_failed", "detail": "no finite number"}
    network = network_with(writer=FakeWriter([event("error", failure)]))
    async with make_client(kind, network) as client:
        with pytest.raises(ServiceError, match=r"no finite number \[500 run_failed\]"):
            await read(streamed(client, "capitals", ["a"]), [])
    [stream] = streams(network)
    assert stream.is_closed


async def test_a_stream_that_is_refused_or_is_none_says_so(kind: str) -> None:
    page = httpx2.Response(200, stream=Pieces([b"<html>"]), headers={"content-type": "text/html"})
    async with make_client(kind, network_with("", page)) as client:
        with pytest.raises(ServiceError, match="404 unknown_model"):
            await read(streamed(client, "nobody", ["a"]), [])
        with pytest.raises(ServiceError, match="no stream of events; is this the service"):
            await read(streamed(client, "capitals", ["a"]), [])
