from __future__ import annotations

import numpy as np
import pytest

from synctalk.expression import measure_prosody

RATE = 16_000


def tone(hz: float, seconds: float, level: float = 0.3) -> np.ndarray:
    """A buzz with a voice's harmonics."""
    t = np.arange(int(seconds * RATE)) / RATE
    return (level * sum(np.sin(2 * np.pi * k * hz * t) / k for k in (1, 2, 3, 4))).astype("f4")


def test_pitch_follows_a_voice_that_rises_by_a_fifth() -> None:
    wav = np.concatenate([tone(110, 1), tone(165, 1)])
    prosody = measure_prosody(wav, 50)
    rise = prosody.pitch_semitones[30:45].mean() - prosody.pitch_semitones[5:20].mean()
    assert rise == pytest.approx(12 * np.log2(1.5), abs=0.3)
    assert prosody.voiced[5:45].mean() > 0.9


def test_pauses_are_found_where_nobody_speaks() -> None:
    wav = np.concatenate([tone(120, 1), np.zeros(RATE // 2, "f4"), tone(120, 1)])
    prosody = measure_prosody(wav, 63)
    (pause,) = [p for p in prosody.pauses if p[1] < 60]
    assert pause == pytest.approx([25, 38], abs=3)


def test_loudness_does_not_depend_on_the_recording_level() -> None:
    wav = np.concatenate([tone(120, 1), tone(120, 1, 0.1)])
    loud, soft = (measure_prosody(g * wav, 50).loudness_db for g in (1.0, 0.05))
    np.testing.assert_allclose(loud, soft, atol=0.1)


def test_noise_has_no_voice_and_silence_no_loudness() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype("f4")
    assert measure_prosody(noise, 25).voiced.mean() < 0.2
    silent = measure_prosody(np.zeros(RATE, "f4"), 25)
    assert silent.voiced.max() == 0
    assert silent.quiet.all()


def test_long_sound_is_measured_in_pieces_as_if_it_were_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wav = np.concatenate([tone(100, 1), tone(140, 1, 0.1), tone(200, 1)])
    whole = measure_prosody(wav, 75)
    monkeypatch.setattr("synctalk.expression.prosody.PIECE_HOPS", 70)
    pieces = measure_prosody(wav, 75)
    np.testing.assert_allclose(pieces.pitch_semitones, whole.pitch_semitones, atol=1e-5)
    np.testing.assert_allclose(pieces.loudness_db, whole.loudness_db, atol=1e-5)


def test_no_frames_give_no_prosody() -> None:
    assert len(measure_prosody(np.zeros(0, "f4"), 0)) == 0
