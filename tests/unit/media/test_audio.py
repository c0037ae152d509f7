"""Any sound becomes mono at the wanted rate, of the right length, in the right place."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from synctalk.errors import MediaError
from synctalk.media import read_audio, write_wav


def tone(seconds: float, rate: int, hz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def encode(path: Path, codec: str, wav: np.ndarray, rate: int, layout: str = "stereo") -> Path:
    channels = 1 if layout == "mono" else 2
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(stream.format.name, layout, rate)
        for start in range(0, len(wav), 1152):
            block = np.repeat(wav[None, start : start + 1152], channels, 0)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), "fltp", layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            for ready in resampler.resample(frame):
                out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.wav", "pcm_u8", 8000, "mono"),
        ("a.wav", "pcm_s16le", 48000, "stereo"),
        ("a.wav", "pcm_s24le", 44100, "mono"),
        ("a.wav", "pcm_f32le", 22050, "stereo"),
        ("a.flac", "flac", 44100, "stereo"),
        ("a.mp3", "libmp3lame", 44100, "stereo"),
        ("a.m4a", "aac", 48000, "stereo"),
        ("a.ogg", "libopus", 48000, "mono"),
    ],
)
def test_every_format_gives_the_same_tone(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str
) -> None:
    path = encode(tmp_path / name, codec, tone(1.5, rate), rate, layout)
    wav = read_audio(path)
    assert wav.dtype == np.float32
    assert len(wav) == pytest.approx(24000, abs=1200 if codec == "libmp3lame" else 2)
    middle, wanted = wav[4000:20000], tone(1.5, 16000)[4000:20000]
    # The phase must agree too: an offset of one sample at 16 kHz would cost 0.09 rms.
    assert np.sqrt(np.mean((middle - wanted) ** 2)) < 0.02


def test_stereo_is_mixed_without_clipping(tmp_path: Path) -> None:
    path = encode(tmp_path / "loud.wav", "pcm_s16le", tone(1, 48000, level=0.95), 48000)
    assert np.abs(read_audio(path)).max() == pytest.approx(0.95, abs=0.02)


def test_other_rates_can_be_asked_for(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(1, 16000))
    assert len(read_audio(tmp_path / "a.wav", sample_rate=48000)) == 48000


def test_written_wav_comes_back_to_the_bit(tmp_path: Path) -> None:
    wav = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    write_wav(tmp_path / "a.wav", wav)
    assert np.abs(read_audio(tmp_path / "a.wav") - wav).max() <= 0.5 / 32768
    write_wav(tmp_path / "b.wav", read_audio(tmp_path / "a.wav"))
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_out_of_range_samples_are_clipped_not_wrapped(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.array([1.5, -1.5], np.float32))
    assert read_audio(tmp_path / "a.wav") == pytest.approx([32767 / 32768, -1.0])


def test_real_flac_has_the_length_it_declares(shared_data: Path) -> None:
    assert len(read_audio(shared_data / "audio" / "english_m_11s.flac")) == 11 * 16000


def test_sound_of_a_video_is_read(shared_data: Path) -> None:
    wav = read_audio(shared_data / "video" / "speech_20s_450.mp4")
    assert len(wav) == 20 * 16000


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "FILE_EMPTY"), (b"RIFF" + b"x" * 999, "NOT_MEDIA")]
)
def test_bad_audio_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(MediaError) as caught:
        read_audio(path)
    assert caught.value.reason == reason


def test_a_wav_without_samples_is_refused(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "none.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
    with pytest.raises(MediaError) as caught:
        read_audio(tmp_path / "none.wav")
    assert caught.value.reason == "NO_AUDIO"
