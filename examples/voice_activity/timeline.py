"""Where somebody speaks in a recording: a WAV of 16 kHz is streamed through a session in pieces of odd lengths, and
what the detector answers is drawn under the sound.

    python examples/voice_activity/timeline.py RECORDING.wav --output timeline.png
"""

from __future__ import annotations

import argparse
import random
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ostinato.client.client import Client

RATE = 16_000
MAX_PIECE = 3_000
IS_SPEECH = 0.5
SOUND, SPEECH, FAINT = "#1f6f8b", "#c1440e", "#8a8a8a"


def read_samples(path: Path) -> NDArray[np.float32]:
    """A recording of one channel of 16 bits at 16 kHz, from -1 to 1."""
    with wave.open(str(path)) as recording:
        form = recording.getnchannels(), recording.getsampwidth(), recording.getframerate()
        if form != (1, 2, RATE):
            raise SystemExit(f"{path}: one channel of 16 bits at {RATE} Hz is read here, and this is {form}")
        samples = np.frombuffer(recording.readframes(recording.getnframes()), "<i2")
    return (samples / np.float32(32_768)).astype(np.float32)


def pieces(num_samples: int, seed: int) -> list[slice]:
    """The recording in pieces of 1 to 3,000 samples, as a bad line delivers them."""
    generator, start, made = random.Random(seed), 0, []
    while start < num_samples:
        end = min(num_samples, start + generator.randint(1, MAX_PIECE))
        made.append(slice(start, end))
        start = end
    return made


def stream(client: Client, model: str, samples: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The sample behind each answer, and the answer: how likely it is that somebody spoke."""
    ends, answers = [], []
    with client.session(model) as session:
        for piece in pieces(len(samples), seed=0):
            answers.append(session.step(samples[piece]))
            assert session.output_steps is not None, "a model without framing answers every step"
            ends.append(session.output_steps)
    return np.concatenate(ends), np.concatenate(answers)[:, 0]


def spans(ends: Sequence[int] | NDArray[np.int64], probabilities: NDArray[np.float32]) -> list[tuple[float, float]]:
    """When somebody spoke, in seconds: what one answer is of begins where the one before it ended."""
    begins = [0, *ends[:-1]]
    found: list[tuple[float, float]] = []
    for begin, end, probability in zip(begins, ends, probabilities, strict=True):
        if probability < IS_SPEECH:
            continue
        if found and found[-1][1] == begin / RATE:
            begin = round(found.pop()[0] * RATE)
        found.append((begin / RATE, end / RATE))
    return found


def draw(path: Path, samples: NDArray[np.float32], ends: NDArray[np.int64], probabilities: NDArray[np.float32]) -> None:
    """Write the picture: the sound above, the answers below, and behind both where somebody spoke."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"font.size": 9.5, "axes.spines.top": False, "axes.spines.right": False})
    figure = Figure(figsize=(11, 4), dpi=110, layout="constrained")
    sound, answers = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    sound.plot(np.arange(len(samples)) / RATE, samples, color=SOUND, linewidth=0.5)
    sound.set_ylabel("sound")
    sound.set_title("Speech, found while it is streamed", loc="left", fontweight="bold")
    answers.step(np.concatenate([[0], ends]) / RATE, [*probabilities, probabilities[-1]], where="post", color=SPEECH)
    answers.axhline(IS_SPEECH, color=FAINT, linewidth=0.7, linestyle="--")
    answers.set(ylim=(-0.03, 1.03), ylabel="speech", xlabel="seconds", xlim=(0, len(samples) / RATE))
    for begin, end in spans(ends, probabilities):
        for axes in (sound, answers):
            axes.axvspan(begin, end, color=SPEECH, alpha=0.12, linewidth=0)
    figure.savefig(path)


def main() -> None:
    """Stream the recording, tell the spans, draw the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:3000")
    parser.add_argument("--model", default="vad")
    parser.add_argument("--output", type=Path, help="a picture: .png, .svg or .pdf")
    options = parser.parse_args()
    samples = read_samples(options.recording)
    with Client(options.url) as client:
        ends, probabilities = stream(client, options.model, samples)
    for begin, end in spans(ends, probabilities):
        print(f"speech from {begin:.2f} s to {end:.2f} s")
    if options.output is not None:
        draw(options.output, samples, ends, probabilities)
        print(options.output)


if __name__ == "__main__":
    main()
