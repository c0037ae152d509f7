"""What a browser shows and plays of a live session, and whether the mouth follows the sound."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page

from synctalk.face.mesh import MeshFaceTracker

FloatArray = NDArray[np.float64]
_UPPER_LIP, _LOWER_LIP, _EYES = 13, 14, [33, 263]  # of the face mesh: inner lips, outer corners
_STEP_S = 0.01  # of the loudness
_SMOOTHED_S = 0.2
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
class Recording:
    """Of one stretch, [N] pictures in which the tracker finds a face.

    Args:
        faces: share of all pictures that these are.
        opening: [N] gap between the lips over the distance of the eyes, smoothed.
        loudness: [N, L] of what is played at the moment of each picture and some lags before and
            after it, smoothed, dB above -60.
    """

    faces: float
    opening: FloatArray
    loudness: FloatArray

    @property
    def widest(self) -> float:
        """Opening that a tenth of the pictures exceed."""
        return float(np.percentile(self.opening, 90))


def record(page: Page) -> None:
    """Begin to note what the page's video shows and plays by WebRTC."""
    page.evaluate(_RECORD)


def forget(page: Page) -> None:
    """What was noted so far."""
    page.evaluate("window.recorded.length = 0")


def recorded(page: Page) -> Recording:
    """What was noted since this or :func:`forget` was called."""
    shown = page.evaluate("window.recorded.splice(0)")
    track = MeshFaceTracker().track([_picture(url) for *_, url in shown])
    assert track.mesh is not None
    found = track.found
    mesh = track.mesh[found, :, :2].astype(float)
    eyes = np.linalg.norm(mesh[:, _EYES[0]] - mesh[:, _EYES[1]], axis=1)
    opening = np.linalg.norm(mesh[:, _UPPER_LIP] - mesh[:, _LOWER_LIP], axis=1) / eyes
    times = np.array([time for time, *_ in shown])
    near = np.abs(times[found, None] - times[found]) <= _SMOOTHED_S / 2
    every, loudness = _loudness(times, [rms for _, rms, _ in shown])
    asked = times[found, None] + _LAGS_S
    return Recording(
        float(found.mean()), near @ opening / near.sum(axis=1), np.interp(asked, every, loudness)
    )


def likeness(opening: FloatArray, loudness: FloatArray) -> float:
    """Correlation [N] with [N, L] at the best of the lags; 0 for a still mouth."""
    mouth, sound = opening - opening.mean(), loudness - loudness.mean(axis=0)
    norms = np.linalg.norm(mouth) * np.linalg.norm(sound, axis=0)
    return float(np.max(np.divide(mouth @ sound, norms, out=np.zeros_like(norms), where=norms > 0)))


def _loudness(times: FloatArray, stretches: list[list[float]]) -> tuple[FloatArray, FloatArray]:
    """Moments, s, and the smoothed dB above -60 then, of stretches that end at ``times``."""
    ends = np.round(times / _STEP_S).astype(int)
    first = ends[0] - len(stretches[0])
    rms = np.zeros(ends[-1] - first + 1)
    for end, stretch in zip(ends - first, stretches, strict=True):
        rms[end - len(stretch) + 1 : end + 1] = stretch[::-1]
    n = round(_SMOOTHED_S / _STEP_S)
    decibels = 20 * np.log10(np.maximum(rms, 1e-3)) + 60
    smooth = np.convolve(decibels, np.ones(n) / n, "same")
    return (first + np.arange(len(rms))) * _STEP_S, smooth


def _picture(url: str) -> NDArray[np.uint8]:
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
