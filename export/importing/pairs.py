"""Pairs of states: which output of a foreign graph is the next value of which input.

By name, by what the graph does with them, and by shape; where these leave several, by their order. What nothing tells
is refused with the candidates, and ``--state IN=OUT`` says it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ostinato.export.errors import ExportError
from ostinato.export.importing.flow import Flow
from ostinato.export.importing.layouts import sounds_like_steps
from ostinato.export.importing.names import ALIKE, EXACT, LETTERS, WITHOUT_NUMBERS, likeness, sounds_like_state
from ostinato.export.importing.ports import Port

_BY_NAME = {EXACT: 60, LETTERS: 50, WITHOUT_NUMBERS: 35, ALIKE: 20}
_CARRIED, _MOVED, _DEPENDS, _SAME_SIZES = 100, 25, 6, 3
_ENOUGH = 20
"""The least that name and graph together must say; less is a shape alone."""


@dataclass(frozen=True)
class Pair:
    """An input that is a state, the output that is its next value, and how that was found, in words."""

    given: str
    made: str
    how: str


@dataclass(frozen=True)
class _Candidate:
    given: int
    made: int
    score: int
    how: str


def find_pairs(
    flow: Flow, inputs: Sequence[Port], outputs: Sequence[Port], said: Mapping[str, str], fed: Sequence[str] = ()
) -> list[Pair]:
    """The pairs of states of a graph, in the order of its inputs.

    Args:
        said: input -> output, as the user says.
        fed: inputs that are no states, as the user says.

    Raises:
        ExportError: what was said does not fit, or several outputs may be the next value of an input.
    """
    pairs = [_said_pair(inputs, outputs, given, made) for given, made in said.items()]
    taken, shown = {pair.given for pair in pairs}, {pair.made for pair in pairs}
    open_inputs = [place for place, port in enumerate(inputs) if port.name not in {*taken, *fed}]
    open_outputs = [place for place, port in enumerate(outputs) if port.name not in shown]
    candidates = [
        candidate
        for given in open_inputs
        for made in open_outputs
        if (candidate := _candidate(flow, inputs, outputs, given, made)) is not None
    ]
    found = _choose([each for each in candidates if each.score >= _ENOUGH], inputs, outputs)
    left = [each for each in candidates if each.score < _ENOUGH]
    found += _by_shape(left, found, inputs, outputs, bool(pairs), fed)
    pairs += [Pair(inputs[each.given].name, outputs[each.made].name, each.how) for each in found]
    order = {port.name: place for place, port in enumerate(inputs)}
    return sorted(pairs, key=lambda pair: order[pair.given])


def _said_pair(inputs: Sequence[Port], outputs: Sequence[Port], given: str, made: str) -> Pair:
    ports = []
    for role, name, among in (("input", given, inputs), ("output", made, outputs)):
        port = next((each for each in among if each.name == name), None)
        if port is None:
            raise ExportError(
                f"--state {given}={made}: the graph has no {role} {name!r}; it has {', '.join(p.name for p in among)}"
            )
        ports.append(port)
    if reason := _misfit(*ports):
        raise ExportError(f"--state {given}={made}: {reason}")
    return Pair(given, made, "as --state says")


def _misfit(given: Port, made: Port) -> str:
    """Why an output cannot be the next value of an input; empty where it can."""
    if given.dtype != made.dtype:
        return f"{given.name!r} is {given.dtype} and {made.name!r} is {made.dtype}"
    if given.sizes is None or made.sizes is None:
        return ""
    differ = len(given.sizes) != len(made.sizes) or any(
        isinstance(one, int) and isinstance(other, int) and one != other
        for one, other in zip(given.sizes, made.sizes, strict=True)
    )
    return f"{given.name!r} is {given.words} and {made.name!r} is {made.words}" if differ else ""


def _candidate(flow: Flow, inputs: Sequence[Port], outputs: Sequence[Port], given: int, made: int) -> _Candidate | None:
    one, other = inputs[given], outputs[made]
    if _misfit(one, other):
        return None
    by_name = likeness(one.name, other.name)
    if flow.repeats(made, given):  # what it was, and not what it is next, unless nothing else is like it
        is_state = by_name >= LETTERS and sounds_like_state(one.name)
        return _Candidate(given, made, _ENOUGH, "their names") if is_state else None
    if not by_name and not flow.carries(made, given) and any(map(sounds_like_steps, one.sizes or ())):
        return None  # a state has one size, however many steps there are
    score, reasons = 0, []
    if by_name:
        score += _BY_NAME[by_name]
        reasons.append("their names")
    if flow.carries(made, given):
        score += _CARRIED
        reasons.append("a recurrent operator begins with one and ends with the other")
    if flow.moves(made, given):
        score += _MOVED
        reasons.append("the graph moves numbers of one into the other")
    if flow.depends(made, given):
        score += _DEPENDS
    elif by_name < LETTERS:
        return None
    if one.sizes == other.sizes:
        score += _SAME_SIZES
    return _Candidate(given, made, score, " and ".join(reasons))


def _choose(candidates: Sequence[_Candidate], inputs: Sequence[Port], outputs: Sequence[Port]) -> list[_Candidate]:
    """The best of each input and output; of those that are as good as each other, by their order.

    Raises:
        ExportError: their numbers differ, so that an order says nothing.
    """
    found: list[_Candidate] = []
    left = sorted(candidates, key=lambda each: -each.score)
    while left:
        best = left[0].score
        tied = [each for each in left if each.score == best]
        group = _connected(tied)
        givens, mades = sorted({each.given for each in group}), sorted({each.made for each in group})
        if len(group) > 1:
            known = {(each.given, each.made): each for each in group}
            chosen = [known.get(pair) for pair in zip(givens, mades, strict=False)]
            if len(givens) != len(mades) or None in chosen:
                raise _ambiguous([inputs[each] for each in givens], [outputs[each] for each in mades])
            found += [
                _Candidate(each.given, each.made, each.score, f"{each.how}, then their order".removeprefix(", then "))
                for each in chosen
                if each is not None
            ]
        else:
            found += group
        left = [each for each in left if each.given not in givens and each.made not in mades]
    return found


def _connected(tied: Sequence[_Candidate]) -> list[_Candidate]:
    """The first, and all that share an input or output with it, or with one that does."""
    group, more = [tied[0]], True
    while more:
        givens, mades = {each.given for each in group}, {each.made for each in group}
        added = [each for each in tied if each not in group and (each.given in givens or each.made in mades)]
        more = bool(added)
        group += added
    return group


def _by_shape(
    candidates: Sequence[_Candidate],
    found: Sequence[_Candidate],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    has_pairs: bool,
    fed: Sequence[str],
) -> list[_Candidate]:
    """Of what has nothing but its shape in common: what sounds like a state; or, where nothing else was found, all
    whose shapes leave one way.

    Raises:
        ExportError: they leave several.
    """
    taken, shown = {each.given for each in found}, {each.made for each in found}
    open_ones = [each for each in candidates if each.given not in taken and each.made not in shown]
    exact = [each for each in open_ones if _is_like_state(inputs[each.given], outputs[each.made])]
    named = [each for each in exact if sounds_like_state(inputs[each.given].name)]
    if named:
        return _with_reason(_choose(named, inputs, outputs), "one sounds like a state, and their shapes")
    if found or has_pairs or not exact:
        return []
    wide = [place for place, port in enumerate(inputs) if port.sizes != ()]  # one number is not fed at each step
    others = [place for place in wide if place not in {each.given for each in exact}]
    if not others and not fed:
        if len(wide) == 1:
            return []
        givens, mades = ({each.given for each in exact}, {each.made for each in exact})
        raise _ambiguous([inputs[each] for each in sorted(givens)], [outputs[each] for each in sorted(mades)])
    return _with_reason(_choose(exact, inputs, outputs), "their shapes")


def _with_reason(chosen: Sequence[_Candidate], how: str) -> list[_Candidate]:
    return [
        _Candidate(each.given, each.made, each.score, how + (", then their order" if "order" in each.how else ""))
        for each in chosen
    ]


def _is_like_state(given: Port, made: Port) -> bool:
    """Whether two ports have the axes of a state, as far as the file says: not more than one of them open."""
    return all(
        port.sizes is not None and sum(isinstance(size, str) for size in port.sizes) <= 1 for port in (given, made)
    )


def _ambiguous(givens: Sequence[Port], mades: Sequence[Port]) -> ExportError:
    names = (", ".join(f"{port.name} {port.words}" for port in ports) for ports in (givens, mades))
    one, other = names
    return ExportError(
        f"which output is the next value of which input is not clear: inputs {one}; outputs {other}. Say it with "
        f"--state {givens[0].name}={mades[0].name}, again for each"
    )
