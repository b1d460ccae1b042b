from __future__ import annotations

import numpy as np
import pytest

from ostinato.export.contracts.axes import Array, States
from ostinato.export.contracts.recurrent import inspect_module
from ostinato.export.errors import ExportError
from ostinato.export.proofs.not_finite import check_fails, find_nan
from tests.export.modules import amounts
from tests.export.proofs.test_overflow import Logarithm

WANTED = np.array([[1.0, np.nan], [np.nan, np.nan], [1.0, 2.0]])


@pytest.mark.parametrize(("row", "place"), [(0, 1), (1, slice(None))])
def test_a_graph_that_gives_numbers_in_a_row_where_the_network_gives_nan_is_refused(
    row: int, place: int | slice
) -> None:
    answer = WANTED.copy()
    answer[row, place] = 3.0
    with pytest.raises(ExportError, match="the network gives NaN for 1 of 3 probes where the graph gives numbers"):
        check_fails(answer, WANTED)


def test_a_row_fails_with_nan_in_any_place_of_it() -> None:
    answer = WANTED.copy()
    answer[:2] = [[np.nan, 1.0], [0.0, np.nan]]
    check_fails(answer, WANTED)


def test_a_graph_that_loses_nan_on_its_way_is_found_by_what_the_network_gives_it_for() -> None:
    contract = inspect_module(Logarithm(), amounts())

    def losing(x: Array, states: States) -> tuple[Array, States]:
        y, after = contract(x, states)
        return np.nan_to_num(y), after

    assert "the network gives NaN for" in find_nan(contract, contract)[0]
    with pytest.raises(ExportError, match="an operator of onnxruntime loses NaN there"):
        find_nan(contract, losing)
