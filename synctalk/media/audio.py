"""Read any audio as 16 kHz mono, and write WAV."""

from __future__ import annotations

import math
import os
import tempfile
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synctalk.media.limits import MediaLimits, check_file
from synctalk.media.pcm import no_audio
from synctalk.media.sandbox import Request, run_limited

FloatArray = NDArray[np.float32]


def read_audio(
    path: Path | str, sample_rate: int = 16000, limits: MediaLimits | None = None
) -> FloatArray:
    """The sound of any audio or video file.

    A 16-bit mono WAV at ``sample_rate`` is read directly; everything else is decoded, mixed to
    mono and resampled in a limited process, so untrusted files are safe.

    Args:
        path: the file.
        sample_rate: Hz wanted.
        limits: bounds on the source and on the process.

    Returns:
        [n] float32 in -1..1, starting with the first sample of the sound.

    Raises:
        MediaError: missing, empty, not media, no sound, damaged, too long.
    """
    limits = limits or MediaLimits()
    path = Path(path).absolute()
    check_file(path, limits)
    direct = _read_plain_wav(path, sample_rate, limits.max_duration_s)
    if direct is not None and len(direct) == 0:
        raise no_audio(path)
    if direct is not None:
        return direct
    with tempfile.TemporaryDirectory(prefix="synctalk-audio-") as folder:
        run_limited(Request("audio", str(path), limits, folder, sample_rate=sample_rate))
        decoded = _read_plain_wav(Path(folder) / "audio.wav", sample_rate, math.inf)
    assert decoded is not None
    return decoded


def delayed(wav: FloatArray, ms: float, sample_rate: int = 16000) -> FloatArray:
    """[n] heard ``ms`` later, or earlier if negative, as long as before; silence fills the gap."""
    n = round(ms * sample_rate / 1000)
    moved = np.zeros_like(wav)
    if n >= 0:
        moved[n:] = wav[: max(len(wav) - n, 0)]
    else:
        moved[:n] = wav[-n:]
    return moved


def write_wav(path: Path | str, wav: FloatArray, sample_rate: int = 16000) -> None:
    """Write [n] float -1..1 as 16-bit mono; what exceeds the range is clipped.

    The file appears only when complete. Reading it back gives the values rounded to 1/32768.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    samples = np.clip(np.rint(np.asarray(wav, np.float64) * 32768), -32768, 32767)
    try:
        with wave.open(str(temporary), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(sample_rate)
            out.writeframes(samples.astype("<i2").tobytes())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_plain_wav(path: Path, sample_rate: int, most_s: float) -> FloatArray | None:
    """Samples of a 16-bit mono WAV at ``sample_rate`` no longer than that; None for all else."""
    try:
        with wave.open(str(path), "rb") as wav:
            if (wav.getnchannels(), wav.getsampwidth(), wav.getframerate()) != (1, 2, sample_rate):
                return None
            if wav.getnframes() > most_s * sample_rate:  # or it only says so
                return None
            data = wav.readframes(wav.getnframes())
    except (
        wave.Error,
        EOFError,
        RuntimeError,
    ):  # the last: a chunk that ends beyond itself
        return None
    return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.float32) / 32768.0
