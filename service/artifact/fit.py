"""Fit of a version with another: whether it takes each step that the other takes, by the same numbers."""

from __future__ import annotations

from ostinato.service.artifact.manifest import Manifest
from ostinato.service.artifact.tensors import FeatureRange, Input


def misfit(former: Manifest, manifest: Manifest) -> str | None:
    """Why steps of ``former``, as numbers, are not steps of ``manifest`` that mean the same, in words; None = they are.

    A version may take more: missing values, further categories behind the same, wider ranges.
    """
    for what in ("inputs", "context"):
        mine, theirs = getattr(former, what), getattr(manifest, what)
        if [_shape_of(part) for part in mine] != [_shape_of(part) for part in theirs]:
            return f"other {what}: names, sizes, features or dtypes differ"
        for before, after in zip(mine, theirs, strict=True):
            if why := _misfit_of(before, after):
                return f"other {what}: {before.name!r} {why}"
    if str(manifest.framing) != str(former.framing):
        return "frames of another size or hop"
    return None


def _shape_of(part: Input) -> tuple[object, ...]:
    return part.name, part.dtype, part.row_shape, part.features


def _misfit_of(before: Input, after: Input) -> str | None:
    if before.missing and not after.missing:
        return "takes no missing values"
    if after.num_codes is not None and not (before.num_codes is not None and before.num_codes <= after.num_codes):
        return f"has the codes 0 to {after.num_codes - 1}, and had {_codes(before)}"
    for feature in before.features:
        words, others = before.categories.get(feature), after.categories.get(feature)
        if (words is None) != (others is None):
            return f"has words for {feature!r} in one of the two"
        if words is not None and others is not None:
            # A code that stood for an unknown word does not tell which: the other may know it.
            unknown, may_grow = before.unknown.get(feature), feature not in before.unknown
            is_same = words == others and (unknown is None or unknown == after.unknown.get(feature))
            if not is_same and not (may_grow and others[: len(words)] == words):
                return f"has other categories for {feature!r}, or in another order"
        if not _lies_within(before.ranges.get(feature), after.ranges.get(feature)):
            return f"takes {feature!r} within other limits"
    return None


def _codes(part: Input) -> str:
    return "any" if part.num_codes is None else f"0 to {part.num_codes - 1}"


def _lies_within(inner: FeatureRange | None, outer: FeatureRange | None) -> bool:
    if outer is None:
        return True
    return (
        inner is not None
        and outer.least <= inner.least
        and inner.most <= outer.most
        and (inner.whole or not outer.whole)
    )
