from __future__ import annotations

import pytest

from ostinato.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a line\n\tand another, ü 世界", "a line\n\tand another, ü 世界"),
        ("\x1b[31mred\r\0", "\\x1b[31mred\\r\\x00"),
        ("\x9b2J\x7f", "\\x9b2J\\x7f"),
        ("\u2028\ud800", "\\u2028\\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
