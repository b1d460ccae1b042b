"""Enhancers of speech: one frame a run with caches of convolutions, dual-path networks, and gains beside a detector."""

from __future__ import annotations

import numpy as np

from tests.foreign.building import GraphBuilder
from tests.foreign.case import Arrays, Axes, Foreign
from tests.foreign.equations import Weights, backwards, causal, gru, of_directions, sigmoid


def enhancer_conv_cache() -> Foreign:
    """One spectrum ``[1, F, 1]`` a run, a cache ``[1, C, 2]`` of the convolution before a GRU, all with batch 1."""
    builder = GraphBuilder(13, "/")
    mix, cache = builder.input("mix", [1, 6, 1]), builder.input("conv_cache", [1, 6, 2])
    h = builder.input("gru_cache", [1, 1, 5])
    kernel, weights, head = builder.drawn(4, 6, 3), Weights.drawn(builder, 3, 4, 5), builder.drawn(5, 6)
    seen = builder.node("Concat", [cache, mix], axis=2)
    builder.slice(seen, 2, 1, 3, "conv_cache_out")
    frame = builder.node("Relu", [builder.node("Conv", [seen, builder.weight(kernel, "conv.weight")])])
    nodes = [builder.transpose(frame, 2, 0, 1), *weights.of_node(builder), "", h]
    builder.nodes_of("GRU", nodes, ["y", "gru_cache_out"], hidden_size=5, linear_before_reset=1)
    hidden = builder.transpose(builder.squeeze("y", 1), 1, 0, 2)
    mask = builder.node("Sigmoid", [builder.node("MatMul", [hidden, builder.weight(head)])])
    builder.node("Mul", [mix, builder.transpose(mask, 0, 2, 1)], "enh")
    builder.output("enh", [1, 6, 1])
    builder.output("conv_cache_out", [1, 6, 2])
    builder.output("gru_cache_out", [1, 1, 5])

    def truth(given: Arrays) -> Arrays:
        x = given["mix"][..., 0]
        hidden = gru(np.maximum(causal(x, kernel), 0), weights)[0]
        return {"enh": (x * sigmoid(hidden @ head))[..., None]}

    axes: Axes = {"mix": ("B", 6, 1), "enh": ("B", 6, 1)}
    axes |= {
        "conv_cache": ("B", 6, 2),
        "conv_cache_out": ("B", 6, 2),
        "gru_cache": (1, "B", 5),
        "gru_cache_out": (1, "B", 5),
    }
    states = {"conv_cache": "conv_cache_out", "gru_cache": "gru_cache_out"}
    return Foreign(builder.model("pytorch"), axes, {"mix": (6, 1)}, truth, states, fixed={"B": 1})


def dual_path() -> Foreign:
    """``[B, T, bands, C]``: both ways along the bands, each step by itself; one way along time, each band by itself."""
    bands, width, hidden = 4, 3, 3
    builder = GraphBuilder(14, "/", seed=1)
    x = builder.input("spectrogram", ["batch", "time", bands, width])
    there, back = Weights.drawn(builder, 3, width, hidden), Weights.drawn(builder, 3, width, hidden)
    along = Weights.drawn(builder, 3, width, hidden)
    mix, out = builder.drawn(2 * hidden, width), builder.drawn(hidden, width)
    shape = builder.node("Shape", [x])

    rows = builder.node("Reshape", [x, builder.constant([-1, bands, width])])  # [B T, bands, C]
    nodes = [builder.transpose(rows, 1, 0, 2), *of_directions([there, back], builder, "intra")]
    layer = builder.node("GRU", nodes, hidden_size=hidden, linear_before_reset=1, direction="bidirectional")
    both = builder.node("Reshape", [builder.transpose(layer, 2, 0, 1, 3), builder.constant([0, 0, 2 * hidden])])
    mixed = builder.node("Reshape", [builder.node("MatMul", [both, builder.weight(mix)]), shape])
    within = builder.node("Add", [x, mixed])

    by_band = builder.transpose(within, 0, 2, 1, 3)  # [B, bands, T, C]
    turned = builder.node("Shape", [by_band])
    steps = builder.slice(turned, 0, 2, 3)
    flat = builder.node("Concat", [builder.constant([-1]), steps, builder.constant([width])], axis=0)
    rows = builder.node("Reshape", [by_band, flat])  # [B bands, T, C]
    nodes = [builder.transpose(rows, 1, 0, 2), *along.of_node(builder, "inter")]
    layer = builder.node("GRU", nodes, hidden_size=hidden, linear_before_reset=1)
    answers = builder.transpose(builder.squeeze(layer, 1), 1, 0, 2)
    mixed = builder.node("Reshape", [builder.node("MatMul", [answers, builder.weight(out)]), turned])
    builder.node("Add", [within, builder.transpose(mixed, 0, 2, 1, 3)], "enhanced")
    builder.output("enhanced", ["batch", "time", bands, width])

    def truth(given: Arrays) -> Arrays:
        x = np.asarray(given["spectrogram"], np.float64)
        b, t = x.shape[:2]
        rows = x.reshape(b * t, bands, width)
        both = np.concatenate([gru(rows, there)[0], backwards(gru, rows, back)], axis=-1)
        within = x + (both @ mix).reshape(x.shape)
        answers = gru(within.transpose(0, 2, 1, 3).reshape(b * bands, t, width), along)[0] @ out
        return {"enhanced": within + answers.reshape(b, bands, t, width).transpose(0, 2, 1, 3)}

    axes: Axes = {"spectrogram": ("B", "T", bands, width), "enhanced": ("B", "T", bands, width)}
    return Foreign(builder.model("pytorch"), axes, {"spectrogram": (bands, width)}, truth, hidden=1)


def gains_and_detector() -> Foreign:
    """Three GRUs whose states stand in the graph by names without a rule, and two outputs: gains, and who speaks."""
    builder = GraphBuilder(12, "/", seed=2)
    x = builder.input("main_input", ["batch", "frames", 5])
    before = [
        builder.input(name, [1, "batch", 4])
        for name in ("vad_gru_prev_state", "noise_gru_prev_state", "denoise_gru_prev_state")
    ]
    sizes = (5, 9, 9)
    layers = [Weights.drawn(builder, 3, size, 4) for size in sizes]
    after = ["vad_gru_state", "noise_gru_state", "denoise_gru_state"]

    def layer(number: int, source: str) -> str:
        nodes = [builder.transpose(source, 1, 0, 2), *layers[number].of_node(builder), "", before[number]]
        builder.nodes_of("GRU", nodes, [f"/{after[number]}/y", after[number]], hidden_size=4, linear_before_reset=1)
        return builder.transpose(builder.squeeze(f"/{after[number]}/y", 1), 1, 0, 2)

    speech = layer(0, x)
    noise = layer(1, builder.node("Concat", [x, speech], axis=2))
    clean = layer(2, builder.node("Concat", [x, noise], axis=2))
    head, detector = builder.drawn(4, 3), builder.drawn(4, 1)
    builder.node("Sigmoid", [builder.node("MatMul", [clean, builder.weight(head)])], "denoise_output")
    builder.node("Sigmoid", [builder.node("MatMul", [speech, builder.weight(detector)])], "vad_output")
    builder.output("denoise_output", ["batch", "frames", 3])
    builder.output("vad_output", ["batch", "frames", 1])
    for name in after:
        builder.output(name, [1, "batch", 4])

    def truth(given: Arrays) -> Arrays:
        x = given["main_input"]
        speech = gru(x, layers[0])[0]
        noise = gru(np.concatenate([x, speech], axis=-1), layers[1])[0]
        clean = gru(np.concatenate([x, noise], axis=-1), layers[2])[0]
        return {"denoise_output": sigmoid(clean @ head), "vad_output": sigmoid(speech @ detector)}

    axes: Axes = {"main_input": ("B", "T", 5), "denoise_output": ("B", "T", 3), "vad_output": ("B", "T", 1)}
    axes |= dict.fromkeys((*before, *after), (1, "B", 4))
    states = dict(zip(before, after, strict=True))
    return Foreign(builder.model("tf2onnx"), axes, {"main_input": (5,)}, truth, states)


def dilated_convolutions() -> Foreign:
    """No recurrent layer: causal convolutions with dilations 1 and 2, their pasts ``[B, C, 2]`` and ``[B, C, 4]``."""
    builder = GraphBuilder(17, "/", seed=3)
    x = builder.input("input", ["B", 3, "T"])
    kernels = [builder.drawn(3, 3, 3), builder.drawn(3, 3, 3)]
    states, value = {}, x
    for number, (kernel, dilation) in enumerate(zip(kernels, (1, 2), strict=True)):
        width = 2 * dilation
        past = builder.input(f"buffer_{number}", ["B", 3, width])
        seen = builder.node("Concat", [past, value], axis=2)
        states[past] = builder.slice(seen, 2, -width, 2**31 - 1, f"buffer_{number}_new")
        value = builder.node("Tanh", [builder.node("Conv", [seen, builder.weight(kernel)], dilations=[dilation])])
    builder.node("Identity", [value], "output")
    builder.output("output", ["B", 3, "T"])
    for number, width in ((0, 2), (1, 4)):
        builder.output(f"buffer_{number}_new", ["B", 3, width])

    def truth(given: Arrays) -> Arrays:
        return {"output": np.tanh(causal(np.tanh(causal(given["input"], kernels[0])), kernels[1], 2))}

    axes: Axes = {"input": ("B", 3, "T"), "output": ("B", 3, "T")}
    for number, width in ((0, 2), (1, 4)):
        axes |= dict.fromkeys((f"buffer_{number}", f"buffer_{number}_new"), ("B", 3, width))
    return Foreign(builder.model("pytorch"), axes, {"input": (3,)}, truth, states)
