"""Both kinds of client and a real server whose models write."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import numpy as np
import pytest

from ostinato import AsyncClient, Client
from ostinato.client.generation import GeneratedStep, Generation
from ostinato.errors import ServiceError
from tests.ostinato.client.test_generation import streamed
from tests.ostinato.fake_service import KINDS, make_client
from tests.server import ServerProcess
from tests.waiting import until_true

# One process runs these, since they share what takes long to start.
pytestmark = pytest.mark.xdist_group("writing_server")

both_kinds = pytest.mark.parametrize("kind", KINDS)


def total(server: ServerProcess, series: str) -> float:
    """A series, over all models."""
    with Client(server.url) as client:
        lines = client.metrics().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(series + "{"))


def is_idle(server: ServerProcess) -> bool:
    return total(server, "ostinato_generation_lanes") == 0


@both_kinds
async def test_texts_and_codes(kind: str, writing_server: ServerProcess) -> None:
    async with make_client(kind, None, writing_server.url) as client:
        options = {"method": "beam", "num_beams": 4, "num_return": 3, "return_log_probs": True, "max_steps": 30}
        texts = await client.generate("g2p", ["abc", "Hello"], return_attention=True, **options)
        codes = await client.generate("g2p", [[3, 4, 5], np.array([10, 7, 14, 14, 17])], **options)
        symbols = (await client.model("g2p"))["manifest"]["vocabularies"]["target"]["symbols"]
    assert [[len(outputs), texts.seed] for outputs in texts.outputs] == [[3, None]] * 2
    for of_text, of_codes, num_letters in zip(texts.outputs, codes.outputs, (3, 5), strict=True):
        for text, code in zip(of_text, of_codes, strict=True):
            assert isinstance(code.value, list)
            assert text.value == " ".join(symbols[each] for each in code.value if each > 1)
            assert (text.score, text.log_probs) == (code.score, code.log_probs)
            assert text.score == pytest.approx(sum(text.log_probs))
            assert text.attention.shape == (len(code.value), num_letters)
            assert text.attention.dtype == np.float32
            np.testing.assert_allclose(text.attention.sum(axis=1), 1, atol=1e-5)


@both_kinds
async def test_numbers(kind: str, writing_server: ServerProcess) -> None:
    rows = np.random.default_rng(3).normal(size=(9, 2)).astype(np.float32)
    async with make_client(kind, None, writing_server.url) as client:
        [first, second] = (await client.generate("hours-ahead", [rows, rows[:4].tolist()], max_steps=5)).firsts
        [again] = (await client.generate("hours-ahead", [rows[:4]], max_steps=5)).firsts
        *steps, whole = [item async for item in streamed(client, "hours-ahead", [rows], max_steps=5)]
    assert isinstance(first.value, np.ndarray)
    assert (first.value.shape, first.value.dtype, first.score) == ((5, 1), np.float32, None)
    np.testing.assert_array_equal(second.value, again.value, strict=True)
    np.testing.assert_array_equal(np.stack([step.value for step in steps]), first.value, strict=True)
    np.testing.assert_array_equal(whole.firsts[0].value, first.value, strict=True)


@both_kinds
async def test_a_seed_that_was_drawn_by_chance_draws_the_same_again(kind: str, writing_server: ServerProcess) -> None:
    async with make_client(kind, None, writing_server.url) as client:
        first = await client.generate("letters", method="sample", num_return=4, max_steps=20)
        assert isinstance(first.seed, int)
        again = await client.generate("letters", method="sample", num_return=4, max_steps=20, seed=first.seed)
    assert again == first


@both_kinds
async def test_what_was_found_is_scored_the_same(kind: str, writing_server: ServerProcess) -> None:
    async with make_client(kind, None, writing_server.url) as client:
        [found] = (await client.generate("g2p", ["sought"], method="beam", return_log_probs=True)).firsts
        assert found.finish_reason == "stop"
        [scored] = await client.score("g2p", [found.value], ["sought"])
        [prior] = await client.score("letters", ["abc"])
    assert (scored.score, scored.log_probs) == (found.score, found.log_probs)
    assert len(prior.log_probs) == 4  # the stop's, too


@both_kinds
async def test_steps_are_told_before_the_answer_and_are_the_answer(kind: str, writing_server: ServerProcess) -> None:
    async with make_client(kind, None, writing_server.url) as client:
        items = [item async for item in streamed(client, "g2p", ["ostinato", "abc"], max_steps=40)]
        assert items[-1] == await client.generate("g2p", ["ostinato", "abc"], max_steps=40)
    *steps, whole = items
    assert all(isinstance(step, GeneratedStep) for step in steps)
    for index, output in enumerate(whole.firsts):
        own = [step for step in steps if step.index == index]
        assert [step.step for step in own] == list(range(1, len(own) + 1))
        assert " ".join(step.value for step in own if step.value) == output.value
        assert sum(step.log_prob for step in own) == pytest.approx(output.score)


LONG: dict[str, Any] = {"inputs": [[[0.5, 1.0]]] * 32, "max_steps": 1000}
"""32 outputs of 1,000 steps: numbers have no stop."""


@both_kinds
async def test_hanging_up_in_the_middle_frees_the_lanes(kind: str, writing_server: ServerProcess) -> None:
    before = total(writing_server, "ostinato_generated_steps_total")
    async with make_client(kind, None, writing_server.url) as client:
        for _ in range(10):
            async with contextlib.aclosing(streamed(client, "hours-ahead", **LONG)) as items:
                assert (await anext(items)).step == 1
        await until_true(lambda: is_idle(writing_server))
        assert (await client.generate("letters", ["abc"])).firsts
    # Most of the 10 x 32 x 1,000 steps were never made.
    assert total(writing_server, "ostinato_generated_steps_total") - before < 320_000 / 2


async def test_a_loop_that_is_left_hangs_up_by_itself(writing_server: ServerProcess) -> None:
    before = total(writing_server, "ostinato_generated_steps_total")
    num_tasks = len(asyncio.all_tasks())
    seen: list[GeneratedStep | Generation] = []
    async with AsyncClient(writing_server.url) as client:
        for _ in range(5):
            async for item in client.generate_stream("hours-ahead", **LONG):
                seen.append(item)
                break
        await until_true(lambda: len(asyncio.all_tasks()) == num_tasks)
        with Client(writing_server.url) as blocking:
            for _ in range(5):
                for item in blocking.generate_stream("hours-ahead", **LONG):
                    seen.append(item)
                    break
            await until_true(lambda: is_idle(writing_server))
    assert [isinstance(item, GeneratedStep) for item in seen] == [True] * 10
    assert total(writing_server, "ostinato_generated_steps_total") - before < 320_000 / 2


@both_kinds
@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("nobody", {}, "no model 'nobody'.*404 unknown_model"),
        ("g2p", {"inputs": ["a€"]}, r"unknown character '€' at position 1.*\(at inputs\[0\]\) \[422"),
        ("g2p", {}, r"\(at inputs\) \[422 invalid_input\]"),
        ("letters", {"inputs": ["a"], "return_attention": True}, "no attention.*422 invalid_input"),
        ("g2p", {"inputs": ["a"], "num_beams": 3}, "num_beams is for method 'beam'"),
        ("g2p", {"inputs": ["a"], "max_steps": 5000}, "413 too_large"),
        ("hours-ahead", {"inputs": [[[float("inf"), 1]]]}, "infinity"),
    ],
)
async def test_refusals_are_in_the_server_s_words(
    kind: str, model: str, options: dict[str, Any], words: str, writing_server: ServerProcess
) -> None:
    async with make_client(kind, None, writing_server.url) as client:
        with pytest.raises(ServiceError, match=words):
            await client.generate(model, **options)
        with pytest.raises(ServiceError, match=words):
            [item async for item in streamed(client, model, **options)]
