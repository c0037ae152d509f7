"""A recording on disk is heard as the one in memory, a span at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from services.expression.pcm import Recording, pieces
from synctalk.expression import measure_prosody
from synctalk.face_sync import measure
from synctalk.face_sync.speech import SAMPLE_RATE_HZ
from synctalk.media import read_audio


@pytest.fixture(scope="module")
def speech(shared_data: Path) -> Tensor:
    wav = read_audio(shared_data / "audio/english_60s.wav")
    return torch.from_numpy(np.tile(wav, 2))


@pytest.fixture
def recording(speech: Tensor, tmp_path: Path) -> Recording:
    made = Recording(tmp_path)
    for chunk in torch.split(speech, 7_777):
        made.append(chunk)
    return made


def test_spans_are_those_of_the_sound(recording: Recording, speech: Tensor) -> None:
    n = len(speech)
    assert len(recording) == n
    for span in (slice(0, 10), slice(n - 5, n + 5), slice(n, n + 5), slice(3, 3), slice(5, 2)):
        assert torch.equal(recording[span], speech[span])
    assert torch.equal(torch.cat(list(pieces(recording))), speech)


def test_it_is_measured_bit_by_bit_as_in_memory(recording: Recording, speech: Tensor) -> None:
    here, there = measure(recording), measure(speech)
    assert here.level == there.level
    assert torch.equal(here.mean, there.mean)
    n_frames = len(speech) * 25 // SAMPLE_RATE_HZ
    ours, theirs = (measure_prosody(wav, n_frames) for wav in (recording, speech.numpy()))
    assert np.array_equal(ours.pitch_semitones, theirs.pitch_semitones)
    assert np.array_equal(ours.loudness_db, theirs.loudness_db)
    assert np.array_equal(ours.voiced, theirs.voiced)


def test_nothing_recorded_is_nothing(tmp_path: Path) -> None:
    empty = Recording(tmp_path)
    assert len(empty) == 0
    assert len(empty[0:10]) == 0
    assert list(pieces(empty)) == []
