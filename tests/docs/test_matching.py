from __future__ import annotations

import pytest

from tests.docs.matching import matches


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ('{"steps":3}', '{"steps":3}\n'),
        ('{"id":"...","steps":3}', '{"id":"b2c4","steps":3}'),
        ("first\n...\nlast", "first\nand\nmore\nlast"),
        ("[0.5,8.713458]", "[0.5,8.713462]"),
        ("-0.26", "-0.2634"),  # shortened: off by less than one in its last digit
        ("[[0.   8.7135]]", "[[0. 8.7135]]"),
        ("│ g2p   │ 1.5e-05 │\n└───┘", "│ g2p │ 1.5e-05 │\n└─────┘"),
    ],
)
def test_what_may_differ(expected: str, actual: str) -> None:
    assert matches(expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ('{"steps":3}', '{"steps":4}'),
        ('{"steps":3}', ""),
        ('{"id":"...","steps":3}', '{"id":"b2c4","steps":13}'),
        ("one", "one\ntwo"),
        ("[8.713458]", "[8.723458]"),
        ("[8.713458]", "[8.713458,0.5]"),
        ("8.0", "-8.0"),
        ("0.1.0", "0.1.1"),  # a version is no number
        ("AA K", "AAK"),
    ],
)
def test_what_may_not(expected: str, actual: str) -> None:
    assert not matches(expected, actual)
