"""The example of the voice-activity detector: a recording in odd pieces gives what the whole recording gives."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from examples.voice_activity.timeline import MAX_PIECE, RATE, draw, pieces, read_samples, spans
from ostinato.service.catalogue.recurrent_checks import LoadedModel, load_model
from ostinato.service.config import Settings
from tests.service.engine.recurrent.test_offline import engine_in
from tests.service.puppet import House
from tests.silero import FOLDER, whole_recording, write_detector

NUM_SESSIONS = 50


@pytest.fixture(scope="module")
def samples() -> NDArray[np.float32]:
    return read_samples(FOLDER / "go_forward.wav")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(write_detector(tmp_path_factory.mktemp("models")), Settings())


@pytest.mark.parametrize("seed", [17])
async def test_50_sessions_in_odd_pieces_give_what_the_whole_recording_gives(
    seed: int, samples: NDArray[np.float32], detector: LoadedModel
) -> None:
    expected = whole_recording(samples)
    house = House()
    engine = engine_in(house, detector)

    async def stream(number: int) -> None:
        session = await house.sessions.open("vad", session_id=f"recording-{number}")
        generator, made, steps = random.Random(f"{seed} {number}"), [], []
        for piece in pieces(len(samples), seed=number):
            answer = await house.ledger.step(session, samples[piece, None], piece.start)
            made.append(answer.outputs)
            steps.append(engine.made.steps_of(engine.made.ends_of(answer.steps, len(answer.outputs))))
            for _ in range(generator.randrange(4)):
                await asyncio.sleep(0)  # so that others are in its next run
        assert np.concatenate(made).tobytes() == expected.tobytes(), f"{seed=}, session {number}"
        assert np.concatenate(steps).tolist() == [512 * (frame + 1) for frame in range(len(expected))]

    await asyncio.gather(*map(stream, range(NUM_SESSIONS)))
    assert engine.num_rows == 0


def test_the_pieces_are_of_1_to_3000_samples_and_all_of_the_recording() -> None:
    made = pieces(200_000, seed=3)
    lengths = [piece.stop - piece.start for piece in made]
    assert (min(lengths) >= 1, max(lengths) <= MAX_PIECE, sum(lengths)) == (True, True, 200_000)
    assert [piece.start for piece in made[1:]] == [piece.stop for piece in made[:-1]]


def test_somebody_speaks_from_the_first_answer_that_says_so_to_the_last() -> None:
    ends = np.arange(1, 7) * RATE // 2
    said = np.array([0.1, 0.9, 0.8, 0.2, 0.7, 0.1], np.float32)
    assert spans(ends, said) == [(0.5, 1.5), (2.0, 2.5)]


def test_the_recording_has_one_span_of_speech_and_a_picture(samples: NDArray[np.float32], tmp_path: Path) -> None:
    said = whole_recording(samples)[:, 0]
    ends = np.arange(1, len(said) + 1) * 512
    assert [(round(begin, 1), round(end, 1)) for begin, end in spans(ends, said)] == [(0.5, 2.2)]
    draw(tmp_path / "timeline.svg", samples, ends, said)
    assert "<svg" in (tmp_path / "timeline.svg").read_text()


def test_a_recording_of_another_form_is_refused(tmp_path: Path) -> None:
    content = bytearray((FOLDER / "go_forward.wav").read_bytes())
    content[24:28] = (8_000).to_bytes(4, "little")
    (tmp_path / "slow.wav").write_bytes(content)
    with pytest.raises(SystemExit, match="16000 Hz"):
        read_samples(tmp_path / "slow.wav")
