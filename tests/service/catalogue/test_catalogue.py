from __future__ import annotations

from typing import Any

import pytest

from ostinato.service.artifact.tensors import FeatureRange
from ostinato.service.catalogue.catalogue import Catalogue, Rejection, version_key
from ostinato.service.catalogue.decisions import Decisions
from ostinato.service.engine.recurrent.engine import Engine
from ostinato.service.errors import Starting, UnknownModel
from tests.service.puppet import House


def test_versions_sort_as_people_count() -> None:
    assert sorted(["10", "9", "1.10", "1.2", "a"], key=version_key) == ["1.2", "1.10", "9", "10", "a"]


async def test_the_latest_version_is_meant_where_none_is_named() -> None:
    catalogue = Catalogue()
    engines = {}
    for version in ("9", "10"):
        engine = House().engine
        engine.manifest = engine.manifest.model_copy(update={"version": version})
        engines[version] = engine
        catalogue.add(engine)
    assert catalogue.resolve("sum") is engines["10"]
    assert catalogue.resolve("sum", "9") is engines["9"]


def test_a_rejected_model_says_why_and_an_absent_one_what_there_is() -> None:
    catalogue = Catalogue()
    with pytest.raises(Starting):
        catalogue.resolve("lstm")
    catalogue.rejections.append(Rejection("lstm", "1", "model.onnx: damaged"))
    catalogue.complete = True
    with pytest.raises(UnknownModel, match=r"'lstm' version '1' is not served: model\.onnx: damaged"):
        catalogue.resolve("lstm")
    with pytest.raises(UnknownModel, match="no model 'gru'; there are: lstm"):
        catalogue.resolve("gru")


async def test_nothing_is_guessed_before_what_is_decided_is_known() -> None:
    house = House()
    catalogue = house.catalogue
    catalogue.are_decisions_known = False
    for version in (None, "champion"):
        with pytest.raises(Starting, match="decided"):
            catalogue.resolve("sum", version)
    assert catalogue.resolve("sum", "1") is house.engine
    catalogue.are_decisions_known = True
    assert catalogue.resolve("sum") is house.engine


async def test_a_version_that_is_not_checked_yet_is_no_unknown_one() -> None:
    house = House()
    house.catalogue.complete = False
    with pytest.raises(Starting):
        house.catalogue.resolve("sum", "2")
    house.catalogue.complete = True
    with pytest.raises(UnknownModel):
        house.catalogue.resolve("sum", "2")


async def test_an_alias_means_what_was_decided_whatever_comes_to_the_repository() -> None:
    catalogue = Catalogue()
    engines = {}
    for version in ("1", "champion"):
        engine = House().engine
        engine.manifest = engine.manifest.model_copy(update={"version": version})
        engines[version] = engine
        catalogue.add(engine)
    catalogue.complete = True
    assert catalogue.resolve("sum", "champion") is engines["champion"]
    catalogue.decisions = Decisions().with_alias("sum", "champion", "1")
    assert catalogue.resolve("sum", "champion") is engines["1"]
    # Its sessions have it all the same.
    assert catalogue.engine_named("sum", "champion") is engines["champion"]
    assert catalogue.resolve_own("sum", "champion") is engines["champion"]
    with pytest.raises(UnknownModel, match="no version '3'"):
        catalogue.resolve_own("sum", "3")


async def test_the_version_that_is_meant_is_known_or_none() -> None:
    house = House()
    assert house.catalogue.engine_meant("sum") is house.engine
    house.catalogue.decisions = Decisions().with_default("sum", "7")
    assert house.catalogue.engine_meant("sum") is None
    with pytest.raises(UnknownModel):
        house.catalogue.engine_meant("nobody")


def served(catalogue: Catalogue, version: str, **changes: Any) -> Engine:
    engine = House().engine
    parts = {part: (getattr(engine.manifest, part)[0].model_copy(update=each),) for part, each in changes.items()}
    engine.manifest = engine.manifest.model_copy(update={"version": version, **parts})
    catalogue.add(engine)
    return engine


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": {"features": ("load",)}},
        {"inputs": {"missing": True}},
        {"inputs": {"categories": {"x": ("mon", "tue")}}},
        {"inputs": {"ranges": {"x": FeatureRange(least=0, most=1)}}},
        {"outputs": {"name": "level"}},
        {"outputs": {"shape": ("B", "T", 2)}},
        {"outputs": {"delay": 1}},
    ],
)
async def test_a_canary_that_does_not_fit_what_is_meant_is_not_drawn_however_that_came(changes: Any) -> None:
    catalogue = Catalogue()
    catalogue.complete = True
    one, two = served(catalogue, "1"), served(catalogue, "2")
    decided = Decisions().with_default("sum", "1").with_canary("sum", "2", 1.0)
    catalogue.decisions = decided
    assert catalogue.resolve_new("sum", None, "s") is two
    assert catalogue.canary_of(one, "s") is two
    assert catalogue.why_not_drawn(two, one) == ""
    three = served(catalogue, "3", **changes)
    # By a decision, and as the latest, which nobody decides.
    for other in (decided.with_default("sum", "3"), decided.with_default("sum", "")):
        catalogue.decisions = other
        assert catalogue.resolve_new("sum", None, "s") is three
        assert catalogue.canary_of(three, "s") is three
        assert "which is meant else" in catalogue.why_not_drawn(two, three)
    assert catalogue.resolve_new("sum", "1", "s") is one


async def test_no_session_begins_of_a_version_that_is_gone_and_what_begins_is_known() -> None:
    catalogue = Catalogue()
    catalogue.complete = True
    one, two, three = (served(catalogue, version) for version in "123")
    catalogue.decisions = Decisions().with_canary("sum", "2", 1.0)
    with catalogue.beginning(three):
        assert catalogue.is_beginning(three)
        catalogue.gone = {("sum", "3"), ("sum", "2")}
        assert catalogue.is_beginning(three)
    assert not catalogue.is_beginning(three)
    for engine in (two, three):
        with pytest.raises(UnknownModel, match="is being unloaded"), catalogue.beginning(engine):
            raise AssertionError("it began")
    assert catalogue.resolve("sum") is one  # the latest that stays, nor is the canary drawn
    assert catalogue.resolve_new("sum", None, "s") is one
    assert catalogue.resolve_any("sum", "3") is three  # what needs no session goes on
    catalogue.gone = set()
    catalogue.remove(three)
    with pytest.raises(UnknownModel), catalogue.beginning(three):
        raise AssertionError("it began")
    assert not catalogue.is_beginning(three)
    three.arena.unborn.add(0)
    assert catalogue.is_beginning(three)
