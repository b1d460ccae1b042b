"""Policies for control, as libraries of reinforcement learning export them: one step a run, the memory beside it."""

from __future__ import annotations

import numpy as np

from tests.foreign.building import BOOL, GraphBuilder
from tests.foreign.case import Array, Arrays, Axes, Foreign
from tests.foreign.equations import Weights, gru, lstm

H = 6


def control_lstm() -> Foreign:
    """``obs, h_in, c_in -> actions, h_out, c_out``, states ``[1, B, H]``."""
    builder = GraphBuilder(17, "/policy/")
    obs, h, c = (
        builder.input("obs", ["batch", 4]),
        builder.input("h_in", [1, "batch", H]),
        builder.input("c_in", [1, "batch", H]),
    )
    weights, head = Weights.drawn(builder, 4, 4, H), builder.drawn(H, 2)
    step = builder.unsqueeze(obs, 0)
    builder.nodes_of("LSTM", [step, *weights.of_node(builder), "", h, c], ["y", "h_out", "c_out"], hidden_size=H)
    hidden = builder.squeeze(builder.squeeze("y", 1), 0)
    builder.node("Tanh", [builder.node("MatMul", [hidden, builder.weight(head, "actor.weight")])], "actions")
    builder.output("actions", ["batch", 2])
    builder.output("h_out", [1, "batch", H])
    builder.output("c_out", [1, "batch", H])

    def truth(given: Arrays) -> Arrays:
        return {"actions": np.tanh(lstm(given["obs"], weights)[0] @ head)}

    state = (1, "B", H)
    axes: Axes = {"obs": ("B", 4), "actions": ("B", 2), "h_in": state, "c_in": state, "h_out": state, "c_out": state}
    states = {"h_in": "h_out", "c_in": "c_out"}
    return Foreign(builder.model("pytorch"), axes, {"obs": (4,)}, truth, states)


def control_episode_starts() -> Foreign:
    """``episode_starts`` (1 where an episode begins) clears the states within the graph; a session begins by itself."""
    builder = GraphBuilder(15, "/policy/", seed=1)
    obs, starts = builder.input("obs", ["n_envs", 3]), builder.input("episode_starts", ["n_envs"])
    h, c = builder.input("lstm_states_h", [1, "n_envs", H]), builder.input("lstm_states_c", [1, "n_envs", H])
    weights, head = Weights.drawn(builder, 4, 3, H), builder.drawn(H, 1)
    kept = builder.unsqueeze(builder.unsqueeze(builder.node("Sub", [builder.weight(1.0), starts]), 0), 2)
    cleared = [builder.node("Mul", [kept, state]) for state in (h, c)]
    names = ["y", "new_lstm_states_h", "new_lstm_states_c"]
    builder.nodes_of("LSTM", [builder.unsqueeze(obs, 0), *weights.of_node(builder), "", *cleared], names, hidden_size=H)
    hidden = builder.squeeze(builder.squeeze("y", 1), 0)
    builder.node("MatMul", [hidden, builder.weight(head)], "action")
    builder.node("ReduceSum", [hidden, builder.weight([1])], "value", keepdims=1)
    builder.output("action", ["n_envs", 1])
    builder.output("value", ["n_envs", 1])
    for name in names[1:]:
        builder.output(name, [1, "n_envs", H])

    def truth(given: Arrays) -> Arrays:
        # An episode that starts anew forgets; draws are 0 and 1 as often.
        h = c = np.zeros((given["obs"].shape[0], H))
        answers = []
        for t in range(given["obs"].shape[1]):
            kept = 1 - given["episode_starts"][:, t, None]
            y, h, c = lstm(given["obs"][:, t : t + 1], weights, h * kept, c * kept)
            answers.append(y[:, 0])
        hidden = np.stack(answers, axis=1)
        return {"action": hidden @ head, "value": hidden.sum(axis=-1, keepdims=True)}

    state = (1, "B", H)
    axes: Axes = {"obs": ("B", 3), "episode_starts": ("B",), "action": ("B", 1), "value": ("B", 1)}
    axes |= dict.fromkeys(("lstm_states_h", "lstm_states_c", *names[1:]), state)
    states = {f"lstm_states_{part}": f"new_lstm_states_{part}" for part in "hc"}
    model, rows = builder.model("pytorch"), {"obs": (3,), "episode_starts": ()}
    return Foreign(model, axes, rows, truth, states, codes={"episode_starts": 2})


def control_memory_in_one() -> Foreign:
    """The memory of a game engine's agents: h and c side by side in ``recurrent_in`` ``[B, 1, 2 H]``, one step a run,
    and outputs that are the same in every run (``version_number``, ``memory_size``).
    """
    builder = GraphBuilder(9, "agent_", seed=2)
    obs, memory = builder.input("obs_0", ["batch", 5]), builder.input("recurrent_in", ["batch", 1, 2 * H])
    weights, head = Weights.drawn(builder, 4, 5, H), builder.drawn(H, 2)
    turned = builder.transpose(memory, 1, 0, 2)
    h, c = builder.slice(turned, 2, 0, H), builder.slice(turned, 2, H, 2 * H)
    builder.nodes_of(
        "LSTM", [builder.unsqueeze(obs, 0), *weights.of_node(builder), "", h, c], ["y", "h1", "c1"], hidden_size=H
    )
    both = builder.node("Concat", ["h1", "c1"], axis=2)
    builder.transpose(both, 1, 0, 2, name="recurrent_out")
    hidden = builder.squeeze(builder.squeeze("y", 1), 0)
    builder.node("MatMul", [hidden, builder.weight(head)], "continuous_actions")
    builder.node("Identity", [builder.weight(np.array([3.0]))], "version_number")
    builder.node("Identity", [builder.weight(np.array([2.0 * H]))], "memory_size")
    builder.output("continuous_actions", ["batch", 2])
    builder.output("version_number", [1])
    builder.output("memory_size", [1])
    builder.output("recurrent_out", ["batch", 1, 2 * H])

    def truth(given: Arrays) -> Arrays:
        return {"continuous_actions": lstm(given["obs_0"], weights)[0] @ head}

    state = ("B", 1, 2 * H)
    axes: Axes = {"obs_0": ("B", 5), "continuous_actions": ("B", 2)}
    axes |= {"recurrent_in": state, "recurrent_out": state}
    model = builder.model("pytorch")
    return Foreign(model, axes, {"obs_0": (5,)}, truth, {"recurrent_in": "recurrent_out"})


def control_action_masks() -> Foreign:
    """A GRU whose state is ``[B, H]``, a mask of the actions that are allowed (bool), and a discrete action (int64)."""
    builder = GraphBuilder(18, "/", seed=3)
    obs, allowed = builder.input("observation", ["B", 4]), builder.input("action_mask", ["B", 3], BOOL)
    h = builder.input("rnn_hxs", ["B", H])
    weights, head = Weights.drawn(builder, 3, 4, H), builder.drawn(H, 3)
    one = [builder.unsqueeze(obs, 0), *weights.of_node(builder), "", builder.unsqueeze(h, 0)]
    builder.nodes_of("GRU", one, ["", "last"], hidden_size=H, linear_before_reset=1)
    hidden = builder.squeeze("last", 0, "rnn_hxs_out")
    logits = builder.node("MatMul", [hidden, builder.weight(head)])
    masked = builder.node("Where", [allowed, logits, builder.weight(-1e8)], "logits")
    builder.node("ArgMax", [masked], "action", axis=1, keepdims=0)
    builder.output("logits", ["B", 3])
    builder.output("action", ["B"], 7)
    builder.output("rnn_hxs_out", ["B", H])

    def truth(given: Arrays) -> Arrays:
        logits: Array = np.where(given["action_mask"], gru(given["observation"], weights)[0] @ head, -1e8)
        return {"logits": logits, "action": logits.argmax(axis=-1)}

    axes: Axes = {"observation": ("B", 4), "action_mask": ("B", 3), "logits": ("B", 3), "action": ("B",)}
    axes |= {"rnn_hxs": ("B", H), "rnn_hxs_out": ("B", H)}
    model, rows = builder.model("pytorch"), {"observation": (4,), "action_mask": (3,)}
    return Foreign(model, axes, rows, truth, {"rnn_hxs": "rnn_hxs_out"}, codes={"action_mask": 2})
