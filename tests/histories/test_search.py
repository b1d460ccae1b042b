"""The search finds an order where there is one, and none where there is none: compared with trying all of them."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.histories import search
from tests.histories.operation import Answered, Asked, Operation, StateFile, Verb
from tests.histories.reference import Reference
from tests.histories.search import TooManyOrders, World, explain, follow

REFERENCE = Reference()


def request(generator: random.Random) -> Asked:
    verb = generator.choice([Verb.OPEN, Verb.STEP, Verb.STEP, Verb.STEP, Verb.RESET, Verb.PUT, Verb.GET, Verb.CLOSE])
    if verb is Verb.OPEN:
        return Asked(verb, "a", "narrow", generator.choice("12"), ttl_seconds=0)
    if verb is Verb.STEP:
        return Asked(verb, "a", inputs=((generator.randrange(2),),), seq=generator.choice([None, None, 0, 1]))
    return Asked(verb, "a", file=StateFile("narrow", 5) if verb is Verb.PUT else None)


def history(generator: random.Random, num_operations: int, share_unknown: float = 0.25) -> list[Operation]:
    """A history that one order explains: each takes effect at its moment; and some answers never come."""
    world, operations = World(), []
    for number in range(num_operations):
        called, returned = number - generator.uniform(0, 3), number + generator.uniform(0, 3)
        operation = Operation(number, request(generator), called, returned)
        (outcome,) = REFERENCE.outcomes(operation, world.session("a"))
        content = {**outcome.content, **({"expires_at": math.inf} if outcome.expires else {})}
        operation = replace(operation, answered=Answered(outcome.status, outcome.code, content))
        if generator.random() < share_unknown:
            if generator.random() < 0.5:
                world = world.put("a", outcome.session)  # it took effect all the same
            operation = replace(operation, returned=math.inf, answered=None)
        else:
            world = world.put("a", outcome.session)
        operations.append(operation)
    return operations


def with_another_answer(operations: Sequence[Operation], generator: random.Random) -> list[Operation]:
    """The same with the answers of two operations of one kind exchanged: perhaps another order explains it, or none."""
    known = [each for each in operations if each.is_known]
    pairs = [pair for pair in itertools.combinations(known, 2) if pair[0].asked.verb is pair[1].asked.verb]
    if not pairs:
        return list(operations)
    one, other = generator.choice(pairs)
    exchanged = {one.number: other.answered, other.number: one.answered}
    return [replace(each, answered=exchanged.get(each.number, each.answered)) for each in operations]


def some_order_explains(operations: Sequence[Operation]) -> bool:
    """By trying every order of every choice of those that were not answered."""
    known, unknown = ([each for each in operations if each.is_known is wanted] for wanted in (True, False))
    for size in range(len(unknown) + 1):
        for chosen in itertools.combinations(unknown, size):
            for order in itertools.permutations([*known, *chosen]):
                in_time = all(one.called <= other.returned for one, other in itertools.combinations(order, 2))
                if in_time and reaches_the_end(order):
                    return True
    return False


def reaches_the_end(order: Sequence[Operation]) -> bool:
    worlds = [World()]
    for operation in order:
        worlds = [after for world in worlds for after in follow(operation, world, REFERENCE)]
    return bool(worlds)


@pytest.mark.parametrize("seed", range(60))
def test_the_search_says_what_trying_every_order_says(seed: int) -> None:
    generator = random.Random(seed)
    sound = history(generator, 5)
    assert explain(sound, REFERENCE) is not None
    changed = with_another_answer(sound, generator)
    assert (explain(changed, REFERENCE) is not None) is some_order_explains(changed)


def test_some_of_those_that_are_changed_have_no_order_and_some_have() -> None:
    verdicts = []
    for seed in range(60):
        generator = random.Random(seed)
        verdicts.append(explain(with_another_answer(history(generator, 5), generator), REFERENCE) is not None)
    assert {verdicts.count(True) > 5, verdicts.count(False) > 5} == {True}


def test_a_long_history_of_many_at_once_is_searched_in_a_moment() -> None:
    assert explain(history(random.Random(1), 400, share_unknown=0.05), REFERENCE) is not None


def test_a_search_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_TRIED", 3)
    with pytest.raises(TooManyOrders, match="40 operations"):
        explain(history(random.Random(1), 40), REFERENCE)
