from __future__ import annotations

import pytest

from ostinato.tables.number_forms import find_number_forms


def rewritten(columns: list[list[str]], delimiter: str = ";") -> list[list[str]]:
    forms = find_number_forms(columns, delimiter)
    return [cells if form is None else list(map(form, cells)) for cells, form in zip(columns, forms, strict=True)]


@pytest.mark.parametrize(
    ("cells", "plain"),
    [
        (["1,5", "-0,25", "7"], ["1.5", "-0.25", "7"]),
        (["1.234,56", "12,5", "1.234.567,0"], ["1234.56", "12.5", "1234567.0"]),
        (["1,234.56", "12.5", "1,234,567"], ["1234.56", "12.5", "1234567"]),
        (["1 234,5", "12,0"], ["1234.5", "12.0"]),
        (["1\u00a0234.5", "12.0"], ["1234.5", "12.0"]),
        (["1'234.5", "12"], ["1234.5", "12"]),
        (["1,234", "987"], ["1234", "987"]),  # smaller ones have no comma
        (["$1,234.50", "$7.00"], ["1234.50", "7.00"]),
        (["12,5 \u20ac", "1.000,0 \u20ac"], ["12.5", "1000.0"]),
        (["12.5%", "7%"], ["12.5", "7"]),
        (["\u22121.5", "2.5"], ["-1.5", "2.5"]),
        (["1,5e3", "2,5"], ["1.5e3", "2.5"]),
        (["1.5", "NA", "x"], ["1.5", "NA", "x"]),  # nothing to do
        (["1,2,3", "4"], ["1,2,3", "4"]),
        (["12,34,567.5", "1,234.5"], ["12,34,567.5", "1234.5"]),  # groups of two are none
    ],
)
def test_numbers_get_a_decimal_point_and_lose_all_else(cells: list[str], plain: list[str]) -> None:
    assert rewritten([cells]) == [plain]


def test_a_column_alone_cannot_be_told_and_the_others_tell_it() -> None:
    assert rewritten([["1,234", "2,345"], ["0,5", "1,25"]]) == [["1.234", "2.345"], ["0.5", "1.25"]]
    assert rewritten([["1,234", "2,345"], ["0.5", "1.25"]]) == [["1234", "2345"], ["0.5", "1.25"]]
    assert rewritten([["1.234", "2.345"], ["0,5", "1,25"]]) == [["1234", "2345"], ["0.5", "1.25"]]


def test_where_nothing_tells_numbers_stay_as_they_are_but_where_commas_cut_the_file() -> None:
    assert rewritten([["1,234", "2,345"]]) == [["1,234", "2,345"]]
    assert rewritten([["1,234", "2,345"]], ",") == [["1234", "2345"]]


def test_words_and_plain_numbers_stay_as_they_are() -> None:
    columns = [["a, b", "1,5", "c"], ["1.5", "2.5", "3.5"], ["2024-01-01", "2024-01-02", "2024-01-03"]]
    assert rewritten(columns) == columns
