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
_CLOCK_HZ = 90_000
_LAGS = range(-3, 4)  # frames; a browser shows and plays what belongs together within less

# Every picture that is shown: its time, how loud it is meanwhile, and the picture.
_RECORD = """() => {
  const video = document.querySelector("video");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext("2d");
  const hearing = new AudioContext();
  const meter = hearing.createAnalyser();
  meter.fftSize = 2048;
  hearing.createMediaStreamSource(video.srcObject).connect(meter);
  const wave = new Float32Array(meter.fftSize);
  window.recorded = [];
  const look = (now, about) => {
    context.drawImage(video, 0, 0);
    meter.getFloatTimeDomainData(wave);
    const rms = Math.hypot(...wave) / Math.sqrt(wave.length);
    window.recorded.push([about.rtpTimestamp, rms, canvas.toDataURL("image/jpeg", 0.95)]);
    video.requestVideoFrameCallback(look);
  };
  video.requestVideoFrameCallback(look);
}"""


@dataclass(frozen=True)
class Recording:
    """Of one stretch, frame by frame at 25 Hz.

    Args:
        faces: share of the pictures in which the tracker finds a face.
        opening: [T] gap between the lips over the distance of the eyes.
        loudness: [T] of what is played meanwhile, dB above -60.
    """

    faces: float
    opening: FloatArray
    loudness: FloatArray

    @property
    def widest(self) -> float:
        """Opening that a tenth of the frames exceed, smoothed: a tracker trembles."""
        return float(np.percentile(_smooth(self.opening), 90))


def record(page: Page) -> None:
    """Begin to note what the page's video shows and plays by WebRTC."""
    page.evaluate(_RECORD)


def recorded(page: Page) -> Recording:
    """What was noted since the last call."""
    shown = page.evaluate("window.recorded.splice(0)")
    slots = np.array([stamp for stamp, *_ in shown]) * 25 // _CLOCK_HZ
    pictures = [_picture(url) for *_, url in shown]
    track = MeshFaceTracker().track(pictures)
    assert track.mesh is not None
    found = track.found
    mesh = track.mesh[found, :, :2].astype(float)
    eyes = np.linalg.norm(mesh[:, _EYES[0]] - mesh[:, _EYES[1]], axis=1)
    opening = np.linalg.norm(mesh[:, _UPPER_LIP] - mesh[:, _LOWER_LIP], axis=1) / eyes
    loudness = 20 * np.log10(np.array([max(rms, 1e-3) for _, rms, _ in shown])) + 60
    every = np.arange(slots[0], slots[-1] + 1)  # a busy browser skips some
    return Recording(
        float(found.mean()),
        np.interp(every, slots[found], opening),
        np.interp(every, slots, loudness),
    )


def likeness(opening: FloatArray, loudness: FloatArray) -> float:
    """Correlation of mouth and sound, smoothed, at the best of a few lags; 0 for a still mouth."""
    mouth, sound = _smooth(opening), _smooth(loudness)
    return max(_correlation(mouth, sound, lag) for lag in _LAGS)


def _correlation(mouth: FloatArray, sound: FloatArray, lag: int) -> float:
    a, b = mouth[max(0, lag) : len(mouth) + min(0, lag)], sound[max(0, -lag) : len(sound) - lag]
    a, b = a - a.mean(), b[: len(a)] - b[: len(a)].mean()
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0


def _smooth(values: FloatArray) -> FloatArray:
    return np.convolve(values, np.ones(5) / 5, "valid")


def _picture(url: str) -> NDArray[np.uint8]:
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
