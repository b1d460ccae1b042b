"""Sums of products (``Einsum``) as products of matrices, which round alike in any run."""

from __future__ import annotations

import math

import onnx_ir as ir

from ostinato.export.graphs.nodes import Nodes

_FREE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def rewrite_einsum(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    """Of two tensors as a product of matrices, of more two after two.

    None where nothing is summed, a letter is twice in one tensor, or the sizes of what is summed are not known.
    """
    given = [value for value in node.inputs if value is not None]
    spelled = _spelled_out(node.attributes["equation"].as_string().replace(" ", ""), given)
    if spelled is None or len(given) < 2:
        return None
    letters, wanted = spelled
    sizes: dict[str, int | None] = {}
    for term, value in zip(letters, given, strict=True):
        assert value.shape is not None, "it was spelled out by its shape"
        for letter, size in zip(term, value.shape, strict=True):
            sizes[letter] = size if isinstance(size, int) else sizes.get(letter)
    left, value = letters[0], given[0]
    for index, (right, other) in enumerate(zip(letters[1:], given[1:], strict=True), start=2):
        needed = wanted + "".join(letters[index:])
        kept = wanted if index == len(given) else "".join(dict.fromkeys(at for at in left + right if at in needed))
        if len(given) == 2 and set(left + right) == set(kept):  # nothing is summed
            return None
        product = _product(nodes, (left, right, kept), value, other, sizes)
        if product is None:
            return None
        left, value = kept, product
    return [value]


def _spelled_out(equation: str, given: list[ir.Value]) -> tuple[list[str], str] | None:
    """The letters of each tensor and of what is made, with some for the axes that ``...`` stands for."""
    terms, arrow, wanted = equation.partition("->")
    letters = terms.split(",")
    if not arrow or len(letters) != len(given) or any(value.shape is None for value in given):
        return None
    free = [letter for letter in _FREE if letter not in equation]
    most = 0
    for index, (term, value) in enumerate(zip(letters, given, strict=True)):
        assert value.shape is not None, "it was looked at above"
        number = len(value.shape) - len(term.replace("...", ""))
        letters[index] = term.replace("...", "".join(free[len(free) - number :]))
        most = max(most, number)
    wanted = wanted.replace("...", "".join(free[len(free) - most :]))
    if any(len(set(term)) < len(term) for term in letters):
        return None
    return letters, wanted


def _product(
    nodes: Nodes, terms: tuple[str, str, str], value: ir.Value, other: ir.Value, sizes: dict[str, int | None]
) -> ir.Value | None:
    """``[leading, shared, rows, summed] x [shared, summed, columns]``, put in the order that is wanted."""
    left, right, wanted = terms
    if any(sizes[letter] is None for letter in set(right) - set(left)):
        left, right, value, other = right, left, other, value
    shared = [letter for letter in left if letter in right and letter in wanted]
    summed = [letter for letter in left if letter in right and letter not in wanted]
    alone = [letter for letter in left + right if letter not in [*wanted, *summed]]
    of_left, columns = ([at for at in term if at not in [*shared, *summed, *alone]] for term in (left, right))
    if any(sizes[letter] is None for letter in [*summed, *alone, *columns]):
        return None
    # Of the left one's axes one at most may be open where they become one axis; without a shared letter all stay.
    open_rows = [letter for letter in of_left if sizes[letter] is None]
    leading = open_rows[:-1] if shared else of_left
    rows = [letter for letter in of_left if letter not in leading]
    value, left = _sum_alone(nodes, value, left, alone, sizes)
    other, right = _sum_alone(nodes, other, right, alone, sizes)
    value = _ordered(nodes, value, left, [*leading, *shared, *rows, *summed])
    other = _ordered(nodes, other, right, [*shared, *summed, *columns])
    kept, depth = [0] * len([*leading, *shared]), math.prod(_sizes(summed, sizes))
    width = math.prod(_sizes(columns, sizes))
    is_one_row, is_one_column = len(rows) == 1 or not shared, len(columns) == 1
    if len(summed) != 1 or not is_one_row:
        value = nodes.op("Reshape", value, nodes.integers([*kept, *([-1] if shared else []), depth]))
    if len(summed) != 1 or not is_one_column:
        other = nodes.op("Reshape", other, nodes.integers([*([0] * len(shared)), depth, width]))
    if shared and open_rows:
        made = nodes.product(value, other, is_one_column=width == 1)
    else:
        made = nodes.op("MatMul", value, other)
    if not is_one_row or not is_one_column:
        made = nodes.op("Reshape", made, nodes.integers([*kept, *_sizes([*rows, *columns], sizes)]))
    return _ordered(nodes, made, "".join([*leading, *shared, *rows, *columns]), list(wanted))


def _sum_alone(
    nodes: Nodes, value: ir.Value, letters: str, alone: list[str], sizes: dict[str, int | None]
) -> tuple[ir.Value, str]:
    """The sum over letters that only this tensor has, and those that are left."""
    for letter in [each for each in letters if each in alone]:
        axis, (size,) = letters.index(letter), _sizes([letter], sizes)
        total = nodes.sum_over(value, axis, len(letters), size)
        value, letters = nodes.op("Squeeze", total, nodes.integers([axis])), letters.replace(letter, "")
    return value, letters


def _sizes(letters: list[str], sizes: dict[str, int | None]) -> list[int]:
    """-1 for the one that is open."""
    return [-1 if (size := sizes[letter]) is None else size for letter in letters]


def _ordered(nodes: Nodes, value: ir.Value, letters: str, wanted: list[str]) -> ir.Value:
    order = [letters.index(letter) for letter in wanted]
    return value if order == sorted(order) else nodes.op("Transpose", value, perm=order)
