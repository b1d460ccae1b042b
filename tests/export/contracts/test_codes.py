from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ostinato.export.contracts.codes import FAR, are_narrower
from ostinato.export.contracts.probes import draw_sequences
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import FeatureRange, Input

NUM_ROWS = 10
WITHIN = {"mean": (4, 4), "std": (1, 1), "minimum": (1, 1), "maximum": (6, 6)}
TOKEN = Input.model_validate({"name": "x", "dtype": "int64", "shape": ("B", "T"), "features": ("token",)})
PAIR = Input.model_validate(
    {"name": "x", "dtype": "float32", "shape": ("B", "T", 2), "features": ("a", "b"), "statistics": WITHIN}
)
WHOLE_PAIR = Input.model_validate({"name": "x", "dtype": "int64", "shape": ("B", "T", 2), "features": ("a", "b")})
WIDE = Input.model_validate({"name": "x", "dtype": "float32", "shape": ("B", "T", 3), "features": ("a", "b", "c")})


class LooksUp(nn.Module):
    """A table of ``NUM_ROWS`` rows, looked up in a way of the caller's, and a GRU."""

    def __init__(self, look_up: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.look_up = look_up
        self.embedding = nn.Embedding(NUM_ROWS, 3)
        self.table = nn.Parameter(torch.randn(NUM_ROWS, 3))
        self.layers = nn.GRU(3, 4, batch_first=True)

    def initial_state(self, batch_size: int) -> Tensor:
        return torch.zeros(1, batch_size, 4)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        hidden, after = self.layers(self.look_up(self, x), h)
        return hidden, after


@pytest.mark.parametrize(
    "look_up",
    [
        lambda net, x: net.embedding(x),
        lambda net, x: functional.one_hot(x, NUM_ROWS).float() @ net.table,
        lambda net, x: net.table.index_select(0, x.reshape(-1)).reshape(*x.shape, 3),
    ],
    ids=["embedding", "one-hot", "index-select"],
)
def test_the_rows_of_a_table_are_the_codes_of_whole_numbers(look_up: Callable[[Any, Tensor], Tensor]) -> None:
    assert inspect_module(LooksUp(look_up), TOKEN).inputs.num_codes == NUM_ROWS


@pytest.mark.parametrize(
    ("inputs", "look_up", "ranges"),
    [
        (TOKEN, lambda net, x: net.embedding(x + 2), {"token": FeatureRange(least=-2, most=7)}),
        # torch counts rows from the end, too, and its graph does as well.
        (TOKEN, lambda net, x: net.table[x], {"token": FeatureRange(least=-10, most=9)}),
        (TOKEN, lambda net, x: net.embedding(x.clamp(0, 9)), {}),
        (PAIR, lambda net, x: net.embedding(x[..., 1].long()) * x[..., :1], {"b": FeatureRange(least=0, most=9)}),
        (PAIR, lambda _, x: functional.pad(x, (0, 1)), {}),
    ],
    ids=["offset", "from-the-end", "clamped", "column", "no-table"],
)
def test_what_lies_before_a_table_counts(
    inputs: Input, look_up: Callable[[Any, Tensor], Tensor], ranges: dict[str, FeatureRange]
) -> None:
    found = inspect_module(LooksUp(look_up), inputs).inputs
    assert (found.ranges, found.num_codes) == (ranges, None)


@pytest.mark.parametrize(
    ("look_up", "ranges"),
    [
        (lambda net, x: net.embedding(x[..., 1].long()) * x[..., :1], {"b": (0, 9)}),
        (
            lambda net, x: net.embedding(x[..., 0].long() - 30) + net.table[x[..., 2].long() - 30],
            {"a": (30, 39), "c": (20, 39)},
        ),
        (lambda net, x: functional.one_hot(x[..., 2].round().long(), NUM_ROWS).float() @ net.table, {"c": (0, 9)}),
    ],
    ids=["column", "two-tables-with-an-offset", "rounded"],
)
def test_codes_are_found_where_nothing_is_known_of_the_input(
    look_up: Callable[[Any, Tensor], Tensor], ranges: dict[str, tuple[int, int]]
) -> None:
    # Numbers are drawn around 0 there, and half of them are no row of any table.
    found = inspect_module(LooksUp(look_up), WIDE).inputs
    assert found.ranges == {name: FeatureRange(least=least, most=most) for name, (least, most) in ranges.items()}


def test_halves_that_lead_to_rows_of_their_own_are_no_codes() -> None:
    limits = inspect_module(LooksUp(lambda net, x: net.embedding((x[..., 1] * 2).long())), PAIR).inputs.ranges["b"]
    assert (limits.whole, 4.9 < limits.most < 5) == (False, True)


def test_an_amount_that_is_also_cut_to_a_row_may_have_fractions() -> None:
    found = inspect_module(LooksUp(lambda net, x: net.embedding(x[..., 1].long()) * x[..., 1:]), PAIR).inputs
    limits = found.ranges["b"]
    assert not limits.whole
    # As a cast cuts: from above -1 to below 10.
    assert -1 < limits.least < -0.9999
    assert 9.9999 < limits.most < 10


@pytest.mark.parametrize(
    ("look_up", "end"),
    [(lambda net, x: net.embedding(x.clamp(max=9)), "most"), (lambda net, x: net.embedding(x.clamp(min=0)), "least")],
    ids=["no-most", "no-least"],
)
def test_a_range_that_is_open_on_one_side_ends_with_the_dtype(
    look_up: Callable[[Any, Tensor], Tensor], end: str
) -> None:
    inputs = inspect_module(LooksUp(look_up), TOKEN).inputs
    assert {"least": 0.0, "most": 9.0, end: {"least": -(2.0**63), "most": 2.0**63}[end]} == {
        "least": inputs.ranges["token"].least,
        "most": inputs.ranges["token"].most,
    }
    assert np.abs(draw_sequences(inputs, np.random.default_rng(0), 3, 9)).max() <= FAR


DEPENDENT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "sum": lambda net, x: net.embedding((x[..., 0] + x[..., 1]).long()),
    "difference": lambda net, x: net.embedding((x[..., 0] - x[..., 1]).long()),
    "product": lambda net, x: net.embedding((x[..., 0] * x[..., 1]).long()),
}


@pytest.mark.parametrize(
    ("inputs", "made"),
    [(PAIR, "sum"), (PAIR, "difference"), (PAIR, "product"), (WHOLE_PAIR, "sum"), (WHOLE_PAIR, "difference")],
)
def test_features_that_make_one_row_together_are_refused(inputs: Input, made: str) -> None:
    # Each alone has a range, and its graph would answer what is outside together with another row.
    with pytest.raises(ExportError, match="what 'a', 'b' may be depends on each other"):
        inspect_module(LooksUp(DEPENDENT[made]), inputs)


def test_ranges_that_are_declared_must_hold_together() -> None:
    def declared(most: int) -> Input:
        limits = FeatureRange(least=1, most=most)
        return PAIR.model_copy(update={"ranges": {"a": limits, "b": limits}})

    network = LooksUp(DEPENDENT["sum"])
    assert inspect_module(network, declared(4)).inputs == declared(4)
    with pytest.raises(ExportError, match="what 'a', 'b' may be depends on each other"):
        inspect_module(network, declared(6))


def test_a_row_for_each_pair_of_codes_is_what_each_may_be() -> None:
    contract = inspect_module(LooksUp(lambda net, x: net.embedding(x[..., 0] * 5 + x[..., 1])), WHOLE_PAIR)
    assert contract.inputs.ranges == {"a": FeatureRange(least=0, most=1), "b": FeatureRange(least=0, most=4)}
    assert are_narrower(contract.inputs, contract.likely_step(), contract.ask)
    each = inspect_module(LooksUp(lambda net, x: net.embedding(x[..., 0]) * net.table[x[..., 1]]), WHOLE_PAIR)
    assert not are_narrower(each.inputs, each.likely_step(), each.ask)


@pytest.mark.parametrize("declared", [{"num_codes": 12}, {"categories": {"token": tuple("abcdefghijkl")}}])
def test_more_codes_than_the_table_has_are_refused_by_name(declared: dict[str, Any]) -> None:
    with pytest.raises(ExportError, match="'token' is declared with codes 0 to 11, and the network fails on 11"):
        inspect_module(LooksUp(lambda net, x: net.embedding(x)), TOKEN.model_copy(update=declared))


def test_fewer_codes_than_the_table_has_stay() -> None:
    fewer = TOKEN.model_copy(update={"num_codes": 4})
    assert inspect_module(LooksUp(lambda net, x: net.embedding(x)), fewer).inputs == fewer
