"""Codes: which features of an input the network takes within limits only, as a table is looked up by its rows.

The network itself is asked: with a number that is no row of its table, torch raises. So whatever lies between an input
and a table (casts, slices, clamps, offsets, one-hot vectors) counts as it does in the network. Its graph would answer
such a number with another row's, or with zeros, or fail; the service refuses what the manifest says is out of range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from operator import attrgetter
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ostinato.export.errors import ExportError
from ostinato.service.artifact.tensors import FeatureRange, Input

Row: TypeAlias = NDArray[np.float64]
# What a network makes of a step ``[F]``, in any form that can be compared; None where it raises.
Ask: TypeAlias = Callable[[Row], list[bytes] | None]

FAR = 2.0**24
"""Beyond any table's size, and exact in float32: a network that takes this much takes any more, if its dtype's end."""
# Of so many features every corner of what they may be is tried, of more some that are drawn.
_MAX_ALL_CORNERS = 8
_NUM_DRAWN_CORNERS = 500
_NUM_HALVINGS = 64
_NUM_DRAWN_FAR = 6
# What a code may be in a table of which nothing is known; tables with an offset begin anywhere.
_TRIED_CODES = (*range(17), *(2**power for power in range(5, 21)), *range(-1, -17, -1))
_FRACTIONS = (0.25, 0.5, 0.75)
_ENDS: tuple[Callable[[FeatureRange], float], ...] = (attrgetter("least"), attrgetter("most"))


def find_codes(inputs: Input, likely: Row, ask: Ask) -> Input:
    """The input with the codes and ranges of its features, as the network has them.

    Args:
        likely: a step ``[F]`` as it is drawn where nothing is known of codes.
        ask: runs the network on one step.

    What is declared stays as it is: see ``check_declared``. Where the network answers no step that was tried, nothing
    is found.

    Raises:
        ExportError: what features may be depends on each other.
    """
    if inputs.dtype == "bool":
        return inputs
    declared = _declared(inputs)
    others = [index for index, name in enumerate(inputs.features) if name not in declared]
    ends = _ends(inputs.dtype)
    if not others or all(ask(row) is not None for row in _far_rows(likely, others, ends)):
        return inputs
    answered = _answered(likely, others, ends, ask)
    if answered is None:
        return inputs
    likely = answered
    limited: dict[str, FeatureRange] = {}
    for index in others:
        # With those found so far at their ends, too: what they may be together may be less than each alone.
        found = [(inputs.features.index(name), limits) for name, limits in limited.items()]
        rows = [likely, *(_set_each(likely, [(at, end(limits)) for at, limits in found]) for end in _ENDS if found)]
        each = [_find_range(inputs, row, index, ask) for row in rows if ask(row) is not None]
        limits = _narrowest(inputs, index, [limits for limits in each if limits is not None])
        if limits is not None:
            limited[inputs.features[index]] = limits
            if limits.least == limits.most and limits != each[0]:
                raise _dependent({**declared, **limited})
    known = {**declared, **limited}
    anything = FeatureRange(least=ends[0], most=ends[1])
    _check_corners(inputs, likely, {name: known.get(name, anything) for name in inputs.features}, ask, list(limited))
    if not inputs.dtype.startswith("float") and len(limited) == len(inputs.features):
        mosts = {limits.most for limits in limited.values()}
        if {limits.least for limits in limited.values()} == {0.0} and len(mosts) == 1 and max(mosts) < FAR:
            return inputs.model_copy(update={"num_codes": int(mosts.pop()) + 1})
    return inputs.model_copy(update={"ranges": {**inputs.ranges, **limited}})


def _far_rows(likely: Row, others: list[int], ends: tuple[float, float]) -> Iterator[Row]:
    """Steps that no table has rows for: at one end, at the other, and some that do not cancel each other out."""
    yield from (_set(likely, others, end) for end in ends)
    generator = np.random.default_rng(0)
    for _ in range(_NUM_DRAWN_FAR):
        far = np.trunc(generator.choice(ends, len(others)) * generator.uniform(0.5, 1.0, len(others)))
        yield _set_each(likely, list(zip(others, far, strict=True)))


def _answered(likely: Row, others: list[int], ends: tuple[float, float], ask: Ask) -> Row | None:
    """The likely step, or one near it that the network answers: a number drawn at random is seldom a table's row."""
    if ask(likely) is not None:
        return likely
    tried = (_set(likely, others, code) for code in _TRIED_CODES if ends[0] <= code <= ends[1])
    row = next((row for row in tried if ask(row) is not None), None)
    if row is None:
        return None
    for index in others:  # those that are no codes stay as they are likely to be
        changed = _set(row, [index], likely[index])
        row = row if ask(changed) is None else changed
    return row


def are_narrower(inputs: Input, likely: Row, ask: Ask) -> bool:
    """Whether the network takes something right outside a range, too, with the other features as is likely."""
    for name, limits in inputs.ranges.items():
        index = inputs.features.index(name)
        for beyond in (limits.least - 1.0, limits.most + 1.0):
            if limits.whole and abs(beyond) < FAR and ask(_set(likely, [index], beyond)) is not None:
                return True
    return False


def _check_corners(
    inputs: Input, likely: Row, limited: Mapping[str, FeatureRange], ask: Ask, named: Sequence[str] = ()
) -> None:
    """Refuse features each of which is within its range where the network raises for all of them together.

    Its graph would not raise, but take another row of the table. ``named``: those of them to name, if there are any.

    Raises:
        ExportError: names them.
    """
    if len(limited) < 2:
        return
    places = [inputs.features.index(name) for name in limited]
    for corner in _corners([(limits.least, limits.most) for limits in limited.values()]):
        if ask(_set_each(likely, list(zip(places, corner, strict=True)))) is None:
            raise _dependent(named if len(named) > 1 else limited)


def _corners(ends: list[tuple[float, float]]) -> Iterator[tuple[float, ...]]:
    if len(ends) <= _MAX_ALL_CORNERS:
        yield from product(*ends)
        return
    yield from zip(*ends, strict=True)
    for chosen in np.random.default_rng(0).integers(2, size=(_NUM_DRAWN_CORNERS, len(ends))):
        yield tuple(pair[end] for pair, end in zip(ends, chosen, strict=True))


def _dependent(limited: Iterable[str]) -> ExportError:
    names = list(limited)
    some = ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")
    declared = ", ".join(f"{name!r}: FeatureRange(least=..., most=...)" for name in names[:2])
    return ExportError(
        f"what {some} may be depends on each other, as where one table is looked up by a sum of them: within the range "
        "of each the network fails on some steps. The service looks at features one by one, and the graph would answer "
        "such a step with another row of the table: give what is looked up as one feature, clamp it in forward, or "
        f"declare ranges that hold together, as Input(..., ranges={{{declared}}})"
    )


def _declared(inputs: Input) -> dict[str, FeatureRange]:
    """What the user says of features."""
    declared = dict(inputs.ranges)
    if inputs.num_codes is not None:
        declared |= {name: FeatureRange(least=0, most=inputs.num_codes - 1) for name in inputs.features}
    return declared | {name: FeatureRange(least=0, most=len(words) - 1) for name, words in inputs.categories.items()}


def check_declared(inputs: Input, likely: Row, ask: Ask) -> None:
    """Refuse codes that were declared and that the network does not take.

    Raises:
        ExportError: names the feature and the code.
    """
    declared = _declared(inputs)
    if not declared:
        return
    least = _set_each(likely, [(inputs.features.index(name), limits.least) for name, limits in declared.items()])
    if ask(least) is None:  # it is something else that fails, which the caller will meet
        return
    for name, limits in declared.items():
        for end in (limits.least, limits.most):
            if ask(_set(least, [inputs.features.index(name)], end)) is None:
                raise ExportError(
                    f"{name!r} is declared with codes {limits.words}, and the network fails on {end:g}: its table is "
                    "smaller; declare as many codes as it has rows"
                )
    _check_corners(inputs, least, declared, ask)


def _narrowest(inputs: Input, index: int, ranges: list[FeatureRange]) -> FeatureRange | None:
    """What is in all of them; the first, where that would leave out what the feature was in training."""
    if not ranges:
        return None
    least, most = max(each.least for each in ranges), min(each.most for each in ranges)
    seen = inputs.statistics
    is_enough = seen is None or (least <= seen.minimum[index] and seen.maximum[index] <= most)
    return ranges[0].model_copy(update={"least": least, "most": most}) if least <= most and is_enough else ranges[0]


def _find_range(inputs: Input, likely: Row, index: int, ask: Ask) -> FeatureRange | None:
    """What one feature may be; None where that is anything."""
    ends = _ends(inputs.dtype)
    if all(ask(_set(likely, [index], end)) is not None for end in ends):
        return None
    is_whole = not inputs.dtype.startswith("float") or _is_code(likely, index, ask)
    least, most = (_boundary(likely, index, end, ask, is_whole=is_whole) + 0.0 for end in ends)  # no -0
    furthest = np.finfo(inputs.dtype) if inputs.dtype.startswith("float") else np.iinfo(inputs.dtype)
    if least == -FAR and ask(_set(likely, [index], float(furthest.min))) is not None:
        least = float(furthest.min)
    # As float64 the largest of 64 bits would be one more than there is.
    if most == FAR and ask(_set(likely, [index], float(np.nextafter(float(furthest.max), 0.0)))) is not None:
        most = float(furthest.max)
    return FeatureRange(least=least, most=most, whole=is_whole)


def _is_code(likely: Row, index: int, ask: Ask) -> bool:
    """Whether a fraction would be taken for the whole number before or behind it."""
    whole = np.trunc(likely[index])
    here, behind, *between = (ask(_set(likely, [index], whole + part)) for part in (0.0, 1.0, *_FRACTIONS))
    return here is not None and all(answer in (here, behind) for answer in between)


def _boundary(likely: Row, index: int, end: float, ask: Ask, *, is_whole: bool) -> float:
    """The number nearest to ``end`` that the network takes."""
    if ask(_set(likely, [index], end)) is not None:
        return end
    taken, refused = float(np.trunc(likely[index]) if is_whole else likely[index]), end
    for _ in range(_NUM_HALVINGS):
        middle = (taken + refused) / 2.0
        middle = float(np.trunc(middle)) if is_whole else float(np.float32(middle))
        if middle in (taken, refused):
            break
        if ask(_set(likely, [index], middle)) is not None:
            taken = middle
        else:
            refused = middle
    return taken


def _ends(dtype: str) -> tuple[float, float]:
    if dtype.startswith("float"):
        return -FAR, FAR
    limits = np.iinfo(dtype)
    return max(-FAR, float(limits.min)), min(FAR, float(limits.max))


def _set(likely: Row, indexes: list[int], value: float) -> Row:
    return _set_each(likely, [(index, value) for index in indexes])


def _set_each(likely: Row, values: list[tuple[int, float]]) -> Row:
    row = likely.copy()
    for index, value in values:
        row[index] = value
    return row
