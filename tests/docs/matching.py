"""What a page says is printed, compared with what was."""

from __future__ import annotations

import re

TOLERANCE = 1e-4
"""By which a number with a point may differ, relative to 0.1 or to itself where it is larger: processors round
differently."""

_NUMBER = r"-?\d+\.\d+(?:e[-+]?\d+)?"
_PIECE = re.compile(rf"(?P<any>\.\.\.)|(?P<number>(?<![\w.]){_NUMBER}(?![\w.]))|(?P<rule>[━─]+)|(?P<space>\s+)")


def matches(expected: str, actual: str) -> bool:
    """Whether ``actual`` is what a page shows as ``expected``.

    ``...`` stands for anything. A number with a point may differ by one in the last digit that the page has, and by
    ``TOLERANCE``. White space and the rules of tables count, and how long they are does not.
    """
    pattern = ""
    numbers: list[str] = []
    end = 0
    for piece in _PIECE.finditer(expected.strip()):
        pattern += re.escape(expected.strip()[end : piece.start()])
        end = piece.end()
        if piece["any"]:
            pattern += r"[\s\S]*?"
        elif piece["number"]:
            pattern += rf"({_NUMBER})"
            numbers.append(piece["number"])
        else:
            pattern += r"[━─]+" if piece["rule"] else r"\s+"
    pattern += re.escape(expected.strip()[end:])
    found = re.fullmatch(pattern, actual.strip())
    return found is not None and all(map(_is_near, numbers, found.groups()))


def _is_near(written: str, printed: str) -> bool:
    mantissa, _, exponent = written.partition("e")
    last_digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    allowed = 1.001 * last_digit + TOLERANCE * max(0.1, abs(float(written)))
    return abs(float(written) - float(printed)) <= allowed
