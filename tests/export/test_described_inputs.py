from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from ostinato.export.described_inputs import input_of_words, read_inputs
from ostinato.export.errors import ExportError

TABLES = """
[[inputs]]
name = "load"
shape = ["B", "T", 2]
features = ["power", "price"]
missing = true

[[inputs]]
name = "weekday"
shape = "B,T"
dtype = "int64"
num_codes = 7

[[context]]
name = "customer"
shape = "B,1"
categories = { customer = ["home", "office"] }

[outputs]
mean = ["power_ahead", "price_ahead"]
"""


@pytest.mark.parametrize(
    ("words", "shape", "dtype", "features"),
    [
        ("load:B,T,2", ("B", "T", 2), "float32", ("load_0", "load_1")),
        ("weekday:B,T:int64", ("B", "T"), "int64", ("weekday",)),
        ("frame:T,B,1,2", ("T", "B", 1, 2), "float32", ("frame_0", "frame_1")),
        ("inputs:B,T,1", ("B", "T", 1), "float32", ("input_0",)),
    ],
)
def test_an_input_is_described_in_words(
    words: str, shape: tuple[int | str, ...], dtype: str, features: tuple[str, ...]
) -> None:
    described = input_of_words(words)
    assert (described.shape, described.dtype, described.features) == (shape, dtype, features)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("load", "write NAME:SHAPE or NAME:SHAPE:DTYPE, as in load:B,T,2"),
        ("load:B,T,2:int64:x", "write NAME:SHAPE"),
        ("load:T,2", "'load' as described by the options: .*exactly one 'B'"),
        ("load:B,T,2:int65", "'load' as described by the options: dtype"),
    ],
)
def test_words_that_describe_none_are_refused(words: str, sentence: str) -> None:
    with pytest.raises(ExportError, match=sentence):
        input_of_words(words)


@pytest.mark.parametrize("suffix", ["toml", "json"])
def test_a_file_describes_inputs_context_and_outputs(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"inputs.{suffix}"
    path.write_text(TABLES if suffix == "toml" else json.dumps(tomllib.loads(TABLES)), "utf-8")
    described = read_inputs(path)
    load, weekday = described.inputs
    assert load.features == ("power", "price")
    assert load.missing
    assert weekday.num_codes == 7
    assert described.context[0].categories == {"customer": ("home", "office")}
    assert described.output_features == {"mean": ("power_ahead", "price_ahead")}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("inputs = 3", "inputs and context are lists of tables"),
        ("[[input]]\nname = 'x'", "'input' is unknown; it has inputs, context and outputs"),
        ("inputs =", r"inputs\.toml: Invalid value"),
        ("[[inputs]]\nname = 'x'\ncolour = 'red'", "the input 'x' .*colour"),
    ],
)
def test_a_file_that_describes_none_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "inputs.toml").write_text(text, "utf-8")
    with pytest.raises(ExportError, match=sentence):
        read_inputs(tmp_path / "inputs.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"inputs\.toml: No such file"):
        read_inputs(tmp_path / "inputs.toml")
