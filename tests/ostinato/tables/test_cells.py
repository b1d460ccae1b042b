from __future__ import annotations

import pytest

from ostinato.tables.cells import MISSING_WORDS, CellReader, Words, vocabulary


@pytest.mark.parametrize(
    ("text", "number"),
    [("07", 7.0), ("-1.5e-3", -0.0015), ("+.5", 0.5), ("5.", 5.0), ("1E5", 1e5), ("-0", -0.0), ("1e-400", 0.0)],
)
def test_an_amount_is_the_number_that_is_written(text: str, number: float) -> None:
    assert repr(CellReader().number(text)) == repr(number)


@pytest.mark.parametrize("text", MISSING_WORDS)
def test_the_usual_words_for_a_missing_value_are_missing(text: str) -> None:
    assert CellReader().number(text) is None


def test_what_is_missing_may_be_told() -> None:
    reader = CellReader(missing=["-999"])
    assert [reader.number(cell) for cell in ("-999", "-999.0", "-9.99e2", "999")] == [None, None, None, 999.0]
    with pytest.raises(ValueError, match="'NA' is not a number"):
        reader.number("NA")


@pytest.mark.parametrize("text", ["1,5", "1,234", "1.234,5", "1 234", "1'234", "1_234", "1.234.567", "1\u202f234"])
def test_decimal_commas_and_separators_of_thousands_are_refused_with_what_to_write(text: str) -> None:
    for dtype in ("float32", "int64"):
        with pytest.raises(ValueError, match="is not a number: write a decimal point, and no separator of thousands"):
            CellReader(dtype=dtype).number(text)


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e39", "3.4028236e38", "-1e999"])
def test_what_is_infinite_in_the_dtype_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not finite"):
        CellReader().number(text)


def test_the_largest_number_of_float32_is_taken_and_float64_goes_further() -> None:
    assert CellReader().number("3.4028235e38") == 3.4028235e38
    assert CellReader(dtype="float64").number("1e39") == 1e39


@pytest.mark.parametrize("text", ["high", "0x10", "1e", "--1", "1.2.3e", "٣", "1\u00a0", "True", "1/2", "10%"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        CellReader().number(text)


def test_a_word_is_looked_up_by_its_text_and_then_by_its_number() -> None:
    words = Words(["7", "x", "12e1"])
    assert [words.find(text) for text in ("7", "07", "7.0", "+7", "7e0", "x", "120", "8", "X")] == [
        *[0] * 5, 1, 2, None, None,
    ]  # fmt: skip
    both = Words(["7", "07"])
    assert [both.find(text) for text in ("7", "07", "7.0")] == [0, 1, 0]


def test_long_codes_are_not_taken_for_one_another() -> None:
    # In float64 both are 12345678901234567168.
    words = Words(["12345678901234567890"])
    assert [words.find(text) for text in ("12345678901234567890", "12345678901234567891")] == [0, None]


def test_a_word_is_a_code_before_it_is_missing() -> None:
    reader = CellReader(["N", "NA"])
    assert [reader.number(text) for text in ("N", "NA", "", "W")] == [0.0, 1.0, None, None]
    assert [reader.is_unknown(text) for text in ("N", "NA", "", "W")] == [False, False, False, True]


def test_a_vocabulary_has_each_word_once_in_the_order_of_numbers_or_of_texts() -> None:
    assert vocabulary(["10", "9", "NA", "", "9"]) == ("9", "10")
    assert vocabulary(["1.5", "-2", "10"]) == ("-2", "1.5", "10")
    assert vocabulary(["10", "9", "x"]) == ("10", "9", "x")


def test_words_that_are_one_number_are_one_word_of_a_vocabulary() -> None:
    assert vocabulary(["07", "7", "08", "12e1", "120"]) == ("08", "120", "12e1", "7")
    assert vocabulary(["07", "7.0", "08"]) == ("07", "08")
    assert vocabulary(["-999.0", "1"], missing=["-999"]) == ("1",)


@pytest.mark.parametrize("text", ["2.5", "1e-1", "10000000000000000000"])
def test_a_model_of_whole_numbers_takes_no_other(text: str) -> None:
    reader = CellReader(dtype="int64")
    assert reader.number("2.0") == 2
    with pytest.raises(ValueError, match="is not a whole number of 64 bits"):
        reader.number(text)
