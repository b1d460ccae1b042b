"""Drive 32 carts at once by a served policy: one message a step for all of them, and a reset wherever an episode ends.

python -m examples.control_policy.drive http://127.0.0.1:3000
"""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from examples.control_policy.poles import Poles
from ostinato.client.client import Client

MODEL, NUM_POLES, NUM_STEPS = "control-policy", 32, 400


@dataclass
class Episode:
    """What a policy was told, and what it did, step by step; whether the pole fell."""

    seen: list[NDArray[np.float32]] = field(default_factory=list)
    actions: list[NDArray[np.float32]] = field(default_factory=list)
    has_fallen: bool = False


def drive(
    client: Client, model: str = MODEL, *, num_poles: int = NUM_POLES, num_steps: int = NUM_STEPS, seed: int = 7
) -> list[Episode]:
    """Episodes of carts that are stepped together. Each ends when its pole falls, or at a time of its own; its session
    is reset then, and the others go on.
    """
    random = np.random.default_rng(seed)
    poles, ends = Poles(num_poles, seed), random.integers(20, 200, num_poles)
    running, over = [Episode() for _ in range(num_poles)], []
    with ExitStack() as stack:
        sessions = [stack.enter_context(client.session(model)) for _ in range(num_poles)]
        names = [session.session_id for session in sessions]
        for _ in range(num_steps):
            seen = poles.seen()
            stepped = client.step_many(model, names, seen, seq=poles.steps)
            assert not stepped.errors, stepped.errors
            assert isinstance(stepped.outputs, np.ndarray), "the policy has one output"
            for episode, row, action in zip(running, seen, stepped.outputs, strict=True):
                episode.seen.append(row)
                episode.actions.append(action)
            is_over = poles.push(stepped.outputs[:, 0]) | (poles.steps >= ends)
            for place in np.flatnonzero(is_over):
                running[place].has_fallen = bool(poles.fallen()[place])
                over.append(running[place])
                running[place] = Episode()
                ends[place] = random.integers(20, 200)
                sessions[place].reset()
            poles.restart(is_over)
    return over + [episode for episode in running if episode.seen]


def is_as_offline(client: Client, episode: Episode, model: str = MODEL) -> bool:
    """Whether an episode's actions are, to the bit, those of one run over all that was seen in it."""
    whole = client.predict(model, [np.stack(episode.seen)])
    return bool(np.asarray(whole)[0].tobytes() == np.stack(episode.actions).tobytes())


def main(url: str) -> int:
    with Client(url) as client:
        episodes = drive(client)
        same = sum(is_as_offline(client, episode) for episode in episodes)
    fallen, steps = sum(episode.has_fallen for episode in episodes), sum(len(episode.seen) for episode in episodes)
    print(f"{len(episodes)} episodes, {steps:,} steps: {fallen} poles fell; {same} episodes are as offline, to the bit")
    return int(same < len(episodes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
