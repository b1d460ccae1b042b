from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ByteSize, Field

from ostinato.service.config import Settings, traits_of
from ostinato.service.config.traits import Topic, Traits, setting, written


class Sample(BaseModel):
    """A setting of each kind."""

    share: Annotated[float, Field(gt=0, le=1)] = setting(0.5, "A share. More of it.", Topic.TIMES)
    rows: Annotated[int, Field(ge=2)] | None = setting(None, "Rows.", Topic.LIMITS, left_out="as many as there are")
    form: Literal["json", "text"] = setting("text", "Form of the log.", Topic.LOGS)
    place: Path | None = setting(None, "A file.", Topic.MODELS, left_out="none")
    address: str = setting("a://b", "An address.", Topic.MODELS, secret=True)
    size: ByteSize = setting(ByteSize(3 * 1024**2), "A size.", Topic.LIMITS)


def told(name: str) -> Traits:
    return traits_of(Sample.model_fields)[name]


def test_kind_default_and_bounds_are_read_off_the_type() -> None:
    assert {name: (each.kind, each.default, each.bounds) for name, each in traits_of(Sample.model_fields).items()} == {
        "share": (float, "0.5", "more than 0 to 1"),
        "rows": (int, "as many as there are", "at least 2"),
        "form": (str, "text", "json or text"),
        "place": (Path, "none", ""),
        "address": (str, "a://b", ""),
        "size": (ByteSize, "3MiB", ""),
    }


def test_panels_come_in_their_order_and_settings_as_they_were_written() -> None:
    assert list(traits_of(Sample.model_fields)) == ["place", "address", "rows", "size", "share", "form"]


def test_the_first_sentence_is_the_summary() -> None:
    assert (told("share").summary, told("rows").summary) == ("A share.", "Rows.")


def test_flag_and_variable_are_made_of_the_name() -> None:
    traits = traits_of(Settings.model_fields)["max_batch_size"]
    assert (traits.flag, traits.variable) == ("--max-batch-size", "OSTINATO_MAX_BATCH_SIZE")


def test_a_secret_is_not_in_a_repr() -> None:
    assert told("address").is_secret
    assert "a://b" not in repr(Sample())


def test_every_setting_that_may_be_left_out_says_what_it_is_then() -> None:
    assert [each.name for each in traits_of(Settings.model_fields).values() if not each.default] == []


def test_the_help_of_every_setting_ends_in_a_period() -> None:
    traits = traits_of(Settings.model_fields).values()
    assert [each.name for each in traits if not (each.summary.endswith(".") and each.text.endswith("."))] == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (ByteSize(1024), "1KiB"),
        (ByteSize(1536), "1536"),
        (ByteSize(1024**4), "1TiB"),
        (1e9, "1e9"),
        (0.1 + 0.2, "0.30000000000000004"),
        (16_777_216, "16777216"),
    ],
)
def test_a_value_is_written_so_that_it_can_be_read_again(value: object, expected: str) -> None:
    assert written(value) == expected
