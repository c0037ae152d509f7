"""What a browser shows and plays of a live session, beside what a dub of the same speech does."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from playwright.sync_api import Page

from synctalk.face.mesh import MeshFaceTracker
from synctalk.media import VideoReader, read_audio

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]
_UPPER_LIP, _LOWER_LIP, _EYES = 13, 14, [33, 263]  # of the face mesh: inner lips, outer corners
_STEP_S = 0.01  # of the loudness
_SMOOTHED_S = 0.2
_RATE_HZ = 16_000
_FPS = 25
_LAGS_S = np.arange(-0.4, 0.41, 0.04)
"""Of the sound: a busy browser shows a picture that much later than what belongs to it."""

# Every picture that is shown: the sound's clock then, how loud the last 0.68 s were (so that no
# sound is missed, however few pictures a busy browser shows), and the picture.
_RECORD = """() => {
  const video = document.querySelector("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext("2d");
  const hearing = new AudioContext();
  const meter = hearing.createAnalyser();
  meter.fftSize = 32768;
  hearing.createMediaStreamSource(video.srcObject).connect(meter);
  const wave = new Float32Array(meter.fftSize);
  const step = hearing.sampleRate / 100;
  window.recorded = [];
  const look = () => {
    context.drawImage(video, 0, 0, canvas.width, canvas.height);  // they shrink under load
    const time = hearing.currentTime;
    meter.getFloatTimeDomainData(wave);
    const rms = [];
    for (let end = wave.length; end >= step; end -= step)
      rms.push(Math.hypot(...wave.subarray(end - step, end)) / Math.sqrt(step));
    window.recorded.push([time, rms, canvas.toDataURL("image/jpeg", 0.95)]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}"""


@dataclass(frozen=True)
class Script:
    """What a dub does, and a session that says the same is to do.

    Args:
        opening: [T] gap between the lips over the distance of the eyes, smoothed, 25 a second.
        loudness: [M] of the speech, smoothed, dB above -60, 100 a second.
    """

    opening: FloatArray
    loudness: FloatArray


@dataclass(frozen=True)
class Recording:
    """Of one stretch, [N] pictures in which the tracker finds a face.

    Args:
        faces: share of all pictures that these are.
        times: [N] moments, s.
        opening: [N] gap between the lips over the distance of the eyes, smoothed.
        begin: moment of the first loudness, s.
        loudness: [M] of what is played, smoothed, dB above -60, 100 a second.
    """

    faces: float
    times: FloatArray
    opening: FloatArray
    begin: float
    loudness: FloatArray

    @property
    def widest(self) -> float:
        """Opening that a tenth of the pictures exceed."""
        return float(np.percentile(self.opening, 90))


@dataclass(frozen=True)
class Told:
    """[N] pictures of the speech.

    Args:
        opening: [N] as they show it.
        meant: [N, L] as the script has it when that sound is played, some lags before and after.
        heard: likeness of what is played and the speech, 1 if it is the same.
    """

    opening: FloatArray
    meant: FloatArray
    heard: float


def read_script(dub: Path) -> Script:
    """Of a dub of what the session is to say."""
    found, opening = _openings(VideoReader(dub))
    assert found.all()
    samples = read_audio(dub, _RATE_HZ).astype(float)
    step = round(_RATE_HZ * _STEP_S)
    steps = samples[: len(samples) // step * step].reshape(-1, step)
    loudness = _smooth_decibels(np.sqrt(np.mean(steps**2, axis=1)))
    return Script(_smoothed(np.arange(len(opening)) / _FPS, opening), loudness)


def record(page: Page) -> None:
    """Begin to note what the page's video shows and plays by WebRTC."""
    page.evaluate(_RECORD)


def forget(page: Page) -> None:
    """What was noted so far."""
    page.evaluate("window.recorded.length = 0")


def recorded(page: Page) -> Recording:
    """What was noted since this or :func:`forget` was called."""
    shown = page.evaluate("window.recorded.splice(0)")
    found, opening = _openings(_picture(url) for *_, url in shown)
    times = np.array([time for time, *_ in shown])
    begin, rms = _joined(times, [rms for _, rms, _ in shown])
    spoken = times[found]
    return Recording(
        float(found.mean()), spoken, _smoothed(spoken, opening), begin, _smooth_decibels(rms)
    )


def told(recordings: Sequence[Recording], script: Script) -> Told:
    """The pictures of each telling of the script."""
    every = [_told(recording, script) for recording in recordings]
    return Told(
        np.concatenate([each.opening for each in every]),
        np.concatenate([each.meant for each in every]),
        min(each.heard for each in every),
    )


def likeness(opening: FloatArray, meant: FloatArray) -> float:
    """Correlation [N] with [N, L] at the best of the lags; 0 for a still mouth."""
    mouth, script = opening - opening.mean(), meant - meant.mean(axis=0)
    norms = np.linalg.norm(mouth) * np.linalg.norm(script, axis=0)
    return float(
        np.max(np.divide(mouth @ script, norms, out=np.zeros_like(norms), where=norms > 0))
    )


def _told(recording: Recording, script: Script) -> Told:
    """Where in what was played the speech is, and what the lips do then."""
    n = len(script.loudness)
    if len(recording.loudness) < n:  # less was played than the speech is long
        return Told(np.empty(0), np.empty((0, len(_LAGS_S))), 0.0)
    windows = sliding_window_view(recording.loudness, n)
    alike = np.array([likeness(window, script.loudness[:, None]) for window in windows])
    begin = recording.begin + alike.argmax() * _STEP_S
    within = (recording.times >= begin) & (recording.times < begin + n * _STEP_S)
    asked = recording.times[within, None] - begin + _LAGS_S
    meant = np.interp(asked, np.arange(len(script.opening)) / _FPS, script.opening)
    return Told(recording.opening[within], meant, float(alike.max()))


def _openings(pictures: Iterable[Image]) -> tuple[NDArray[np.bool_], FloatArray]:
    """In which of [N] pictures there is a face, and its opening in those."""
    track = MeshFaceTracker().track(pictures)
    assert track.mesh is not None
    mesh = track.mesh[track.found, :, :2].astype(float)
    eyes = np.linalg.norm(mesh[:, _EYES[0]] - mesh[:, _EYES[1]], axis=1)
    return track.found, np.linalg.norm(mesh[:, _UPPER_LIP] - mesh[:, _LOWER_LIP], axis=1) / eyes


def _smoothed(times: FloatArray, opening: FloatArray) -> FloatArray:
    near = np.abs(times[:, None] - times) <= _SMOOTHED_S / 2
    return np.asarray(near @ opening / near.sum(axis=1))


def _joined(times: FloatArray, stretches: list[list[float]]) -> tuple[float, FloatArray]:
    """Loudness of all that was played, and since when, from stretches that end at ``times``."""
    ends = np.round(times / _STEP_S).astype(int)
    first = ends[0] - len(stretches[0])
    rms = np.zeros(ends[-1] - first + 1)
    for end, stretch in zip(ends - first, stretches, strict=True):
        rms[end - len(stretch) + 1 : end + 1] = stretch[::-1]
    return float(first * _STEP_S), rms


def _smooth_decibels(rms: FloatArray) -> FloatArray:
    n = round(_SMOOTHED_S / _STEP_S)
    decibels = 20 * np.log10(np.maximum(rms, 1e-3)) + 60
    return np.convolve(decibels, np.ones(n) / n, "same")


def _picture(url: str) -> Image:
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
