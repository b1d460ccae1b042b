"""Products of what a network makes, as in attention, written so that they round alike in any run."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from ostinato.export.graphs.nodes import Nodes, constant_of


def rewrite_matmul(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    """By each of many matrices, where the number of rows or columns is open, or many matrices share one."""
    left, right = node.inputs
    if left is None or right is None or left.shape is None or right.shape is None:
        return None
    ranks = len(left.shape), len(right.shape)
    if ranks[1] < 3 or ranks[0] < 2:
        return None
    has_open_rows, has_open_columns = (
        not isinstance(shape[at], int) for shape, at in ((left.shape, -2), (right.shape, -1))
    )
    if has_open_columns and not has_open_rows:
        turned = [
            nodes.op("Transpose", each, perm=_turned(rank)) for each, rank in zip((right, left), ranks, strict=True)
        ]
        if ranks[0] == 2:
            made = nodes.op("MatMul", *turned)
        else:
            made = nodes.product(*turned, is_one_column=left.shape[-2] == 1)
        return [nodes.op("Transpose", made, perm=_turned(max(ranks)))]
    are_pairs = ranks[0] == ranks[1] and list(left.shape[:-2]) == list(right.shape[:-2])
    if has_open_columns or ranks[0] < 3 or (are_pairs and not has_open_rows):
        return None
    return [nodes.product(left, right, is_one_column=right.shape[-1] == 1)]


def _turned(rank: int) -> list[int]:
    return [*range(rank - 2), rank - 1, rank - 2]


def rewrite_open_product(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    """A product of what the network makes, over an open axis or to one, by one row more: one row alone is computed
    differently from two.
    """
    left, right = node.inputs
    if left is None or right is None or left.shape is None or right.shape is None:
        return None
    rank = len(left.shape)
    if rank < 3 or len(right.shape) != rank or constant_of(right) is not None or constant_of(left) is not None:
        return None
    num_rows, summed, made = left.shape[-2], left.shape[-1], right.shape[-1]
    is_open = not isinstance(summed, int) or not isinstance(made, int)
    if not is_open or (isinstance(num_rows, int) and num_rows > 1):
        return None
    return [_by_one_row_more(nodes, left, right, rank)]


def _by_one_row_more(nodes: Nodes, left: ir.Value, right: ir.Value, rank: int) -> ir.Value:
    axis, first = nodes.integers([rank - 2]), [nodes.integers([end]) for end in (0, 1)]
    more = nodes.op("Concat", left, nodes.op("Slice", left, *first, axis), axis=rank - 2)
    return nodes.op("Slice", nodes.op("MatMul", more, right), nodes.integers([0]), nodes.integers([-1]), axis)


def rewrite_open_einsum(nodes: Nodes, node: ir.Node) -> list[ir.Value] | None:
    """Of two, ``...k,ko->...o`` and ``...k,ok->...o`` as a product with weights; of more, two after two."""
    terms, arrow, wanted = node.attributes["equation"].as_string().replace(" ", "").partition("->")
    letters, given = terms.split(","), list(node.inputs)
    if not arrow or "." in terms or len(given) < 2:
        return None
    attended = _attended(nodes, letters, wanted, given) if len(given) == 2 else None
    if attended is not None:
        return [attended]
    left, value = letters[0], given[0]
    for index, (right, other) in enumerate(zip(letters[1:], given[1:], strict=True), start=2):
        needed = wanted + "".join(letters[index:])
        kept = wanted if index == len(given) else "".join(dict.fromkeys(at for at in left + right if at in needed))
        product = _product(nodes, (left, right, kept), value, other)
        if product is None and len(given) == 2:
            return None
        value = nodes.op("Einsum", value, other, equation=f"{left},{right}->{kept}") if product is None else product
        left = kept
    assert value is not None
    return [value]


def _product(
    nodes: Nodes, letters: tuple[str, str, str], value: ir.Value | None, weights: ir.Value | None
) -> ir.Value | None:
    left, right, wanted = letters
    if len(right) != 2 or constant_of(weights) is None:
        return None
    summed, kept = left[-1:], right.replace(left[-1:], "")
    if len(kept) != 1 or summed not in right or wanted != left[:-1] + kept or kept in left:
        return None
    if right[0] != summed:
        weights = nodes.op("Transpose", weights, perm=[1, 0])
    return nodes.op("MatMul", value, weights)


def _attended(nodes: Nodes, letters: Sequence[str], wanted: str, given: Sequence[ir.Value | None]) -> ir.Value | None:
    """Of two that the network makes, as ``bt,bth->bh``: a product for each of the letters that both keep."""
    if any(value is None or constant_of(value) is not None for value in given):
        return None
    left, right = letters
    both = [at for at in left if at in right and at in wanted]
    summed = [at for at in left if at in right and at not in wanted]
    rows, columns = ([at for at in one if at not in other] for one, other in ((left, right), (right, left)))
    is_product = both and len(summed) == 1 and len(rows) <= 1 and len(columns) <= 1
    if not is_product or sorted(both + rows + columns) != sorted(wanted):
        return None
    rank = len(both) + 2
    first = _ordered(nodes, given[0], left, both + rows + summed, at=None if rows else len(both))
    second = _ordered(nodes, given[1], right, both + summed + columns, at=None if columns else rank - 1)
    made = _by_one_row_more(nodes, first, second, rank)
    gone = [axis for axis, kept in ((rank - 2, rows), (rank - 1, columns)) if not kept]
    if gone:
        made = nodes.op("Squeeze", made, nodes.integers(gone))
    return _ordered(nodes, made, "".join(both + rows + columns), list(wanted))


def _ordered(
    nodes: Nodes, value: ir.Value | None, letters: str, order: Sequence[str], at: int | None = None
) -> ir.Value:
    """Its axes in another order, and one of size 1 at a place."""
    assert value is not None
    perm = [letters.index(letter) for letter in order]
    turned = value if perm == sorted(perm) else nodes.op("Transpose", value, perm=perm)
    return turned if at is None else nodes.op("Unsqueeze", turned, nodes.integers([at]))
