from __future__ import annotations

import pytest

from ostinato.service.catalogue.catalogue import Catalogue, Rejection, version_key
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
