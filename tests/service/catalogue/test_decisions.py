from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from ostinato.service.catalogue.decisions import MAX_ALIASES, MAX_KEPT, MAX_LOADS, Decisions, Leaving, ModelDecisions
from ostinato.service.errors import InvalidInput, UnknownModel, VersionInUse


def test_nothing_is_decided_at_first() -> None:
    decided = Decisions.read(b"")
    assert decided.of("m").version_of(None) is None
    assert decided.of("m").version_of("7") == "7"


def test_a_default_is_meant_where_none_is_named_and_an_alias_where_it_is() -> None:
    decided = Decisions().with_default("m", "2").with_alias("m", "champion", "1").with_alias("other", "champion", "9")
    assert decided.of("m").version_of(None) == "2"
    assert decided.of("m").version_of("champion") == "1"
    assert decided.of("m").version_of("3") == "3"
    assert decided.with_alias("m", "champion", None).of("m").version_of("champion") == "champion"
    assert decided.with_default("m", "").of("m").version_of(None) is None


@pytest.mark.parametrize("alias", ["", "1", "1.2", "v3", "a b", "a/b", "-a", "x" * 65, ".a"])
def test_what_may_be_a_version_s_name_is_no_alias(alias: str) -> None:
    with pytest.raises(InvalidInput, match="an alias is"):
        Decisions().with_alias("m", alias, "1")


@pytest.mark.parametrize("seed", range(3))
def test_each_decision_can_be_taken_back_in_turn_and_a_document_keeps_all(seed: int) -> None:
    generator = random.Random(seed)
    decided, history = Decisions(), {"a": [Decisions().of("a")], "b": [Decisions().of("b")]}
    for _ in range(40):
        model, version = generator.choice("ab"), str(generator.randrange(3))
        before = decided
        if generator.random() < 0.5:
            decided = decided.with_default(model, version)
        else:
            decided = decided.with_alias(
                model, generator.choice(("champion", "next")), generator.choice((version, None))
            )
        if decided is not before:
            history[model].append(decided.of(model))
        decided = Decisions.read(decided.written())
        if generator.random() < 0.2:
            decided = decided.with_load(model, version)  # nothing that is taken back
    for model in "ab":
        for expected in history[model][-2 : -MAX_KEPT - 2 : -1]:
            decided = decided.rolled_back(model)
            own = decided.of(model)
            assert (own.default, own.aliases) == (expected.default, expected.aliases)
        with pytest.raises(InvalidInput, match="nothing was decided"):
            decided.rolled_back(model)


def test_a_decision_that_changes_nothing_is_none() -> None:
    decided = Decisions().with_default("m", "1")
    assert decided.with_default("m", "1") is decided


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"models": 5}',
        b"\xff",
        b'{"models":{"m":{"canary":"2","canary_share":7}}}',
        b'{"models":{"m":{"shadow":"2","shadow_share":-0.1}}}',
        b'{"models":{"m":{"aliases":{"a b":"2"}}}}',
        b'{"models":{"m":{"leaving":{"2":{"sessions":"eat"}}}}}',
        b'{"before":{"m":[{"canary":"2","canary_share":1.5}]}}',
    ],
)
def test_what_is_no_document_is_told(content: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Decisions.read(content)


def test_a_model_has_so_many_aliases_and_no_more() -> None:
    decided = Decisions()
    for number in range(MAX_ALIASES):
        decided = decided.with_alias("m", f"a{number}", "1")
    with pytest.raises(InvalidInput, match="which are the most"):
        decided.with_alias("m", "one-more", "1")
    assert decided.with_alias("m", "a7", "2").of("m").version_of("a7") == "2"
    assert decided.with_alias("other", "one-more", "1").of("other").aliases == {"one-more": "1"}
    assert "one-more" in decided.with_alias("m", "a7", None).with_alias("m", "one-more", "1").of("m").aliases


def test_the_versions_asked_for_last_are_remembered() -> None:
    decided = Decisions()
    for number in range(MAX_LOADS + 5):
        decided = decided.with_load("m", str(number)).with_load("m", "first")
    loads = decided.of("m").loads
    assert len(loads) == MAX_LOADS
    assert loads["first"] == MAX_LOADS + 5
    assert str(MAX_LOADS + 4) in loads
    assert "0" not in loads


def test_what_takes_too_much_room_can_be_made_less_at_the_cost_of_what_could_be_taken_back() -> None:
    decided = Decisions()
    for number in range(4):
        decided = decided.with_default("m", str(number))
    decided = decided.with_default("other", "1")
    sizes = [len(decided.written())]
    while any(decided.before.values()):
        former, decided = decided.of("m"), decided.forgetful()
        assert decided.of("m") == former
        sizes.append(len(decided.written()))
    assert sizes == sorted(sizes, reverse=True)
    with pytest.raises(InvalidInput, match="take aliases away"):
        decided.forgetful()


def test_names_of_versions_that_are_awaited_mean_what_they_did() -> None:
    former = ModelDecisions("1", {"champion": "1", "old": "1"})
    decided = ModelDecisions("2", {"champion": "2", "next": "3", "new": "2"})
    held = decided.held_back(former, {"2"})
    assert (held.default, held.aliases) == ("1", {"champion": "1", "next": "3", "new": "2"})
    assert decided.held_back(former, {"9"}) is decided
    assert decided.held_back(former, set()) is decided


def test_the_versions_that_a_decision_is_about_are_known() -> None:
    former = ModelDecisions("1", {"champion": "1"}, loads={"4": 1})
    assert former.meant == {"1"}
    assert former.wanted == {"1", "4"}
    assert ModelDecisions("", {"champion": "2", "next": "3"}).newly_meant(former) == {"2", "3"}
    assert ModelDecisions("5", {"champion": "1"}).newly_meant(former) == {"5"}
    assert former.newly_meant(former) == set()


def test_a_canary_is_meant_and_taken_back_and_held_back_as_names_are() -> None:
    one = Decisions().with_canary("m", "2", 0.25)
    assert (one.of("m").canary, one.of("m").canary_share, one.of("m").meant) == ("2", 0.25, {"2"})
    assert one.of("m").newly_meant(ModelDecisions()) == {"2"}
    two = one.with_canary("m", "3", 0.5)
    assert two.of("m").held_back(one.of("m"), {"3"}).canary == "2"
    assert two.rolled_back("m").of("m") == one.of("m")
    assert two.with_canary("m", "", 0.5).of("m") == ModelDecisions()
    assert Decisions.read(two.written()).of("m") == two.of("m")


def unloaded(decisions: Decisions, version: str, leaving: Leaving = Leaving("keep")) -> Decisions:  # noqa: B008
    return decisions.with_leaving("m", version, leaving).with_unload("m", version, leaving)


def test_what_is_unloaded_stays_so_until_it_is_loaded_and_is_meant_by_no_name() -> None:
    decisions = unloaded(Decisions().with_load("m", "2").with_default("m", "1"), "2")
    assert (set(decisions.of("m").unloaded), decisions.of("m").loads) == ({"2"}, {})
    assert set(decisions.rolled_back("m").of("m").unloaded) == {"2"}
    assert decisions.rolled_back("m").of("m").gone == {"2"}
    assert not decisions.with_load("m", "2").of("m").gone
    named = decisions.with_alias("m", "champion", "3").with_canary("m", "4", 0.1)
    for version, names in (("1", "the default"), ("3", "champion"), ("4", "the canary")):
        with pytest.raises(InvalidInput, match=names):
            named.with_leaving("m", version, Leaving())
    leaving = Decisions().with_leaving("m", "3", Leaving()).with_load("m", "1")
    meant = msgspec.structs.replace(leaving.of("m"), default="3")  # by a release that knows nothing of leaving
    with pytest.raises(InvalidInput, match="the default"):
        Decisions({"m": meant}).with_unload("m", "3", Leaving())


def test_a_version_leaves_in_one_way_which_can_be_taken_back() -> None:
    closing, moving = Leaving("close"), Leaving("migrate", "2")
    leaving = Decisions().with_leaving("m", "1", closing)
    assert leaving.of("m").gone == {"1"}
    assert Decisions.read(leaving.written()).of("m") == leaving.of("m")
    assert leaving.with_leaving("m", "1", closing) == leaving
    with pytest.raises(VersionInUse, match="'close'"):
        leaving.with_leaving("m", "1", moving)
    for taken_back in (leaving.without_leaving("m", "1", closing), leaving.with_load("m", "1")):
        assert not taken_back.of("m").gone
        with pytest.raises(VersionInUse, match="taken that back"):
            taken_back.with_unload("m", "1", closing)
    assert leaving.without_leaving("m", "1", moving) == leaving  # another's
    gone = leaving.with_unload("m", "1", closing)
    assert gone.without_leaving("m", "1", closing) == gone
    with pytest.raises(UnknownModel, match="unloaded already"):
        gone.with_leaving("m", "1", closing)


def test_no_sessions_go_on_by_a_version_that_leaves_nor_does_one_leave_by_which_they_do() -> None:
    leaving = Decisions().with_leaving("m", "1", Leaving("migrate", "2"))
    with pytest.raises(InvalidInput, match="continue with version '2'"):
        leaving.with_leaving("m", "2", Leaving("migrate", "3"))
    with pytest.raises(UnknownModel, match="'1' is being unloaded"):
        leaving.with_leaving("m", "3", Leaving("migrate", "1"))
    gone = leaving.with_unload("m", "1", Leaving("migrate", "2"))
    with pytest.raises(UnknownModel, match="'1' is unloaded"):
        gone.with_leaving("m", "3", Leaving("migrate", "1"))
    assert gone.with_leaving("m", "2", Leaving("migrate", "3")).of("m").gone == {"1", "2"}


@pytest.mark.parametrize("is_done", [False, True])
def test_no_name_comes_to_mean_a_version_that_leaves(is_done: bool) -> None:
    before = Decisions().with_default("m", "2").with_default("m", "1")
    gone = unloaded(before, "2") if is_done else before.with_leaving("m", "2", Leaving())
    decisions: list[Callable[[Decisions], Decisions]] = [
        lambda each: each.with_default("m", "2"),
        lambda each: each.with_alias("m", "champion", "2"),
        lambda each: each.with_canary("m", "2", 0.5),
        lambda each: each.with_shadow("m", "2", 0.5),
        lambda each: each.rolled_back("m"),
    ]
    for decide in decisions:
        with pytest.raises(UnknownModel, match="'2' is unloaded" if is_done else "'2' is being unloaded"):
            decide(gone)
        assert "2" in decide(gone.with_load("m", "2")).of("m").newly_meant(gone.of("m"))
    assert gone.with_default("m", "3").of("m").default == "3"


def test_a_shadow_is_decided_taken_back_and_has_whoever_has_it_serve_it() -> None:
    decided = Decisions().with_default("m", "1").with_shadow("m", "3", 0.1)
    own = Decisions.read(decided.written()).of("m")
    assert (own.shadow, own.shadow_share) == ("3", 0.1)
    assert own.wanted == {"1", "3"}
    assert own.meant == {"1"}, "it is nobody's answer"
    assert own.newly_meant(Decisions().with_default("m", "1").of("m")) == {"3"}
    assert own.newly_meant(own) == set()
    more = decided.with_shadow("m", "3", 0.5)
    assert more.of("m").shadow_share == 0.5
    assert more.rolled_back("m").of("m") == own
    off = more.with_shadow("m", "", 0.5).of("m")
    assert (off.shadow, off.shadow_share, off.wanted) == ("", 0.0, {"1"})
