"""Ensembles: networks of one architecture that learned from different first weights, as one network.

Each member keeps a state of its own, next to those of the others, and reads the same inputs. The answer is the mean of
theirs, added up in their order, so that it is the same number alone and in any batch::

    numbers, quantiles, frames    y = (y_1 + .. + y_N) / N
    probabilities of classes      p = (p_1 + .. + p_N) / N
    scores of symbols             s = (s_1 + .. + s_N) / N, so that log p = (log p_1 + .. + log p_N) / N + a constant

Scores stay what decoding asks for, log-probabilities up to a constant, and take neither exponentials nor a sum over
all symbols. By Jensen's inequality none of these means is worse than its members are in the mean, by an absolute,
squared or pinball loss, or by cross entropy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar, cast

from torch import Tensor, nn

from ostinato.models.networks.seq2seq import Tensors

AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)


class Ensemble(nn.Module):
    """Members, the first first; subclasses bring the contract that these keep."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)


class WholeEnsemble(Ensemble):
    """Of networks that answer whole sequences: ``forward(x, lengths) -> y``."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The mean of what the members answer."""
        return mean_of([member(x, lengths) for member in self.members])


class RecurrentEnsemble(Ensemble):
    """Of networks that keep the recurrent contract, as it does itself.

    ``state_names``: those of the members, each with its member's number: ``h_member_0``.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__(members)
        own = cast(tuple[str, ...], members[0].state_names)
        self.num_states = len(own)
        self.state_names = tuple(_of_member(name, number) for number in range(len(members)) for name in own)

    def initial_state(self, batch_size: int) -> Tensors:
        """Those of all members."""
        return tuple(state for member in self.members for state in member.initial_state(batch_size))  # type: ignore[operator]

    def forward(self, x: Tensor, *given: Tensor) -> Tensors:
        """The mean of the members' answers, and their states.

        Args:
            given: what is known of a sequence as a whole, the same for all members; then the states.
        """
        num_context = len(given) - len(self.members) * self.num_states
        context, states = given[:num_context], given[num_context:]
        answers, after = [], []
        for member, own in zip(self.members, self.apart(states), strict=True):
            answer, *made = member(x, *context, *own)
            answers.append(answer)
            after += made
        return mean_of(answers), *after

    def apart(self, states: Tensors) -> list[Tensors]:
        """The states of each member."""
        return _in_parts(states, len(self.members))


class ForecastingEnsemble(RecurrentEnsemble):
    """Of networks that decode from a session's states, too: each feeds its own forecast back to itself."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__(members)
        numbers = range(len(members))
        first = members[0]
        begins, kept = first.decoder_begins.items(), first.decoder_memory.items()  # type: ignore[union-attr, operator]
        self.decoder_begins = {_of_member(own, n): _of_member(state, n) for n in numbers for own, state in begins}
        self.decoder_memory = {_of_member(own, n): _of_member(state, n) for n in numbers for own, state in kept}
        # All members have counted the same steps.
        self.decoder_lengths = _of_member(str(first.decoder_lengths), 0)

    def decode(
        self, previous: None, states: Tensors, memory: Tensors, lengths: Tensor
    ) -> tuple[Tensor, Tensors, Tensor | None]:
        """One step of each member's forecast, and the mean of them."""
        return _decode(self.members, previous, states, memory, lengths)

    def decoder_start(self, states: Tensors) -> tuple[Tensors, Tensors, Tensor]:
        """From a session's states what the decoders begin with: states, memory, lengths."""
        begun = [
            member.decoder_start(own)  # type: ignore[operator]
            for member, own in zip(self.members, self.apart(states), strict=True)
        ]
        return _joined(own for own, _, _ in begun), _joined(own for _, own, _ in begun), begun[0][2]


class WritingEnsemble(Ensemble):
    """Of networks that encode a source and write step by step; all are fed what was written by all.

    ``state_names``: as of ``RecurrentEnsemble``; of members that name no states, none.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__(members)
        own = getattr(members[0], "state_names", ())
        self.state_names = tuple(_of_member(name, number) for number in range(len(members)) for name in own)

    def encode(self, *source: Tensor) -> tuple[Tensors, Tensors]:
        """The memories and first states of all members, of ``source``, or ``source, lengths``."""
        encoded = [member.encode(*source) for member in self.members]  # type: ignore[operator]
        return _joined(memory for memory, _ in encoded), _joined(states for _, states in encoded)

    def decode(
        self, previous: Tensor, states: Tensors, memory: Tensors = (), lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensors, Tensor | None]:
        """One step of each member, and the mean of their scores."""
        return _decode(self.members, previous, states, memory, lengths)


def joined(members: Sequence[AnyNetwork]) -> AnyNetwork:
    """Networks of one architecture as one, which is called as each of them is; of one network, itself."""
    first = members[0]
    if len(members) == 1:
        return first
    kind: type[Ensemble] = WholeEnsemble
    if hasattr(first, "encode"):
        kind = WritingEnsemble
    elif hasattr(first, "decoder_begins"):
        kind = ForecastingEnsemble
    elif hasattr(first, "initial_state"):
        kind = RecurrentEnsemble
    return cast(AnyNetwork, kind(members))


def first_of(network: AnyNetwork) -> AnyNetwork:
    """The first member of an ensemble, which tells what all have alike; of another network, itself."""
    return cast(AnyNetwork, network.members[0]) if isinstance(network, Ensemble) else network


def mean_of(answers: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape, added up in their order."""
    total = answers[0]
    for answer in answers[1:]:
        total = total + answer
    return total / len(answers)


def _decode(
    members: nn.ModuleList, previous: Tensor | None, states: Tensors, memory: Tensors, lengths: Tensor | None
) -> tuple[Tensor, Tensors, Tensor | None]:
    number = len(members)
    made = [
        member.decode(previous, own, kept, lengths)  # type: ignore[operator]
        for member, own, kept in zip(members, _in_parts(states, number), _in_parts(memory, number), strict=True)
    ]
    looked = [weights for _, _, weights in made if weights is not None]
    output = mean_of([own for own, _, _ in made])
    return output, _joined(own for _, own, _ in made), mean_of(looked) if looked else None


def _in_parts(tensors: Tensors, number: int) -> list[Tensors]:
    """As many to each part."""
    size = len(tensors) // number
    return [tensors[place * size : (place + 1) * size] for place in range(number)]


def _joined(parts: Iterable[Sequence[Tensor]]) -> Tensors:
    return tuple(tensor for part in parts for tensor in part)


def _of_member(name: str, number: int) -> str:
    return f"{name}_member_{number}"
