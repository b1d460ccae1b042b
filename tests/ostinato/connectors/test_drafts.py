"""Drafts: each is a file that can be read, and says which model."""

from __future__ import annotations

import tomllib

import pytest

from ostinato.connectors.drafts import draft_of
from ostinato.connectors.end_settings import SOURCES
from ostinato.connectors.settings import settings_of
from ostinato.errors import InputError


@pytest.mark.parametrize("kind", SOURCES)
def test_a_draft_of_each_kind_of_source_is_a_connector(kind: str) -> None:
    settings = settings_of(tomllib.loads(draft_of(kind, "pumps")))
    assert type(settings.source) is SOURCES[kind]
    assert settings.service.model == "pumps"
    assert settings.dead_letter.to


def test_another_kind_is_refused() -> None:
    with pytest.raises(InputError, match="there is kafka, mqtt"):
        draft_of("rabbit", "m")
