"""The survey of a foreign graph: it is run in several sizes, which tells what the axes of its outputs are, whether its
rows are their own, and whether its states carry all that its answers depend on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ostinato.export.errors import first_line
from ostinato.export.importing.beginnings import first_row
from ostinato.export.importing.layouts import AxisLayout, AxisRole, AxisRoles, left_out, normal
from ostinato.export.importing.network import ForeignNetwork
from ostinato.export.importing.ports import Port
from ostinato.service.artifact.graphs import without_messages
from ostinato.service.artifact.numbers import largest_difference

ALIKE = 1e-3
"""What rounding alone makes of a number; by more it is another."""

_SIZES = ((2, 8), (3, 8), (2, 12))
_CHUNKED_STEPS, _CUT = 8, 3
_RATES = (2.0, 4.0)


class Unfit(Exception):
    """A graph does not run, or does not behave, as its axes were supposed to be; says why.

    ``rate``: of a graph that answers once in so many steps; 0 = of any other.
    """

    def __init__(self, reason: str, rate: int = 0) -> None:
        super().__init__(reason)
        self.rate = rate


@dataclass(frozen=True)
class Surveyed:
    """A layout that a graph was seen to have.

    Attributes:
        layout: of the inputs.
        made: of each output, its axes.
        carries: empty where in chunks it answers as in one run; why not otherwise.
        notes: what is said of outputs that are left out.
    """

    layout: AxisLayout
    made: Mapping[str, AxisRoles]
    carries: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawer:
    """Inputs that a graph is likely to take.

    Attributes:
        ports: of what is fed and carried.
        codes: of an input of whole numbers, how many codes it has.
        initial: of a state, the numbers of one row that it begins with, in the file's axes.
        examples: of an input, an array of what it is like.
    """

    ports: Mapping[str, Port]
    codes: Mapping[str, int]
    initial: Mapping[str, NDArray[Any]]
    examples: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def draw(self, name: str, shape: Sequence[int], generator: np.random.Generator) -> NDArray[Any]:
        """An array of an input's dtype."""
        dtype = np.dtype(self.ports[name].dtype)
        if name in self.examples and self.examples[name].size:
            return generator.choice(self.examples[name].ravel(), size=shape).astype(dtype)
        if dtype.kind == "f":
            return generator.standard_normal(shape).astype(dtype)
        return generator.integers(self.codes.get(name, 2), size=shape).astype(dtype)


class Survey:
    """Runs of a graph.

    Args:
        session: an ``InferenceSession`` of the file.
        states: input of a state -> its output.
        outputs: of the graph, by name.
        lengths: inputs for the number of steps.

    Attributes:
        session: as given.
    """

    def __init__(
        self,
        session: Any,
        drawer: Drawer,
        states: Mapping[str, str],
        outputs: Sequence[str],
        constants: Mapping[str, NDArray[Any]],
        lengths: Sequence[Port] = (),
    ) -> None:
        self.session = session
        self._drawer = drawer
        self._states = dict(states)
        self._outputs = list(outputs)
        self._constants = dict(constants)
        self._lengths = tuple(lengths)

    def look(self, layout: AxisLayout) -> Surveyed:
        """Run the graph in the sizes that a layout says.

        Raises:
            Unfit: it does not run, or differently from what a layout says.
        """
        made, notes = self._roles_of_outputs(layout)
        for given, output in self._states.items():
            if normal(made[output]) != normal(layout.roles[given]):
                raise Unfit(
                    f"state {given!r} is {_words(normal(layout.roles[given]))} and comes back as "
                    f"{_words(normal(made[output]))}"
                )
        surveyed = Surveyed(layout, made, "", notes)
        self._check_rows(surveyed)
        return Surveyed(layout, made, self._differs_in_chunks(surveyed), notes)

    def takes(self, layout: AxisLayout, axis: int, size: int) -> bool:
        """Whether the graph runs where an axis of all that is fed has another size than the file says."""
        roles = {
            name: (*axes[:axis], size, *axes[axis + 1 :]) if name not in self._states and axis < len(axes) else axes
            for name, axes in layout.roles.items()
        }
        try:
            self._raw(replace(layout, roles=roles), max(layout.rows or 1, 1), 1)
        except Unfit:
            return False
        return True

    def answers(self, layout: AxisLayout) -> list[NDArray[Any]]:
        """What the graph makes of one drawn run.

        Raises:
            Unfit: it fails.
        """
        return self._raw(layout, max(layout.rows or 2, 1), 4, drawn_states=True)

    def network(self, surveyed: Surveyed) -> ForeignNetwork:
        """The graph in the axes of a manifest: outputs, then states."""
        shown = [name for name in surveyed.made if name not in self._states.values()]
        made = [(name, surveyed.made[name]) for name in (*shown, *self._states.values())]
        roles = {name: roles for name, roles in surveyed.layout.roles.items() if name not in self._states}
        roles |= {name: surveyed.layout.roles[name] for name in self._states}
        return ForeignNetwork(self.session, roles, made, surveyed.layout.rows, self._constants, self._lengths)

    def draw(self, layout: AxisLayout, rows: int, steps: int, seed: int = 0) -> dict[str, NDArray[Any]]:
        """What goes into a run, in the axes of a manifest; states as they begin."""
        generator = np.random.default_rng(seed)
        sizes = {"B": rows, "T": steps, "W": layout.window}
        feeds = {}
        for name, roles in layout.roles.items():
            shape = [sizes[axis] if isinstance(axis, str) else axis for axis in normal(roles)]
            if name in self._states:
                feeds[name] = self._begin(name, roles, rows)
            else:
                feeds[name] = self._drawer.draw(name, shape, generator)
        return feeds

    def _begin(self, name: str, roles: AxisRoles, rows: int) -> NDArray[Any]:
        row = first_row(self._drawer.initial.get(name), name, roles, self._drawer.ports[name].dtype)
        axis = normal(roles).index("B")
        return np.repeat(np.expand_dims(row, axis), rows, axis)

    def _roles_of_outputs(self, layout: AxisLayout) -> tuple[dict[str, AxisRoles], tuple[str, ...]]:
        """What the axes of the outputs are: those whose sizes follow the batch, and those that follow the steps. An
        output that follows neither is left out, unless it is a state, or the only one.
        """
        sizes = list(
            dict.fromkeys(
                (rows if layout.rows is None else max(layout.rows, 1), steps if layout.has_steps else 1)
                for rows, steps in _SIZES
            )
        )
        shapes = [dict(zip(self._outputs, map(np.shape, self._raw(layout, *size)), strict=True)) for size in sizes]
        found: dict[str, AxisRoles] = {}
        unfit: list[Unfit] = []
        for name in self._outputs:
            try:
                found[name] = self._roles(name, layout, [each[name] for each in shapes], sizes)
            except Unfit as error:
                if name in self._states.values():
                    raise
                unfit.append(error)
        if unfit and not set(found) - set(self._states.values()):
            raise unfit[0]
        return found, tuple(f"{error}: it is left out" for error in unfit)

    def _roles(
        self, name: str, layout: AxisLayout, seen: Sequence[tuple[int, ...]], sizes: Sequence[tuple[int, int]]
    ) -> AxisRoles:
        roles: list[AxisRole] = []
        if len({len(shape) for shape in seen}) > 1:
            raise Unfit(f"output {name!r} has {' or '.join(str(len(shape)) for shape in seen)} axes")
        for axis in range(len(seen[0])):
            along = [shape[axis] for shape in seen]
            if len(set(along)) == 1:
                roles.append(along[0])
            elif along == [rows for rows, _ in sizes] and "B" not in roles:
                roles.append("B")
            elif along == [steps for _, steps in sizes] and "T" not in roles:
                roles.append("T")
            else:
                told = ", ".join(f"{size} of {b} x {t}" for size, (b, t) in zip(along, sizes, strict=True))
                rates = {steps / size for size, (_, steps) in zip(along, sizes, strict=True) if size}
                rate = int(rates.pop()) if len(rates) == 1 and min(rates) in _RATES else 0
                raise Unfit(f"axis {axis} of output {name!r} follows neither batch nor steps: {told}", rate)
        if layout.rows is None and "B" not in roles:
            raise Unfit(f"output {name!r} has no axis that follows the batch")
        if layout.rows is not None and "B" not in roles:
            roles = self._with_rows(name, roles, layout)
        if name in self._states.values():
            return tuple(roles)
        return left_out(roles)

    def _with_rows(self, name: str, roles: list[AxisRole], layout: AxisLayout) -> list[AxisRole]:
        """The same with the axis of a fixed batch: of a state that of its input, else the first of that size."""
        given = next((given for given, made in self._states.items() if made == name), None)
        own = layout.roles[given] if given is not None else ()
        axis = own.index("B") if "B" in own and len(own) == len(roles) else None
        if axis is None and given is None and layout.rows:
            axis = next((place for place, role in enumerate(roles) if role == layout.rows), None)
        if axis is None or roles[axis] != (layout.rows or 1):  # a state that was added has a batch where none else has
            if (layout.rows or 0) > 1 and given is None:
                raise Unfit(f"output {name!r} has no axis of the batch's {layout.rows} rows")
            return roles
        return [*roles[:axis], "B", *roles[axis + 1 :]]

    def _raw(self, layout: AxisLayout, rows: int, steps: int, *, drawn_states: bool = False) -> list[NDArray[Any]]:
        """The outputs of one run, in the file's axes."""
        generator = np.random.default_rng(0)
        sizes = {"B": rows, "T": steps, "W": layout.window, "1": 1}
        feeds = {}
        for name, roles in layout.roles.items():
            shape = [sizes[axis] if isinstance(axis, str) else axis for axis in roles]
            dtype = np.dtype(self._drawer.ports[name].dtype)
            is_zero = name in self._states and not drawn_states
            feeds[name] = np.zeros(shape, dtype) if is_zero else self._drawer.draw(name, shape, generator)
        for port in self._lengths:
            feeds[port.name] = np.full((rows,) * len(port.sizes or ()), steps, port.dtype)
        try:
            made: list[NDArray[Any]] = self.session.run(self._outputs, {**feeds, **self._constants}, without_messages())
        except Exception as error:  # onnxruntime's own exceptions share no base class
            size = f"{rows} rows of {steps} steps" if layout.has_steps else f"{rows} rows"
            raise Unfit(f"the graph fails on {size}: {first_line(error)}") from error
        return made

    def _check_rows(self, surveyed: Surveyed) -> None:
        """See that a row answers the same alone, where a graph takes any batch."""
        if surveyed.layout.rows is not None:
            return
        network = self.network(surveyed)
        feeds = self.draw(surveyed.layout, 3, 4)
        together = self._called(network, feeds)
        order = [name for name in surveyed.layout.roles if name not in self._states] + list(self._states)
        axes = [normal(surveyed.layout.roles[name]).index("B") for name in order]
        alone_feeds = {name: np.take(feeds[name], [1], axis) for name, axis in zip(order, axes, strict=True)}
        alone = self._called(network, alone_feeds)
        for (name, made), own in zip(together.items(), alone.values(), strict=True):
            axis = normal(surveyed.made[name]).index("B")
            if not largest_difference(np.take(made, [1], axis), own) <= ALIKE:
                raise Unfit(f"the rows of a batch depend on each other: {name!r} of one is another when it runs alone")

    def _differs_in_chunks(self, surveyed: Surveyed) -> str:
        """Whether cut in two, with the states carried, the graph answers differently from one run; why."""
        if not surveyed.layout.has_steps:
            return ""
        network = self.network(surveyed)
        feeds = self.draw(surveyed.layout, 2, _CHUNKED_STEPS, seed=1)
        try:
            whole = self._called(network, feeds)
            first = self._called(network, self._cut(surveyed.layout, feeds, 0, _CUT))
            carried = {given: first[made] for given, made in self._states.items()}
            second = self._called(network, {**self._cut(surveyed.layout, feeds, _CUT, _CHUNKED_STEPS), **carried})
        except Unfit as error:
            return str(error)
        for name, made in whole.items():
            shape = normal(surveyed.made[name])
            in_chunks = np.concatenate([first[name], second[name]], shape.index("T")) if "T" in shape else second[name]
            difference = largest_difference(in_chunks, made)
            if not difference <= ALIKE:
                return f"in two chunks {name!r} differs by {difference:.2g} from that of one run"
        return ""

    def _cut(
        self, layout: AxisLayout, feeds: Mapping[str, NDArray[Any]], start: int, end: int
    ) -> dict[str, NDArray[Any]]:
        cut = {}
        for name, array in feeds.items():
            shape = normal(layout.roles[name])
            cut[name] = np.take(array, range(start, end), shape.index("T")) if "T" in shape else array
        return cut

    def _called(self, network: ForeignNetwork, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        order = [name for name in feeds if name not in self._states] + list(self._states)
        try:
            made = network([feeds[name] for name in order])
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise Unfit(f"the graph fails: {first_line(error)}") from error
        return dict(zip(network.made_names, made, strict=True))


def _words(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, shape))}]"
