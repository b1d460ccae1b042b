"""The detector of ``examples/voice_activity`` as a version, and what its network says of a whole recording."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ostinato.export.framing import frame_graph, steps_shape
from ostinato.service.artifact.framing import Framing
from ostinato.service.artifact.manifest import GraphFile, Manifest
from ostinato.service.artifact.tensors import Constant, Input, Output, State

FOLDER = Path(__file__).parents[1] / "examples" / "voice_activity"
FRAMING = Framing(window=576, hop=512)
RATE = Constant(name="sr", dtype="int64", value=16_000)


def write_detector(repository: Path) -> Path:
    """Write the version ``vad/1``; returns its directory."""
    directory = repository / "vad" / "1"
    directory.mkdir(parents=True)
    axes = ("B", "W")
    model, pasts = frame_graph(ir.load(FOLDER / "silero_vad_16k_op15.onnx"), {"input": axes}, FRAMING)
    ir.save(model, directory / "model.onnx")
    content = (directory / "model.onnx").read_bytes()
    manifest = Manifest(
        name="vad",
        version="1",
        task="recurrent",
        graphs={"step": GraphFile(file="model.onnx", sha256=hashlib.sha256(content).hexdigest())},
        inputs=(Input(name="input", dtype="float32", shape=steps_shape(axes), features=("sample",)),),  # type: ignore[arg-type]
        outputs=(Output(name="output", dtype="float32", shape=("B", 1), features=("speech",)),),
        states=(State(name="state", input="state", output="stateN", shape=(2, "B", 128), dtype="float32"), *pasts),
        constants=(RATE,),
        framing=FRAMING,
    )
    manifest.write(directory)
    frames = np.random.default_rng(0).normal(0, 0.1, (3, FRAMING.hop)).astype(np.float32)
    given = {"input": frames, "state": np.zeros((2, 3, 128), np.float32), "sr": RATE.array()}
    given |= {state.input: np.zeros((3, FRAMING.past), np.float32) for state in pasts}
    names = ["output", *(state.output for state in manifest.states)]
    made = onnxruntime.InferenceSession(content).run(names, given)
    golden = {"0/input": frames, **{f"0/{name}": array for name, array in zip(names, made, strict=True)}}
    save_file(golden, directory / "golden.safetensors")
    return directory


def whole_recording(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the network for whole recordings says of each frame ``[k, 1]``: a run, without a session or a service."""
    padded = np.concatenate([np.zeros(FRAMING.past, np.float32), samples])
    windows = np.lib.stride_tricks.sliding_window_view(padded, FRAMING.window)[:: FRAMING.hop]
    zeros = np.zeros((1, 1, 128), np.float32)
    session = onnxruntime.InferenceSession(FOLDER / "silero_vad_16k_sequence.onnx")
    (made,) = session.run(["speech_probs"], {"input": np.ascontiguousarray(windows), "h": zeros, "c": zeros})
    return np.asarray(made)[:, None]
