"""The quality report as one picture that a person reads."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from synctalk.face.tracking import FaceTrack
from synctalk.quality.geometry import face_motion
from synctalk.quality.report import Level, QualityReport, Sample, Verdict
from synctalk.quality.sound import FPS, loudness

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

_WIDTH = 1280
_MARGIN = 20
_INK, _FAINT, _PAPER, _LINE = (32, 36, 44), (125, 130, 140), (255, 255, 255), (225, 228, 233)
_COLOURS: dict[Level, Colour] = {
    "good": (34, 139, 84),
    "warn": (203, 125, 10),
    "refuse": (200, 40, 48),
}
_TITLES = {"good": "Good footage", "warn": "Usable footage", "refuse": "Unusable footage"}
_STRIP_H, _ROW_H = 74, 22
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# OpenCV's fonts know ASCII only.
_ASCII = str.maketrans({"°": " deg", "…": "...", "–": "-", "×": "x"})


def draw_quality_picture(
    report: QualityReport, track: FaceTrack, wav: NDArray[np.float32]
) -> Image:
    """Sample frames with landmarks, curves of mouth, yaw and loudness, and all verdicts.

    Args:
        report: from :func:`synctalk.quality.assess_footage`.
        track: the face track it was made from.
        wav: [n] float32, 16 kHz mono, ditto.

    Returns:
        [H, 1280, 3] uint8 RGB.
    """
    parts = [
        _header(report),
        _film_strip(report.samples, track),
        *_curves(track, wav),
        *(_verdict_row(v) for v in sorted(report.verdicts, key=_urgency)),
        _blank(_MARGIN // 2),
    ]
    return np.vstack(parts)


def _urgency(verdict: Verdict) -> int:
    return ("refuse", "warn", "good").index(verdict.level)


def _blank(height: int) -> Image:
    return np.full((height, _WIDTH, 3), 255, np.uint8)


def _text(
    image: Image, text: str, x: int, y: int, colour: Colour, size: float = 0.48, bold: int = 1
) -> None:
    cv2.putText(image, text.translate(_ASCII), (x, y), _FONT, size, colour, bold, cv2.LINE_AA)


def _header(report: QualityReport) -> Image:
    level: Level = "refuse" if report.refusals else "warn" if report.warnings else "good"
    image = _blank(52)
    image[:, :8] = _COLOURS[level]
    _text(image, _TITLES[level], _MARGIN, 34, _COLOURS[level], 0.9, 2)
    refused, warned = len(report.refusals), len(report.warnings)
    counts = f"{len(report.verdicts)} checks: {refused} refused, {warned} with a warning"
    _text(image, counts, 360, 33, _FAINT, 0.55)
    return image


def _film_strip(samples: tuple[Sample, ...], track: FaceTrack) -> Image:
    if not samples:
        return _blank(0)
    tiles = [_tile(s, track) for s in samples]
    height = max(t.shape[0] for t in tiles)
    strip, x = _blank(height + 28), _MARGIN
    for tile, sample in zip(tiles, samples, strict=True):
        room = min(tile.shape[1], _WIDTH - _MARGIN - x)
        if room < 40:
            break
        strip[: tile.shape[0], x : x + room] = tile[:, :room]
        _text(strip, f"{sample.index}: {sample.label}", x, height + 18, _FAINT, 0.42)
        x += tile.shape[1] + 8
    return strip


def _tile(sample: Sample, track: FaceTrack) -> Image:
    image = sample.image.copy()
    if track.found[sample.index]:
        for x, y in track.landmarks68[sample.index] * sample.scale:
            at = (int(x * 8 - 4), int(y * 8 - 4))  # pixel centres, three fractional bits
            cv2.circle(image, at, 10, (60, 255, 120), -1, cv2.LINE_AA, 3)
    width = (_WIDTH - 2 * _MARGIN) // 5 - 8
    if image.shape[1] > width:
        left = (image.shape[1] - width) // 2
        image = image[:, left : left + width]
    return np.ascontiguousarray(image)


def _curves(track: FaceTrack, wav: NDArray[np.float32]) -> list[Image]:
    motion = face_motion(track)
    sound = loudness(wav, len(track.score))
    return [
        _curve("mouth opening", motion.mouth_gap, 0.0, 0.4, track.found),
        _curve("head yaw, deg", motion.yaw_deg, -30, 30, track.found),
        _curve("loudness", sound, float(sound.min()), float(sound.max()), track.found),
        _time_axis(len(track.score)),
    ]


def _plot_span() -> tuple[int, int]:
    return 150, _WIDTH - _MARGIN


def _curve(
    name: str, values: NDArray[np.float64], low: float, high: float, found: NDArray[np.bool_]
) -> Image:
    image = _blank(_STRIP_H)
    left, right = _plot_span()
    _text(image, name, _MARGIN, _STRIP_H // 2 + 4, _INK)
    _text(image, f"{high:.3g}", left - 44, 16, _FAINT, 0.36)
    _text(image, f"{low:.3g}", left - 44, _STRIP_H - 8, _FAINT, 0.36)
    cv2.rectangle(image, (left, 6), (right, _STRIP_H - 6), _LINE, 1)
    n = max(2, len(values))
    x = left + np.arange(len(values)) * (right - left) / (n - 1)
    for at in x[~found]:  # frames without a face
        cv2.line(image, (int(at), 7), (int(at), _STRIP_H - 7), (250, 205, 205), 1)
    level = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    y = _STRIP_H - 8 - level * (_STRIP_H - 16)
    known = np.isfinite(y)
    for run in np.split(np.arange(len(y)), np.flatnonzero(np.diff(known.astype(int))) + 1):
        if len(run) and known[run[0]]:
            points = np.stack([x[run], y[run]], 1).round().astype(np.int32)
            cv2.polylines(image, [points], False, (52, 98, 180), 1, cv2.LINE_AA)
    return image


def _time_axis(n_frames: int) -> Image:
    image = _blank(26)
    left, right = _plot_span()
    seconds = n_frames / FPS
    step = next((s for s in (1, 2, 5, 10, 20, 30, 60, 120, 300) if seconds / s <= 14), 600)
    for t in np.arange(0, seconds, step):
        x = int(left + t / max(seconds, 1e-9) * (right - left))
        cv2.line(image, (x, 0), (x, 4), _FAINT, 1)
        _text(image, f"{t:.0f} s", x - 6, 18, _FAINT, 0.36)
    return image


def _verdict_row(verdict: Verdict) -> Image:
    """The name, what was found and, in a second line, what to do."""
    image = _blank(_ROW_H * (2 if verdict.remedy else 1))
    colour = _COLOURS[verdict.level]
    cv2.circle(image, (_MARGIN + 6, 11), 6, colour, -1, cv2.LINE_AA)
    _text(image, verdict.name.replace("_", " "), _MARGIN + 24, 16, _INK)
    _text(image, verdict.message, 230, 16, _INK)
    if verdict.remedy:
        _text(image, verdict.remedy, 230, 16 + _ROW_H - 3, colour)
    return image
