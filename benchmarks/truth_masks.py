"""Parsing against exact truth: part labels, matte and background of a virtual person.

    python benchmarks/truth_masks.py [--data ../shared/data] [--frames 1551]

Tracks and parses the virtual subject's clip twice, with the person network alone and with the hair
network too, and writes benchmarks/results/truth_masks.json. IoU is over all frames with true labels
(every tenth); brows, eyes, lips and mouth count as face. The head's matte is compared with the true
foreground alpha where neither neck nor clothes are within 12 px: they are no part of it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from synctalk.evaluation.machine import describe_machine
from synctalk.face import MeshFaceTracker
from synctalk.face.parsing import ParsedFrame, PartLabel, PortraitParser
from synctalk.face.parsing_networks import HAIR_MODEL, HairSegmenter, PersonSegmenter
from synctalk.face.tracking import FaceTrack
from synctalk.media.reader import VideoReader

ROOT = Path(__file__).resolve().parent.parent
TRUE_PART = np.array([0, 1, 3, 2, 4, 1, 1, 1, 1], np.uint8)  # the truth's ids -> PartLabel
FramesFactory = Callable[[], Iterable[np.ndarray]]


class Tally:
    """Sums over frames of what the figures need."""

    def __init__(self) -> None:
        self.both, self.either = np.zeros(5), np.zeros(5)
        self.matte_error, self.matte_pixels = 0.0, 0
        self.unchanged = self.outside = 0
        self.flicker: list[float] = []

    def add(
        self, frame: np.ndarray, parsed: ParsedFrame, labels: np.ndarray, alpha: np.ndarray
    ) -> None:
        for part in PartLabel:
            ours, true = parsed.labels == part, labels == part
            self.both[part] += (ours & true).sum()
            self.either[part] += (ours | true).sum()
        body = np.isin(labels, (PartLabel.NECK, PartLabel.TORSO)).astype(np.uint8)
        clear = cv2.dilate(body, np.ones((25, 25), np.uint8)) == 0
        error = np.abs(parsed.matte[clear].astype(float) - alpha[clear])
        self.matte_error += error.sum() / 255
        self.matte_pixels += (cv2.dilate(alpha, np.ones((9, 9), np.uint8))[clear] > 0).sum()
        far = cv2.dilate(parsed.matte, np.ones((7, 7), np.uint8)) == 0
        self.unchanged += (frame[far] == parsed.plate[far]).all(-1).sum()
        self.outside += far.sum()

    def figures(self) -> dict[str, object]:
        iou = self.both / np.maximum(self.either, 1)
        return {
            "iou": {part.name.lower(): round(float(iou[part]), 4) for part in PartLabel},
            "matte_mae_near_person": round(self.matte_error / self.matte_pixels, 5),
            "plate_equals_source_outside_head": round(self.unchanged / self.outside, 6),
        }


def measure(
    frames: FramesFactory, track: FaceTrack, subject: Path, hair: HairSegmenter | None
) -> dict[str, object]:
    """All figures of one parser on the virtual subject."""
    parser = PortraitParser(PersonSegmenter(), hair)
    start = time.perf_counter()
    scene = parser.fit(frames, track)
    fitted = time.perf_counter()
    tally, parsing_s = Tally(), 0.0
    parsed_frames = parser.parse(frames, track, scene)
    mattes = VideoReader(subject / "matte_train.mp4")
    for index, (frame, alpha) in enumerate(zip(frames(), mattes, strict=False)):
        before = time.perf_counter()
        parsed = next(parsed_frames)
        parsing_s += time.perf_counter() - before
        truth = subject / "labels_train" / f"{index:05d}.png"
        if truth.exists():
            labels = TRUE_PART[cv2.imread(str(truth), cv2.IMREAD_GRAYSCALE)]
            tally.add(frame, parsed, labels, np.ascontiguousarray(alpha[..., 0]))
    background = scene.background
    true = cv2.imread(str(subject / "background.png"))[..., ::-1].astype(float)
    error = np.abs(background.image - true)
    return {
        **tally.figures(),
        "background_mae_seen": round(float(error[background.seen].mean()), 3),
        "background_mae_never_seen": round(float(error[~background.seen].mean()), 3),
        "background_coverage": round(background.coverage, 4),
        "fit_s": round(fitted - start, 2),
        "parse_ms_per_frame": round(parsing_s / len(track) * 1e3, 2),
    }


def main() -> None:
    """Measure and write the figures."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    arguments.add_argument("--frames", type=int, default=1551)
    arguments.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/truth_masks.json")
    given = arguments.parse_args()
    subject = given.data / "virtual" / "subject_a"

    def frames() -> Iterable[np.ndarray]:
        return itertools.islice(VideoReader(subject / "train.mp4"), given.frames)

    track = MeshFaceTracker().track(frames())
    hair = HairSegmenter(given.data / "weights" / "mediapipe" / HAIR_MODEL)
    summary = {
        "subject": "virtual/subject_a",
        "frames": len(track),
        "person_network_only": measure(frames, track, subject, None),
        "with_hair_network": measure(frames, track, subject, hair),
        "machine": asdict(describe_machine()),
    }
    given.out.write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
