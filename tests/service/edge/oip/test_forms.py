"""Steps whose header came before, against the same steps whose header did not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import networks
from tests.service.edge.oip.protocol import Array, Reply, add, ask, binary_request, json_request
from tests.service.edge.test_http_connection import Client, serving
from tests.service.puppet import House


def house_of(tmp_path: Path) -> House:
    """A service with a real graph; built within a running event loop."""
    house = House()
    networks.lstm(3, 4).write(tmp_path, np.ones((1, 3, 3), np.float32))
    add(house, tmp_path / "lstm" / "1")
    return house


def steps(number: int) -> list[Array]:
    drawn = np.random.default_rng(5).normal(size=(number, 1, 1, 3))
    return list(drawn.astype(np.float32))


@pytest.mark.parametrize("sequence_id", [7, "50% <seq>", "<seq>", "<steps>"])
async def test_a_known_form_answers_as_one_that_is_new(sequence_id: int | str, tmp_path: Path) -> None:
    house = house_of(tmp_path)
    given = steps(6)
    async with serving(house) as server, Client.to(server) as client:

        async def follow(name: int | str, *, differs: bool) -> list[Reply]:
            replies = []
            for number, step in enumerate(given):
                parameters = {"sequence_id": name, "sequence_start": not number}
                # A header that says where it stands is never the same as one before.
                parameters |= {"seq": number} if differs else {}
                replies.append(await ask(client, binary_request("lstm", {"inputs": step}, parameters=parameters)))
            return replies

        known = await follow(sequence_id, differs=False)
        new = await follow(sequence_id, differs=True)
    assert [reply.status for reply in known] == [200] * 6
    assert [reply.content for reply in known] == [reply.content for reply in new]
    assert [reply.content["parameters"]["seq"] for reply in known] == list(range(6))
    for one, other in zip(known, new, strict=True):
        np.testing.assert_array_equal(one.outputs["outputs"], other.outputs["outputs"], strict=True)
        assert one.headers.keys() == other.headers.keys()


async def test_a_number_that_the_model_does_not_take_is_refused_in_a_known_form_too(tmp_path: Path) -> None:
    house = house_of(tmp_path)
    async with serving(house) as server, Client.to(server) as client:
        parameters = {"sequence_id": 1}
        first, *rest = steps(5)
        await ask(client, binary_request("lstm", {"inputs": first}, parameters={**parameters, "sequence_start": True}))
        for step in rest:
            assert (await ask(client, binary_request("lstm", {"inputs": step}, parameters=parameters))).status == 200
        for wrong in (np.nan, np.inf, -np.inf):
            holed = rest[0].copy()
            holed[0, 0, 1] = wrong
            reply = await ask(client, binary_request("lstm", {"inputs": holed}, parameters=parameters))
            assert reply.status == 400
            assert "inputs[0][0][1]" in reply.content["error"]
        last = await ask(client, json_request("lstm", {"inputs": rest[0]}, parameters=parameters))
    # None of them was applied.
    assert last.content["parameters"]["seq"] == 5


async def test_the_answers_of_a_sequence_that_begins_anew_on_another_version_name_that(tmp_path: Path) -> None:
    house = house_of(tmp_path)
    networks.lstm(3, 4, seed=3).named("lstm", version="2").write(tmp_path, np.ones((1, 3, 3), np.float32))
    first, *rest = steps(4)

    async def follow(client: Client) -> list[Reply]:
        begin = {"sequence_id": 1, "sequence_start": True}
        requests = [binary_request("lstm", {"inputs": first}, parameters=begin)]
        requests += [binary_request("lstm", {"inputs": step}, parameters={"sequence_id": 1}) for step in rest]
        return [await ask(client, request) for request in requests]

    async with serving(house) as server, Client.to(server) as client:
        old = await follow(client)
        add(house, tmp_path / "lstm" / "2")
        new = await follow(client)
    assert [reply.content["model_version"] for reply in (*old, *new)] == ["1"] * 4 + ["2"] * 4
    assert [reply.content["parameters"]["steps"] for reply in new] == [1, 2, 3, 4]
    assert old[-1].outputs["outputs"].tobytes() != new[-1].outputs["outputs"].tobytes()
