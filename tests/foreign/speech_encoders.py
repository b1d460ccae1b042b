"""Streaming encoders of recognisers: windows of frames that overlap, and caches of every layer beside them."""

from __future__ import annotations

import numpy as np
from onnx import helper

from tests.foreign.building import INT64, GraphBuilder
from tests.foreign.case import Array, Arrays, Axes, Foreign
from tests.foreign.equations import Weights, causal, lstm, softmax

WIDTH, KEYS, LEFT, LAYERS = 4, 3, 4, 2


def _windows(x: Array, window: int, hop: int) -> list[Array]:
    """The windows of ``[B, T, F]`` by which it is streamed: hop new steps each, zeros before the beginning."""
    padded = np.concatenate([np.zeros((x.shape[0], window - hop, x.shape[2])), x], axis=1)
    return [padded[:, start : start + window] for start in range(0, x.shape[1] - hop + 1, hop)]


def _strided(x: Array, kernel: Array) -> Array:
    """A convolution with stride 2 and no padding over ``[B, T, C]`` by a kernel ``[O, C, 3]``."""
    num = (x.shape[1] - 3) // 2 + 1
    return np.asarray(sum(x[:, k : k + 2 * num - 1 : 2] @ kernel[:, :, k].T for k in range(3)))


def lstm_transducer() -> Foreign:
    """Nine frames a run, four of them new, one answer; states of two layers with a projection, ``[L, N, ...]``."""
    builder = GraphBuilder(13, "/encoder/")
    x = builder.input("x", ["N", 9, 3])
    h0, c0 = builder.input("h0", [2, "N", 5]), builder.input("c0", [2, "N", 5])
    kernels = [builder.drawn(4, 3, 3), builder.drawn(4, 4, 3)]
    layers = [Weights.drawn(builder, 4, 4, 5), Weights.drawn(builder, 4, 5, 5)]
    frames = builder.transpose(x, 0, 2, 1)
    for kernel in kernels:
        frames = builder.node("Relu", [builder.node("Conv", [frames, builder.weight(kernel)], strides=[2])])
    hidden, last = builder.transpose(frames, 2, 0, 1), []
    for number, weights in enumerate(layers):
        first = [builder.slice(state, 0, number, number + 1) for state in (h0, c0)]
        names = [f"/layer{number}/{part}" for part in "yhc"]
        builder.nodes_of("LSTM", [hidden, *weights.of_node(builder), "", *first], names, hidden_size=5)
        hidden = builder.squeeze(names[0], 1)
        last.append(names[1:])
    builder.transpose(hidden, 1, 0, 2, name="encoder_out")
    builder.node("Concat", [each[0] for each in last], "next_h0", axis=0)
    builder.node("Concat", [each[1] for each in last], "next_c0", axis=0)
    builder.output("encoder_out", ["N", 1, 5])
    builder.output("next_h0", [2, "N", 5])
    builder.output("next_c0", [2, "N", 5])

    def truth(given: Arrays) -> Arrays:
        frames = []
        for window in _windows(given["x"], 9, 4):
            for kernel in kernels:
                window = np.maximum(_strided(window, kernel), 0)
            frames.append(window)
        hidden = np.concatenate(frames, axis=1)
        return {"encoder_out": lstm(lstm(hidden, layers[0])[0], layers[1])[0][:, :, None]}

    axes: Axes = {"x": ("B", 9, 3), "encoder_out": ("B", 1, 5)}
    axes |= dict.fromkeys(("h0", "c0", "next_h0", "next_c0"), (2, "B", 5))
    model = builder.model("pytorch")
    _describe(model, model_type="lstm", T="9", decode_chunk_len="4", num_encoder_layers="2")
    return Foreign(model, axes, {"x": (3,)}, truth, {"h0": "next_h0", "c0": "next_c0"}, framing=(9, 4))


def zipformer() -> Foreign:
    """Five frames a run, four of them new, two answers; keys, values and convolutions of each layer are cached, and how
    many frames there were (int64, ``[N]``), by which the keys from before the beginning are masked.
    """
    builder = GraphBuilder(13, "/encoder/", seed=1)
    x = builder.input("x", ["N", 5, 3])
    states: dict[str, str] = {}
    axes: Axes = {"x": ("B", 5, 3), "encoder_out": ("B", 2, WIDTH)}

    def cached(name: str, *shape: int | str, dtype: int = 1) -> str:
        states[builder.input(name, ["N" if axis == "B" else axis for axis in shape], dtype)] = f"new_{name}"
        axes.update({name: shape, f"new_{name}": shape})
        return name

    embed, near = builder.drawn(WIDTH, 3, 3), builder.drawn(WIDTH, 1, 3)
    attention = [tuple(builder.drawn(WIDTH, size) for size in (KEYS, KEYS, WIDTH, WIDTH)) for _ in range(LAYERS)]
    depthwise = [builder.drawn(WIDTH, 1, 3) for _ in range(LAYERS)]

    def convolved(frames: str, cache: str, kernel: Array) -> str:
        """Each channel by itself, causal; ``[N, C, 2]`` and the frames before."""
        seen = builder.node("Concat", [cache, frames], axis=2)
        builder.slice(seen, 2, -2, 2**31 - 1, states[cache])
        return builder.node("Conv", [seen, builder.weight(kernel)], group=WIDTH)

    frames = builder.node("Conv", [builder.transpose(x, 0, 2, 1), builder.weight(embed)], strides=[2])  # [N, C, 2]
    caches = [
        (
            cached(f"cached_key_{k}", LEFT, "B", KEYS),
            cached(f"cached_val1_{k}", LEFT, "B", WIDTH),
            cached(f"cached_conv1_{k}", "B", WIDTH, 2),
        )
        for k in range(LAYERS)
    ]
    embed_states, processed = cached("embed_states", "B", WIDTH, 2), cached("processed_lens", "B", dtype=INT64)
    frames = builder.node("Tanh", [convolved(frames, embed_states, near)])
    age = builder.weight(np.arange(LEFT, 0, -1))  # how many frames ago each of the left ones was
    is_before = builder.node("Less", [builder.unsqueeze(processed, 1), age])  # [N, LEFT]
    own = builder.node(
        "Expand",
        [
            builder.weight(np.array([[False, False]])),
            builder.node("Concat", [builder.size(x, 0), builder.weight([2])], axis=0),
        ],
    )
    mask = builder.unsqueeze(builder.node("Concat", [is_before, own], axis=1), 1)
    hidden = builder.transpose(frames, 2, 0, 1)  # [2, N, C]
    for (key, value, cache), (w_q, w_k, w_v, w_o), kernel in zip(caches, attention, depthwise, strict=True):
        q, k, v = (builder.node("MatMul", [hidden, builder.weight(each)]) for each in (w_q, w_k, w_v))
        keys, values = (builder.node("Concat", [old, new], axis=0) for old, new in ((key, k), (value, v)))
        builder.slice(keys, 0, -LEFT, 2**31 - 1, states[key])
        builder.slice(values, 0, -LEFT, 2**31 - 1, states[value])
        scores = builder.node("MatMul", [builder.transpose(q, 1, 0, 2), builder.transpose(keys, 1, 2, 0)])
        masked = builder.node("Where", [mask, builder.weight(-1000.0), scores])
        seen = builder.node("MatMul", [builder.node("Softmax", [masked], axis=-1), builder.transpose(values, 1, 0, 2)])
        seen = builder.node("MatMul", [builder.transpose(seen, 1, 0, 2), builder.weight(w_o)])
        hidden = builder.node("Add", [hidden, seen])
        moved = builder.node("Tanh", [convolved(builder.transpose(hidden, 1, 2, 0), cache, kernel)])
        hidden = builder.node("Add", [hidden, builder.transpose(moved, 2, 0, 1)])
    builder.transpose(hidden, 1, 0, 2, name="encoder_out")
    builder.node("Add", [processed, builder.weight([2])], states[processed])
    builder.output("encoder_out", ["N", 2, WIDTH])
    for name, new in states.items():
        builder.output(new, ["N" if axis == "B" else axis for axis in axes[name]], INT64 if name == processed else 1)

    def by_channel(x: Array, kernel: Array) -> Array:
        return causal(x, np.stack([np.diag(kernel[:, 0, k]) for k in range(3)], axis=2))

    def truth(given: Arrays) -> Arrays:
        frames = np.concatenate([_strided(window, embed) for window in _windows(given["x"], 5, 4)], axis=1)
        hidden = np.tanh(by_channel(frames, near))
        for (w_q, w_k, w_v, w_o), kernel in zip(attention, depthwise, strict=True):
            seen = []
            for start in range(0, hidden.shape[1], 2):
                first = max(0, start - LEFT)
                known = hidden[:, first : start + 2]
                scores = (hidden[:, start : start + 2] @ w_q) @ (known @ w_k).transpose(0, 2, 1)
                seen.append(softmax(scores) @ (known @ w_v) @ w_o)
            hidden = hidden + np.concatenate(seen, axis=1)
            hidden = hidden + np.tanh(by_channel(hidden, kernel))
        return {"encoder_out": hidden.reshape(hidden.shape[0], -1, 2, WIDTH)}

    model = builder.model("pytorch")
    _describe(model, model_type="zipformer2", T="5", decode_chunk_len="4", num_encoder_layers="1,1")
    return Foreign(model, axes, {"x": (3,)}, truth, states, framing=(5, 4))


def _describe(model: object, **properties: str) -> None:
    """The metadata by which such files tell their sizes."""
    helper.set_model_props(model, properties)  # type: ignore[arg-type]
